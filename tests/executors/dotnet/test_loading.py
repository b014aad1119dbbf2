"""Loading: single assemblies, published folders, private dependencies; and what is refused, why."""
# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

import dotnet_fixture

FINE = "public class W { public int Process() => 1; }"
VERSION = '[assembly: System.Reflection.AssemblyVersion("2.1.0.0")]\n'
LIBRARY = (
    VERSION + "namespace Dep { public static class Tax { public static int Of(int n) => n / 5; } }"
)
USER = "public class W { public int Process(int n) => Dep.Tax.Of(n); }"

SDK = """
    namespace CloudNative.CloudEvents;

    public class CloudEventAttribute {
        public CloudEventAttribute(string name) => Name = name;
        public string Name { get; }
    }

    public class CloudEvent {
        readonly Dictionary<CloudEventAttribute, object> attributes = new();
        public object Data { get; set; }
        public Uri Source { set => Set("source", value); }
        public string Type { get => (string)this["type"]; set => Set("type", value); }
        public object this[string name] => attributes.FirstOrDefault(a => a.Key.Name == name).Value;
        public void SetAttributeFromString(string name, string value) =>
            Set(name, name == "source" ? new Uri(value, UriKind.RelativeOrAbsolute) : value);
        public IEnumerable<KeyValuePair<CloudEventAttribute, object>> GetPopulatedAttributes() => attributes;
        void Set(string name, object value) => attributes[new CloudEventAttribute(name)] = value;
    }
"""


@pytest.fixture
def publish(tmp_path):
    """Make a folder as `dotnet publish` does: assemblies and a .deps.json that names them."""

    def make(files, *, main="Worker", described=True, natives=()):
        folder = tmp_path / "publish"
        folder.mkdir()
        for name, image in files.items():
            (folder / f"{name}.dll").write_bytes(image)
        if described:
            (folder / f"{main}.deps.json").write_text(json.dumps(deps(files, natives)))
        return folder

    return make


def deps(files, natives=()):
    target = ".NETCoreApp,Version=v8.0"
    entries = {f"{name}/1.0.0": {"runtime": {f"{name}.dll": {}}} for name in files}
    for native in natives:
        entries[f"{native}/1.0.0"] = {"native": {native: {"fileVersion": "1.0.0.0"}}}
    libraries = {name: {"type": "package", "serviceable": False, "sha512": ""} for name in entries}
    return {"runtimeTarget": {"name": target}, "targets": {target: entries}, "libraries": libraries}


def value_of(outcome):
    assert outcome[1] == 0, outcome
    return json.loads(outcome[3][0][5])


def test_a_single_assembly_needs_nothing_of_ours(lab):
    image = lab.compiler.compile("public class W { public int Process(int n) => n + 1; }")
    assert b"WorkManager.Abstractions" not in image
    assert value_of(lab.ready(image).run_one(1)) == 2


def test_ready_says_what_runs(lab):
    executor = lab.ready(FINE)
    assert executor.ready_frame["handler"] == "W.Process"
    assert executor.ready_frame["mode"] == "event"
    assert executor.ready_frame["runtime"].startswith(".NET ")


def test_published_folder_with_a_private_dependency(lab, publish):
    library = lab.compiler.compile(LIBRARY, name="Dep")
    image = lab.compiler.compile(USER, references=[library])
    folder = publish({"Worker": image, "Dep": library})
    assert value_of(lab.ready(b"", folder=str(folder)).run_one(50)) == 10


@pytest.mark.parametrize("fields", [{"handler": "Worker::W::Process"}, {"assembly": "Worker"}])
def test_folder_without_a_description_names_its_assembly(lab, publish, fields):
    library = lab.compiler.compile(LIBRARY, name="Dep")
    image = lab.compiler.compile(USER, references=[library])
    folder = publish({"Worker": image, "Dep": library}, described=False)
    assert value_of(lab.ready(b"", folder=str(folder), **fields).run_one(50)) == 10


