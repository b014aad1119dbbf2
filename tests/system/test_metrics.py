"""Metrics of the real service, by OpenTelemetry's names and by Conductor's."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from system_harness import serving, until

pytestmark = pytest.mark.slow

ECHO = "def process(event):\n    return {'padding': 'x' * 1000}\n"
FAIL = "def process(event):\n    raise ValueError('no')\n"
DIE = "import os\ndef process(event):\n    os._exit(3)\n"
HANG = "import time\ndef process(event):\n    time.sleep(60)\n"
ONCE = {"maximumAttempts": 1}
CONDUCTOR = {
    "task_poll_counter", "task_poll_error", "task_execute_error", "task_update_error",
    "task_poll_time", "task_execute_time", "task_result_size",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    options = ("--set", "conductor_metrics=127.0.0.1:0")
    with serving(tmp_path_factory.mktemp("state"), *options) as service:
        yield service


def samples(text, **labels):
    """Return the samples with these labels among theirs, by name."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if labels.items() <= sample.labels.items()
    }


def scrape(lab, worker):
    return samples(lab.client.get("/metrics").decode(), messaging_consumer_group_name=worker)


def scrape_functions(lab, worker):
    return samples(lab.client.get("/metrics").decode(), faas_name=worker)


def scrape_conductor(lab, worker):
    url = next(url for url in lab.service.wait_line("serving")["urls"] if "metrics" in url)
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=")
        lines = answer.read().decode().splitlines()
    mine = [line for line in lines if f'{{taskType="{worker}"' in line]
    return {line.partition("{")[0]: float(line.split()[-1]) for line in mine}


def test_attempts_are_counted_by_the_names_of_opentelemetry(lab):
    worker = lab.worker("ok", ECHO, topic="t", output="out")
    lab.send("t", *range(5))
    worker.until_idle()
    found = scrape(lab, worker.name)
    assert found["messaging_client_consumed_messages_total"] == 5
    assert found["messaging_client_sent_messages_total"] == 5
    assert found["messaging_process_duration_seconds_count"] == 5
    assert 0 < found["messaging_process_duration_seconds_sum"] < 5
    told = scrape_functions(lab, worker.name)
    assert told["faas_invocations_total"] == 5
    assert told["faas_errors_total"] == told["faas_timeouts_total"] == 0
    assert told["faas_coldstarts_total"] == 1


def test_durations_are_in_cumulative_buckets(lab):
    worker = lab.worker("slow", "import time\ndef process(event):\n    time.sleep(event.data)\n")
    for seconds in (0, 0.1):
        worker.invoke(seconds)
    text = lab.client.get("/metrics").decode()
    buckets = {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "messaging_process_duration_seconds_bucket"
        and sample.labels["messaging_consumer_group_name"] == worker.name
    }
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets[0.065536] == 1
    assert buckets[float("inf")] == buckets[8.38861] == 2


@pytest.mark.parametrize(("code", "options"), [
    (FAIL, {"retry": ONCE}),
    (DIE, {"deadLetter": {"maxCrashes": 1}}),
    (HANG, {"retry": ONCE, "timeouts": {"startToClose": "200ms"}, "drain": {"killAfter": "100ms"}}),
])  # fmt: skip
def test_attempts_that_fail_are_counted_for_both(lab, code, options):
    worker = lab.worker("bad", code, topic="t", **options)
    lab.send("t", 1)
    until(worker.dead_letters)
    found = scrape_functions(lab, worker.name)
    assert found["faas_errors_total"] == 1
    assert found["faas_timeouts_total"] == (1 if code is HANG else 0)
    assert scrape_conductor(lab, worker.name)["task_execute_error"] == 1


def test_a_conductor_dashboard_finds_its_names(lab):
    worker = lab.worker("task", ECHO, topic="t", output="out")
    lab.send("t", *range(5))
    worker.until_idle()
    found = scrape_conductor(lab, worker.name)
    assert set(found) == CONDUCTOR
    assert 1 <= found["task_poll_counter"] <= 5
    assert (
        found["task_execute_error"] == found["task_update_error"] == found["task_poll_error"] == 0
    )
    assert 0 < found["task_execute_time"] < 5
    assert 0 <= found["task_poll_time"] < 5
    assert found["task_result_size"] > 1000


def test_the_port_of_conductor_has_nothing_else(lab):
    url = next(url for url in lab.service.wait_line("serving")["urls"] if "metrics" in url)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url.replace("/metrics", "/v1/workers"), timeout=10)
