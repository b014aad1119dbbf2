"""Which hosts a worker may reach through the service, which asks them on its behalf."""

import ipaddress
import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from workmanager.model.spec_base import Breaches, Model, PositiveInterval, Rule, Whole
from workmanager.model.units import Size

MIB = 2**20
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def _check_host(text: str) -> str:
    host = text.lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    labels = host.removeprefix("*.").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError("must be a host's name such as api.example.com, or *.example.com")
    return host


def _allows_something(rule: "EgressRule") -> Breaches:
    if not rule.methods:
        yield ("methods",), "must list at least one method"


class EgressRule(Model):
    """Requests that are allowed: to *host* (`*.` before it: to all below it) on *ports*.

    *max_bytes* bounds the body of a request and of an answer, each.
    """

    host: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_check_host)]
    methods: Annotated[tuple[Method, ...], Field(max_length=7)] = ("GET",)
    ports: Annotated[tuple[Annotated[Whole, Field(ge=1, le=65_535)], ...], Field(max_length=16)] = (
        443,
    )
    max_bytes: Annotated[Size, Field(ge=0, le=8 * MIB, alias="maxBytes")] = MIB

    rules: ClassVar[tuple[Rule, ...]] = (Rule(frozenset({"methods"}), _allows_something),)


class Egress(Model):
    """What `context.http` may ask for; the first rule that fits decides, without one nothing goes.

    *timeout_s* is for a whole request; *concurrency* of them run at once, the rest waits.
    """

    allow: Annotated[tuple[EgressRule, ...], Field(max_length=64)] = ()
    timeout_s: Annotated[PositiveInterval, Field(le=600)] = 30.0
    concurrency: Annotated[Whole, Field(ge=1, le=64)] = 8
