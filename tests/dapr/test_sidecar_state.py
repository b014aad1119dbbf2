"""State and locks of a Dapr sidecar, held against the fake and against a real daprd."""

from __future__ import annotations

import uuid

import grpc
import pytest
from dapr_client import FIRST_WRITE, LAST_WRITE, refused
from sidecars import patience


class TestState:
    def test_value_comes_back_with_an_etag(self, client, topic):
        client.save(topic, b"\x00one")
        data, etag = client.get(topic)
        assert data == b"\x00one"
        assert etag
        client.save(topic, b"two", etag=etag, mode=FIRST_WRITE)
        assert client.get(topic)[0] == b"two"
        assert client.get(topic)[1] != etag

    def test_missing_key_is_empty(self, client, topic):
        assert client.get(topic) == (b"", "")
        assert client.get_bulk(topic, f"{topic}-2") == {topic: b"", f"{topic}-2": b""}
        client.delete(topic)

    def test_stale_etag_is_aborted(self, client, topic):
        client.save(topic, b"1", mode=FIRST_WRITE)
        stale = client.get(topic)[1]
        client.save(topic, b"2", etag=stale, mode=FIRST_WRITE)
        refused(grpc.StatusCode.ABORTED, client.save, topic, b"3", etag=stale, mode=FIRST_WRITE)
        refused(grpc.StatusCode.ABORTED, client.delete, topic, etag=stale)
        assert client.get(topic)[0] == b"2"

    def test_first_write_creates_once(self, client, topic, is_redis):
        client.save(topic, b"1", mode=FIRST_WRITE)
        code = grpc.StatusCode.INTERNAL if is_redis else grpc.StatusCode.ABORTED
        refused(code, client.save, topic, b"2", mode=FIRST_WRITE)

    def test_etag_on_a_missing_key(self, client, topic, is_redis):
        etag = "5" if is_redis else str(uuid.uuid4())
        if is_redis:  # it resurrects what was deleted
            client.save(topic, b"1", etag=etag, mode=FIRST_WRITE)
            assert client.get(topic) == (b"1", "1")
        else:
            refused(grpc.StatusCode.ABORTED, client.save, topic, b"1", etag=etag, mode=FIRST_WRITE)

    def test_strange_etag(self, client, topic, is_redis):
        client.save(topic, b"1", mode=FIRST_WRITE)
        code = grpc.StatusCode.INVALID_ARGUMENT if is_redis else grpc.StatusCode.ABORTED
        refused(code, client.save, topic, b"2", etag="abc", mode=FIRST_WRITE)

    def test_last_write_after_first_write(self, client, topic, is_redis):
        client.save(topic, b"1", mode=FIRST_WRITE)
        if is_redis:  # the mark stays on the key
            refused(grpc.StatusCode.INTERNAL, client.save, topic, b"2", mode=LAST_WRITE)
        else:
            client.save(topic, b"2", mode=LAST_WRITE)
            assert client.get(topic)[0] == b"2"

    def test_plain_write_lets_a_first_write_through_on_redis(self, client, topic, is_redis):
        client.save(topic, b"1")
        if is_redis:  # the guard only holds if every earlier write used it
            client.save(topic, b"2", mode=FIRST_WRITE)
        else:
            refused(grpc.StatusCode.ABORTED, client.save, topic, b"2", mode=FIRST_WRITE)

    def test_deleted_key_starts_anew(self, client, topic, is_redis):
        client.save(topic, b"1", mode=FIRST_WRITE)
        client.delete(topic, etag=client.get(topic)[1])
        assert client.get(topic) == (b"", "")
        client.save(topic, b"2", mode=FIRST_WRITE)
        if is_redis:
            assert client.get(topic)[1] == "1"

    def test_time_to_live_ends(self, client, topic):
        client.save(topic, b"1", ttlInSeconds="1")
        assert client.get(topic)[0] == b"1"
        for _ in patience(10):
            if client.get(topic)[0] == b"":
                return
        raise AssertionError("still there")

    def test_separator_is_illegal_in_a_key(self, client, is_redis):
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.save, "a||b", b"1")
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.get, "a||b")

    def test_bulk_get_keeps_order_and_values(self, client, topic):
        for number in range(30):
            client.save(f"{topic}-{number}", str(number).encode())
        keys = [f"{topic}-{number}" for number in range(30)]
        assert client.get_bulk(*keys) == {
            f"{topic}-{number}": str(number).encode() for number in range(30)
        }


class TestLocks:
    @pytest.fixture(autouse=True)
    def _has_locks(self, redis_only):
        pass

    def test_lock_is_taken_once_even_by_its_owner(self, client, topic):
        assert client.lock(topic, "me")
        assert not client.lock(topic, "me")
        assert not client.lock(topic, "you")
        assert client.unlock(topic, "you") == 2
        assert client.unlock(topic, "me") == 0
        assert client.unlock(topic, "me") == 1
        assert client.lock(topic, "you")

    def test_lock_expires(self, client, topic):
        assert client.lock(topic, "me", expiry_s=1)
        for _ in patience(10):
            if client.lock(topic, "you"):
                return
        raise AssertionError("still held")

    def test_faulty_requests_are_refused(self, client):
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.lock, "r", "me", 0)
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.lock, "", "me")
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.lock, "r", "")


def test_no_lock_store(client, is_redis):
    if is_redis:
        pytest.skip("Redis has one")
    refused(grpc.StatusCode.FAILED_PRECONDITION, client.lock, "r", "me")
