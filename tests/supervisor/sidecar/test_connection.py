from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import grpc
import pytest
import trio
import trustme
from dapr.proto.runtime.v1 import dapr_pb2_grpc, metadata_pb2, state_pb2

from workmanager.errors import SidecarError
from workmanager.sidecar.address import Address
from workmanager.sidecar.connection import Sidecar

METADATA = metadata_pb2.GetMetadataRequest, metadata_pb2.GetMetadataResponse
STATE = state_pb2.GetStateRequest, state_pb2.GetStateResponse


class Daprd(dapr_pb2_grpc.DaprServicer):
    """Answers for its metadata; a state is answered once `go_on` is set, or refused."""

    def __init__(self):
        self.headers = {}
        self.go_on = Event()
        self.cancelled = Event()

    def GetMetadata(self, request, context):  # noqa: N802 - gRPC's names
        self.headers = dict(context.invocation_metadata())
        return metadata_pb2.GetMetadataResponse(id="app")

    def GetState(self, request, context):  # noqa: N802
        if request.key == "etag":
            context.abort(grpc.StatusCode.ABORTED, "no match")
        context.add_callback(self.cancelled.set)
        self.go_on.wait(10)
        return state_pb2.GetStateResponse(data=b"1")


@contextmanager
def daprd(port=0, credentials=None):
    servicer = Daprd()
    options = (("grpc.so_reuseport", 0),)
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    dapr_pb2_grpc.add_DaprServicer_to_server(servicer, server)
    address = f"localhost:{port}"
    if credentials is None:
        servicer.port = server.add_insecure_port(address)
    else:
        servicer.port = server.add_secure_port(address, credentials)
    server.start()
    try:
        yield servicer
    finally:
        servicer.go_on.set()
        server.stop(0).wait()


@contextmanager
def free_port():
    with daprd() as one:
        port = one.port
    yield port


async def test_sidecar_that_is_absent_goes_and_comes_back(nursery):
    with free_port() as port:
        sidecar = Sidecar(Address(f"localhost:{port}"))
    told = []
    sidecar.on_up.append(lambda: told.append("up"))
    sidecar.on_down.append(lambda: told.append("down"))
    await nursery.start(sidecar.run)
    with trio.fail_after(10):
        with pytest.raises(SidecarError) as caught:
            await sidecar.call("GetMetadata", METADATA[0](), METADATA[1])
        assert caught.value.code == "UNAVAILABLE"
        assert not sidecar.is_up
        for expected in (["up"], ["up", "down", "up"]):
            with daprd(port):
                await sidecar.wait_up()
                assert told == expected
                assert sidecar.metadata.id == "app"
            with pytest.raises(SidecarError):
                await sidecar.call("GetState", STATE[0](key="a"), STATE[1])
            while sidecar.is_up:
                await trio.lowlevel.checkpoint()
            assert "UNAVAILABLE" in sidecar.last_error
    assert sidecar.reconnects == 1


async def test_call_answers_refuses_and_is_cancelled(nursery):
    with daprd() as servicer, trio.fail_after(10):
        sidecar = Sidecar(Address(f"localhost:{servicer.port}", token="secret"))
        await nursery.start(sidecar.run)
        await sidecar.wait_up()
        assert servicer.headers["dapr-api-token"] == "secret"
        with pytest.raises(SidecarError) as caught:
            await sidecar.call("GetState", STATE[0](key="etag"), STATE[1])
        assert (caught.value.code, caught.value.is_absence) == ("ABORTED", False)
        with pytest.raises(SidecarError) as caught:
            await sidecar.call("GetState", STATE[0](key="slow"), STATE[1], timeout_s=0.05)
        assert caught.value.code == "DEADLINE_EXCEEDED"
        servicer.cancelled.clear()
        with trio.move_on_after(0.05) as scope:
            await sidecar.call("GetState", STATE[0](key="slow"), STATE[1])
        assert scope.cancelled_caught
        assert await trio.to_thread.run_sync(servicer.cancelled.wait, 5)
        servicer.go_on.set()
        answer = await sidecar.call("GetState", STATE[0](key="b"), STATE[1])
        assert answer.data == b"1"
        assert sidecar.is_up


async def test_calls_after_the_end_are_refused():
    sidecar = Sidecar(Address("localhost:1"))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            nursery.cancel_scope.cancel()
        with pytest.raises(SidecarError) as caught:
            await sidecar.call("GetMetadata", METADATA[0](), METADATA[1])
    assert caught.value.code == "CANCELLED"


async def test_tls_with_an_authority_of_its_own(nursery, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made = authority.issue_cert("localhost")
    pair = (made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes())
    with daprd(credentials=grpc.ssl_server_credentials([pair])) as servicer, trio.fail_after(10):
        address = Address(f"localhost:{servicer.port}", is_tls=True, ca=tmp_path / "ca.pem")
        sidecar = Sidecar(address)
        await nursery.start(sidecar.run)
        await sidecar.wait_up()
