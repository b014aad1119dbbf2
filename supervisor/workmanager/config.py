"""The service's settings: defaults, a TOML file, WORKMANAGER_* variables, options; later wins."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from workmanager.errors import Fault, InvalidArgumentError
from workmanager.model.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PORT = 65_535
PREFIX = "WORKMANAGER_"
SYSTEM_CONFIG = Path("/etc/workmanager/config.toml")
IGNORED_VARIABLES = frozenset(  # the client's and the command's
    {"SOCKET", "TARGET", "TOKEN", "TOKEN_FILE", "CONFIG", "OUTPUT"}
    | {"CLIENT_CERTIFICATE", "CLIENT_KEY", "CLIENT_CA"}
)


def default_state() -> Path:
    """Return the state folder: systemd's, else root's, else the user's (XDG)."""
    if os.geteuid() == 0:
        return _folder_of("STATE_DIRECTORY", Path("/var/lib/workmanager"))
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return _folder_of("STATE_DIRECTORY", Path(home).expanduser() / "workmanager")


class Settings(BaseModel):
    """What an operator sets; every field can stand in the file, the environment or an option."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    state: Annotated[Path, Field(default_factory=default_state)]
    bind: str = "127.0.0.1:5001"
    socket: str = ""  # the Unix socket; empty = in $RUNTIME_DIRECTORY or state, "none" = none
    grpc_bind: str = "127.0.0.1:5002"  # "none" = no gRPC, which saves its memory
    grpc_socket: str = ""  # its Unix socket; empty = grpc.sock in state unless grpc_bind is "none"
    conductor_metrics: str = "none"  # where Conductor's names are served; theirs is port 2112
    dev: bool = False  # no authentication, on loopback only
    token_file: Path | None = None  # default: a credential, else in the state folder, made there
    allowed_uids: tuple[int, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    secrets_dir: Path | None = None  # default: what systemd loaded as `secrets`, see docs/access.md
    allow_private_urls: bool = False
    allow_http_urls: bool = False
    fetch_timeout_s: Annotated[Duration, Field(gt=0, le=600)] = 30.0
    code_max_bytes: Annotated[Size, Field(ge=1024, le=2**30)] = 32 * 2**20
    inbox_total_bytes: Annotated[Size, Field(ge=2**20)] = 2 * 2**30
    history_tasks: Annotated[int, Field(ge=0, le=10**8)] = 100_000
    history_age_s: Annotated[Duration, Field(ge=0)] = 7 * 86_400.0
    shutdown_grace_s: Annotated[Duration, Field(ge=0, le=3600)] = 10.0
    restarts_per_second: Annotated[int, Field(ge=1, le=10_000)] = 10  # of executors, on this host
    restarts_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 60
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_worker_lines: bool = True
    dotnet_root: Path | None = None  # default: looked for, see engines/dotnet.py
    roslyn: Path | None = None  # folder of the C# compiler; default: the SDK's
    backend: Literal["auto", "embedded", "dapr"] = "auto"  # auto: dapr beside a sidecar
    dapr_grpc_address: str = ""  # empty = DAPR_GRPC_ENDPOINT, else loopback at DAPR_GRPC_PORT
    dapr_tls_ca: Path | None = None  # of the sidecar's certificate; turns TLS on
    dapr_pubsub: Annotated[str, Field(min_length=1)] = "pubsub"  # names of components
    dapr_state_store: Annotated[str, Field(min_length=1)] = "statestore"
    dapr_lock_store: Annotated[str, Field(min_length=1)] = "lockstore"
    dapr_max_body: Annotated[Size, Field(ge=2**16)] = 4 * 2**20  # the sidecar's max-body-size
    dapr_silence_s: Annotated[Duration, Field(ge=1)] = 300.0  # then a stream is opened anew
    sandbox_level: Literal["auto", "uid", "full", "basic", "none"] = "auto"
    sandbox_require: tuple[str, ...] = ()  # a level at least, layers; without them no start
    sandbox_uid_base: Annotated[int, Field(ge=1000, le=2**32 - 2**17)] = 1_900_000_000  # see docs

    @field_validator("bind", "grpc_bind", "conductor_metrics")
    @classmethod
    def _bind_is_an_address(cls, text: str) -> str:
        host, _, port = text.rpartition(":")
        if text != "none" and not (host and port.isdigit() and int(port) <= MAX_PORT):
            raise ValueError(f"must be HOST:PORT or none, not {text!r}")
        return text

    @field_validator("sandbox_require", mode="before")
    @classmethod
    def _split_words(cls, given: object) -> object:
        return given.replace(",", " ").split() if isinstance(given, str) else given

    @field_validator("sandbox_require")
    @classmethod
    def _words_are_known(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        from workmanager_executor.sandbox import LAYERS, LEVELS

        for word in words:
            if word not in (*LEVELS, *LAYERS):
                known = ", ".join((*LEVELS, *LAYERS))
                raise ValueError(f"{word!r} is no level and no layer; those are: {known}")
        return words

    @property
    def is_dapr(self) -> bool:
        """Whether events, definitions and leases go through a Dapr sidecar.

        By itself only where `dapr run`, or Dapr's injector, has set the port of one.
        """
        return self.backend == "dapr" or (
            self.backend == "auto" and bool(os.environ.get("DAPR_GRPC_PORT"))
        )

    @property
    def socket_path(self) -> Path | None:
        """Where the Unix socket is; None for none."""
        if self.socket == "none":
            return None
        if self.socket:
            return Path(self.socket)
        return _folder_of("RUNTIME_DIRECTORY", self.state) / "workmanager.sock"

    @property
    def grpc_socket_path(self) -> Path | None:
        """Where gRPC's Unix socket is; None for none."""
        if self.grpc_socket:
            return None if self.grpc_socket == "none" else Path(self.grpc_socket)
        return self.state / "grpc.sock" if self.grpc_bind != "none" else None

    @property
    def token_path(self) -> Path:
        """Where the bearer token is: a credential that systemd gave, else the state folder's."""
        given = _folder_of("CREDENTIALS_DIRECTORY", self.state) / "token"
        return self.token_file or (given if given.exists() else self.state / "token")

    def secret_path(self, name: str) -> Path | None:
        """Where the secret *name* of a worker would be; None where there is no credential folder.

        systemd names what it loads from a folder by the folder's id: `secrets_NAME`. Its other
        credentials, the token among them, are not for workers.
        """
        if self.secrets_dir is not None:
            return self.secrets_dir / name
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        return Path(folder) / f"secrets_{name}" if folder else None


