"""`workmanager application`: programs that may call, their keys, and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.complete import application_names
from workmanager.cli.listing import emit_list
from workmanager.cli.output import emit, emit_document, say
from workmanager.cli.params import DURATION, limit_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.cli.settings import Settings

RIGHTS = ("READ", "CREATE", "UPDATE", "EXECUTE", "DELETE")
_NAME = click.argument("name", shell_complete=application_names)


class GrantType(click.ParamType[dict[str, Any]]):
    """`PATTERN=RIGHT,RIGHT` or `PATTERN=all`, with `:SECRET,SECRET` behind where needed."""

    name = "grant"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Read one grant."""
        workers, separator, rest = str(value).partition("=")
        rights_text, _, secrets = rest.partition(":")
        rights = rights_text.upper().split(",")
        if rights == ["ALL"]:
            rights = list(RIGHTS)
        if not workers or not separator or not set(rights) <= set(RIGHTS):
            known = ", ".join(RIGHTS)
            self.fail(f"{value!r} is not PATTERN=RIGHT,... with rights of {known}", param, ctx)
        return {
            "workers": workers.split(","),
            "rights": rights,
            "secrets": [secret for secret in secrets.split(",") if secret],
        }


_GRANTS = click.option(
    "--grant",
    "grants",
    type=GrantType(),
    multiple=True,
    metavar="PATTERN=RIGHTS[:SECRETS]",
    help="What it may do, such as 'team-*=READ,EXECUTE' or '*=all'; may be given often.",
)
_DESCRIPTION = click.option("--description", default="", help="For people.")


@click.group("application", cls=LazyGroup, no_args_is_help=True)
@examples(
    "workmanager application create shop --grant 'shop-*=READ,EXECUTE'",
    "workmanager application issue-key shop",
)
def application() -> None:
    """Let other programs call, each with keys and rights of its own."""


@application.command("list", cls=Command)
@limit_option(0)
@click.pass_obj
@examples("workmanager application list", "workmanager application list -o json")
def list_(settings: Settings, limit: int) -> None:
    """List the applications that may call."""
    with settings.client() as client:
        emit_list(
            settings,
            "application",
            lambda size, token: client.list_applications(page_size=size, page_token=token),
            limit=limit,
        )


@application.command("get", cls=Command)
@_NAME
@click.pass_obj
@examples("workmanager application get shop", "workmanager application get shop -o yaml")
def get(settings: Settings, name: str) -> None:
    """Show one application; `-o yaml` with its grants."""
    with settings.client() as client:
        emit(settings, "application", client.get_application(name))


@application.command("create", cls=Command)
@click.argument("name")
@_GRANTS
@_DESCRIPTION
@click.pass_obj
@examples(
    "workmanager application create shop --grant 'shop-*=READ,EXECUTE'",
    "workmanager application create ci --grant '*=READ,CREATE,UPDATE:ci.*'",
)
def create(
    settings: Settings, name: str, grants: Sequence[dict[str, Any]], description: str
) -> None:
    """Make an application; it gets in with keys of `issue-key`."""
    with settings.client() as client:
        made = client.create_application(name, grants=grants, description=description)
        emit(settings, "application", made)


@application.command("update", cls=Command)
@_NAME
@_GRANTS
@_DESCRIPTION
@click.pass_obj
@examples(
    "workmanager application update shop --grant 'shop-*=READ'",
    "workmanager application update shop   # it may do nothing from now on",
)
def update(
    settings: Settings, name: str, grants: Sequence[dict[str, Any]], description: str
) -> None:
    """Replace what an application may do; its keys stay."""
    with settings.client() as client:
        made = client.update_application(name, grants=grants, description=description)
        emit(settings, "application", made)


@application.command("delete", cls=Command)
@_NAME
@click.pass_obj
@examples("workmanager application delete shop", "workmanager application delete ci")
def delete(settings: Settings, name: str) -> None:
    """Forget an application; its keys let nobody in from now on."""
    with settings.client() as client:
        client.delete_application(name)


@application.command("keys", cls=Command)
@_NAME
@click.pass_obj
@examples("workmanager application keys shop", "workmanager application keys shop -o json")
def keys(settings: Settings, name: str) -> None:
    """List an application's keys; their secrets are kept nowhere."""
    with settings.client() as client:
        emit_list(
            settings,
            "access-key",
            lambda size, token: client.list_access_keys(name, page_size=size, page_token=token),
        )


@application.command("issue-key", cls=Command)
@_NAME
@_DESCRIPTION
@click.option(
    "--expires-in", "expires_in_s", type=DURATION, default=0.0, help="Such as 90d; never without."
)
@click.pass_obj
@examples(
    "workmanager application issue-key shop > shop.key",
    "workmanager application issue-key ci --expires-in 90d --description 'pipeline'",
)
def issue_key(settings: Settings, name: str, description: str, expires_in_s: float) -> None:
    """Make a key and write it, alone, to standard output: the one time that it is shown.

    Send it as bearer token: `workmanager --token-file shop.key ...`, or the header
    `Authorization: Bearer ...`.
    """
    with settings.client() as client:
        issued = client.create_access_key(name, description=description, expires_in_s=expires_in_s)
    if settings.is_table:
        say(f"key {issued['accessKey']['id']} of {name}; it cannot be shown again")
        click.echo(issued["token"])
    else:
        emit_document(settings, issued)


@application.command("delete-key", cls=Command)
@_NAME
@click.argument("key")
@click.pass_obj
@examples(
    "workmanager application delete-key shop 0123456789ab",
    "workmanager application delete-key ci ba9876543210",
)
def delete_key(settings: Settings, name: str, key: str) -> None:
    """Forget a key, by its id; it lets nobody in from now on."""
    with settings.client() as client:
        client.delete_access_key(name, key)
