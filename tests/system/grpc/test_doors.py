"""Who gets in: the token, the Unix socket, dev mode, TLS and mutual TLS, and where it listens."""

import socket
import stat
import subprocess
import sys

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from workmanager.v1 import worker_service_pb2 as pb
from workmanager.v1 import worker_service_pb2_grpc

pytestmark = [pytest.mark.system, pytest.mark.slow]

LIST = pb.ListWorkersRequest()
WRONG = [
    (),
    (("authorization", "Bearer wrong-token-of-some-length"),),
    (("authorization", "Basic xyz"),),
    (("authorization", "Bearer a"), ("authorization", "Bearer b")),
]


def workers(target, credentials=None):
    channel = (
        grpc.insecure_channel(target)
        if credentials is None
        else grpc.secure_channel(target, credentials)
    )
    return worker_service_pb2_grpc.WorkerServiceStub(channel)


@pytest.mark.parametrize("metadata", WRONG)
def test_tcp_asks_for_the_token(api, make, metadata):
    stub = workers(api.target)
    refused = make.refusal(stub.ListWorkers, LIST, metadata=metadata)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
    )
    stream = make.refusal(stub.WatchWorkers, pb.WatchWorkersRequest(), metadata=metadata)
    assert stream.reason == "UNAUTHENTICATED"


def test_tcp_takes_the_token(api):
    assert workers(api.target).ListWorkers(LIST, metadata=api.credentials) is not None


def test_a_strangers_message_is_not_even_received(api, make):
    """Else anybody could fill memory: the answer comes before 40 MB could have been sent."""
    huge = pb.CreateVersionRequest(worker="w", content=bytes(40_000_000))
    refused = make.refusal(workers(api.target).CreateVersion, huge)
    assert refused.reason == "UNAUTHENTICATED"


def test_the_unix_socket_takes_its_owner_and_is_closed_to_others(api):
    path = api.state / "grpc.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert api.workers.ListWorkers(LIST) is not None


def test_reflection_and_health_of_the_service_need_no_token_and_workers_do(api, make):
    name = api.create()
    stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(api.target))
    assert stub.Check(health_pb2.HealthCheckRequest()).status == 1
    one = health_pb2.HealthCheckRequest(service=f"workers/{name}")
    assert make.refusal(stub.Check, one).reason == "UNAUTHENTICATED"
    assert make.refusal(stub.Watch, one).reason == "UNAUTHENTICATED"
    assert make.refusal(stub.List, health_pb2.HealthListRequest()).reason == "UNAUTHENTICATED"
    assert stub.Check(one, metadata=api.credentials).status == 1


def test_dev_mode_asks_for_nothing_on_loopback_and_leaves_no_socket(make, tmp_path):
    with make.serving(tmp_path / "state", "--dev") as api:
        assert workers(api.target).ListWorkers(LIST) is not None
    assert not (tmp_path / "state" / "grpc.sock").exists()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority; the files of the service and of a client."""
    folder = tmp_path_factory.mktemp("tls")
    ca, stranger = trustme.CA(), trustme.CA()
    made = {"ca": ca, "folder": folder}
    ca.cert_pem.write_to_path(folder / "ca.pem")
    for name, issuer in (("server", ca), ("client", ca), ("stranger", stranger)):
        issued = issuer.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return made


def tls_options(folder, *, mutual):
    options = ["--set", f"tls_certificate={folder / 'server.pem'}"]
    options += ["--set", f"tls_key={folder / 'server.key'}"]
    return options + (["--set", f"tls_client_ca={folder / 'ca.pem'}"] if mutual else [])


def channel_credentials(folder, client=None):
    root = (folder / "ca.pem").read_bytes()
    if client is None:
        return grpc.ssl_channel_credentials(root)
    key, chain = ((folder / f"{client}.{end}").read_bytes() for end in ("key", "pem"))
    return grpc.ssl_channel_credentials(root, key, chain)


def test_tls_takes_the_place_of_plain_text(make, authority, tmp_path):
    folder = authority["folder"]
    with make.serving(tmp_path / "state", *tls_options(folder, mutual=False)) as api:
        assert any(url.startswith("grpcs://") for url in api.urls)
        stub = workers(api.target, channel_credentials(folder))
        assert stub.ListWorkers(LIST, metadata=api.credentials) is not None
        assert make.refusal(stub.ListWorkers, LIST).reason == "UNAUTHENTICATED"
        plain = make.refusal(workers(api.target).ListWorkers, LIST, metadata=api.credentials)
        assert plain.code is grpc.StatusCode.UNAVAILABLE
        assert api.workers.ListWorkers(LIST) is not None  # the Unix socket stays plain


def test_mutual_tls_wants_a_certificate_of_its_authority(make, authority, tmp_path):
    folder = authority["folder"]
    with make.serving(tmp_path / "state", *tls_options(folder, mutual=True)) as api:
        stub = workers(api.target, channel_credentials(folder, "client"))
        assert stub.ListWorkers(LIST, metadata=api.credentials) is not None
        for other in (None, "stranger"):
            stub = workers(api.target, channel_credentials(folder, other))
            refused = make.refusal(stub.ListWorkers, LIST, metadata=api.credentials)
            assert refused.code is grpc.StatusCode.UNAVAILABLE


def test_a_taken_port_is_refused_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve(tmp_path, "--set", f"grpc_bind=127.0.0.1:{port}")
    assert ended.returncode == 4
    assert "gRPC cannot listen there" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def serve(folder, *options):
    words = [sys.executable, "-m", "workmanager.cli", "serve", "--bind", "none"]
    words += ["--set", "grpc_bind=127.0.0.1:0", "--state", str(folder / "state"), *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
