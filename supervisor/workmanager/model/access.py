"""Who may do what: applications with access keys, their rights per worker, and what was done.

An application is another program. Its keys let it in, its grants say what it may do to which
workers; what no grant names is refused. Administrators (the root token, the Unix socket) need none.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from workmanager.model.names import WorkerName
from workmanager.model.resources import Resource
from workmanager.model.units import Duration

EVERY = "*"  # the pattern of all workers, those not yet named included
_WORKERS = re.compile(r"[a-z0-9*?-]{1,63}")
_SECRETS = re.compile(r"[A-Za-z0-9._*?-]{1,128}")
YEAR_S = 366 * 86_400


class Right(StrEnum):
    """What may be done to a worker, its versions, tasks, dead letters and logs."""

    READ = "READ"  # look
    CREATE = "CREATE"  # declare a worker: run code of one's own
    UPDATE = "UPDATE"  # change one: run other code under its name
    EXECUTE = "EXECUTE"  # start, stop, invoke, publish to it, cancel, retry, redrive
    DELETE = "DELETE"  # forget it, or its dead letters


def _pattern(allowed: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not allowed.fullmatch(text):
            raise ValueError(f"must be a pattern of {what}, with * and ? as wildcards")
        return text

    return AfterValidator(check)


class Grant(Resource):
    """Rights on the workers whose names match, and on secrets that these may be given."""

    workers: Annotated[
        tuple[Annotated[str, _pattern(_WORKERS, "worker names")], ...],
        Field(min_length=1, max_length=64),
    ]
    rights: Annotated[tuple[Right, ...], Field(min_length=1, max_length=len(Right))]
    secrets: Annotated[
        tuple[Annotated[str, _pattern(_SECRETS, "secret names")], ...], Field(max_length=64)
    ] = ()


class ApplicationSpec(Resource):
    """What is declared of an application."""

    description: Annotated[str, Field(max_length=1024)] = ""
    grants: Annotated[tuple[Grant, ...], Field(max_length=64)] = ()


class NewApplication(ApplicationSpec):
    """An application to be made."""

    name: WorkerName


class Application(Resource):
    """A program that may call, and what it may do."""

    name: str
    description: str = ""
    grants: tuple[Grant, ...] = ()
    keys: int = Field(default=0, description="How many access keys it has.")
    created_at: datetime
    updated_at: datetime


class NewAccessKey(Resource):
    """How a key is to be made."""

    description: Annotated[str, Field(max_length=1024)] = ""
    expires_in_s: Annotated[Duration, Field(ge=0, le=10 * YEAR_S)] = Field(
        default=0.0, description="Seconds until it ends; 0: it does not."
    )


class AccessKey(Resource):
    """A key of an application; its secret is not kept."""

    id: str
    application: str
    description: str = ""
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = Field(default=None, description="To the hour.")


class IssuedKey(Resource):
    """A new key: the one time that it is shown whole."""

    access_key: AccessKey
    token: str = Field(description="Send it as bearer token. It cannot be shown again.")


class AuditEntry(Resource):
    """One call that changed something, or was refused."""

    id: int
    time: datetime
    principal: str = Field(description="uid:N, token, dev, or key:APPLICATION/ID.")
    action: str = Field(description="The call, such as create_worker.")
    target: str = Field(description="What it was about; * for everything.")
    outcome: Literal["done", "refused", "failed"]
    reason: str = ""
