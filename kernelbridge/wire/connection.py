"""How two ends find each other: connection files, registration files, endpoints and keys.

A kernel is started with one of two files ("Connection files" in jupyter_client's documentation of kernels). A
*connection file* names five ports that the kernel binds. A *registration file* (JEP 66, protocol 5.6) names one port,
to which the kernel reports the ports that it has bound itself (handshake.py).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Self, cast, get_args

import attrs
import orjson
from attrs import field, frozen

from kernelbridge.wire.errors import ConnectionFileError, WireError, short_repr

__all__ = [
    "CHANNELS",
    "CONNECTION_FILE_PREFIX",
    "GROUP_FILE",
    "HIGHEST_PORT",
    "IPC_PATH_LIMIT",
    "KERNEL_FOLDER_FILES",
    "KERNEL_FOLDER_PREFIX",
    "OWNER_FILE",
    "SOCKETS_LINK",
    "Channel",
    "ConnectionInfo",
    "RegistrationInfo",
    "Transport",
    "load_connection_file",
    "load_registration_file",
    "load_startup_file",
    "random_curve_keys",
    "random_key",
    "write_connection_file",
    "write_registration_file",
]

Channel = Literal["shell", "iopub", "stdin", "control", "hb"]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
Transport = Literal["tcp", "ipc", "inproc"]

IPC_PATH_LIMIT: Final = 103 if sys.platform == "darwin" or "bsd" in sys.platform else 107
"""Longest path of an IPC socket in bytes: the size of sun_path without its NUL, to which libzmq also holds itself."""

CONNECTION_FILE_PREFIX: Final = "kernel-"
"""What the name of a launched kernel's connection file begins with; its id and ``.json`` follow."""

KERNEL_FOLDER_PREFIX: Final = "kernelbridge-"
"""What the name of a launched kernel's folder begins with, beside its connection file; its id follows.

So does the name of one that was made elsewhere for its IPC sockets alone. Both are to go with the kernel."""

GROUP_FILE: Final = "group"
SOCKETS_LINK: Final = "sockets"
OWNER_FILE: Final = "owner"
KERNEL_FOLDER_FILES: Final = (GROUP_FILE, SOCKETS_LINK, OWNER_FILE)
"""What a launcher writes in that folder: the kernel's process group, a link to where its IPC sockets are if not here,
and the file that it holds locked, which is to be removed last."""

HIGHEST_PORT: Final = 65535
# The extendable functions (shake_*) have no digest size of their own, which HMAC needs.
_SCHEMES: Final = tuple(
    f"hmac-{name}"
    for name in sorted(hashlib.algorithms_guaranteed)
    if name.startswith("sha") and not name.startswith("shake")
)
_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_NO_FILE: Final = "connection information"


