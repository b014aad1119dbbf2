"""What pydantic found wrong, told to the author of a manifest: where, what, and what is allowed."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from workmanager.errors import Fault, ManifestError
from workmanager.model.spec_base import Loc, Model

MAX_FAULTS: Final = 100  # more help nobody, and suggestions cost time
_MAX_KEY_CHARS: Final = 64
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SUBJECT = re.compile(r"^(?:Value error, |(?:Input|Keys|[A-Z][a-z]+) should )")
_RUNS = re.compile(r"([0-9]{1,9})")
_WORDS: Final = {
    "missing": "is missing",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be a list",
    "string_unicode": "must be valid Unicode text, keys included",
    "invalid_key": "must be text",
}


def faults_of(error: ValidationError, root: type[Model]) -> list[Fault]:
    """Turn pydantic's errors into faults in the order of their places, at most `MAX_FAULTS`."""
    lines = _without_echoes(error.errors(include_url=False))
    lines.sort(key=lambda line: _order(line["loc"]))
    faults = [Fault(pointer_of(line["loc"]), _detail(line, root)) for line in lines[:MAX_FAULTS]]
    if len(lines) > MAX_FAULTS:
        faults.append(Fault("", f"and {len(lines) - MAX_FAULTS} more faults"))
    return list(dict.fromkeys(faults))


def manifest_error(faults: Sequence[Fault]) -> ManifestError:
    """Build the error that carries *faults* sorted by place; its message holds the first."""
    faults = sorted(faults, key=lambda fault: (not fault.pointer, _natural(fault.pointer)))
    first = faults[0]
    told = f"{first.pointer}: {first.detail}" if first.pointer else first.detail
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ManifestError(f"the manifest is not valid: {told}{more}", faults=faults)


def pointer_of(loc: Loc) -> str:
    """Write a place as `spec.triggers[0].topic`; odd keys as `spec.env['a b']`, cut and escaped."""
    pointer = ""
    for part in loc:
        if isinstance(part, int):
            pointer += f"[{part}]"
        elif part == "[key]":
            continue
        elif _PLAIN_KEY.fullmatch(part) and len(part) <= _MAX_KEY_CHARS:
            pointer += f".{part}" if pointer else part
        else:
            pointer += f"[{part[:_MAX_KEY_CHARS]!a}]"
    return pointer


def suggest(word: str, known: Iterable[str]) -> str:
    """Tell an unknown field's author which field was likely meant, else which there are."""
    by_folded = {name.lower(): name for name in known}
    folded = word[:_MAX_KEY_CHARS].lower().replace("_", "")
    close = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    if close:
        return f"is unknown; did you mean {by_folded[close[0]]!r}?"
    return f"is unknown; known are {', '.join(sorted(by_folded.values()))}"


def _without_echoes(lines: list[ErrorDetails]) -> list[ErrorDetails]:
    """Drop "too few items" where the items themselves are at fault: pydantic counts valid ones."""
    parents = {line["loc"][:end] for line in lines for end in range(len(line["loc"]))}
    return [line for line in lines if not (line["type"] == "too_short" and line["loc"] in parents)]


def _order(loc: Loc) -> list[tuple[int, int, str]]:
    return [(0, part, "") if isinstance(part, int) else (1, 0, part) for part in loc]


def _natural(pointer: str) -> list[tuple[int, str]]:
    return [(int(run) if run.isdecimal() else -1, run) for run in _RUNS.split(pointer)]


def _detail(line: ErrorDetails, root: type[Model]) -> str:
    kind, loc = line["type"], line["loc"]
    if kind == "extra_forbidden":
        model = _model_at(root, loc[:-1])
        return suggest(str(loc[-1]), (field.alias or "" for field in model.model_fields.values()))
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "string_type" and isinstance(line["input"], bool | int | float):
        return "must be text; put it in quotes"
    text = _SUBJECT.sub(lambda match: "" if match[0].startswith("Value") else "must ", line["msg"])
    prefix = "its name " if loc and loc[-1] == "[key]" else ""
    return prefix + text.encode("ascii", "backslashreplace").decode()


def _model_at(root: type[Model], loc: Loc) -> type[Model]:
    model = root
    for part in loc:
        for field in model.model_fields.values():
            if field.alias == part:
                model = _inner_model(field.annotation) or model
    return model


def _inner_model(annotation: object) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next(filter(None, map(_inner_model, get_args(annotation))), None)
