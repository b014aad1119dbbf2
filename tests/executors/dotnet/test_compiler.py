"""The compiler process: diagnostics with places, one outcome for one input, many requests."""

from __future__ import annotations

import pytest


def test_errors_have_file_line_and_column(compiler):
    answer = compiler.ask('public class W {\n  int x = "no";\n}', "class V {\n")
    assert answer["image"] == b""
    assert [row[:4] + row[5:] for row in answer["diagnostics"]] == [
        ["worker.cs", 2, 11, "CS0029", True],
        ["worker1.cs", 1, 10, "CS1513", True],
    ]
    assert "Cannot implicitly convert" in answer["diagnostics"][0][4]


def test_warnings_do_not_refuse(compiler):
    answer = compiler.ask("public class W { public int Process() { int x; return 1; } }")
    assert answer["image"]
    assert [row[3] for row in answer["diagnostics"]] == ["CS0168"]
    assert not answer["diagnostics"][0][5]


def test_nullable_is_on_and_the_language_is_the_latest(compiler):
    answer = compiler.ask(
        "public record R(int[] Items);\n"
        "public class W(int n) { public R Process() => new([n, .. new[] { 2 }]); string s = null; }"
    )
    assert answer["image"]
    assert "CS8625" in [row[3] for row in answer["diagnostics"]]


def test_usings_shift_no_lines(compiler):
    answer = compiler.ask("public class W { retrun }")
    assert answer["diagnostics"][0][:2] == ["worker.cs", 1]


def test_same_source_same_bytes(compiler):
    code = "public class W { public int Process() => 1; }"
    assert compiler.compile(code) == compiler.compile(code)
    assert compiler.compile(code) != compiler.compile(code + " ")


def test_several_files_and_references(compiler):
    library = compiler.compile(
        "namespace L; public class C { public static int N => 5; }", name="L"
    )
    image = compiler.compile(
        "public class W { public int Process() => Helper.N; }",
        "static class Helper { public static int N => L.C.N; }",
        references=[library],
    )
    assert image.startswith(b"MZ")


def test_flood_of_errors_is_cut(compiler):
    answer = compiler.ask("\n".join(f"class C{i} {{ X{i} x; }}" for i in range(500)))
    assert len(answer["diagnostics"]) == 100


@pytest.mark.parametrize("code", ["", "// nothing", "\0", "#error stop", '#r "x.dll"'])
def test_odd_sources_are_answered(compiler, code):
    compiler.ask(code)


def test_reference_that_is_no_assembly_fails_the_request_only(compiler):
    compiler.requests += 1
    request = {"name": "W", "sources": [["w.cs", "class W { }"]], "references": [b"junk"]}
    compiler.executor.events.send("compile", compiler.requests, {**request, "usings": []})
    kind, _, answer = compiler.executor.events.receive()
    assert kind == "failed" or answer["diagnostics"]
    assert compiler.compile("public class W { }")
