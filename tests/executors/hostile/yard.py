"""The targets of the attacks: files, sockets, and a victim of the jailer's own uid."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from typing import Any

from cage import Targets
from jail import kill_and_reap

MEMORY_BYTES = 96 << 20
FILES = 64
PROCESSES = 24
SCRATCH_BYTES = 4 << 20
SCRATCH_INODES = 64
QUESTION = signal.SIGRTMIN + 5  # higher than all others, so the victim comes to it last
VICTIM = f"""
import os, signal, sys, time
os.chdir(sys.argv[1])
def tell(number, frame):
    os.write(1, bytes([number]))
for number in (signal.SIGUSR2, signal.SIGURG, signal.SIGIO, signal.SIGTERM, {int(QUESTION)}):
    signal.signal(number, tell)
os.write(1, b"!")
while True:
    time.sleep(60)
"""
VICTIM_ANSWERS_S = 0.5
SECRET = "the-jailers-secret-4711"


class Yard:
    """Everything outside of the jail that an attack may aim at."""

    def __enter__(self) -> Yard:  # noqa: PYI034 - Self is not in older typing modules
        self.folder = tempfile.mkdtemp(prefix="hostile-")
        os.chmod(self.folder, 0o755)
        self._private = os.path.join(self.folder, "private")
        self._open_folder = os.path.join(self.folder, "open")
        os.mkdir(self._private, 0o700)
        os.mkdir(self._open_folder)
        os.chmod(self._open_folder, 0o777)
        self._secret = os.path.join(self._private, "secret")
        self._open_file = os.path.join(self._open_folder, "file")
        self._write_files()
        os.chmod(self._secret, 0o600)
        self._make_sockets()
        self._start_victim()
        return self

    def __exit__(self, *_error: object) -> None:
        kill_and_reap(self.victim)
        for listener in self._listeners:
            listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def limits(self) -> dict[str, Any]:
        """The limits that attacks on resources run against."""
        return {
            "scratchBytes": SCRATCH_BYTES,
            "scratchInodes": SCRATCH_INODES,
            "limits": {
                "memoryBytes": MEMORY_BYTES,
                "addressSpaceBytes": 4 * MEMORY_BYTES,
                "files": FILES,
                "processes": PROCESSES,
                "fileSizeBytes": 2 << 20,
            },
        }

    def make_scratch(self) -> str:
        """A fresh folder for an executor without a tree of its own."""
        return tempfile.mkdtemp(prefix="scratch-", dir=self.folder)

    def targets(self, scratch: str) -> Targets:
        return Targets(
            victim_pid=self.victim,
            victim_group=os.getpgid(self.victim),
            jailer_pid=os.getpid(),
            secret=self._secret,
            secret_text=SECRET,
            open_folder=self._open_folder,
            open_file=self._open_file,
            tcp_port=self._listeners[0].getsockname()[1],
            udp_port=self._listeners[1].getsockname()[1],
            unix_path=self._unix_path,
            abstract_name=self._abstract_name,
            memory_bytes=MEMORY_BYTES,
            files=FILES,
            processes=PROCESSES,
            scratch_bytes=SCRATCH_BYTES,
            scratch_inodes=SCRATCH_INODES,
            scratch=scratch,
        )

    def ask_victim(self) -> str | None:
        """What the victim felt, if anything: it answers the question last."""
        os.kill(self.victim, QUESTION)
        heard = b""
        while select.select([self._victims_words], [], [], VICTIM_ANSWERS_S)[0]:
            words = os.read(self._victims_words, 64)
            heard += words
            if not words:
                return "the victim is dead"
            if QUESTION in words:
                numbers = [number for number in heard if number != QUESTION]
                return f"the victim got signals {numbers}" if numbers else None
        return "the victim does not answer"

    def mend(self, *, new_victim: bool) -> None:
        """Undo what an attack did at level none, so that the next one starts afresh."""
        if new_victim:
            kill_and_reap(self.victim)
            os.close(self._victims_words)
            self._start_victim()
        for entry in os.listdir(self._open_folder):
            path = os.path.join(self._open_folder, entry)
            if path not in (self._open_file, self._unix_path):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for entry in os.listdir(self.folder):
            if entry.startswith("scratch-"):
                shutil.rmtree(os.path.join(self.folder, entry), ignore_errors=True)
        self._write_files()

    def _write_files(self) -> None:
        for path, text in ((self._secret, SECRET), (self._open_file, "original")):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        os.chmod(self._open_file, 0o666)
        os.utime(self._open_file, (0, 0))

    def _make_sockets(self) -> None:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        self._unix_path = os.path.join(self._open_folder, "socket")
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        unix.bind(self._unix_path)
        os.chmod(self._unix_path, 0o777)
        self._abstract_name = f"hostile-{os.getpid()}"
        abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        abstract.bind("\0" + self._abstract_name)
        abstract.listen()
        self._listeners = [tcp, udp, unix, abstract]

    def _start_victim(self) -> None:
        read_end, write_end = os.pipe()
        self.victim = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", VICTIM, self._private],
            {"VICTIM_SECRET": SECRET},
            file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)],
            setpgroup=0,
        )
        os.close(write_end)
        assert os.read(read_end, 1) == b"!"
        self._victims_words = read_end
