"""`workmanager completion`: scripts that complete commands, options and live names."""

from __future__ import annotations

import click

from workmanager.cli.command import PlainCommand, examples

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "workmanager"
ALIAS = "wm"
_VARIABLE = "_WORKMANAGER_COMPLETE"

# What makes the alias complete as the program does, behind click's script for the program.
_ALIASES = {
    "bash": f"complete -o nosort -F _{PROGRAM}_completion {ALIAS}",
    "zsh": f"compdef _{PROGRAM}_completion {ALIAS}",
    "fish": f"complete --no-files --command {ALIAS} --wraps {PROGRAM}",
}


@click.command("completion", cls=PlainCommand)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
@examples(
    'eval "$(workmanager completion bash)"   # in ~/.bashrc; zsh: in ~/.zshrc',
    "workmanager completion fish > ~/.config/fish/completions/workmanager.fish",
)
def completion(context: click.Context, shell: str) -> None:
    """Write a completion script.

    Names of live workers, versions, groups and topics complete too.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    root = context.find_root().command
    click.echo(kind(root, {}, PROGRAM, _VARIABLE).source())
    click.echo(_ALIASES[shell])
