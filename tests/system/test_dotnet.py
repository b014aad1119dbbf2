"""What is particular to .NET workers: uploads, sources, the chain of languages, wear and tear."""

# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import psutil
import pytest
from system_harness import Lab, Load, Worker, serving

pytestmark = pytest.mark.slow
LIBRARY = "namespace Dep { public static class Tax { public static int Of(int n) => n / 5; } }"
USER = "public class W { public int Process(int n) => Dep.Tax.Of(n); }"
CSHARP = "text/x-csharp"
FAST = {"backoffInitial": "20ms", "backoffMax": "50ms", "startLimitBurst": 0}
DLL = "text/x-dll"


@pytest.fixture(scope="module")
def shared(dotnet, engine_service):
    return engine_service


def start(lab, name, code, engine, *, expect=201, **spec):
    """Create a worker; returns it, or the problem where it is refused."""
    made = lab.manifest(name, "", engine=engine, **spec)
    body = code.encode() if isinstance(code, str) else code
    made["spec"]["code"] = {"content": base64.b64encode(body).decode()}
    answer = lab.client.post("/v1/workers", made, expect=expect)
    if expect != 201:
        return answer
    lab._workers.append(Worker(lab, made["metadata"]["name"]))
    return lab._workers[-1]


def zipped(files, *, folder=""):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in files.items():
            archive.writestr(folder + name, body)
    return packed.getvalue()


def published(compiler):
    """Return the files of a `dotnet publish`, with a private dependency."""
    library = compiler.compile(LIBRARY, name="Dep")
    worker = compiler.compile(USER, references=[library])
    target = ".NETCoreApp,Version=v8.0"
    parts = {f"{name}/1.0.0": {"runtime": {f"{name}.dll": {}}} for name in ("Worker", "Dep")}
    kinds = {name: {"type": "package", "serviceable": False, "sha512": ""} for name in parts}
    deps = {"runtimeTarget": {"name": target}, "targets": {target: parts}, "libraries": kinds}
    return {"Worker.dll": worker, "Dep.dll": library, "Worker.deps.json": json.dumps(deps)}


@pytest.mark.parametrize("folder", ["", "publish/"])
def test_zip_of_a_publish_with_a_private_dependency(lab, compiler, folder):
    files = published(compiler)
    assert not any(b"WorkManager" in files[name] for name in ("Worker.dll", "Dep.dll"))
    worker = start(lab, "a", zipped(files, folder=folder), DLL)
    assert worker.invoke(50)["outputs"][0]["data"] == 10


def test_media_type_may_be_the_alias(lab, compiler):
    image = compiler.compile("public class W { public int Process() => 5; }")
    worker = start(lab, "a", image, "application/x-dotnet-dll")
    assert worker.invoke()["outputs"][0]["data"] == 5
    assert worker.get()["spec"]["engine"] == DLL


def test_several_source_files_and_an_uploaded_reference(lab, compiler):
    files = {
        "Main.cs": '#r "Dep.dll"\n' + USER,
        "deep/Helper.cs": "static class Unused { }",
        "Dep.dll": compiler.compile(LIBRARY, name="Dep"),
    }
    worker = start(lab, "a", zipped(files), CSHARP)
    assert worker.invoke(50)["outputs"][0]["data"] == 10


def test_seed_call_with_csharp(lab):
    code = """
        public static class Seed {
            public static object Process(Dictionary<string, object> e) =>
                new { Type = "made", Source = "seed", Data = e["data"] };
        }
    """
    body = {
        "CodeSource": {"Content": base64.b64encode(code.encode()).decode()},
        "MimeType": CSHARP,
    }
    made = lab.client.post("/v1/workers", body)
    worker = Worker(lab, made["name"])
    lab._workers.append(worker)
    (output,) = worker.invoke({"n": [1, 2]})["outputs"]
    assert (output["type"], output["source"], output["data"]) == ("made", "seed", {"n": [1, 2]})


