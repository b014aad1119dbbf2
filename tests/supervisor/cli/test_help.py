"""Every command's help, and every example in it."""

import shlex

import click
import pytest
from click.testing import CliRunner

from workmanager.cli.command import Command, LazyGroup
from workmanager.cli.root import root

FILES = (
    "worker.yaml",
    "hello.py",
    "sum.py",
    "orders.py",
    "event.json",
    "events.jsonl",
)


def commands(command=root, path=()):
    yield path, command
    if isinstance(command, LazyGroup):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


ALL = [pytest.param(path, command, id=" ".join(path) or "root") for path, command in commands()]
LEAVES = [param for param in ALL if not isinstance(param.values[1], LazyGroup)]

LOCAL = ("serve", "doctor", "install", "completion")  # they call no service
CLIENTS = [param for param in LEAVES if param.id not in LOCAL]


def examples_of(command):
    return command.callback.workmanager_examples


@pytest.mark.parametrize(("path", "command"), ALL)
def test_help_begins_with_two_examples_and_ends_with_exit_codes(path, command):
    result = CliRunner().invoke(root, [*path, "--help"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "Examples:"
    assert [line.strip() for line in lines[1:3]] == list(examples_of(command))[:2]
    assert "Exit codes:" in lines
    assert any(line.split()[:2] == ["5", "no"] for line in lines)


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_examples_are_commands_that_parse(path, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workers").mkdir()
    for name in FILES:
        (tmp_path / name).write_text("")
    for example in examples_of(command):
        words = shlex.split(example.partition("   #")[0])
        if words[0] == "eval":
            words = shlex.split(words[1].strip('$()"'))
        for stop in ("|", "&&", ">"):
            words = words[: words.index(stop)] if stop in words else words
        assert words[0] == "workmanager"
        parse(words[1:])


def parse(words):
    context = root.make_context("workmanager", list(words))
    while isinstance(context.command, LazyGroup):
        words = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, words)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(("path", "command"), CLIENTS)
def test_output_form_can_be_chosen_everywhere(path, command):
    assert isinstance(command, Command)
    params = command.get_params(click.Context(command))
    assert "-o" in {name for param in params for name in param.opts}


@pytest.mark.parametrize("words", [["worker", "lsit"], ["wroker"], ["worker", "wait"], ["--nope"]])
def test_wrong_words_are_exit_code_2(words):
    assert CliRunner().invoke(root, words).exit_code == 2


def test_mistyped_command_names_the_one_that_was_meant():
    result = CliRunner().invoke(root, ["worker", "lsit"])
    assert "Did you mean 'list'?" in result.output


def test_bare_command_prints_its_help():
    assert "Commands:" in CliRunner().invoke(root, ["worker"]).output
