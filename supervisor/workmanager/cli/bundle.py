"""What a bug report needs, gathered into one archive, without secrets.

Each part is gathered by itself: one that cannot be had is named in `errors.json`, and a service
that does not answer still leaves what this machine knows. No event's data, no environment value and
no credential is in it; what workers wrote to their logs is, unless it is left out.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workmanager import __version__
from workmanager.client.paging import each
from workmanager.client.problems import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from workmanager.client.light import LightClient

Json = dict[str, Any]

HIDDEN = "(hidden)"
TASKS = 500
LOG_LINES = 2000
JOURNAL_LINES = 2000
COMMAND_S = 30.0
# An access key; a bearer token in a header; user and password in a URL.
_SECRETS = (
    (re.compile(r"wmk_[A-Za-z0-9]+_[A-Za-z0-9_-]+"), HIDDEN),
    (re.compile(r"(?i)(bearer\s+)[^\s\"',]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(://)[^/\s:@\"]+:[^/\s@\"]+@"), rf"\1{HIDDEN}@"),
)


class Bundle:
    """An archive under construction; *known* are secrets that must not be in it."""

    def __init__(self, known: tuple[str, ...] = ()) -> None:
        self.files: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self._known = tuple(secret for secret in known if secret)

    def add(self, name: str, content: object) -> None:
        """Add a file: text as it is, anything else as JSON."""
        text = content if isinstance(content, str) else _json(content)
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
        self.files[name] = text

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Gather one part; what goes wrong is kept as an error and stops nothing else."""
        try:
            yield
        except (ClientError, OSError, ValueError, subprocess.SubprocessError) as error:
            self.errors[name] = f"{type(error).__name__}: {error}"

    def write(self, path: str) -> None:
        """Write the archive, for its owner alone."""
        self.add("errors.json", self.errors)
        with (
            open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,  # noqa: PTH123
            tarfile.open(fileobj=file, mode="w:gz") as archive,
        ):
            for name, text in sorted(self.files.items()):
                body = text.encode()
                entry = tarfile.TarInfo(f"workmanager-support/{name}")
                entry.size, entry.mtime, entry.mode = len(body), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(body))


def gather_service(bundle: Bundle, client: LightClient, *, with_logs: bool) -> None:
    """Add what the service tells of itself."""
    lists: Mapping[str, Callable[[int, str], Json]] = {
        "executors": lambda size, token: client.list_executors(page_size=size, page_token=token),
        "groups": lambda size, token: client.list_groups(page_size=size, page_token=token),
        "engines": lambda size, token: client.list_engines(page_size=size, page_token=token),
        "operations": lambda size, token: client.list_operations(page_size=size, page_token=token),
        "tasks": lambda size, token: client.list_tasks(page_size=size, page_token=token),
    }
    for name, fetch in lists.items():
        with bundle.part(name):
            bundle.add(f"{name}.json", list(each(fetch, limit=TASKS)))
    with bundle.part("version"):
        bundle.add("version.json", client.version_info())
    with bundle.part("health"):
        bundle.add("health.json", client.health(verbose=True))
    with bundle.part("metrics"):
        bundle.add("metrics.txt", client.metrics())
    _gather_workers(bundle, client)
    with bundle.part("dead-letters"):
        page = client.list_dead_letters(page_size=TASKS)
        bundle.add("dead-letters.json", [_without_data(letter) for letter in page["items"]])
    if with_logs:
        with bundle.part("logs"):
            lines = client.logs(tail=LOG_LINES)
            bundle.add("logs.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def gather_machine(bundle: Bundle) -> None:
    """Add what this machine tells: versions, settings, journal, and what `doctor` finds."""
    bundle.add("machine.json", _machine())
    with bundle.part("settings"):
        bundle.add("settings.json", _settings())
    with bundle.part("doctor"):
        bundle.add("doctor.txt", _output([sys.executable, "-m", "workmanager.cli", "doctor"]))
    if shutil.which("journalctl"):
        with bundle.part("journal"):
            words = ["journalctl", "--unit=workmanager", "--no-pager", f"--lines={JOURNAL_LINES}"]
            bundle.add("journal.txt", _output(words))


def _gather_workers(bundle: Bundle, client: LightClient) -> None:
    with bundle.part("workers"):
        workers = list(
            each(lambda size, token: client.list_workers(page_size=size, page_token=token))
        )
        bundle.add("workers.json", [_redacted(worker) for worker in workers])
        explained = {}
        for worker in workers:
            with bundle.part(f"explain {worker['name']}"):
                explained[worker["name"]] = client.explain_worker(worker["name"])
        bundle.add("explanations.json", explained)


def _redacted(worker: Json) -> Json:
    """Hide the values of the environment, and a URL's query, where a token may stand."""
    spec = dict(worker["spec"])
    spec["env"] = dict.fromkeys(spec.get("env", {}), HIDDEN)
    code = spec.get("code", {})
    spec["code"] = {**code, "url": str(code.get("url", "")).partition("?")[0]}
    return {**worker, "spec": spec}


def _without_data(letter: Json) -> Json:
    event = {k: v for k, v in letter["event"].items() if k not in ("data", "data_base64")}
    return {**letter, "event": event}


def _machine() -> Json:
    from importlib.metadata import distributions

    packages = {str(d.name): d.version for d in distributions() if d.name}
    return {
        "workmanager": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "uid": os.geteuid(),
        "packages": dict(sorted(packages.items())),
        "variables": sorted(
            name for name in os.environ if name.startswith(("WORKMANAGER_", "OTEL_"))
        ),
        "cgroup": _read("/proc/self/cgroup"),
        "memory": _read("/proc/meminfo").splitlines()[:3],
    }


def _settings() -> object:
    from workmanager.config import load_settings
    from workmanager.errors import WorkManagerError

    try:
        return load_settings().model_dump(mode="json")
    except WorkManagerError as error:
        raise ValueError(str(error)) from error


def _output(words: list[str]) -> str:
    ended = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_S,
        check=False,
    )
    return ended.stdout.decode("utf-8", "replace")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes 10 ms to import
            return file.read()
    except OSError as error:
        return str(error)


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
