"""The service as a process: settings in, exit code out; signals; the order of start and stop.

start: supervisor (zygote, store, recovery) -> doors (REST, gRPC) -> systemd is told READY
stop:  doors close -> executors drain -> the rest is written -> the store is closed
SIGHUP: the settings are read again, see `ops.reload`
"""

from __future__ import annotations

import gc
import resource
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.api.access import Access
from workmanager.api.activation import take_inherited
from workmanager.api.auth import Auth, load_or_create_token
from workmanager.api.listeners import Tls
from workmanager.api.rest.app import create_app
from workmanager.api.rest.bodies import Limits
from workmanager.api.scrape import metrics_app
from workmanager.api.server import ServerOptions, serve
from workmanager.errors import WorkManagerError
from workmanager.ops import systemd
from workmanager.ops.reload import Reloader
from workmanager.service import Service
from workmanager.supervisor import Supervisor
from workmanager.telemetry import logs
from workmanager.telemetry.sdnotify import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.config import Settings

SWITCH_INTERVAL_S = 0.0005  # the writer's thread must not wait 5 ms for the interpreter lock

INTERRUPTED = 130  # exit code after a second signal: 128 + SIGINT, as shells have it

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process was started with, besides its settings.

    Attributes:
        reload: Reads the settings anew; None where nobody can say from where.
        notifier: Tells systemd how the service is; does nothing without one.
        inherited: Listening sockets that systemd opened.
    """

    reload: Callable[[], Settings] | None = None
    notifier: Notifier = field(default_factory=Notifier)
    inherited: tuple[socket.socket, ...] = ()


def run(settings: Settings, *, reload: Callable[[], Settings] | None = None) -> None:
    """Run the service until SIGINT or SIGTERM; at SIGHUP take on what *reload* returns.

    Raises:
        WorkManagerError: It cannot start; the message says why and what to do.
    """
    around = Surroundings(reload, Notifier.from_environment(), take_inherited())
    systemd.prepare_process()
    logs.configure(log_format=settings.log_format, level=settings.log_level)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _raise_file_limit()
    end: WorkManagerError | SystemExit | None = None  # raised in except*, it would be in a group
    try:
        trio.run(main, settings, around)
    except* WorkManagerError as group:
        end = _first(group)
    except* KeyboardInterrupt:
        end = SystemExit(INTERRUPTED)
    if end is not None:
        raise end


def _raise_file_limit() -> None:
    """Take all the descriptors we may have: an executor costs five, and the default is 1,024.

    Nothing here uses select(2), the reason for that default (systemd, "File Descriptor Limits").
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def main(
    settings: Settings,
    around: Surroundings | None = None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the service; `task_status` gets the URLs once calls are taken."""
    around = around or Surroundings()
    stop = trio.Event()
    around.notifier.tell(STATUS="recovering")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, stop)
        supervisor = Supervisor(settings)
        async with trio.open_nursery() as running:
            await running.start(supervisor.run)
            nursery.start_soon(systemd.keep_informed, around.notifier, supervisor)
            async with trio.open_nursery() as operations:
                service = Service(supervisor, operations)
                operations.start_soon(service.follow_registry)
                await _serve(settings, around, service, stop, task_status)
                operations.cancel_scope.cancel()
            supervisor.stop()
        log.info("stopped")
        nursery.cancel_scope.cancel()


async def _serve(
    settings: Settings,
    around: Surroundings,
    service: Service,
    stop: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    limits = Limits.for_code(settings.code_max_bytes)
    await service.load_access()
    auth = _auth(settings, Access(service))
    app = create_app(service, auth, answers=service.answers, limits=limits)
    reloader = Reloader(around.reload or (lambda: settings), settings, service, auth, app.state)
    async with trio.open_nursery() as nursery:
        doors_closed = trio.Event()
        urls = await nursery.start(
            lambda task_status: serve(
                app, _options(settings, around), shutdown=doors_closed, task_status=task_status
            )
        )
        urls += await _open_grpc(nursery, settings, reloader, doors_closed)
        urls += await _open_conductor(nursery, settings, service, doors_closed)
        gc.freeze()  # no collection looks through modules, schemas and recovered tasks again
        gc.enable()
        log.info("serving", urls=urls, dev=settings.dev, state=str(settings.state))
        around.notifier.tell(READY=1)
        task_status.started(urls)
        async with trio.open_nursery() as attending:
            attending.start_soon(systemd.reload_at_hangups, around.notifier, reloader)
            await stop.wait()
            attending.cancel_scope.cancel()
        log.info("stopping")
        around.notifier.tell(STOPPING=1, STATUS="draining")
        doors_closed.set()


async def _open_grpc(
    nursery: trio.Nursery, settings: Settings, reloader: Reloader, shutdown: trio.Event
) -> list[str]:
    """Open the gRPC doors, if any is asked for; the library is imported only then."""
    if settings.grpc_bind == "none" and settings.grpc_socket_path is None:
        return []
    from workmanager.api.grpc.doors import GrpcOptions
    from workmanager.api.grpc.server import Backing, serve_grpc

    service, state = reloader.service, reloader.rest
    access = reloader.auth.access or Access(service)
    backing = Backing(access.service_for, reloader.auth, service.answers, lambda: state.limits)
    options = GrpcOptions(
        binds=(settings.grpc_bind,) if settings.grpc_bind != "none" else (),
        unix_socket=settings.grpc_socket_path,
        tls=_tls(settings),
        require_loopback=settings.dev,
        grace_s=settings.shutdown_grace_s,
    )
    urls: list[str] = await nursery.start(
        lambda task_status: serve_grpc(backing, options, shutdown=shutdown, task_status=task_status)
    )
    return urls


async def _open_conductor(
    nursery: trio.Nursery, settings: Settings, service: Service, shutdown: trio.Event
) -> list[str]:
    """Open the door for those who know Conductor's metrics, if it is asked for."""
    if settings.conductor_metrics == "none":
        return []
    app = metrics_app(service.conductor.render)
    options = ServerOptions(binds=(settings.conductor_metrics,), tls=_tls(settings))
    urls: list[str] = await nursery.start(
        lambda task_status: serve(app, options, shutdown=shutdown, task_status=task_status)
    )
    return [f"{url}/metrics" for url in urls]


async def _watch_signals(stop: trio.Event) -> None:
    """First signal: stop in good order. Second: at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stop.is_set():
                log.warning("stopping_at_once", signal=signal.Signals(number).name)
                raise KeyboardInterrupt
            stop.set()


def _auth(settings: Settings, access: Access) -> Auth:
    if settings.dev:
        return Auth(dev=True, access=access)
    token = load_or_create_token(settings.token_path)
    return Auth(token=token, allowed_uids=frozenset(settings.allowed_uids), access=access)


def _options(settings: Settings, around: Surroundings) -> ServerOptions:
    families = {sock.family for sock in around.inherited}  # what is handed over is not opened
    return ServerOptions(
        binds=() if settings.bind == "none" or families - {socket.AF_UNIX} else (settings.bind,),
        unix_socket=None if socket.AF_UNIX in families else settings.socket_path,
        inherited=around.inherited,
        tls=_tls(settings),
        require_loopback=settings.dev,
        grace_s=settings.shutdown_grace_s,
    )


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Tls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


def _first(group: BaseExceptionGroup[WorkManagerError]) -> WorkManagerError:
    """Return the error inside nested groups that a start failed with."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, WorkManagerError)  # noqa: S101 - except* has selected it
    return error
