"""What honest code finds inside: everything that it needs, at every level."""

from __future__ import annotations

import os
import sys

import pytest


def test_the_kernel_confirms_the_locks(cage):
    """The status bits, as Chromium's browser test asserts them."""
    status = cage("""
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        tell({name: value.strip() for name, value in lines.items()})
    """)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0
    if os.geteuid() == 0:
        assert int(status["CapBnd"], 16) == 0


def test_the_scratch_is_home_and_temporary(cage):
    place, files = cage("""
        import os, tempfile
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
            tell([[os.getcwd(), os.environ["HOME"], os.environ["TMPDIR"], tempfile.gettempdir()],
                  os.listdir()])
    """)
    assert len(set(place)) == 1
    assert sum(name.startswith("tmp") for name in files) == 1  # mount points may stand beside it


def test_threads_run(cage):
    assert (
        cage("""
        import threading
        done = []
        threads = [threading.Thread(target=done.append, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        tell(len(done))
    """)
        == 8
    )


def test_asyncio_runs(cage):
    assert (
        cage("""
        import asyncio
        async def main():
            await asyncio.sleep(0)
            return await asyncio.to_thread(lambda: 42)
        tell(asyncio.run(main()))
    """)
        == 42
    )


def test_modules_not_yet_imported_can_be(cage):
    """sqlite3, ssl and decimal have compiled parts and libraries outside of the interpreter."""
    assert cage("""
        import csv, decimal, hashlib, sqlite3, ssl, xml.etree.ElementTree, zoneinfo
        context = ssl.create_default_context()
        with sqlite3.connect("test.db") as database:
            database.execute("CREATE TABLE t (x)")
            database.execute("INSERT INTO t VALUES (1)")
        noon = zoneinfo.ZoneInfo("Europe/Berlin").key
        tell([str(decimal.Decimal(1) / 3)[:5], hashlib.sha256(b"").hexdigest()[:4], noon,
              database.execute("SELECT count(*) FROM t").fetchone()[0]])
    """) == ["0.333", "e3b0", "Europe/Berlin", 1]


def test_devices_work(cage):
    assert cage("""
        import os
        with open("/dev/null", "w") as null: null.write("x")
        with open("/dev/zero", "rb") as zero: zeros = zero.read(4)
        with open("/dev/urandom", "rb") as chance: some = chance.read(8)
        tell([zeros == bytes(4), len(some), len(os.urandom(4)), len(os.getrandom(4))])
    """) == [True, 8, 4, 4]


def test_the_machine_can_be_asked(cage):
    facts = cage("""
        import os, pwd, platform
        with open("/proc/meminfo") as memory: first = memory.readline()
        with open("/proc/cpuinfo") as processors: size = len(processors.read())
        tell({"memory": first, "cpu": size, "count": os.cpu_count(), "load": os.getloadavg(),
              "home": os.path.expanduser("~"), "user": pwd.getpwuid(os.getuid()).pw_name})
    """)
    assert facts["memory"].startswith("MemTotal")
    assert facts["cpu"]
    assert facts["count"]


def test_files_of_the_scratch_behave(cage):
    assert cage("""
        import mmap, os, fcntl, stat
        os.mkdir("here"); os.chdir("here")  # mount points of a checkout may stand beside it
        os.mkdir("folder"); os.rename("folder", "other"); os.symlink("other", "link")
        with open("other/file", "w+b") as file:
            file.write(b"0123456789"); file.flush(); file.truncate(5); os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX)
            with mmap.mmap(file.fileno(), 5) as mapped: mapped[0] = 65
        os.mkfifo("pipe"); os.link("other/file", "hard")
        content = open("hard", "rb").read().decode()
        os.unlink("hard"); os.sync()
        tell([content, sorted(os.listdir())])
    """) == ["A1234", ["link", "other", "pipe"]]


def test_signals_to_oneself_work(cage):
    assert (
        cage("""
        import os, signal, time
        seen = []
        signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
        signal.raise_signal(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        signal.pthread_kill(__import__("threading").get_ident(), signal.SIGUSR1)
        signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        signal.sigtimedwait([], 0.05) if len(seen) < 4 else None
        tell(len(seen))
    """)
        == 4
    )


def test_children_run_where_they_are_allowed(cage, level):
    if level == "basic":
        pytest.skip("at basic nothing would end a daemon")
    assert cage(
        """
        import subprocess
        result = subprocess.run(["/bin/sh", "-c", "echo $0 | cat"], capture_output=True, text=True)
        tell([result.returncode, result.stdout])
        """,
        subprocess="allow",
    ) == [0, "/bin/sh\n"]


def test_a_pool_of_processes_runs_where_they_are_allowed(cage, level):
    if level == "basic":
        pytest.skip("at basic nothing would end a daemon")
    assert cage(
        """
        import multiprocessing
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool: result = pool.map(abs, [-1, -2, -3])
        tell(result)
        """,
        subprocess="allow",
    ) == [1, 2, 3]


def test_own_loopback_carries_connections(cage, level):
    if level == "basic":
        pytest.skip("no own network")
    assert (
        cage(
            """
        import socket
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as ours:
                theirs = server.accept()[0]
                ours.sendall(b"hello")
                text = theirs.recv(5).decode()
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        unix.bind("socket")
        tell(text)
        """,
            network="loopback",
        )
        == "hello"
    )


def test_listed_port_can_be_reached(cage, jailer):
    port = jailer.run("tell(targets.tcp_port)", level="none")
    connected = cage(
        """
        import socket
        with socket.create_connection(("127.0.0.1", targets.tcp_port), timeout=2): tell("in")
        """,
        network="ports",
        ports=[port],
    )
    assert connected == "in"


def test_full_network_is_the_hosts(cage):
    assert (
        cage(
            """
        import socket
        with socket.create_connection(("127.0.0.1", targets.tcp_port), timeout=2): pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", ("127.0.0.1", targets.udp_port))
        tell("in")
        """,
            network="full",
        )
        == "in"
    )


def test_read_paths_can_be_read_and_not_written(cage, tmp_path):
    """Also below /tmp, which inside is the scratch."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent != parent.parent and os.getuid() == 0:
            parent.chmod(parent.stat().st_mode | 0o011) if str(parent).startswith("/tmp/") else None
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("42")
    read, error = cage(
        f"""
        path = {str(tmp_path / "model" / "weights")!r}
        text = open(path).read()
        try: open(path, "w")
        except OSError as error: tell([text, error.errno])
        """,
        readPaths=[str(tmp_path / "model")],
    )
    assert read == "42"
    assert error in (13, 30)


def test_other_prefixes_run_inside(cage, level):
    """The whole of another interpreter's prefix can be shown; here it is our own again."""
    names = cage(f"import os; tell(os.listdir({sys.base_prefix!r}))", readPaths=[sys.base_prefix])
    assert "lib" in names
