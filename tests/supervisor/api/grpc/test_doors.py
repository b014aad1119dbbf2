"""What gRPC must not listen on is refused, and says what to do."""

from pathlib import Path

import grpc
import pytest
import trustme

from workmanager.api.grpc.doors import GrpcOptions, open_tcp, open_unix
from workmanager.api.listeners import ServerError, Tls


class Server:
    """Takes every address; what is refused must not get this far."""

    def add_insecure_port(self, address):
        return 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (GrpcOptions(binds=("0.0.0.0:0",)), "only loopback is served without TLS"),
        (GrpcOptions(binds=("0.0.0.0:0",), require_loopback=True), "loopback only"),
        (GrpcOptions(binds=("nonsense",)), "give host:port"),
        (GrpcOptions(binds=("no.such.host.invalid:1",)), "the host is unknown"),
    ],
)
def test_an_address_is_refused(options, words):
    with pytest.raises(ServerError, match=words):
        open_tcp(Server(), options)


def test_loopback_is_taken_in_both_families():
    urls = open_tcp(Server(), GrpcOptions(binds=("127.0.0.1:5", "[::1]:6")))
    assert urls == ["grpc://127.0.0.1:1", "grpc://[::1]:1"]


def test_files_that_are_no_certificates_are_refused(tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    with pytest.raises(ServerError, match=r"bad\.pem"):
        open_tcp(Server(), GrpcOptions(tls=Tls(bad, bad)))


def test_a_path_too_long_for_a_socket_is_refused():
    with pytest.raises(ServerError, match="at most 107 bytes"):
        open_unix(Server(), Path("/" + "x" * 120))


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ServerError, match="is not a socket"):
        open_unix(Server(), path)
    assert path.read_text() == "precious"


def test_a_good_certificate_makes_credentials(tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    given = []

    class Secure(Server):
        def add_secure_port(self, address, credentials):
            given.append(credentials)
            return 7

    tls = Tls(tmp_path / "cert", tmp_path / "key", tmp_path / "ca")
    assert open_tcp(Secure(), GrpcOptions(tls=tls)) == ["grpcs://127.0.0.1:7"]
    assert isinstance(given[0], grpc.ServerCredentials)
