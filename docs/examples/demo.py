"""`make run`: start the service, show workers handling events, and go on serving.

    event --> topic orders --> greeter --> topic receipts --> ledger

and, where there is .NET, a chain of three workers in two languages:

    chain.orders --> price (Python) --> tax (C#) --> show (Python) --> chain.done

The state is kept in .cache/run of the checkout: a second run finds the workers of the first one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from workmanager.client import ClientError, WorkManagerClient, new_event

EXAMPLES = Path(__file__).resolve().parent
CACHE = EXAMPLES.parent.parent / ".cache"
FOLDER = CACHE / "run"  # made by `make run`, kept between runs
ORDERS = [
    {"name": "Ada", "item": "tea", "quantity": 2, "price": 3},
    {"name": "Grace", "item": "coffee", "quantity": 1, "price": 4},
    {"name": "Edsger", "item": "cake", "quantity": 3, "price": 5},
    {"name": "Barbara", "item": "water", "quantity": 4, "price": 1},
    {"name": "Alan", "item": "apple", "quantity": 5, "price": 2},
]
CHAIN_ORDERS = [
    {"item": "tea", "quantity": 2},
    {"item": "coffee", "quantity": 1},
    {"item": "cake", "quantity": 3},
]
CSHARP = "text/x-csharp"
START_LIMIT_S = 30.0
HANDLE_LIMIT_S = 30.0
STOP_LIMIT_S = 20.0
PAUSE_S = 0.02


class DemoError(Exception):
    """The demonstration cannot go on; the message says why and what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Start the service and show it at work.")
    parser.add_argument("--port", type=int, default=5001, help="where REST listens")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for state and log")
    given = parser.parse_args()
    port, folder = given.port, given.folder
    sys.stdout.reconfigure(line_buffering=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with service(port, folder) as process:
            demonstrate(f"http://127.0.0.1:{port}", process, folder)
            raise DemoError(f"the service ended with exit code {process.wait()}; see its log")
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


@contextlib.contextmanager
def service(port, folder):
    """Run `workmanager serve`; however the block ends, the service has ended after it."""
    check_port(port)
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--dev", "--state", folder / "state", "--socket", "none"]
    options += ["--bind", f"127.0.0.1:{port}", "--set", "grpc_bind=none"]
    options += ["--log-format", "console"]
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workmanager.cli", "serve", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dotnet_of_the_tests() | os.environ | {"NO_COLOR": "1"},
            process_group=0,  # Ctrl-C comes to this program, which then stops the service once
        )
    try:
        yield process
    finally:
        stop(process)


def dotnet_of_the_tests():
    """Name the .NET that `make test` has fetched, if it has; an installed one goes before it."""
    root = next(CACHE.glob("dotnet/runtime-*/root"), None)
    roslyn = next(CACHE.glob("dotnet/roslyn-*"), None)
    if root is None or roslyn is None or shutil.which("dotnet") or "DOTNET_ROOT" in os.environ:
        return {}
    return {"WORKMANAGER_DOTNET_ROOT": str(root), "WORKMANAGER_ROSLYN": str(roslyn)}


