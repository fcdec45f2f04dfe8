"""Connection files, registration files, endpoints and keys."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from kernelbridge.wire.connection import (
    CHANNELS,
    IPC_PATH_LIMIT,
    Channel,
    ConnectionInfo,
    RegistrationInfo,
    load_connection_file,
    load_registration_file,
    load_startup_file,
    random_curve_keys,
    random_key,
    write_connection_file,
    write_registration_file,
)
from kernelbridge.wire.errors import ConnectionFileError, WireError

posix_modes = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX file modes")

CONNECTION: dict[str, Any] = {
    "transport": "tcp",
    "ip": "127.0.0.1",
    "shell_port": 57503,
    "iopub_port": 40885,
    "stdin_port": 52597,
    "control_port": 50160,
    "hb_port": 42540,
    "key": "a0436f6c-1916-498b-8eb9-e81ab9368e84",
    "signature_scheme": "hmac-sha256",
    "kernel_name": "python3",
}
REGISTRATION: dict[str, Any] = {
    "kernel_id": "k-1",
    "transport": "tcp",
    "registration_ip": "127.0.0.1",
    "registration_port": 51587,
    "signature_scheme": "hmac-sha256",
    "key": "a0436f6c",
}
ABSENT = object()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file with the fields of a base, some of them changed or (ABSENT) left out; return its path."""

    def write_file(base: dict[str, Any], **changes: Any) -> Path:
        path = tmp_path / "kernel.json"
        fields = {name: value for name, value in {**base, **changes}.items() if value is not ABSENT}
        path.write_bytes(orjson.dumps(fields))
        return path

    return write_file


def info(**changes: Any) -> ConnectionInfo:
    return ConnectionInfo.from_json({**CONNECTION, **changes})


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_connection_file_is_read(write: Callable[..., Path]) -> None:
    assert load_connection_file(write(CONNECTION)) == ConnectionInfo(
        transport="tcp",
        ip="127.0.0.1",
        shell_port=57503,
        iopub_port=40885,
        stdin_port=52597,
        control_port=50160,
        hb_port=42540,
        key=b"a0436f6c-1916-498b-8eb9-e81ab9368e84",
        signature_scheme="hmac-sha256",
        kernel_name="python3",
    )


def test_what_older_frontends_leave_out_is_filled_in(write: Callable[..., Path]) -> None:
    path = write(CONNECTION, transport=ABSENT, signature_scheme=ABSENT, kernel_name=ABSENT)
    loaded = load_connection_file(path)
    assert (loaded.transport, loaded.signature_scheme, loaded.kernel_name) == ("tcp", "hmac-sha256", "")


def test_an_empty_key_turns_signatures_off_and_is_accepted(write: Callable[..., Path]) -> None:
    assert load_connection_file(write(CONNECTION, key="")).key == b""


def test_a_registration_file_is_read(write: Callable[..., Path]) -> None:
    loaded = load_registration_file(write(REGISTRATION))
    assert loaded == RegistrationInfo(
        kernel_id="k-1", transport="tcp", registration_ip="127.0.0.1", registration_port=51587, key=b"a0436f6c"
    )
    assert loaded.endpoint() == "tcp://127.0.0.1:51587"


def test_a_startup_file_is_known_by_its_fields(write: Callable[..., Path]) -> None:
    assert isinstance(load_startup_file(write(CONNECTION)), ConnectionInfo)
    assert isinstance(load_startup_file(write(REGISTRATION)), RegistrationInfo)
    with pytest.raises(ConnectionFileError, match="registration_port is missing"):
        load_startup_file(write(REGISTRATION, registration_port=ABSENT))
    with pytest.raises(ConnectionFileError, match="shell_port is missing"):
        load_startup_file(write(CONNECTION, shell_port=ABSENT))
    with pytest.raises(ConnectionFileError, match="must hold a JSON object, not a list of 0"):
        load_startup_file(write_text(write(CONNECTION), "[]"))


def write_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_port_zero_is_accepted_only_where_the_kernel_may_choose(write: Callable[..., Path]) -> None:
    path = write(CONNECTION, hb_port=0)
    assert load_connection_file(path, allow_port_zero=True).hb_port == 0
    loaded = load_startup_file(path, allow_port_zero=True)
    assert isinstance(loaded, ConnectionInfo)
    with pytest.raises(ConnectionFileError, match="hb_port must be an integer from 1 to 65535, not 0"):
        load_connection_file(path)


# --- bad input -------------------------------------------------------------------------------------------------------

