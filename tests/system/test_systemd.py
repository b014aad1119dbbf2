"""The service under a systemd that the test plays: READY, pings, reload, sockets, STOPPING."""

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest
from system_harness import Client, Service, event, manifest, until

WATCHDOG_S = 0.4
ECHO = "def process(event):\n    return event.data\n"

pytestmark = pytest.mark.slow


class Systemd:
    """Listens to what the service tells."""

    def __init__(self, folder):
        self.address = str(folder / "notify")
        self.told = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    @property
    def environ(self):
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}

    def hear(self, timeout_s=20.0):
        """Return the next message as a dict; raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        lines = self._socket.recv(4096).decode().splitlines()
        facts = dict(line.partition("=")[::2] for line in lines)
        self.told.append(facts)
        return facts

    def until(self, name, timeout_s=20.0):
        """Listen until *name* is told; returns that message."""
        deadline = time.monotonic() + timeout_s
        while name not in (facts := self.hear(deadline - time.monotonic())):
            pass
        return facts

    def forget(self):
        """Throw away what waits to be heard."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while self.hear(0.0):
                pass

    def close(self):
        self._socket.close()


@pytest.fixture
def systemd(tmp_path):
    listening = Systemd(tmp_path)
    yield listening
    listening.close()


@contextlib.contextmanager
def started(state, *options, **more):
    """Start a service; it is stopped, or killed if the test fails."""
    service = Service.start(state, *options, **more)
    try:
        yield service
    except BaseException:
        service.process.kill()
        service._collect()
        raise
    service.stop()


def test_ready_comes_when_all_is_recovered_and_calls_are_taken(systemd, tmp_path):
    with started(tmp_path / "state") as first:
        first.wait_ready()
        client = first.client()
        client.post("/v1/workers?start=false", manifest("kept", ECHO, topic="t"))
        client.publish("t", [event(i, id=i) for i in range(100)])
        client.close()
    with started(tmp_path / "state", environ=systemd.environ) as second:
        systemd.until("READY")
        assert systemd.told[0] == {"STATUS": "recovering"}
        url = second.wait_line("serving")["urls"][0]
        with contextlib.closing(Client(url)) as client:
            assert client.get("/readyz") == b"ok\n"
            assert client.get("/v1/workers/kept")["status"]["backlog"] == 100


def test_the_watchdog_is_fed_by_the_loop_alone(systemd, tmp_path):
    with started(tmp_path / "state", environ=systemd.environ) as service:
        systemd.until("READY")
        before = time.monotonic()
        for _ in range(3):
            systemd.until("WATCHDOG", timeout_s=10)
        assert time.monotonic() - before < 10
        os.kill(service.pid, signal.SIGSTOP)
        stopped = psutil.Process(service.pid)
        until(lambda: stopped.status() == psutil.STATUS_STOPPED, timeout_s=5)
        systemd.forget()
        with pytest.raises(TimeoutError):
            systemd.hear(2 * WATCHDOG_S)  # systemd would kill it now
        os.kill(service.pid, signal.SIGCONT)
        systemd.until("WATCHDOG", timeout_s=10)


def test_a_stop_is_told_before_executors_are_drained(systemd, tmp_path):
    with started(tmp_path / "state", environ=systemd.environ) as service:
        service.wait_ready()
        client = service.client()
        client.post("/v1/workers", manifest("busy", ECHO, topic="t"))
        until(lambda: client.get("/v1/workers/busy")["status"]["executorsReady"])
        pid = client.get("/v1/executors")["items"][0]["pid"]
        client.close()
        family = service.family()
        assert pid in {process.pid for process in family}
        systemd.forget()
        service.stop()  # it checks that the whole family is gone
        systemd.until("STOPPING", timeout_s=1)
        assert not psutil.pid_exists(pid)


def test_a_hangup_reloads_what_can_change(systemd, tmp_path):
    config, token = tmp_path / "config.toml", tmp_path / "token"
    write_token(token, "first-token-of-this-test")
    config.write_text('history_tasks = 10\nlog_level = "info"\nfetch_timeout_s = 5\n')
    options = ("--config", str(config), "--token-file", str(token))
    with started(tmp_path / "state", *options, environ=systemd.environ, dev=False) as service:
        service.wait_ready()
        assert status_for(service, "first-token-of-this-test") == 200
        systemd.until("READY")
        config.write_text('history_tasks = 20\nlog_level = "error"\nbind = "127.0.0.1:1"\n')
        write_token(token, "other-token-of-this-test")
        reload(service, systemd, "reloaded")
        assert status_for(service, "first-token-of-this-test") == 401
        assert status_for(service, "other-token-of-this-test") == 200
        config.write_text("history_tasks = -1\n")
        reload(service, systemd, "reload refused: the settings are wrong: history_tasks")
        refused = service.wait_line("reload_refused")
        assert "history_tasks" in refused["error"]
        config.write_text('history_tasks = 20\nlog_level = "info"\ntls_client_ca = "/ca"\n')
        reload(service, systemd, "reloaded; restart for tls_client_ca")
        assert service.wait_line("settings_need_restart")["settings"] == ["tls_client_ca"]
        assert service.wait_line("reloaded")["changed"] == ["log_level"]
        assert status_for(service, "other-token-of-this-test") == 200


def test_sockets_are_taken_over_and_left_behind(systemd, tmp_path):
    path = tmp_path / "given.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        unix.bind(str(path))
        unix.listen()
        early = ask_early(tcp)  # before there is a service, as during its restart
        fds = (tcp.fileno(), unix.fileno())
        hand_over = (sys.executable, "-c", HAND_OVER, *map(str, fds))
        with started(tmp_path / "state", wrapper=hand_over, fds=fds) as service:
            urls = service.wait_line("serving")["urls"]
            assert urls == [f"http://127.0.0.1:{tcp.getsockname()[1]}", f"unix:{path}"]
            with early:
                assert early.recv(4096).startswith(b"HTTP/1.1 200")
            ours = {os.fstat(fd).st_ino for fd in fds}
            assert ours <= inodes_of(psutil.Process(service.pid))
            assert all(not ours & inodes_of(child) for child in service.family())
        assert path.exists()
        ask_early(tcp).close()  # still listening, for the next service


HAND_OVER = """
import fcntl, os, sys
given = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 50) for fd in sys.argv[1:3]]
for place, fd in enumerate(given, start=3):
    os.dup2(fd, place)
os.closerange(5, 100)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="a:b")
os.execv(sys.argv[3], sys.argv[3:])
"""


def inodes_of(process):
    """Every socket that a process has open, by its inode."""
    inodes = set()
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            link = str(entry.readlink())
            if link.startswith("socket:"):
                inodes.add(int(link[8:-1]))
    return inodes


def ask_early(listening):
    early = socket.create_connection(listening.getsockname(), timeout=20)
    early.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return early


def reload(service, systemd, words):
    """Send SIGHUP and wait until systemd is told what was done."""
    systemd.forget()
    os.kill(service.pid, signal.SIGHUP)
    begun = systemd.until("RELOADING")
    assert int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    done = systemd.until("READY")
    assert done["STATUS"].startswith(words), done


def write_token(path, token):
    path.write_text(token)
    path.chmod(0o600)


def status_for(service, token):
    with contextlib.closing(service.client()) as client:
        return client.send("GET", "/v1/workers", headers={"authorization": f"Bearer {token}"})[0]