def test_real_libraries_of_the_worker(lab, publish):
    libraries = {path.stem: path.read_bytes() for path in dotnet_fixture.libraries().glob("*.dll")}
    code = """
        using Microsoft.Extensions.Logging;
        using Newtonsoft.Json.Linq;
        public class W {
            readonly ILogger<W> log; readonly ILogger plain;
            public W(ILogger<W> log, ILogger plain) { this.log = log; this.plain = plain; }
            public string Process(string json) {
                log.LogInformation("got {Bytes} bytes", json.Length);
                log.LogDebug("hidden");
                plain.LogError(new Exception("inner"), "bad");
                using (log.BeginScope("scope")) return (string)JObject.Parse(json)["name"];
            }
        }
    """
    image = lab.compiler.compile(code, references=list(libraries.values()))
    folder = publish({"Worker": image, **libraries})
    executor = lab.ready(b"", folder=str(folder))
    assert value_of(executor.run_one({"name": "tea"})) == "tea"
    assert executor.control.expect("log")[1:] == [1, "INFO", "got 15 bytes"]
    line = executor.control.expect("log")
    assert line[2] == "ERROR"
    assert line[3].startswith("bad\nSystem.Exception: inner")


def test_event_of_the_official_sdk(lab, publish):
    """A stand-in with its names: the SDK is known by its type's name only."""
    sdk = lab.compiler.compile(SDK, name="CloudNative.CloudEvents")
    code = """
        using CloudEvent = CloudNative.CloudEvents.CloudEvent;
        public class W {
            public IEnumerable<CloudEvent> Process(CloudEvent e) {
                yield return new CloudEvent { Type = e.Type + ".out", Source = new Uri("/w", UriKind.Relative),
                                              Data = new { n = ((JsonElement)e.Data).GetInt32() + 1 } };
                yield return e;
            }
        }
    """
    image = lab.compiler.compile(code, references=[sdk])
    folder = publish({"Worker": image, "CloudNative.CloudEvents": sdk})
    outcome = lab.ready(b"", folder=str(folder)).run_one(1, count=5)
    assert outcome[1] == 0, outcome
    first, second = outcome[3]
    assert first[1:3] + first[5:] == ["test.event.out", "/w", b'{"n":2}', None]
    assert second[1:3] + second[5:] == ["test.event", "/test", b"1", {"count": "5"}]


def test_own_copy_of_our_types_is_not_a_second_one(lab, publish):
    ours = (
        dotnet_fixture.REPOSITORY / "executors/dotnet/bin/WorkManager.Abstractions.dll"
    ).read_bytes()
    image = lab.compiler.compile("public class W { public string Process(CloudEvent e) => e.Id; }")
    folder = publish({"Worker": image, "WorkManager.Abstractions": ours})
    assert value_of(lab.ready(b"", folder=str(folder)).run_one()) == "e1"


def test_native_library_in_the_folder(lab, publish):
    code = """
        public class W {
            [System.Runtime.InteropServices.DllImport("private")] static extern double fabs(double x);
            public double Process(double x) => fabs(x);
        }
    """
    (library,) = list(Path("/lib").glob("*/libm.so.6"))[:1]
    folder = publish({"Worker": lab.compiler.compile(code)}, natives=["libprivate.so"])
    shutil.copy(library, folder / "libprivate.so")
    assert value_of(lab.ready(b"", folder=str(folder)).run_one(-3)) == 3


def native(image: bytes) -> bytes:
    """Return *image* without its CLI header."""
    (at,) = struct.unpack_from("<I", image, 0x3C)
    (magic,) = struct.unpack_from("<H", image, at + 24)
    entry = at + 24 + (96 if magic == 0x10B else 112) + 8 * 14
    return image[:entry] + bytes(8) + image[entry + 8 :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (native, "holds native code only"),
        (lambda image: image[:2000], "damaged"),
        (
            lambda image: image[:512] + bytes(len(image) - 512),
            "damaged",
        ),
        (lambda image: b"\x7fELF" + image[4:], "damaged"),
        (lambda _: b"", "damaged"),
        (lambda _: b"print('hello')", "damaged"),
    ],
)
def test_file_that_is_no_assembly(lab, change, words):
    refusal = lab.refused(change(lab.compiler.compile(FINE)))
    assert refusal["reason"] == "BUILD_FAILED"
    assert words in refusal["message"]