PORT = "must be an integer from 1 to 65535, not"
BAD_CONNECTION_FIELDS: list[tuple[str, Any, str]] = [
    *((f"{channel}_port", ABSENT, "is missing: it must be an integer from 1 to 65535") for channel in CHANNELS),
    ("shell_port", 65536, f"{PORT} 65536"),
    ("shell_port", -1, f"{PORT} -1"),
    ("iopub_port", 0, f"{PORT} 0"),
    ("stdin_port", True, f"{PORT} True"),
    ("control_port", "50160", f"{PORT} '50160'"),
    ("hb_port", 1.0, f"{PORT} 1.0"),
    ("hb_port", None, f"{PORT} None"),
    ("transport", "udp", "must be one of tcp, ipc, inproc, not 'udp'"),
    ("transport", None, "must be a string, not None"),
    ("ip", ABSENT, "is missing: it must be a string"),
    ("ip", "", "must be a string that is not empty and has no NUL, not ''"),
    ("ip", "a\0b", r"must be a string that is not empty and has no NUL, not 'a\x00b'"),
    ("ip", 127, "must be a string, not 127"),
    ("key", ABSENT, "is missing: it must be a string"),
    ("key", 12345678, "must be a string, not a value of type int"),
    ("key", ["s3cret"], "must be a string, not a value of type list"),
    ("signature_scheme", "hmac-sha0", "must be one of hmac-sha1, "),
    ("signature_scheme", "sha256", "must be one of hmac-sha1, "),
    ("signature_scheme", "hmac-shake_128", "must be one of hmac-sha1, "),
    ("signature_scheme", 256, "must be a string, not 256"),
    ("kernel_name", 3, "must be a string, not 3"),
    ("curve_publickey", "short", "must be a CURVE key in Z85, 40 characters, not one of 5 characters"),
    ("curve_publickey", "'" * 40, "must be a CURVE key in Z85, 40 characters"),
    ("curve_publickey", "#" * 40, "must be a CURVE key in Z85, 40 characters"),
    ("curve_publickey", None, "must be a string, not a value of type NoneType"),
    ("curve_secretkey", 3, "must be a string, not a value of type int"),
]


@pytest.mark.parametrize(("field", "value", "problem"), BAD_CONNECTION_FIELDS)
def test_a_bad_field_of_a_connection_file_is_one_line(
    write: Callable[..., Path], field: str, value: Any, problem: str
) -> None:
    """Bad input, row 1: the line names the file, the field and the limit."""
    path = write(CONNECTION, **{field: value})
    with pytest.raises(ConnectionFileError) as caught:
        load_connection_file(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: {field} {problem}")
    assert line.isprintable()
    assert (caught.value.file, caught.value.field) == (str(path), field)
    with pytest.raises(ConnectionFileError, match=field):
        load_startup_file(path)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("kernel_id", ABSENT, "is missing: it must be a string"),
        ("kernel_id", "", "must be a string that is not empty"),
        ("registration_ip", ABSENT, "is missing: it must be a string"),
        ("registration_port", 0, f"{PORT} 0"),
        ("registration_port", "1", f"{PORT} '1'"),
        ("key", ABSENT, "is missing: it must be a string"),
        ("transport", "udp", "must be one of tcp, ipc, inproc, not 'udp'"),
        ("signature_scheme", "none", "must be one of hmac-sha1, "),
    ],
)
def test_a_bad_field_of_a_registration_file_is_one_line(
    write: Callable[..., Path], field: str, value: Any, problem: str
) -> None:
    """Bad input, row 1."""
    path = write(REGISTRATION, **{field: value})
    with pytest.raises(ConnectionFileError) as caught:
        load_startup_file(path)
    assert str(caught.value).startswith(f"{path}: {field} {problem}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON: "),
        (b"{", "is not JSON: "),
        (b"\xff\xfe", "is not JSON: "),
        (b"[" * 100_000, "is not JSON: "),
        (b"[1]", "must hold a JSON object, not a list of 1"),
        (b"null", "must hold a JSON object, not None"),
    ],
    ids=["empty", "truncated", "no UTF-8", "too deep", "list", "null"],
)
def test_a_file_that_is_no_json_object_is_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    """Bad input, row 1."""
    path = tmp_path / "kernel.json"
    path.write_bytes(content)
    with pytest.raises(ConnectionFileError) as caught:
        load_connection_file(path)
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert str(caught.value).isprintable()


def test_a_file_that_is_missing_or_unreadable_is_one_line(tmp_path: Path) -> None:
    """Bad input, row 1."""
    with pytest.raises(ConnectionFileError, match=r"none\.json: does not exist$"):
        load_connection_file(tmp_path / "none.json")
    with pytest.raises(ConnectionFileError, match=r"cannot be read: Is a directory$"):
        load_connection_file(tmp_path)
    with pytest.raises(ConnectionFileError, match=r"cannot be read: embedded null byte$"):
        load_connection_file("a\0b")


