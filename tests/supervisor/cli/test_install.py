"""What `workmanager install` writes, and what systemd says of it."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from workmanager.cli.root import root
from workmanager.cli.units import PLACES, UnitError, own_command, unit_files
from workmanager.config import Settings

WORST_EXPOSURE = 3.0  # of 10, which is unprotected; 2.8 with systemd 252
COMMAND = f"{sys.executable} -m workmanager.cli serve"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def install(*words):
    return CliRunner().invoke(root, ["install", *words])


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def installed(tmp_path):
    ended = install("--systemd", "--prefix", str(tmp_path), "--command", COMMAND)
    assert ended.exit_code == 0, ended.output
    return tmp_path


def test_every_file_is_written_with_the_command(installed):
    found = contents(installed)
    assert set(found) == set(PLACES.values())
    service = found["etc/systemd/system/workmanager.service"]
    assert f"\nExecStart={COMMAND}\n" in service
    assert "/usr/bin/workmanager" not in service


def test_a_second_install_replaces_units_and_keeps_settings(installed):
    unit, config = (installed / PLACES[n] for n in ("workmanager.service", "config.toml"))
    unit.write_text("old")
    config.write_text("bind = 'none'\n")
    ended = install("--systemd", "--prefix", str(installed), "--command", COMMAND)
    assert f"changed   {unit}" in ended.output
    assert f"kept      {config}" in ended.output
    assert "[Service]" in unit.read_text()
    assert config.read_text() == "bind = 'none'\n"


def test_uninstall_leaves_settings_and_other_drop_ins(installed):
    own = installed / "etc/systemd/system/workmanager.service.d/local.conf"
    own.write_text("[Service]\n")
    ended = install("--systemd", "--uninstall", "--prefix", str(installed))
    assert ended.exit_code == 0, ended.output
    assert set(contents(installed)) == {
        "etc/workmanager/config.toml",
        "etc/systemd/system/workmanager.service.d/local.conf",
    }


def test_a_dry_run_writes_nothing_and_shows_all(tmp_path):
    ended = install("--systemd", "--dry-run", "--prefix", str(tmp_path), "--command", COMMAND)
    assert ended.exit_code == 0
    assert contents(tmp_path) == {}
    assert all(str(tmp_path / place) in ended.output for place in PLACES.values())
    assert f"    ExecStart={COMMAND}" in ended.output
    real = install("--systemd", "--dry-run", "--command", COMMAND)
    assert "run       systemctl daemon-reload" in real.output


def test_an_environment_that_the_service_cannot_see_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/root/venv")
    with pytest.raises(UnitError, match="ProtectHome"):
        own_command()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(sys, "prefix", str(closed))
    with pytest.raises(UnitError, match=r"chmod o\+rx"):
        own_command()


def test_a_command_is_quoted_for_systemd(tmp_path, monkeypatch):
    folder = tmp_path / "100% $mine here"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "workmanager").write_text("")
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setattr("workmanager.cli.units._check_reachable", lambda _: None)
    assert own_command() == f'"{tmp_path}/100%% $$mine here/bin/workmanager" serve'


def test_say_how():
    assert install().exit_code == 2


def test_the_settings_file_names_every_default():
    """What is commented out is what holds without it; it says which lines a reload takes."""
    from workmanager.ops.reload import LIVE

    text = (Path(__file__).parents[3] / "systemd" / "config.toml").read_text()
    told = tomllib.loads(re.sub(r"^#(\w+ =)", r"\1", text, flags=re.MULTILINE))
    examples = ("tls_", "secrets_dir")
    shown = {name: value for name, value in told.items() if not name.startswith(examples)}
    settings = Settings.model_validate(shown)
    defaults = Settings()
    assert {name: getattr(settings, name) for name in shown} == {
        name: getattr(defaults, name) for name in shown
    }
    live = set(re.findall(r"^#(\w+) =.*\(live\)$", text, re.MULTILINE))
    assert live == LIVE & set(told)


@needs_systemd
def test_systemd_finds_no_fault(installed):
    units = [str(f.path) for f in unit_files(installed, COMMAND) if "/system/" in str(f.path)]
    names = [unit for unit in units if not unit.endswith(".conf")]
    words = ["systemd-analyze", "verify", "--man=no", *names]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


@needs_systemd
def test_the_exposure_is_low(installed):
    unit = installed / PLACES["workmanager.service"]
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager"]
    words += [f"--threshold={round(WORST_EXPOSURE * 10)}", str(unit)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=30)
    score = re.search(r"exposure level for workmanager.service: ([\d.]+)", ended.stdout)
    assert ended.returncode == 0, score
    assert float(score[1]) <= WORST_EXPOSURE


@needs_systemd
@pytest.mark.parametrize("tool", ["systemd-sysusers", "systemd-tmpfiles"])
def test_users_and_folders_are_made(installed, tool):
    kind = tool.removeprefix("systemd-")
    words = [tool, "--dry-run"] if kind == "sysusers" else [tool, "--create", "--remove"]
    words += [f"--root={installed}", str(installed / PLACES[f"{kind}.d/workmanager.conf"])]
    if kind == "tmpfiles":
        (installed / "etc/passwd").write_text("workmanager:x:990:990::/:/bin/sh\n")
        (installed / "etc/group").write_text("workmanager:x:990:\n")
    ended = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    if kind == "tmpfiles":
        assert (installed / "etc/workmanager/secrets").stat().st_mode & 0o777 == 0o700
