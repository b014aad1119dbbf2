"""From code to a handler, or to a refusal with file and line."""

from __future__ import annotations

import functools
import textwrap

import pytest
from harness import job

from workmanager_executor.job import ProtocolError, parse_job
from workmanager_executor.loading import RefusedError, load


def load_code(code: str | bytes, handler: str = ""):
    code = textwrap.dedent(code) if isinstance(code, str) else code
    return load(parse_job(job(code, handler=handler)))


def refusal(code: str | bytes, handler: str = "") -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        load_code(code, handler)
    return caught.value


@pytest.mark.parametrize(
    ("code", "name", "form"),
    [
        ("def Process(e): ...", "Process", "seed"),
        ("def process(e): ...\ndef Process(e): ...", "process", "event"),
        ("def Process(e): ...\ndef process(e): ...", "process", "event"),
        ("def process(e): ...\ndef process_batch(e): ...", "process_batch", "batch"),
    ],
)
def test_first_known_name_is_the_handler(code, name, form):
    handler = load_code(code)
    assert (handler.name, handler.form) == (name, form)


@pytest.mark.parametrize("spec", ["handle", "worker:handle", ":handle"])
def test_named_handler_is_taken(spec):
    handler = load_code("def process(e): ...\ndef handle(e): ...", spec)
    assert (handler.name, handler.form) == ("handle", "event")


def test_handler_may_be_an_attribute():
    handler = load_code("class Api:\n  @staticmethod\n  def run(event): return 5", "worker:Api.run")
    assert handler.function(None) == 5


def test_handler_may_stand_in_an_installed_module():
    assert load_code("", "json:dumps").function is __import__("json").dumps


@pytest.mark.parametrize(
    ("code", "takes_context"),
    [
        ("def process(event): ...", False),
        ("def process(event, context): ...", True),
        ("def process(event, context=None): ...", True),
        ("def process(*args): ...", True),
        ("def process(event, *args): ...", True),
        ("def process(event, *, flag=1): ...", False),
        ("def process(event, **options): ...", False),
        ("class Handler:\n  def __call__(self, event): ...\nprocess = Handler()", False),
        ("class Handler:\n  def run(self, e, c): ...\nprocess = Handler().run", True),
        ("import functools\ndef f(a, event): ...\nprocess = functools.partial(f, 1)", False),
        ("process = lambda event: None", False),
    ],
)
def test_signature_decides_about_the_context(code, takes_context):
    assert load_code(code).takes_context is takes_context


@pytest.mark.parametrize(
    ("code", "is_async"),
    [
        ("def process(e): ...", False),
        ("def process(e): yield 1", False),
        ("async def process(e): ...", True),
        ("async def process(e): yield 1", True),
        ("class H:\n  async def __call__(self, e): ...\nprocess = H()", True),
        ("import functools\nasync def f(a, e): ...\nprocess = functools.partial(f, 1)", True),
        (
            """
            import functools
            def log(function):
                @functools.wraps(function)
                def call(*args):
                    return function(*args)
                return call
            @log
            async def process(event): ...
            """,
            True,
        ),
    ],
)
def test_async_handlers_are_recognised(code, is_async):
    assert load_code(code).is_async is is_async


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("def process(event):\n    return (", 2),
        ("def process(event)\n    pass", 1),
        ("x = 1\n\n  y = 2", 3),
        (b"# coding: martian\n", 1),
        (b"x = '\xff'\n", 1),
        (b"x = 1\n\0\n", 1),
        ("(" * 5000, 1),
    ],
)
def test_code_that_does_not_compile_is_refused_with_its_line(code, line):
    error = refusal(code)
    assert (error.reason, error.file) == ("BUILD_FAILED", "worker.py")
    assert error.line == line or isinstance(code, bytes)


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        ("import os\nimport no_such_module", 2, "ModuleNotFoundError: No module named"),
        ("def f():\n    raise ValueError('x')\n\nf()", 2, "ValueError: x"),
        ("import sys\nsys.exit(3)", 2, "SystemExit: 3"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
    ],
)
def test_code_that_raises_while_loading_is_refused_with_its_line(code, line, message):
    error = refusal(code)
    assert (error.reason, error.file, error.line) == ("BUILD_FAILED", "worker.py", line)
    assert message in str(error)
    assert 'File "worker.py"' in error.traceback
    assert "loading.py" not in error.traceback


@pytest.mark.parametrize(
    ("code", "handler", "line", "message"),
    [
        ("x = 1", "", 1, "none of process_batch, process, Process in the code"),
        ("x = 1\n\ndef proces(e): ...", "", 3, "did you mean 'proces' in line 3?"),
        ("def process(e): ...", "worker:handle", 1, "no 'handle' in the code"),
        ("process = 5", "", 1, "of type int, not a function"),
        ("\nclass process:\n  def f(self): ...", "", 3, "is a class, not a function"),
        ("x = 1\ndef process(): ...", "", 2, "has to take (event) or (event, context)"),
        ("\n\ndef process(a, b, c): ...", "", 3, "needs 3 positional"),
        ("def process(event, *, flag): ...", "", 1, "'flag' can only be given by name"),
        ("\ndef start(a, b): ...\ndef process(e): ...", "", 2, "start() has to take (context)"),
    ],
)
def test_missing_or_wrong_handler_is_refused_with_its_line(code, handler, line, message):
    error = refusal(code, handler)
    assert (error.file, error.line) == ("worker.py", line)
    assert message in str(error)


def test_missing_module_of_a_handler_is_refused():
    assert "No module named 'no_such'" in str(refusal("", "no_such:process"))


def test_hooks_are_found_and_their_parameter_is_optional():
    handler = load_code("def start(): return 1\ndef stop(c): return c\ndef process(e): ...")
    assert handler.start(None) == 1
    assert handler.stop(2) == 2


def test_wrapped_function_keeps_its_own_signature():
    from workmanager_executor.signatures import positional_count

    def two(event, context): ...

    @functools.wraps(two)
    def wrapper(*args): ...

    assert positional_count(wrapper) == (2, 2)


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {},
        {**job(""), "code": "text"},
        {**job(""), "perExecutor": "many"},
        {**job(""), "startToCloseS": "long"},
        {**job(""), "config": [1]},
    ],
)
def test_malformed_load_frame_is_a_protocol_error(fields):
    with pytest.raises(ProtocolError):
        parse_job(fields)