def test_a_file_of_somebody_else_is_one_line(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input, row 1. Played, since root may read whatever the modes are."""
    path = write(CONNECTION)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConnectionFileError, match=r"kernel\.json: cannot be read: Permission denied$"):
        load_connection_file(path)


def test_an_ipc_path_over_the_limit_of_the_platform_is_one_line(write: Callable[..., Path]) -> None:
    """Bad input, row 1. The limit counts bytes, not characters, and the longest port."""
    ports = dict.fromkeys((f"{channel}_port" for channel in CHANNELS), 1)
    fits = "/" + "é" * 10 + "x" * (IPC_PATH_LIMIT - len("/-1") - 20)
    path = write(CONNECTION, transport="ipc", ip=fits, **ports)
    assert load_connection_file(path).endpoint("shell") == f"ipc://{fits}-1"

    path = write(CONNECTION, transport="ipc", ip=fits, **ports | {"control_port": 10})
    with pytest.raises(ConnectionFileError) as caught:
        load_connection_file(path)
    limit = f"{IPC_PATH_LIMIT + 1} bytes; this platform's limit is {IPC_PATH_LIMIT}"
    assert str(caught.value) == f"{path}: ip makes an IPC path of {limit}"

    path = write(REGISTRATION, transport="ipc", registration_ip=fits, registration_port=10)
    with pytest.raises(ConnectionFileError, match="registration_ip makes an IPC path"):
        load_startup_file(path)


def test_the_limit_of_an_ipc_path_is_that_of_libzmq() -> None:
    assert IPC_PATH_LIMIT == zmq.IPC_PATH_MAX_LEN


def test_errors_and_reprs_do_not_show_secrets(write: Callable[..., Path]) -> None:
    public, secret = random_curve_keys()
    loaded = info(curve_publickey=public.decode(), curve_secretkey=secret.decode())
    assert CONNECTION["key"] not in repr(loaded)
    assert secret.decode() not in repr(loaded)
    with pytest.raises(ConnectionFileError) as caught:
        load_connection_file(write(CONNECTION, key={"s3cret": "s3cret"}))
    assert "s3cret" not in str(caught.value)


@given(given=st.dictionaries(st.sampled_from(sorted(CONNECTION)), st.none() | st.integers() | st.text()))
def test_arbitrary_fields_give_an_info_or_the_declared_error(given: dict[str, Any]) -> None:
    try:
        loaded = ConnectionInfo.from_json({**CONNECTION, **given})
    except ConnectionFileError as error:
        assert error.field in given
    else:
        assert loaded.to_json() == {**CONNECTION, **given}


# --- writing ---------------------------------------------------------------------------------------------------------


def infos() -> st.SearchStrategy[ConnectionInfo]:
    ports = st.integers(1, 65535)
    return st.builds(
        ConnectionInfo,
        transport=st.sampled_from(["tcp", "ipc", "inproc"]),
        ip=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
        shell_port=ports,
        iopub_port=ports,
        stdin_port=ports,
        control_port=ports,
        hb_port=ports,
        key=st.text(st.characters(codec="utf-8")).map(str.encode),
        signature_scheme=st.sampled_from(["hmac-sha256", "hmac-sha512", "hmac-sha3_256"]),
        kernel_name=st.text(st.characters(codec="utf-8")),
        extra=st.dictionaries(st.just("jupyter_session"), st.text(st.characters(codec="utf-8"))),
    )


@given(original=infos())
def test_an_info_survives_its_json(original: ConnectionInfo) -> None:
    assert ConnectionInfo.from_json(orjson.loads(orjson.dumps(original.to_json()))) == original


def test_a_connection_file_survives_being_read_and_written(tmp_path: Path) -> None:
    public, secret = random_curve_keys()
    original = info(jupyter_session="a.ipynb", curve_publickey=public.decode(), curve_secretkey=secret.decode())
    assert original.extra == {"jupyter_session": "a.ipynb"}
    path = tmp_path / "kernel.json"
    write_connection_file(path, original)
    assert load_connection_file(path) == original
    assert load_startup_file(str(path)) == original


def test_a_registration_file_survives_being_read_and_written(tmp_path: Path) -> None:
    original = RegistrationInfo.from_json({**REGISTRATION, "more": [1]})
    path = tmp_path / "registration.json"
    write_registration_file(path, original)
    assert load_startup_file(path) == original


@posix_modes
def test_files_and_new_folders_are_the_users_own(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "a" / "b" / "kernel.json"
    mask = os.umask(0)
    try:
        write_connection_file(path, info())
    finally:
        os.umask(mask)
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, path.parent.parent, tmp_path)]
    assert modes == [0o600, 0o700, 0o700, 0o755]


@posix_modes
def test_a_file_that_others_could_read_is_replaced_not_reused(write: Callable[..., Path]) -> None:
    path = write(CONNECTION)
    path.chmod(0o644)
    with path.open() as reader:
        write_connection_file(path, info(ip="127.0.0.2"))
        assert orjson.loads(reader.read()) == CONNECTION, "a reader sees the old file whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_connection_file(path).ip == "127.0.0.2"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(CONNECTION)

    def refuse(_: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ConnectionFileError, match=r"kernel\.json: cannot be written: No space left on device$"):
        write_connection_file(path, info(ip="127.0.0.2"))
    assert list(path.parent.iterdir()) == [path]
    assert load_connection_file(path).ip == "127.0.0.1"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shell_port": 0}, "shell_port must be an integer from 1 to 65535, not 0"),
        ({"ip": ""}, "ip must be a string that is not empty"),
        ({"key": b"\xff"}, "key must be text that UTF-8 can write"),
        ({"curve_secretkey": b"x" * 40}, "curve_publickey is missing"),
        ({"extra": {"more": object()}}, "cannot be written: "),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = tmp_path / "kernel.json"
    with pytest.raises(ConnectionFileError) as caught:
        write_connection_file(path, attrs.evolve(info(), **changes))
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(write: Callable[..., Path]) -> None:
    path = write(CONNECTION)
    with pytest.raises(ConnectionFileError, match=r"cannot be written: File exists$"):
        write_connection_file(path / "kernel.json", info())


def test_port_zero_can_be_written_for_a_kernel_that_chooses(tmp_path: Path) -> None:
    path = tmp_path / "kernel.json"
    unbound = ConnectionInfo(ip="127.0.0.1", key=random_key())
    write_connection_file(path, unbound, allow_port_zero=True)
    assert load_connection_file(path, allow_port_zero=True) == unbound


def test_an_extra_field_never_replaces_a_known_one() -> None:
    assert attrs.evolve(info(), extra={"ip": "0.0.0.0"}).to_json()["ip"] == "127.0.0.1"


# --- endpoints and keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transport", "ip", "endpoint"),
    [
        ("tcp", "127.0.0.1", "tcp://127.0.0.1:40885"),
        ("tcp", "localhost", "tcp://localhost:40885"),
        ("tcp", "::1", "tcp://[::1]:40885"),
        ("tcp", "[::1]", "tcp://[::1]:40885"),
        ("ipc", "/run/user/1000/kernel-ipc", "ipc:///run/user/1000/kernel-ipc-40885"),
        ("inproc", "kernel", "inproc://kernel-40885"),
    ],
)
def test_an_endpoint_is_what_zeromq_takes(transport: str, ip: str, endpoint: str) -> None:
    assert info(transport=transport, ip=ip).endpoint("iopub") == endpoint
    registration = {**REGISTRATION, "transport": transport, "registration_ip": ip, "registration_port": 40885}
    assert RegistrationInfo.from_json(registration).endpoint() == endpoint


def test_each_channel_has_its_own_endpoint() -> None:
    assert {channel: info().endpoint(channel) for channel in CHANNELS} == {
        "shell": "tcp://127.0.0.1:57503",
        "iopub": "tcp://127.0.0.1:40885",
        "stdin": "tcp://127.0.0.1:52597",
        "control": "tcp://127.0.0.1:50160",
        "hb": "tcp://127.0.0.1:42540",
    }


def test_ports_can_be_filled_in_once_they_are_bound() -> None:
    bound: dict[Channel, int] = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}
    filled = ConnectionInfo(ip="127.0.0.1", key=b"").with_ports(bound)
    assert filled.ports == bound
    assert filled.with_ports({"hb": 9}).ports == {**bound, "hb": 9}


def test_a_random_key_is_new_each_time_and_text() -> None:
    assert random_key() != random_key()
    assert len(bytes.fromhex(random_key().decode())) == 32


def test_random_curve_keys_are_a_pair_that_a_file_can_hold() -> None:
    public, secret = random_curve_keys()
    assert zmq.curve_public(secret) == public
    loaded = info(curve_publickey=public.decode(), curve_secretkey=secret.decode())
    assert (loaded.curve_publickey, loaded.curve_secretkey) == (public, secret)


def test_curve_keys_need_a_libzmq_that_has_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, "has", lambda _: False)
    with pytest.raises(WireError, match="built without CURVE"):
        random_curve_keys()
