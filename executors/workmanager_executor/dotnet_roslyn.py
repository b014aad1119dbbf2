"""Drives Roslyn, the C# compiler, in this process: sources in, an assembly or diagnostics out.

This is the one place where pythonnet is used. It loads CoreCLR, which must never be done before a
fork, and stays in the process for good; so this runs in a process of its own (`dotnet_compiler`),
or in the build script of the bridge. References are read once and kept: that is what makes the
second compilation take 20 ms instead of 80.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Dict, List

ASSEMBLIES = ("Microsoft.CodeAnalysis", "Microsoft.CodeAnalysis.CSharp")
MAX_FAULTS = 100
_HIDDEN_WARNINGS = ("CS1701", "CS1702", "CS8019")  # assembly versions; unnecessary usings


@dataclass(frozen=True)
class Source:
    """One file: *name* is what diagnostics and stack traces show."""

    name: str
    text: str


@dataclass(frozen=True)
class Plan:
    """What to compile.

    Attributes:
        name: Of the assembly.
        references: Files of assemblies; the runtime's own are added where *platform* is set.
        images: Further references, as bytes.
        usings: Namespaces that every file sees.
    """

    name: str
    sources: Sequence[Source]
    references: Sequence[str] = ()
    images: Sequence[bytes] = ()
    platform: bool = True
    usings: Sequence[str] = ()
    allow_unsafe: bool = False


@dataclass(frozen=True)
class Diagnostic:
    """What the compiler has to say; line and column count from 1, 0 where there is no place."""

    file: str
    line: int
    column: int
    code: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class Built:
    """The outcome of a compilation; *image* is empty if there was an error."""

    image: bytes
    diagnostics: List[Diagnostic] = field(default_factory=list)


class Roslyn:
    """The compiler, loaded.

    Args:
        dotnet_root: Folder of the .NET installation to run in; absolute.
        folder: Where the compiler's assemblies are.
        runtime_config: A runtimeconfig.json that says which runtime is wanted.

    Raises:
        RuntimeError: .NET or the compiler cannot be loaded.
    """

    def __init__(self, dotnet_root: str, folder: str, runtime_config: str) -> None:
        _load_runtime(dotnet_root, runtime_config)
        clr = importlib.import_module("clr")
        sys.path.append(folder)
        for name in ASSEMBLIES:
            clr.AddReference(name)
        self._system: Any = importlib.import_module("System")
        self._text: Any = importlib.import_module("System.Text")
        self._io: Any = importlib.import_module("System.IO")
        self._analysis: Any = importlib.import_module("Microsoft.CodeAnalysis")
        self._csharp: Any = importlib.import_module("Microsoft.CodeAnalysis.CSharp")
        self._emit: Any = importlib.import_module("Microsoft.CodeAnalysis.Emit")
        self._references: Dict[str, Any] = {}
        self.version = str(
            self._csharp.CSharpCompilation
            and clr.GetClrType(self._csharp.CSharpCompilation)
            .Assembly.GetName()
            .Version.ToString(2)
        )

    def compile(self, plan: Plan) -> Built:
        """Compile *plan*; the same plan gives the same bytes."""
        parse = self._csharp.CSharpParseOptions(self._csharp.LanguageVersion.Latest)
        compilation = self._csharp.CSharpCompilation.Create(
            plan.name, self._trees(plan, parse), self._metadata(plan), self._options(plan)
        )
        stream = self._io.MemoryStream()
        options = self._emit.EmitOptions(
            debugInformationFormat=self._emit.DebugInformationFormat.Embedded
        )
        result = compilation.Emit(stream, options=options)
        diagnostics = self._diagnostics(result.Diagnostics)
        if not result.Success:
            return Built(b"", diagnostics)
        return Built(bytes(memoryview(stream.ToArray())), diagnostics)

    def _trees(self, plan: Plan, parse: Any) -> Any:  # noqa: ANN401 - objects of .NET
        trees = self._system.Collections.Generic.List[self._analysis.SyntaxTree]()
        usings = "".join(f"global using {namespace};\n" for namespace in plan.usings)
        # Usings stand in a file of their own, so that the lines of the user's files do not shift.
        own = [Source("usings.g.cs", usings)] if usings else []
        for source in [*own, *plan.sources]:
            trees.Add(
                self._csharp.CSharpSyntaxTree.ParseText(
                    source.text, parse, source.name, self._text.Encoding.UTF8
                )
            )
        return trees

    def _metadata(self, plan: Plan) -> Any:  # noqa: ANN401 - likewise
        references = self._system.Collections.Generic.List[self._analysis.MetadataReference]()
        platform = self.platform_files() if plan.platform else []
        for path in [*platform, *plan.references]:
            references.Add(self._reference(path))
        for image in plan.images:
            references.Add(self._analysis.MetadataReference.CreateFromImage(self._array(image)))
        return references

    def platform_files(self) -> list[str]:
        """Return the files of the runtime's own assemblies."""
        listed = self._system.AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")
        return [path for path in str(listed).split(":") if path]

    def _reference(self, path: str) -> Any:  # noqa: ANN401 - likewise
        if path not in self._references:
            self._references[path] = self._analysis.MetadataReference.CreateFromFile(path)
        return self._references[path]

    def _array(self, image: bytes) -> Any:  # noqa: ANN401 - likewise
        """Copy bytes at once: pythonnet would do it one by one, at 12 MB/s."""
        interop = importlib.import_module("System.Runtime.InteropServices")
        array = self._system.Array[self._system.Byte](len(image))
        buffer = (ctypes.c_char * len(image)).from_buffer_copy(image)
        interop.Marshal.Copy(self._system.IntPtr(ctypes.addressof(buffer)), array, 0, len(image))
        return array

    def _options(self, plan: Plan) -> Any:  # noqa: ANN401 - likewise
        options = self._csharp.CSharpCompilationOptions(
            self._analysis.OutputKind.DynamicallyLinkedLibrary
        )
        options = options.WithOptimizationLevel(self._analysis.OptimizationLevel.Release)
        options = options.WithNullableContextOptions(self._analysis.NullableContextOptions.Enable)
        options = options.WithAllowUnsafe(plan.allow_unsafe).WithDeterministic(True)
        return options.WithConcurrentBuild(False)

    def _diagnostics(self, found: Any) -> list[Diagnostic]:  # noqa: ANN401 - likewise
        severity = self._analysis.DiagnosticSeverity
        kept = []
        for one in found:
            is_error = one.Severity == severity.Error
            if is_error or (one.Severity == severity.Warning and one.Id not in _HIDDEN_WARNINGS):
                kept.append(_diagnostic(one, is_error=is_error))
        kept.sort(key=lambda one: (not one.is_error, one.file, one.line, one.column))
        return kept[:MAX_FAULTS]


def _load_runtime(dotnet_root: str, runtime_config: str) -> None:
    clr_loader = importlib.import_module("clr_loader")
    pythonnet = importlib.import_module("pythonnet")
    runtime = clr_loader.get_coreclr(dotnet_root=dotnet_root, runtime_config=runtime_config)
    pythonnet.load(runtime)


def _diagnostic(one: Any, *, is_error: bool) -> Diagnostic:  # noqa: ANN401 - likewise
    span = one.Location.GetLineSpan()
    has_place = bool(span.Path)
    return Diagnostic(
        file=str(span.Path or ""),
        line=span.StartLinePosition.Line + 1 if has_place else 0,
        column=span.StartLinePosition.Character + 1 if has_place else 0,
        code=str(one.Id),
        message=str(one.GetMessage()),
        is_error=is_error,
    )
