"""Admission: tokens, peers of the Unix socket, and what dev mode refuses a browser."""

import os
import stat

import pytest

from workmanager.api.auth import PUBLIC_PATHS, Auth, Peer, admit, load_or_create_token
from workmanager.errors import Reason, StateFolderError, WorkManagerError

TOKEN = "a-token-of-24-characters"
STRANGER = 61234
DEV = Auth(dev=True)


def scope(path="/v1/workers", *, peer=None, client=("127.0.0.1", 4), method="GET", **headers):
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    state = {} if peer is None else {"peer": peer}
    return {"path": path, "headers": named, "state": state, "client": client, "method": method}


def refusal(auth, asked):
    with pytest.raises(WorkManagerError) as caught:
        admit(auth, asked)
    return caught.value.reason


def test_the_token_admits():
    assert admit(Auth(token=TOKEN), scope(authorization=f"Bearer {TOKEN}")) == "token"
    assert admit(Auth(token=TOKEN), scope(authorization=f"bearer  {TOKEN}")) == "token"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_anything_else_does_not(value):
    assert refusal(Auth(token=TOKEN), scope(authorization=value)) is Reason.UNAUTHENTICATED


def test_no_token_set_means_that_no_token_admits():
    assert refusal(Auth(), scope(authorization="Bearer ")) is Reason.UNAUTHENTICATED


def test_two_authorization_headers_are_refused():
    asked = scope(authorization=f"Bearer {TOKEN}")
    asked["headers"] *= 2
    assert refusal(Auth(token=TOKEN), asked) is Reason.UNAUTHENTICATED


@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS))
def test_probes_and_the_description_are_public(path):
    assert admit(Auth(token=TOKEN), scope(path)) == ""


@pytest.mark.parametrize("path", ["/metrics", "/version", "/livez/", "/v1/health", "//livez"])
def test_nothing_else_is(path):
    assert refusal(Auth(token=TOKEN), scope(path)) is Reason.UNAUTHENTICATED


@pytest.mark.parametrize("uid", [0, os.geteuid(), 4242])
def test_known_peers_are_admitted(uid):
    auth = Auth(allowed_uids=frozenset({4242}))
    assert admit(auth, scope(peer=Peer(1, uid, 0), client=None)) == f"uid:{uid}"


def test_a_strange_peer_needs_the_token():
    peer = Peer(1, STRANGER, 0)
    auth = Auth(token=TOKEN, own_uid=1)
    assert refusal(auth, scope(peer=peer)) is Reason.PERMISSION_DENIED
    assert admit(auth, scope(peer=peer, authorization=f"Bearer {TOKEN}")) == "token"


def test_dev_mode_does_not_open_the_unix_socket_to_strangers():
    auth = Auth(dev=True, own_uid=1)
    assert refusal(auth, scope(peer=Peer(1, STRANGER, 0))) is Reason.PERMISSION_DENIED


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:5001",
        "127.0.0.1:5001",
        "127.9.9.9",
        "[::1]:5001",
        "a.localhost",
        "LOCALHOST.",
    ],
)
def test_dev_mode_answers_on_loopback(host):
    assert admit(DEV, scope(host=host)) == "dev"
    assert admit(DEV, scope(host=host, client=("::1", 4))) == "dev"
    assert admit(DEV, scope(host=host, client=("::ffff:127.0.0.1", 4))) == "dev"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5001",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "localhost.evil",
    ],
)
def test_dev_mode_refuses_a_rebound_host(host):
    assert refusal(DEV, scope(host=host)) is Reason.PERMISSION_DENIED


def test_dev_mode_takes_further_hosts_by_name():
    auth = Auth(dev=True, allowed_hosts=frozenset({"dev.box"}))
    assert admit(auth, scope(host="Dev.Box:5001")) == "dev"


def test_dev_mode_refuses_other_machines():
    assert refusal(DEV, scope(host="localhost", client=("10.0.0.7", 4))) is Reason.PERMISSION_DENIED


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"},
    ],
)
def test_dev_mode_refuses_what_a_browser_sends_for_another_site(headers):
    asked = scope(method="POST", host="localhost:5001", **headers)
    assert refusal(DEV, asked) is Reason.PERMISSION_DENIED


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:5001", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"},
        {"sec_fetch_site": "none"},
    ],
)
def test_dev_mode_serves_its_own_page(headers):
    assert admit(DEV, scope("/docs", host="localhost:5001", **headers)) == "dev"


def test_a_token_is_made_once_and_kept_private(tmp_path):
    path = tmp_path / "token"
    token = load_or_create_token(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_token(path) == token
    assert list(tmp_path.iterdir()) == [path]


def test_a_token_open_to_others_is_refused(tmp_path):
    path = tmp_path / "token"
    load_or_create_token(path)
    path.chmod(0o640)
    with pytest.raises(StateFolderError, match="chmod 600"):
        load_or_create_token(path)


@pytest.mark.parametrize("text", ["", "short", "two words that are long enough", "\x00" * 20])
def test_a_file_that_holds_no_token_is_refused(tmp_path, text):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(StateFolderError, match="remove the file"):
        load_or_create_token(path)


def test_a_link_is_not_followed(tmp_path):
    path = tmp_path / "token"
    load_or_create_token(tmp_path / "other")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(StateFolderError):
        load_or_create_token(path)


def test_the_token_is_not_shown():
    assert TOKEN not in repr(Auth(token=TOKEN))
