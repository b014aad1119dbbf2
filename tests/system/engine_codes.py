"""The engines of the conformance suite: for each, the same workers in its own language.

add      data + 1                          fail     ends as its data says
log      writes lines, then data           polite   waits until it is asked to stop
deaf     runs for ever                     die      ends its process on "bad"
version  {"v": N, ...}                     meet     four attempts wait for each other
secret   a secret, as variable and file    fetch    what a URL answers, through the service
trace    the trace context                 batch    the sum; those below 0 fail
broken   does not build                    missing  has no handler
"""

# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import base64
import codecs
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON = {
    "add": "def process(event): return event.data + 1",
    "fail": """
        from workmanager_executor import Drop, NonRetryable, Retry
        class Trouble(Exception): pass
        def process(event):
            if event.data == "error": raise Trouble("no")
            if event.data == "retry": raise Retry("later", after=0.01)
            if event.data == "final": raise NonRetryable("bad", type="order.bad")
            if event.data == "drop": raise Drop("old")
            return event.data
    """,
    "log": """
        import sys
        def process(event, context):
            print("out", event.data)
            print("err", event.data, file=sys.stderr)
            context.logger.warning("warn %s", event.data)
            return event.data
    """,
    "polite": """
        import asyncio
        async def process(event, context):
            if event.data == "slow": await asyncio.sleep(60)
            return event.data
    """,
    "deaf": """
        def process(event):
            while event.data == "slow": pass
            return event.data
    """,
    "die": """
        import os
        def process(event):
            if event.data == "bad":
                os.write(2, b"last words\\n")
                os._exit(7)
            return event.data
    """,
    "version": """
        def process(event): return {"v": VERSION, "n": event.data["n"], "key": event.data["key"]}
    """,
    "meet": """
        import threading
        barrier = threading.Barrier(4)
        def process(event):
            barrier.wait(10)
            return event.data
    """,
    "secret": """
        import os
        def process(event):
            with open(os.path.join(os.environ["CREDENTIALS_DIRECTORY"], "key")) as file:
                print("the key is", os.environ["KEY"])
                return [len(os.environ["KEY"]), len(file.read())]
    """,
    "fetch": """
        async def process(event, context):
            answer = await context.http.post(event.data, json={"n": 1}, headers={"x-key": "k"})
            return {"status": answer.status, "text": answer.text}
    """,
    "trace": "def process(event, context): return context.traceparent",
    "batch": """
        from workmanager_executor import BatchResult, NonRetryable
        def process_batch(events):
            bad = {i: NonRetryable("below 0", type="low") for i, e in enumerate(events) if e.data < 0}
            total = sum(e.data for e in events if e.data >= 0)
            return BatchResult([{"sum": total, "of": len(events)}], bad)
    """,
    "broken": "def process(event) return 1",
    "missing": "def other(event): return 1",
}