def _folder_of(variable: str, otherwise: Path) -> Path:
    """Return the folder that systemd made for this service (systemd.exec(5))."""
    folders = os.environ.get(variable, "")
    return Path(folders.split(":")[0]) if folders else otherwise


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; later sources win.

    Args:
        path: A TOML file; None reads the system's if it is there.
        overrides: Options of the command line; None values are not set.

    Raises:
        InvalidArgumentError: With every fault, each with its name.
    """
    values = {**_file(path), **_environment(os.environ)}
    values.update({k: v for k, v in (overrides or {}).items() if v is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = [
            Fault(".".join(str(part) for part in line["loc"]), line["msg"])
            for line in error.errors(include_url=False)
        ]
        words = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults)
        raise InvalidArgumentError(f"the settings are wrong: {words}", faults=faults) from None


def _file(path: Path | None) -> dict[str, Any]:
    if path is None:
        if not SYSTEM_CONFIG.is_file():
            return {}
        path = SYSTEM_CONFIG
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgumentError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{path} is not TOML: {error}") from error


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = Settings.model_fields
    found: dict[str, Any] = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in IGNORED_VARIABLES:
            continue
        field = name.lower()
        if field not in names:
            raise InvalidArgumentError(f"{variable} is no setting of WorkManager")
        found[field] = value.split(",") if field == "allowed_uids" else value
    return found