@frozen(kw_only=True)
class ConnectionInfo:
    """What a connection file says. Not checked when constructed, but whenever it is read or written.

    A port of 0 stands for one that the kernel has yet to bind. An empty key turns signatures off.
    """

    transport: Transport = "tcp"
    ip: str
    """Address for tcp, prefix of the socket files' paths for ipc, prefix of the names for inproc."""
    shell_port: int = 0
    iopub_port: int = 0
    stdin_port: int = 0
    control_port: int = 0
    hb_port: int = 0
    key: bytes = field(repr=False)
    signature_scheme: str = "hmac-sha256"
    kernel_name: str = ""
    curve_publickey: bytes | None = None
    """The kernel's CURVE keys in Z85, 40 characters each; None if the connection is not encrypted."""
    curve_secretkey: bytes | None = field(default=None, repr=False)
    extra: dict[str, Any] = field(factory=dict, repr=False)
    """Fields of the file that are not known here; written again."""

    @property
    def ports(self) -> dict[Channel, int]:
        """The port of each channel."""
        return {channel: getattr(self, f"{channel}_port") for channel in CHANNELS}

    def with_ports(self, ports: Mapping[Channel, int]) -> ConnectionInfo:
        """Return a copy in which the given channels have the given ports."""
        changes: dict[str, Any] = {f"{channel}_port": port for channel, port in ports.items()}
        return attrs.evolve(self, **changes)

    def endpoint(self, channel: Channel) -> str:
        """Return the channel's ZeroMQ address. One with an IPv6 address needs the socket option IPV6 set."""
        return _endpoint(self.transport, self.ip, self.ports[channel])

    @classmethod
    def from_json(
        cls,
        given: object,
        *,
        file: str | os.PathLike[str] = _NO_FILE,
        allow_port_zero: bool = False,
    ) -> Self:
        """Return what a decoded connection file says. `file` is named in errors.

        Raises ConnectionFileError for a field that is absent or cannot be used. A port of 0 is refused unless
        `allow_port_zero` says that the kernel will choose.
        """
        fields = _Fields(given, file)
        lowest_port = 0 if allow_port_zero else 1
        secret = fields.take_curve_key("curve_secretkey", required=False)
        info = cls(
            transport=fields.take_transport(),
            ip=fields.take_filled_text("ip"),
            shell_port=fields.take_port("shell_port", lowest_port),
            iopub_port=fields.take_port("iopub_port", lowest_port),
            stdin_port=fields.take_port("stdin_port", lowest_port),
            control_port=fields.take_port("control_port", lowest_port),
            hb_port=fields.take_port("hb_port", lowest_port),
            key=fields.take_key(),
            signature_scheme=fields.take_scheme(),
            kernel_name=fields.take_text("kernel_name", ""),
            curve_publickey=fields.take_curve_key("curve_publickey", required=secret is not None),
            curve_secretkey=secret,
            extra=fields.left,
        )
        for channel in CHANNELS:
            fields.check_ipc_path("ip", info.endpoint(channel))
        return info

    def to_json(self) -> dict[str, Any]:
        """Return the content of the connection file."""
        return _to_json(self)


@frozen(kw_only=True)
class RegistrationInfo:
    """What a registration file (JEP 66) says. Not checked when constructed, but whenever it is read or written."""

    kernel_id: str
    transport: Transport = "tcp"
    registration_ip: str
    registration_port: int
    key: bytes = field(repr=False)
    signature_scheme: str = "hmac-sha256"
    curve_publickey: bytes | None = None
    """The CURVE keys of the channels that the kernel binds, as in a connection file. The handshake is not encrypted."""
    curve_secretkey: bytes | None = field(default=None, repr=False)
    extra: dict[str, Any] = field(factory=dict, repr=False)
    """Fields of the file that are not known here; written again."""

    def endpoint(self) -> str:
        """Return the ZeroMQ address at which the kernel registers. An IPv6 address needs the socket option IPV6."""
        return _endpoint(self.transport, self.registration_ip, self.registration_port)

    @classmethod
    def from_json(cls, given: object, *, file: str | os.PathLike[str] = _NO_FILE) -> Self:
        """Return what a decoded registration file says. `file` is named in errors.

        Raises ConnectionFileError for a field that is absent or cannot be used.
        """
        fields = _Fields(given, file)
        secret = fields.take_curve_key("curve_secretkey", required=False)
        info = cls(
            kernel_id=fields.take_filled_text("kernel_id"),
            transport=fields.take_transport(),
            registration_ip=fields.take_filled_text("registration_ip"),
            registration_port=fields.take_port("registration_port", 1),
            key=fields.take_key(),
            signature_scheme=fields.take_scheme(),
            curve_publickey=fields.take_curve_key("curve_publickey", required=secret is not None),
            curve_secretkey=secret,
            extra=fields.left,
        )
        fields.check_ipc_path("registration_ip", info.endpoint())
        return info

    def to_json(self) -> dict[str, Any]:
        """Return the content of the registration file."""
        return _to_json(self)


