"""A service beside a sidecar whose faults the test chooses."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
from system_harness import Lab, Service, until

sys.path.insert(0, str(Path(__file__).parents[1] / "dapr"))

from sidecars import fake_sidecar

QUICK = ("--inbound-retries", "4", "--inbound-interval", "0.1")
QUICK += ("--processing-timeout", "1", "--redeliver-interval", "0.2")


@contextmanager
def beside(state, *options, sidecar=QUICK, is_up=True):
    """Run a fake sidecar and a service beside it, until that has ended in good order."""
    with fake_sidecar("workmanager", *sidecar) as place:
        if not is_up:
            place.kill()
        service = Service.start(state, *options, environ=place.environment)
        service.sidecar = place
        try:
            yield service.wait_ready()
        except BaseException:
            service.process.kill()
            service._collect()
            raise
        service.stop()


class DaprLab(Lab):
    """A corner of such a service."""

    @property
    def place(self):
        return self.service.sidecar

    def checks(self):
        """The health of each part, by name."""
        checks = self.client.get("/v1/health?verbose=true")["checks"]
        return {check["name"]: check for check in checks}

    def until_check(self, name, status, *, timeout_s=20.0):
        """Wait until a part of the health has this status; returns it."""

        def seen():
            check = self.checks().get(name)
            return check if check is not None and check["status"] == status else None

        return until(seen, timeout_s=timeout_s, what=f"{name} is {status}")

    def until_open(self, topic, *, timeout_s=20.0):
        return self.until_check(f"subscription/{self.topic(topic)}", "ok", timeout_s=timeout_s)

    def streams(self, do, topic="", **more):
        topic = topic and self.topic(topic)
        return self.place.control("POST", "/streams", {"do": do, "topic": topic, **more})

    def subscribed(self):
        """The topics that the sidecar has subscriptions for, but for those of returned events."""
        topics = (topic for _, topic in self.place.told()["subscriptions"])
        return sorted(topic for topic in topics if "returned" not in topic)

    def post(self, topic, data):
        """Put a message into the broker behind the sidecar's back."""
        message = {"pubsub": "pubsub", "topic": self.topic(topic), "data": data}
        self.place.control("POST", "/raw", message)

    def sidecar_process(self):
        """The process that is the sidecar: the child of this one that listens on its port."""
        for child in psutil.Process().children():
            ports = {c.laddr.port for c in child.net_connections() if c.status == "LISTEN"}
            if self.place.grpc_port in ports:
                return child
        raise AssertionError("no sidecar runs")

    def check_answers(self):
        """Every delivery was answered SUCCESS, once, and nothing was lost."""
        told = self.place.told()
        wrong = {key: words for key, words in told["answers"].items() if words != ["SUCCESS"]}
        assert not wrong, list(wrong.items())[:5]
        assert told["stray_answers"] == []
        assert told["lost"] == []
        return told