def stop(process):
    """Ask the service to end in good order; kill it if it does not, or at a second Ctrl-C."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def check_port(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            other = port + 10
            raise DemoError(
                f"port {port} cannot be used ({error.strerror}); perhaps another `make run` has it."
                f"\nChoose another one: make run PORT={other}"
            ) from error


def demonstrate(url, process, folder):
    with WorkManagerClient(url) as client:
        if not is_ready(client, process):
            lines = (folder / "service.log").read_text(errors="replace").splitlines()[-10:]
            raise DemoError("\n".join(["the service does not start; it says:", *lines]))
        print(f"WorkManager serves at {url}, its state is in {shown(folder)}\n")
        command(url, "worker", "apply", "-f", "greeter.yaml", "-f", "ledger.yaml")
        command(url, "worker", "wait", "greeter", "ledger")
        for number, order in enumerate(ORDERS, 1):
            show(number, order, client)
        demonstrate_chain(url, client)
    print(WHAT_NEXT.format(url=url, bin=shown(Path(sys.executable).parent), folder=shown(folder)))


def is_ready(client, process):
    """Wait until the service answers; tell whether it does."""
    ends_at = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < ends_at:
        try:
            client.health()
        except ClientError:
            time.sleep(PAUSE_S)
        else:
            return True
    return False


def command(url, *words):
    """Show a command of `workmanager`, run it among the examples."""
    print("$ workmanager", *words)
    environ = os.environ | {"WORKMANAGER_TARGET": url}
    line = [sys.executable, "-m", "workmanager.cli", *words]
    if subprocess.run(line, cwd=EXAMPLES, env=environ, check=False).returncode:
        raise DemoError("this command should have succeeded")
    print()


def show(number, order, client):
    """Publish one order, wait until its receipt came to the ledger, print both."""
    seen = max((line.seq for line in client.logs("ledger", tail=1)), default=0)
    event = new_event(order, attributes={"type": "order.created", "source": "/demo"})
    began_at = time.time()
    client.publish("orders", [event])
    durable_ms = (time.time() - began_at) * 1000
    entry, handled_at = wait_for_receipt(client, event["id"], seen)
    handled_ms = (handled_at - began_at) * 1000
    print(f"{number}  in   orders    {json.dumps(order)}")
    print(f"   out  receipts  {json.dumps(entry['receipt'])}")
    print(f"   durable after {durable_ms:.1f} ms, receipt handled after {handled_ms:.1f} ms")


def wait_for_receipt(client, event_id, seen):
    ends_at = time.monotonic() + HANDLE_LIMIT_S
    while time.monotonic() < ends_at:
        for line in client.logs("ledger", since_seq=seen, tail=0):
            if line.stream == "log" and json.loads(line.text)["order"] == event_id:
                return json.loads(line.text), line.time.timestamp()
        time.sleep(PAUSE_S)
    why = [client.explain_worker(name).summary for name in ("greeter", "ledger")]
    raise DemoError(f"no receipt came. greeter: {why[0]}; ledger: {why[1]}")


def demonstrate_chain(url, client):
    """Show workers in Python and C# handing events to each other, if C# can be run here."""
    engine = next(one for one in client.list_engines().items if one.media_type == CSHARP)
    if not engine.available:
        print(f"\nA chain of Python and C# is left out: {engine.detail}.")
        return
    print(f"\nPython -> C# -> Python, with {engine.runtime_version}\n")
    command(url, "worker", "apply", "-f", "chain/chain.yaml")
    command(url, "worker", "wait", "price", "tax", "show")
    for order in CHAIN_ORDERS:
        seen = max((line.seq for line in client.logs("show", tail=1)), default=0)
        began_at = time.time()
        client.publish("chain.orders", [new_event(order)])
        line = wait_for_line(client, seen)
        handled_ms = (line.time.timestamp() - began_at) * 1000
        print(f"   in   chain.orders  {json.dumps(order)}")
        print(f"   out  chain.done    {line.text}  ({handled_ms:.1f} ms, three workers)")


def wait_for_line(client, seen):
    """Wait for what the last worker of the chain says next."""
    ends_at = time.monotonic() + HANDLE_LIMIT_S
    while time.monotonic() < ends_at:
        for line in client.logs("show", since_seq=seen, tail=0):
            return line
        time.sleep(PAUSE_S)
    why = "; ".join(client.explain_worker(name).summary for name in ("price", "tax", "show"))
    raise DemoError(f"nothing came out of the chain: {why}")


def shown(path):
    """Return a path as a user of this folder would write it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


WHAT_NEXT = """
The service goes on until Ctrl-C. In another terminal:

  export PATH="$PWD/{bin}:$PATH" WORKMANAGER_TARGET={url}
  workmanager worker list
  workmanager event publish orders \\
      --data '{{"name": "Joan", "item": "pear", "quantity": 1, "price": 2}}'
  workmanager worker logs -f
  workmanager worker describe greeter
  curl {url}/v1/workers

The REST API, described: {url}/docs
The service's own log:   {folder}/service.log
"""

if __name__ == "__main__":
    sys.exit(main())
