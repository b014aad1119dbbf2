"""Where the client looks for the service, and which token it shows to whom."""

import socket

import pytest

from workmanager.client.target import (
    Target,
    TargetError,
    default_target,
    load_token,
    parse_target,
)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("/run/wm.sock", Target("/run/wm.sock")),
        ("./wm.sock", Target("./wm.sock")),
        ("unix:/run/wm.sock", Target("/run/wm.sock")),
        ("unix:///run/wm.sock", Target("/run/wm.sock")),
        ("unix:wm.sock", Target("wm.sock")),
        ("http://example.org:80", Target(host="example.org", port=80)),
        ("http://127.0.0.1/", Target(host="127.0.0.1", port=5001)),
        ("https://example.org", Target(host="example.org", port=443, is_tls=True)),
        ("localhost:5001", Target(host="localhost", port=5001)),
        ("http://[::1]:7", Target(host="::1", port=7)),
        ("http://[::1]", Target(host="::1", port=5001)),
    ],
)
def test_targets(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "ftp://host",
        "http://",
        "http://:1",
        "http://h:0",
        "http://h:x",
        "http://h:99999",
        "http://h/p",
        "http://u@h",
    ],
)
def test_what_is_no_target_is_refused(text):
    with pytest.raises(TargetError):
        parse_target(text)


def test_ipv6_host_is_bracketed_in_the_host_header():
    assert parse_target("http://[::1]:7").authority == "[::1]:7"


def test_socket_of_the_environment_comes_first():
    assert default_target({"WORKMANAGER_SOCKET": "/x.sock"}) == Target("/x.sock")


def test_socket_in_the_state_folder_is_found(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "workmanager.sock"))
        found = default_target({"WORKMANAGER_STATE": str(tmp_path)})
    assert found == Target(str(tmp_path / "workmanager.sock"))


def test_without_a_socket_it_is_loopback(tmp_path):
    (tmp_path / "workmanager.sock").write_text("not a socket")
    assert str(default_target({"WORKMANAGER_STATE": str(tmp_path)})) == "http://127.0.0.1:5001"


def test_token_file_of_the_state_folder_is_used_on_this_machine_only(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    environ = {"WORKMANAGER_STATE": str(tmp_path)}
    assert load_token(parse_target("http://127.0.0.1:1"), environ=environ) == "secret"
    assert load_token(parse_target("http://example.org"), environ=environ) == ""


def test_named_token_goes_where_it_is_told(tmp_path):
    (tmp_path / "mine").write_text(" own \n")
    target = parse_target("https://example.org")
    assert load_token(target, str(tmp_path / "mine"), {"WORKMANAGER_TOKEN": "other"}) == "own"
    assert load_token(target, environ={"WORKMANAGER_TOKEN": "other"}) == "other"


def test_named_token_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_token(parse_target("/x"), str(tmp_path / "none"))