@pytest.mark.parametrize(
    ("code", "engine", "reason", "words"),
    [
        (b"\x7fELF" + bytes(100), DLL, "BUILD_FAILED", "holds native code only"),
        (b"MZ" + bytes(100), DLL, "BUILD_FAILED", "neither a .NET assembly nor a zip"),
        (zipped({"a.txt": "x"}), DLL, "BUILD_FAILED", "no .dll in its top folder"),
        (zipped({"A.dll": b"x"}), DLL, "BUILD_FAILED", "is no .NET assembly"),
        (zipped({"../A.dll": b"x"}), DLL, "BUILD_FAILED", "no plain file below"),
        (zipped({"x": b"y"})[:40], DLL, "BUILD_FAILED", "damaged"),
        (zipped({"a.txt": "x"}), CSHARP, "BUILD_FAILED", "has no .cs file"),
        (b"\xff\xfe\xff", CSHARP, "BUILD_FAILED", "is not UTF-8"),
        (b'#r "Gone.dll"\nclass W { }', CSHARP, "BUILD_FAILED", "is not in the upload"),
        (b'#r "nuget: X, 1.0"\nclass W { }', CSHARP, "BUILD_FAILED", "none are fetched"),
        (b"class W { retrun }", CSHARP, "BUILD_FAILED", "worker.cs:1:"),
        (b"class W { }", CSHARP, "HANDLER_NOT_FOUND", "no public Process"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # a zip holds the time
)
def test_code_that_is_refused(lab, code, engine, reason, words):
    problem = start(lab, "a", code, engine, expect=422)
    assert problem["reason"] == reason
    assert words in problem["detail"]
    assert lab.client.get("/v1/workers?filter=name%3D" + lab.name("a"))["items"] == []


def test_memory_that_is_too_little_for_dotnet(lab):
    code = "public class W { public int Process() => 1; }"
    problem = start(lab, "a", code, CSHARP, expect=422, resources={"memoryMax": "32Mi"})
    assert problem["errors"][0]["pointer"] == "spec.resources.memoryMax"


def test_heap_is_bounded_by_the_worker_s_memory(lab):
    code = "public class W { public int Process(int mib) => new byte[mib << 20].Length; }"
    worker = start(
        lab, "a", code, CSHARP, resources={"memoryMax": "128Mi"}, retry={"maximumAttempts": 1}
    )
    assert worker.invoke(200, expect=422)["metadata"]["errorType"] == "OutOfMemoryException"
    assert worker.invoke(1)["outputs"][0]["data"] == 1 << 20


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("Deep(0);", "Stack overflow"),
        ('Environment.FailFast("it broke");', "it broke"),
        ('new Thread(() => throw new Exception("behind")).Start(); Thread.Sleep(-1);', "behind"),
        ("Environment.Exit(42);", "42"),
    ],
    ids=["overflow", "failfast", "background", "exit"],
)
def test_crash_is_reported_with_the_managed_stack(lab, body, words):
    code = f"""
        public class W {{
            public object Process(string data) {{ if (data == "1") Crash(); return data; }}
            static void Crash() {{ {body} }}
            static int Deep(int n) => Deep(n + 1) + 1;
        }}
    """
    dead_letter = {"maxCrashes": 1}
    worker = start(lab, "a", code, CSHARP, topic="in", restart=FAST, deadLetter=dead_letter)
    lab.send("in", 0, 1, 2)
    worker.until_idle(timeout_s=40)
    [letter] = worker.dead_letters()
    assert (letter["reason"], letter["event"]["id"]) == ("CRASHED", "1")
    error = letter["error"]
    assert error["type"] == "ExecutorCrashed"
    assert words in error["message"]
    assert "   at W." in error["traceback"] or words == "42"


def test_compile_errors_have_their_places(lab):
    code = "public class W {\n  public int Process() {\n    return gone;\n  }\n}"
    problem = start(lab, "a", code, CSHARP, expect=422)
    (fault,) = problem["errors"]
    assert fault["pointer"] == "worker.cs:3:12"
    assert fault["detail"].startswith("CS0103: ")


def test_compiler_that_is_gone_is_started_anew(lab):
    code = "public class W {{ public int Process() => {0}; }}"
    start(lab, "a", code.format(101), CSHARP)
    [compiler] = [p for p in lab.service.family() if p.name() == "wm-compiler"]
    compiler.kill()
    worker = start(lab, "b", code.format(102), CSHARP)
    assert worker.invoke()["outputs"][0]["data"] == 102


