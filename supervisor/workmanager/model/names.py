"""What may name a thing: workers, topics, event attributes, media types, environment variables.

Patterns are ASCII and anchored, because these names stand in URLs, file paths, metric labels and
environment blocks; each message says what is allowed, not only that something is not.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import AfterValidator

DEFAULT_ENGINE: Final = "text/x-python"  # the seed-era call sends no media type
ENGINE_ALIASES: Final = {"application/x-dotnet-dll": "text/x-dll"}
ENGINE_SUFFIXES: Final = {".py": "text/x-python", ".cs": "text/x-csharp", ".dll": "text/x-dll"}

_WORKER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_GROUP = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,126})")
_TOPIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,248}")
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
_KEY = re.compile(r"(?:event\.)?[a-z0-9]{1,64}")
_ENGINE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
_DOTNET_HANDLER = re.compile(r"(?:[\w.-]+::)?[\w.+]+::\w+")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_topic(text: str) -> bool:
    """Tell whether *text* may name a topic."""
    return _TOPIC.fullmatch(text) is not None


def canonical_engine(text: str) -> str:
    """Bring a media type to the form engines are registered under: lower case, bare, no alias."""
    bare = text.partition(";")[0].strip().lower()
    return ENGINE_ALIASES.get(bare, bare)


def engine_of_path(path: str) -> str:
    """Infer the engine from the suffix of a URL or path; Python where the suffix says nothing."""
    bare = path.partition("?")[0].partition("#")[0].lower()
    for suffix, engine in ENGINE_SUFFIXES.items():
        if bare.endswith(suffix):
            return engine
    return DEFAULT_ENGINE


def _matching(pattern: re.Pattern[str], rule: str, *, empty: bool = False) -> AfterValidator:
    return AfterValidator(_checker(pattern, rule, empty=empty))


def _checker(pattern: re.Pattern[str], rule: str, *, empty: bool) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not (pattern.fullmatch(text) or (empty and not text)):
            raise ValueError(f"must be {rule}")
        return text

    return check


def _check_engine(text: str) -> str:
    engine = canonical_engine(text)
    if not _ENGINE.fullmatch(engine):
        raise ValueError("must be a media type such as 'text/x-python'")
    return engine


def _check_handler(text: str) -> str:
    """Accept `module:function`, `function`, and .NET's forms, with or without an assembly."""
    names, colons = text, text.count(":")
    if _DOTNET_HANDLER.fullmatch(text):  # Assembly::Type::Method; an assembly may be called My-App
        names, colons = text.replace("::", "."), 0
        names = names.replace("-", "_")
    parts = re.split(r"[.:+]", names)
    if text and (len(text) > 256 or colons > 1 or not all(map(str.isidentifier, parts))):
        raise ValueError(
            "must be 'module:function', a function name, 'Namespace.Type.Method',"
            " or 'Assembly::Namespace.Type::Method'"
        )
    return text


_TOPIC_RULE = "a topic name: letters, digits, '.', '_', '-', at most 249, no leading '.' or '-'"
_KEY_RULE = "an event attribute such as 'partitionkey', 'subject' or 'event.partitionkey'"

WorkerName = Annotated[
    str,
    _matching(_WORKER, "a DNS label: lower-case letters, digits, inner '-', at most 63 characters"),
]
GroupName = Annotated[
    str, _matching(_GROUP, "letters, digits, '.', '_', '-', at most 127, no leading '.' or '-'")
]
TopicName = Annotated[str, _matching(_TOPIC, _TOPIC_RULE)]
OptionalTopicName = Annotated[str, _matching(_TOPIC, _TOPIC_RULE, empty=True)]
AttributeName = Annotated[
    str, _matching(_ATTRIBUTE, "a CloudEvents attribute name: lower-case letters and digits")
]
KeyExpression = Annotated[str, _matching(_KEY, _KEY_RULE)]
OptionalKeyExpression = Annotated[str, _matching(_KEY, _KEY_RULE, empty=True)]
EngineName = Annotated[str, AfterValidator(_check_engine)]
HandlerName = Annotated[str, AfterValidator(_check_handler)]
EnvName = Annotated[
    str, _matching(_ENV, "an environment variable name: letters, digits, '_', no leading digit")
]
LabelKey = Annotated[
    str, _matching(_LABEL_KEY, "letters, digits and inner '.', '_', '/', '-', at most 128")
]
LabelValue = Annotated[
    str, _matching(_LABEL_VALUE, "letters, digits and inner '.', '_', '-', at most 63")
]
OptionalEnvName = Annotated[
    str,
    _matching(
        _ENV, "an environment variable name: letters, digits, '_', no leading digit", empty=True
    ),
]
OptionalDigest = Annotated[
    str, _matching(_DIGEST, "'sha256:' and 64 lower-case hexadecimal digits", empty=True)
]