def random_key() -> bytes:
    """Return a new key for signatures: 64 hexadecimal digits, 256 random bits."""
    return secrets.token_hex(32).encode()


def random_curve_keys() -> tuple[bytes, bytes]:
    """Return a new CURVE key pair, public and secret, in Z85. Raises WireError if libzmq was built without CURVE."""
    import zmq

    if not zmq.has("curve"):
        raise WireError("CURVE keys cannot be made: this libzmq was built without CURVE")
    return zmq.curve_keypair()


# --- files -----------------------------------------------------------------------------------------------------------


def load_connection_file(path: str | os.PathLike[str], *, allow_port_zero: bool = False) -> ConnectionInfo:
    """Read a connection file.

    Raises ConnectionFileError if it cannot be read, is no JSON object, or a field is absent or cannot be used.
    """
    return ConnectionInfo.from_json(_load(path), file=path, allow_port_zero=allow_port_zero)


def load_registration_file(path: str | os.PathLike[str]) -> RegistrationInfo:
    """Read a registration file (JEP 66). Raises ConnectionFileError as `load_connection_file` does."""
    return RegistrationInfo.from_json(_load(path), file=path)


def load_startup_file(
    path: str | os.PathLike[str], *, allow_port_zero: bool = False
) -> ConnectionInfo | RegistrationInfo:
    """Read the file that a kernel was started with, whichever of the two it is.

    Raises ConnectionFileError as `load_connection_file` does.
    """
    given = _load(path)
    if isinstance(given, dict) and any(name.startswith("registration_") for name in given):
        return RegistrationInfo.from_json(given, file=path)
    return ConnectionInfo.from_json(given, file=path, allow_port_zero=allow_port_zero)


def write_connection_file(path: str | os.PathLike[str], info: ConnectionInfo, *, allow_port_zero: bool = False) -> None:
    """Write a connection file that only the user can read (mode 0600), whole or not at all.

    Folders that are not there are made with mode 0700. Raises ConnectionFileError, and leaves what was there, if `info`
    would be refused when read or the file cannot be written.
    """
    given = info.to_json()
    ConnectionInfo.from_json(given, file=path, allow_port_zero=allow_port_zero)
    _write(path, given)


def write_registration_file(path: str | os.PathLike[str], info: RegistrationInfo) -> None:
    """Write a registration file (JEP 66), as `write_connection_file` does."""
    given = info.to_json()
    RegistrationInfo.from_json(given, file=path)
    _write(path, given)