@pytest.mark.parametrize(
    "hostile",
    ["!" * 200_000 + "true", "new[] {" * 9000 + "}" * 9000],
    ids=["operators", "arrays"],
)
def test_source_that_is_hard_on_the_compiler_is_refused_alone(lab, hostile):
    code = "public class W {{ public object Process() => {0}; }}"
    problem = start(lab, "a", code.format(hostile), CSHARP, expect=422)
    assert problem["reason"] == "BUILD_FAILED"
    assert "CS8078" in problem["detail"]
    worker = start(lab, "b", code.format(103), CSHARP)
    assert worker.invoke()["outputs"][0]["data"] == 103


def test_chain_of_languages(lab):
    """Python -> C# -> Python on three topics."""
    first = 'def process(event): return {"id": event.data, "price": 10}'
    second = """
        public record Order(int Id, decimal Price);
        public class Tax { public object Process(Order order) => new { order.Id, Total = order.Price * 1.2m }; }
    """
    third = "def process(event): return f\"{event.data['id']}: {event.data['total']:.2f}\""
    sink = lab.sink("done")
    lab.worker("a", first, topic="orders", output="priced")
    start(lab, "b", second, CSHARP, topic="priced", output="taxed")
    lab.worker("c", third, topic="taxed", output="done")
    lab.send("orders", *range(50))
    assert sorted(sink.data(50)) == sorted(f"{n}: 12.00" for n in range(50))


def test_twenty_swaps_under_load_wear_nothing_out(lab):
    code = "public record Load(int N); public class W {{ public int Process(Load l) => l.N + 0 * {0}; }}"
    sink = lab.sink("out", lean=True)
    worker = start(lab, "a", code.format(0), CSHARP, topic="in", output="out")
    with Load(lab.service, lab.topic("in"), rate=300) as load:
        for number in range(1, 21):
            headers = {"content-type": CSHARP}
            body = code.format(number).encode()
            lab.client.call("PUT", f"{worker.path}/code", body, headers=headers, expect=201)
            if number == 5:
                before = used(lab.service)
    assert sorted(sink.take(load.sent)) == list(range(load.sent))
    worker.until(lambda status: len(worker.executors()) == 1)
    after = used(lab.service)
    assert after.pop("memory") - before.pop("memory") < 32 << 20
    assert all(after[what] <= before[what] for what in before), (before, after)


def used(service):
    """Count what fifteen swaps could leave behind; the compiled assemblies are kept on purpose."""
    process = psutil.Process(service.pid)
    return {
        "memory": process.memory_info().rss,
        "descriptors": process.num_fds(),
        "processes": len(service.family()),
        "scratch": len(list((service.state / "scratch").glob("*"))),
        "temporary": len(
            [*Path("/tmp").glob("clr-debug-pipe*"), *Path("/tmp").glob("dotnet-diag*")]
        ),
    }


def test_without_dotnet_python_goes_on_and_csharp_says_what_to_install(tmp_path, dotnet):
    with serving(tmp_path / "state", environ=dotnet.settings) as service:
        lab = Lab(service)
        former = start(lab, "c", "public class W { public int Process() => 1; }", CSHARP).name
        lab.client.close()
    nowhere = {"WORKMANAGER_DOTNET_ROOT": str(tmp_path / "nowhere")}
    with serving(tmp_path / "state", environ=nowhere) as service:
        lab = Lab(service)
        engines = {one["mediaType"]: one for one in lab.client.get("/v1/engines")["items"]}
        assert [engines[name]["available"] for name in ("text/x-python", CSHARP, DLL)] == [
            True,
            False,
            False,
        ]
        status = Worker(lab, former).until_state("BACKOFF")
        assert "install the .NET SDK 8.0 or later" in status["lastError"]
        problem = start(lab, "a", "class W { }", CSHARP, expect=422)
        assert problem["reason"] == "ENGINE_UNAVAILABLE"
        assert "install the .NET SDK 8.0 or later" in problem["detail"]
        worker = lab.worker("b", "def process(event): return 1")
        assert worker.invoke()["outputs"][0]["data"] == 1
        lab.close()