@pytest.mark.parametrize(
    ("framework", "words"),
    [
        (".NETCoreApp,Version=v99.0", "is built for .NET 99, this host runs .NET"),
        (".NETFramework,Version=v4.8", "is built for .NET Framework"),
    ],
)
def test_assembly_for_another_dotnet(lab, framework, words):
    code = f'[assembly: System.Runtime.Versioning.TargetFramework("{framework}")]\n' + FINE
    assert words in lab.refused(code)["message"]


@pytest.mark.parametrize("framework", [".NETCoreApp,Version=v3.1", ".NETStandard,Version=v2.0"])
def test_assembly_for_an_earlier_dotnet(lab, framework):
    code = f'[assembly: System.Runtime.Versioning.TargetFramework("{framework}")]\n' + FINE
    assert value_of(lab.ready(code).run_one()) == 1


def test_missing_dependency_is_named(lab, publish):
    library = lab.compiler.compile(LIBRARY, name="Dep")
    image = lab.compiler.compile(USER, references=[library])
    words = "needs Dep 2.1.0.0, which is neither in the upload nor part of .NET"
    assert words in lab.refused(image)["message"]
    folder = publish({"Worker": image})
    assert words in lab.refused(b"", folder=str(folder))["message"]


def test_dependency_that_is_missing_further_down_fails_the_attempt(lab, publish):
    deep = lab.compiler.compile(
        "namespace Deep; public static class D { public static int N() => 1; }", name="Deep"
    )
    library = lab.compiler.compile(
        "namespace Dep; public static class Tax { public static int Of(int n) => Deep.D.N(); }",
        name="Dep",
        references=[deep],
    )
    image = lab.compiler.compile(USER, references=[library])
    folder = publish({"Worker": image, "Dep": library})
    outcome = lab.ready(b"", folder=str(folder)).run_one(1)
    assert outcome[4][0] == "FileNotFoundException"
    assert "Deep" in outcome[4][1]


@pytest.mark.parametrize(
    ("files", "fields", "words"),
    [
        ([], {}, "the upload has no .dll in its top folder"),
        (["A", "B"], {}, "several assemblies (A, B) and no single .deps.json; name one"),
        (["A", "B"], {"handler": "C::W::Process"}, "the upload has no C.dll; it has A, B"),
    ],
)
def test_folder_without_one_worker(lab, publish, files, fields, words):
    image = lab.compiler.compile(FINE)
    folder = publish(dict.fromkeys(files, image), described=False)
    assert words in lab.refused(b"", folder=str(folder), **fields)["message"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            'public class W {\n    public W() => throw new FormatException("no");\n    public void Process() { } }',
            "new W() failed: FormatException: no",
        ),
        (
            'public class W {\n    public void Start() => throw new FormatException("no");\n    public void Process() { } }',
            "Start failed: FormatException: no",
        ),
        (
            'public class W {\n    static W() => int.Parse("no");\n    public W() { } public void Process() { } }',
            "new W() failed: TypeInitializationException",
        ),
    ],
)
def test_worker_that_fails_to_start_is_refused_with_its_line(lab, code, words):
    refusal = lab.refused(code)
    assert words in refusal["message"]
    assert refusal["reason"] == "BUILD_FAILED"
    if "Type" not in words:
        assert (refusal["file"], refusal["line"]) == ("worker.cs", 2)
        assert "worker.cs:line 2" in refusal["traceback"]


def test_hook_with_a_wrong_signature(lab):
    refusal = lab.refused(
        "public class W { public void Start(int n) { } public void Process() { } }"
    )
    assert "has to take nothing, a WorkerContext" in refusal["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"root": "/nonexistent"}, "is no .NET installation: it has no host/fxr"),
        ({"bridge": "/nonexistent"}, "cannot be started"),
    ],
)
def test_dotnet_that_cannot_be_started(lab, change, words):
    refusal = lab.refused(b"", where=change)
    assert refusal["reason"] == "ENGINE_UNAVAILABLE"
    assert words in refusal["message"]


def test_installation_without_a_runtime(lab, tmp_path):
    shutil.copytree(lab.dotnet.root / "host", tmp_path / "host")
    refusal = lab.refused(b"", where={"root": str(tmp_path)})
    assert refusal["message"] == f"{tmp_path} has no .NET runtime 8.0 or later"