CSHARP = {
    "add": "public class W { public int Process(int data) => data + 1; }",
    "fail": """
        public class Trouble : Exception { public Trouble() : base("no") { } }
        public class W {
            public string Process(CloudEvent e) {
                var data = e.GetData<string>();
                if (data == "error") throw new Trouble();
                if (data == "retry") throw new RetryException("later", TimeSpan.FromMilliseconds(10));
                if (data == "final") throw new NonRetryableException("bad", "order.bad");
                if (data == "drop") throw new DropException("old");
                return data;
            }
        }
    """,
    "log": """
        public class W {
            public object Process(JsonElement data, WorkerContext context) {
                Console.WriteLine($"out {data}");
                Console.Error.WriteLine($"err {data}");
                context.LogWarning($"warn {data}");
                return data;
            }
        }
    """,
    "polite": """
        public class W {
            public async Task<object> ProcessAsync(CloudEvent e, CancellationToken token) {
                if (e.GetData<string>() == "slow") await Task.Delay(60_000, token);
                return e.Data;
            }
        }
    """,
    "deaf": """
        public class W {
            public object Process(CloudEvent e) {
                while (e.GetData<string>() == "slow") { }
                return e.Data;
            }
        }
    """,
    "die": """
        public class W {
            public object Process(CloudEvent e) {
                if (e.GetData<string>() == "bad") Environment.FailFast("last words");
                return e.Data;
            }
        }
    """,
    "version": """
        public record Load(int N, string Key);
        public class W { public object Process(Load data) => new { V = VERSION, data.N, data.Key }; }
    """,
    "meet": """
        public class W {
            static readonly Barrier barrier = new(4);
            public object Process(CloudEvent e) =>
                barrier.SignalAndWait(10_000) ? e.Data : throw new TimeoutException();
        }
    """,
    "secret": """
        public class W {
            public int[] Process() {
                var key = Environment.GetEnvironmentVariable("KEY");
                var folder = Environment.GetEnvironmentVariable("CREDENTIALS_DIRECTORY");
                Console.WriteLine($"the key is {key}");
                return new[] { key.Length, System.IO.File.ReadAllText(folder + "/key").Length };
            }
        }
    """,
    "fetch": """
        public class W {
            public async Task<object> ProcessAsync(CloudEvent e, WorkerContext context) {
                var body = new System.Net.Http.StringContent("{\\"n\\":1}");
                body.Headers.ContentType = new("application/json");
                body.Headers.Add("x-key", "k");
                var answer = await context.Http.PostAsync(e.GetData<string>(), body);
                return new { Status = (int)answer.StatusCode, Text = await answer.Content.ReadAsStringAsync() };
            }
        }
    """,
    "trace": "public class W { public string Process(WorkerContext c) => c.TraceParent; }",
    "batch": """
        public class W {
            public object ProcessBatch(IReadOnlyList<int> numbers, WorkerContext context) {
                for (var i = 0; i < numbers.Count; i++)
                    if (numbers[i] < 0) context.Fail(i, new NonRetryableException("below 0", "low"));
                return new { Sum = numbers.Where(n => n >= 0).Sum(), Of = numbers.Count };
            }
        }
    """,
    "broken": 'public class W { public int Process() { return "no"; } }',
    "missing": "public class W { public int Other() => 1; }",
}


@dataclass(frozen=True)
class Language:
    """An engine of the suite; *make* turns a source into the bytes of its code."""

    name: str
    media_type: str
    sources: dict[str, str]
    make: Callable[[str], bytes]
    builds_source: bool = True  # False: what is uploaded was built elsewhere

    def code(self, name: str, **values: object) -> bytes:
        source = textwrap.dedent(self.sources[name])
        for key, value in values.items():
            source = source.replace(key, str(value))
        return self.make(source)

    def manifest(self, lab, name, *, worker, values=None, **spec) -> dict:
        """Return the manifest of the source *name* as *worker*."""
        made = lab.manifest(worker, "", engine=self.media_type, **spec)
        code = self.code(name, **(values or {}))
        made["spec"]["code"] = {"content": base64.b64encode(code).decode()}
        return made


def rotated(source: str) -> bytes:
    """Return code of the plug-in engine: Python, its letters turned by 13."""
    return codecs.encode(source, "rot13").encode()


PLUGIN = '''
"""An engine as a package of its own: Python whose letters are turned by 13."""

import codecs

from workmanager.engines.driver import Prepared
from workmanager.model.resources import Engine

media_type = "text/x-rot13"


def describe(settings):
    return Engine(media_type=media_type, aliases=[], available=True, detail="of the tests")


async def prepare(spec, code, workshop):
    return Prepared(codecs.encode(code.decode(), "rot13").encode())
'''


def install_plugin(folder) -> None:
    """Install the plug-in engine into *folder*, which has to be on the service's path."""
    (folder / "rot13_engine.py").write_text(PLUGIN)
    described = folder / "rot13_engine-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: rot13-engine\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[workmanager.engines]\nrot13 = rot13_engine\n")