def _load(path: str | os.PathLike[str]) -> object:
    try:
        return orjson.loads(Path(path).read_bytes())
    except orjson.JSONDecodeError as error:
        raise ConnectionFileError(path, "", f"is not JSON: {error}") from None
    except FileNotFoundError:
        raise ConnectionFileError(path, "", "does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConnectionFileError(path, "", f"cannot be read: {_reason(error)}") from None


def _write(path: str | os.PathLike[str], given: dict[str, Any]) -> None:
    target = Path(path)
    try:
        text = orjson.dumps(given, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        _make_private_folders(target.parent)
        # In the same folder, so that the rename stays in one file system; made with mode 0600.
        with tempfile.NamedTemporaryFile(prefix=f".{target.name}.", dir=target.parent, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.close()  # Windows renames no open file
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except (OSError, ValueError, TypeError) as error:  # TypeError: orjson's JSONEncodeError, for what `extra` holds
        raise ConnectionFileError(path, "", f"cannot be written: {_reason(error)}") from None


def _make_private_folders(folder: Path) -> None:
    """Make `folder` and its parents; Path.mkdir(parents=True) would give its mode to the last of them only."""
    if not folder.is_dir():
        _make_private_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _to_json(info: ConnectionInfo | RegistrationInfo) -> dict[str, Any]:
    fields = attrs.asdict(info, recurse=False, filter=lambda attribute, value: value is not None)
    extra = fields.pop("extra")
    # A key that is no UTF-8 becomes a text with lone surrogates, which `_Fields` refuses.
    texts = {
        name: value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        for name, value in fields.items()
    }
    return {**extra, **texts}


# --- fields and what they may hold -----------------------------------------------------------------------------------


def _endpoint(transport: Transport, ip: str, port: int) -> str:
    if transport == "tcp":
        host = f"[{ip}]" if ":" in ip and not ip.startswith("[") else ip
        return f"tcp://{host}:{port}"
    return f"{transport}://{ip}-{port}"


class _Fields:
    """Takes checked fields out of a decoded file, one by one; those that nobody takes are `left`."""

    def __init__(self, given: object, file: str | os.PathLike[str]) -> None:
        self._file = file
        if not isinstance(given, dict):
            self._refuse("", f"must hold a JSON object, not {short_repr(given)}")
        self.left = dict(given)

    def take_text(self, name: str, default: str | None = None, *, secret: bool = False) -> str:
        if name not in self.left and default is not None:
            return default
        value = self._take(name, "a string")
        if not isinstance(value, str):
            given = f"a value of type {type(value).__name__}" if secret else short_repr(value)
            self._refuse(name, f"must be a string, not {given}")
        if not _is_utf8(value):
            self._refuse(name, "must be text that UTF-8 can write")
        return value

    def take_filled_text(self, name: str) -> str:
        value = self.take_text(name)
        if not value or "\0" in value:
            self._refuse(name, f"must be a string that is not empty and has no NUL, not {short_repr(value)}")
        return value

    def take_transport(self) -> Transport:
        value = self.take_text("transport", "tcp")
        if value not in get_args(Transport):
            self._refuse("transport", f"must be one of {', '.join(get_args(Transport))}, not {short_repr(value)}")
        return cast(Transport, value)

    def take_port(self, name: str, lowest: int) -> int:
        expected = f"an integer from {lowest} to {HIGHEST_PORT}"
        value = self._take(name, expected)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= HIGHEST_PORT:
            self._refuse(name, f"must be {expected}, not {short_repr(value)}")
        return value

    def take_key(self) -> bytes:
        return self.take_text("key", secret=True).encode()

    def take_scheme(self) -> str:
        value = self.take_text("signature_scheme", "hmac-sha256")
        if value not in _SCHEMES:
            self._refuse("signature_scheme", f"must be one of {', '.join(_SCHEMES)}, not {short_repr(value)}")
        return value

    def take_curve_key(self, name: str, *, required: bool) -> bytes | None:
        if name not in self.left and not required:
            return None
        value = self.take_text(name, secret=True)
        if not _is_curve_key(value):
            self._refuse(name, f"must be a CURVE key in Z85, 40 characters, not one of {len(value)} characters")
        return value.encode()

    def check_ipc_path(self, name: str, endpoint: str) -> None:
        transport, _, path = endpoint.partition("://")
        length = len(path.encode())
        if transport == "ipc" and length > IPC_PATH_LIMIT:
            self._refuse(name, f"makes an IPC path of {length} bytes; this platform's limit is {IPC_PATH_LIMIT}")

    def _take(self, name: str, expected: str) -> object:
        if name not in self.left:
            self._refuse(name, f"is missing: it must be {expected}")
        return self.left.pop(name)

    def _refuse(self, name: str, problem: str) -> NoReturn:
        raise ConnectionFileError(self._file, name, problem)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_curve_key(text: str) -> bool:
    """Return whether this is a key of 32 bytes in Z85 (ZeroMQ RFC 32): five characters for each four bytes."""
    if len(text) != 40 or not set(text) <= set(_Z85):
        return False
    for start in range(0, 40, 5):
        number = 0
        for digit in text[start : start + 5]:
            number = 85 * number + _Z85.index(digit)
        if number >= 2**32:
            return False
    return True
