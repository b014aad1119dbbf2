"""The specification of a worker: all that is declared of it, with its defaults."""

import base64
import binascii
from pathlib import PurePosixPath
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from workmanager.model.names import (
    DEFAULT_ENGINE,
    EngineName,
    EnvName,
    HandlerName,
    OptionalDigest,
)
from workmanager.model.spec_base import Breaches, Model, Rule
from workmanager.model.spec_delivery import (
    Batch,
    Concurrency,
    DeadLetter,
    Dedupe,
    Group,
    Inbox,
    Ordering,
    Outputs,
    RateLimit,
    Retry,
    Timeouts,
    Trigger,
)
from workmanager.model.spec_egress import Egress
from workmanager.model.spec_process import Drain, Isolation, Probes, Recycle, Resources, Restart
from workmanager.model.spec_secrets import MAX_SECRETS, Secret
from workmanager.model.states import DesiredState

MAX_CODE_BYTES = 32 * 2**20
MAX_ENV_BYTES = 128 * 1024  # the kernel's limit for one string; far below ARG_MAX in all
_MAX_CONTENT_CHARS = MAX_CODE_BYTES * 3 // 2  # base64 is 4/3, with room for line breaks


def decode_content(text: str) -> bytes:
    """Decode base64 code; line breaks and blanks are allowed, as `base64(1)` writes them.

    Raises:
        ValueError: It is no base64, or more than `MAX_CODE_BYTES`.
    """
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64 (RFC 4648, standard alphabet, padded)") from error
    if len(content) > MAX_CODE_BYTES:
        raise ValueError(f"must decode to at most {MAX_CODE_BYTES} bytes, not {len(content)}")
    return content


def _check_content(text: str) -> str:
    decode_content(text)
    return text


def _check_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        sound = not text or (parts.scheme in {"http", "https"} and bool(parts.hostname))
        _ = parts.port  # raises when out of range
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise ValueError("must be an http:// or https:// URL")
    if text and (parts.username is not None or parts.password is not None):
        raise ValueError("must not hold credentials; the URL is shown to every reader")
    return text


def _one_source(code: "Code") -> Breaches:
    if code.content and code.url:
        yield ("url",), "must not be given beside content; give one of the two"


class Code(Model):
    """Where the code is from: *content* (base64) or *url*; *digest* pins it.

    A stored specification never holds content: `take_code` cuts it out and leaves the digest.
    """

    content: Annotated[
        str, Field(max_length=_MAX_CONTENT_CHARS, repr=False), AfterValidator(_check_content)
    ] = ""
    url: Annotated[str, Field(max_length=2048), AfterValidator(_check_url)] = ""
    digest: OptionalDigest = ""

    rules: ClassVar[tuple[Rule, ...]] = (Rule(frozenset({"content", "url"}), _one_source),)


def _group_from_name(raw: object) -> object:
    """Accept the short form: `group: "g"`; an empty name is no group, as the seed era sent it."""
    if isinstance(raw, str):
        return {"name": raw} if raw else None
    return raw


def _check_python(text: str) -> str:
    path = PurePosixPath(text)
    if text and (not path.is_absolute() or ".." in path.parts or not text.isprintable()):
        raise ValueError("must be the absolute path of an interpreter or a virtual environment")
    return text


def _check_env(env: dict[str, str]) -> dict[str, str]:
    if any("\0" in value for value in env.values()):
        raise ValueError("must not hold a NUL character in a value")
    if sum(len(name) + len(value.encode()) + 2 for name, value in env.items()) > MAX_ENV_BYTES:
        raise ValueError(f"must take at most {MAX_ENV_BYTES} bytes in all")
    return env


def _topics_once(spec: "WorkerSpec") -> Breaches:
    seen: set[str] = set()
    for index, trigger in enumerate(spec.triggers):
        if trigger.topic in seen:
            yield (
                ("triggers", index, "topic"),
                f"{trigger.topic!r} has a trigger already; put alternatives into one 'any' filter",
            )
        seen.add(trigger.topic)


def _python_fits_engine(spec: "WorkerSpec") -> Breaches:
    if spec.python and spec.engine != DEFAULT_ENGINE:
        yield ("python",), f"has no meaning with engine {spec.engine!r}"


def _secrets_once(spec: "WorkerSpec") -> Breaches:
    files: set[str] = set()
    variables = set(spec.env)
    for index, secret in enumerate(spec.secrets):
        taken, key = (
            (files, secret.name) if secret.as_ == "file" else (variables, secret.variable_name)
        )
        if key in taken:
            yield ("secrets", index), f"{key} is there already"
        taken.add(key)


def _batch_fits_handler(spec: "WorkerSpec") -> Breaches:
    if spec.batch.size > 1 and spec.handler.rpartition(":")[2] in {"process", "Process"}:
        yield ("batch", "size"), f"{spec.handler!r} takes one event at a time; use process_batch"


def _batch_fits_group(spec: "WorkerSpec") -> Breaches:
    if spec.batch.size > 1 and spec.group is not None and spec.group.key:
        yield ("batch", "size"), "must be 1 where group.key is set: a batch would span many keys"


class WorkerSpec(Model):
    """All that is declared of a worker. Zero or empty means "off" or "as usual"."""

    engine: EngineName = DEFAULT_ENGINE
    handler: HandlerName = ""
    python: Annotated[str, Field(max_length=4096), AfterValidator(_check_python)] = ""
    code: Code = Code()
    desired_state: DesiredState = DesiredState.RUNNING
    triggers: Annotated[tuple[Trigger, ...], Field(max_length=64)] = ()
    outputs: Outputs = Outputs()
    group: Annotated[Group | None, BeforeValidator(_group_from_name)] = None
    ordering: Ordering = Ordering()
    batch: Batch = Batch()
    concurrency: Concurrency = Concurrency()
    rate_limit: RateLimit = RateLimit()
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    dead_letter: DeadLetter = DeadLetter()
    dedupe: Dedupe = Dedupe()
    inbox: Inbox = Inbox()
    probes: Probes = Probes()
    restart: Restart = Restart()
    drain: Drain = Drain()
    recycle: Recycle = Recycle()
    resources: Resources = Resources()
    isolation: Isolation = Isolation()
    egress: Egress = Egress()
    env: Annotated[
        dict[EnvName, str],
        Field(default_factory=dict, max_length=256, repr=False),
        AfterValidator(_check_env),
    ]
    secrets: Annotated[tuple[Secret, ...], Field(max_length=MAX_SECRETS)] = ()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(frozenset({"triggers"}), _topics_once),
        Rule(frozenset({"secrets", "env"}), _secrets_once),
        Rule(frozenset({"python", "engine"}), _python_fits_engine),
        Rule(frozenset({"batch", "handler"}), _batch_fits_handler),
        Rule(frozenset({"batch", "group"}), _batch_fits_group),
    )
