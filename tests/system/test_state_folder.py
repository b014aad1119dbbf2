"""State folders that cannot be used are refused with a reason; a full disk is survived."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing, contextmanager

import pytest
from system_harness import Lab, Service, event, serving, until

ECHO = "def process(event): return event.data"
MIB = 2**20


def refusal(state, **more):
    """Start a service that must refuse; returns what it said."""
    service = Service.start(state, **more)
    try:
        service.process.wait(30)
    finally:
        service.process.kill()
        service._collect()
    assert service.process.returncode == 4, service.lines
    said = " ".join(str(line.get("text") or line) for line in service.lines)
    assert "Traceback" not in said
    return said


def test_second_service_on_the_same_folder_is_refused(tmp_path):
    with serving(tmp_path) as first:
        said = refusal(tmp_path)
        assert str(first.pid) in said
        with closing(first.client()) as client:
            assert client.get("/livez") == b"ok\n"


def test_newer_schema_is_refused_and_left_alone(tmp_path):
    with serving(tmp_path):
        pass
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    assert "999" in refusal(tmp_path)
    assert path.read_bytes() == before


def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database" * 1000)
    assert "state.db" in refusal(tmp_path) or "database" in refusal(tmp_path)
    assert path.read_bytes() == b"this is no database" * 1000


@contextmanager
def small_disk(folder, size):
    """Mount a tmpfs of *size* bytes at *folder*."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk needs root and mount(2)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_folder_that_may_not_be_written_is_refused(tmp_path):
    with small_disk(tmp_path, MIB) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert str(disk) in refusal(disk)


def fill(folder, leave):
    """Fill the disk with ballast until *leave* bytes are free."""
    stat = os.statvfs(folder)
    ballast = folder / "ballast"
    with ballast.open("ab") as file:
        left = stat.f_bavail * stat.f_frsize - leave
        while left > 0:
            try:
                left -= file.write(bytes(min(left, MIB)))
                file.flush()
            except OSError:
                break
    return ballast


def troubles(lab):
    checks = lab.client.get("/v1/health?verbose=true")["checks"]
    return [check for check in checks if check["status"] != "ok"]


def test_full_disk_refuses_intake_keeps_accepted_work_and_heals(tmp_path):
    with small_disk(tmp_path, 96 * MIB) as disk, serving(disk / "state") as service:
        lab = Lab(service)
        sink = lab.sink("out")
        worker = lab.worker("a", ECHO, topic="in", output="out")
        worker.verb("pause")
        lab.send("in", *range(50))
        ballast = fill(disk, 16 * MIB)  # below what is kept free for accepted work

        def refused():
            status, _ = lab.client.send(
                "POST",
                f"/v1/topics/{lab.topic('in')}:publish",
                b"1",
                {"ce-id": os.urandom(4).hex(), "ce-source": "s", "ce-type": "t"},
            )
            return status == 503

        until(refused, what="intake is refused")
        problem = lab.publish("in", [event(1, id="no")], expect=503)
        assert problem["reason"] == "STORE_UNAVAILABLE"
        assert "room" in problem["detail"]
        assert int(lab.client.headers["retry-after"]) >= 1
        assert "disk" in {check["name"] for check in troubles(lab)}
        accepted = worker.status()["backlog"]
        worker.verb("resume")
        worker.until_idle()  # work taken on is finished in the room that was kept
        assert worker.status()["tasksCompleted"] == accepted
        ballast.unlink()

        def taken():
            try:
                return lab.publish("in", [event("healed", id="healed")])
            except AssertionError:
                return None

        until(taken, what="it heals by itself")
        assert "healed" in sink.data(accepted + 1)
        lab.client.close()


def test_disk_without_a_byte_left_loses_nothing(tmp_path):
    with small_disk(tmp_path, 64 * MIB) as disk:
        service = Service.start(disk / "state").wait_ready()
        lab = Lab(service)
        code = "import time\ndef process(event):\n    time.sleep(0.02)\n    return event.data"
        sink = lab.sink("out")
        worker = lab.worker("a", code, topic="in", output="out")
        worker.verb("pause")
        lab.send("in", *range(40))
        worker.verb("resume")
        worker.until(lambda status: status["tasksCompleted"] > 3)
        ballast = fill(disk, 0)
        service.wait_line("store_refuses_writes")
        status, _ = lab.client.send("GET", "/readyz")
        assert status == 503
        explained = lab.client.get(f"{worker.path}:explain")
        assert "store" in explained["summary"]
        ballast.unlink()
        service.wait_line("store_healed")
        assert sorted(sink.data(40)) == list(range(40))
        worker.until_idle()
        assert len(worker.tasks()) == 40
        assert lab.client.get("/readyz") == b"ok\n"

        worker.verb("pause")
        lab.publish("in", [event(n, id=f"second{n}") for n in range(20)])
        worker.verb("resume")
        ballast = fill(disk, 0)
        service.kill()
        ballast.unlink()
        with serving(disk / "state") as again:
            after = Lab(again)
            tasks = until(
                lambda: (
                    [
                        task
                        for task in after.client.all("/v1/tasks", worker=worker.name)
                        if task["eventId"].startswith("second") and task["status"] == "COMPLETED"
                    ]
                    or None
                ),
                what="what was accepted goes on",
            )
            until(
                lambda: not after.client.get(worker.path)["status"]["backlog"],
                what="all is handled",
            )
            tasks = after.client.all("/v1/tasks", worker=worker.name)
            ends = [task["eventId"] for task in tasks if task["eventId"].startswith("second")]
            assert sorted(ends) == sorted(f"second{n}" for n in range(20))
            after.client.close()
        lab.client.close()
