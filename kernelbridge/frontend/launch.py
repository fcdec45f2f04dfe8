"""What it takes to launch a kernel: its kernelspec, its addresses, its connection file, its provisioner.

IPC sockets are the default where the platform has them: they lie in a folder that only the user can enter, need no port
and cannot collide. With TCP, a kernel that knows registration files (JEP 66) chooses its ports itself and reports them;
for others free ports are looked for, which somebody else may take before the kernel does. A provisioner that is not
known to start its kernels here tells where they are, by TCP unless the caller says otherwise, and with which key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import attrs
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from kernelbridge.frontend.errors import KernelStartError, NoSuchKernelError
from kernelbridge.frontend.files import Files, LaunchTransport, new_files
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.ports import Ports
from kernelbridge.frontend.process import KernelProcess
from kernelbridge.wire.connection import (
    CHANNELS,
    Channel,
    ConnectionInfo,
    RegistrationInfo,
    random_curve_keys,
    random_key,
    write_connection_file,
    write_registration_file,
)
from kernelbridge.wire.errors import ConnectionFileError
from kernelbridge.wire.messages import speaks

BUILT_IN: Final = "kernelbridge"
"""The name of the Python kernel of this library, which can be launched without being installed."""

LOOPBACK: Final = "127.0.0.1"


def default_transport() -> LaunchTransport:
    """Return what a kernel is launched with unless its caller says otherwise."""
    return "ipc" if os.name == "posix" else "tcp"


def find_kernelspec(name: str) -> KernelSpec:
    """Return the kernelspec of this name. Raises `NoSuchKernelError`, and `KernelStartError` if it cannot be read."""
    manager = KernelSpecManager()
    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel:
        if name == BUILT_IN:
            return _built_in()
        if (folder := manager.find_kernel_specs().get(name)) is not None:
            raise KernelStartError(_without_provisioner(name, folder)) from None
        raise NoSuchKernelError(name, {*manager.find_kernel_specs(), BUILT_IN}, manager.kernel_dirs) from None
    except Exception as error:  # noqa: BLE001 - the file is the user's, and jupyter_client lets through what it causes.
        raise KernelStartError(f"the kernelspec of {name!r} cannot be used: {error}") from None
    if not spec.argv:
        raise KernelStartError(f"the kernelspec of {name!r} cannot be used: its argv is empty")
    return spec


def _without_provisioner(name: str, folder: str) -> str:
    """Say why a kernelspec that is there is none for jupyter_client."""
    stanza = KernelSpec.from_resource_dir(folder).metadata.get("kernel_provisioner", {})
    return f"kernel {name!r} asks for the provisioner {stanza.get('provisioner_name')!r}, which is not installed"


def _built_in() -> KernelSpec:
    return KernelSpec(
        argv=[sys.executable, "-m", "kernelbridge.python", "-f", "{connection_file}"],
        display_name="Python 3 (kernelbridge)",
        language="python",
        interrupt_mode="signal",
        # It knows registration files, as the kernelspec says that `kernelbridge install` writes.
        kernel_protocol_version="5.6",
    )


def knows_registration(spec: KernelSpec) -> bool:
    """Return whether a kernel can be given a registration file.

    JEP 66 wrote that `kernel_protocol_version` 5.5 means so. The specification took the handshake in with 5.6, and
    kernels that say 5.5 (ipykernel 7) do not know it.
    """
    return speaks(spec.kernel_protocol_version, (5, 6))


def starts_here(spec: KernelSpec) -> bool:
    """Return whether a kernel's provisioner starts a process on this machine: jupyter_client's own does."""
    factory = KernelProvisionerFactory.instance()
    stanza = spec.metadata.get("kernel_provisioner", {})
    name = stanza.get("provisioner_name", factory.default_provisioner_name)
    # Also looks for it.
    if not factory.is_provisioner_available(spec):
        return True
    try:
        provisioner = factory.provisioners[name].load()
    except (ImportError, AttributeError) as error:
        raise KernelStartError(f"the provisioner {name!r} cannot be loaded: {error}") from None
    return isinstance(provisioner, type) and issubclass(provisioner, LocalProvisioner)


@attrs.frozen
class Secrets:
    """What a bridge and its kernels share: the key of the signatures, and CURVE keys if they encrypt."""

    key: bytes = attrs.field(factory=random_key)
    curve: tuple[bytes | None, bytes | None] = None, None
    """The public and the secret one."""

    @classmethod
    def new(cls, curve: bool) -> Secrets:
        return cls(curve=random_curve_keys() if curve else (None, None))

    def info(self, transport: LaunchTransport, ip: str, kernel_name: str) -> ConnectionInfo:
        """Return a kernel's connection without its ports."""
        public, secret = self.curve
        return ConnectionInfo(
            transport=transport,
            ip=ip,
            key=self.key,
            kernel_name=kernel_name,
            curve_publickey=public,
            curve_secretkey=secret,
        )


def new_connection(transport: LaunchTransport, files: Files, kernel_name: str, keys: Secrets) -> ConnectionInfo:
    """Return addresses for a kernel, and write them into its connection file."""
    if transport == "ipc":
        ip, ports = files.socket_prefix, list(range(1, len(CHANNELS) + 1))
    else:
        files.ports = Ports(LOOPBACK, len(CHANNELS))
        ip, ports = LOOPBACK, files.ports.numbers
    info = keys.info(transport, ip, kernel_name)
    info = info.with_ports(dict(zip(CHANNELS, ports, strict=True)))
    write_connection_file(files.connection_file, info)
    return info


class _Manager(KernelManager):
    """What a provisioner expects as its parent. It only answers questions: the connection file is written already."""

    def __init__(self, spec: KernelSpec, files: Files, **options: Any) -> None:
        super().__init__(connection_file=str(files.connection_file), cache_ports=False, **options)
        self._given_spec = spec
        self.kernel_id = files.kernel_id

    @property
    def kernel_spec(self) -> KernelSpec:
        return self._given_spec

    def write_connection_file(self, **_: Any) -> None:
        """Leave the file as it is."""


def new_provisioner(
    spec: KernelSpec, kernel_name: str, files: Files, info: ConnectionInfo | None
) -> KernelProvisionerBase:
    """Return the provisioner that the kernelspec asks for, by default the one that starts a process here."""
    manager = _Manager(spec, files, kernel_name=kernel_name)
    if info is not None:
        manager.load_connection_info(cast(KernelConnectionInfo, info.to_json()))
    factory = KernelProvisionerFactory.instance()
    return factory.create_provisioner_instance(files.kernel_id, spec, parent=manager)


class Launcher:
    """Launches one kernel for a link. `extra_env` is added to this process's environment; None takes a name out of it.

    `spec` is the kernel's, where it has been found already.

    With no `transport`, a kernel that ends while it starts on IPC is started once more on TCP: Deno knows nothing else,
    and xeus takes no path beyond some 30 bytes.
    """

    def __init__(
        self,
        kernel_name: str,
        *,
        transport: LaunchTransport | None,
        cwd: str | os.PathLike[str] | None,
        extra_env: Mapping[str, str | None] | None,
        extra_arguments: Sequence[str],
        curve: bool,
        spec: KernelSpec | None = None,
    ) -> None:
        if isinstance(extra_arguments, str):
            raise TypeError(f"extra_arguments are several, as [{extra_arguments!r}], and not one text")
        self.spec = find_kernelspec(kernel_name) if spec is None else spec
        self.keys = Secrets.new(curve)
        self._here = starts_here(self.spec)
        self._name = kernel_name
        self._transport = transport
        self._options: dict[str, Any] = {
            "env": _changed(os.environ, extra_env or {}),
            "extra_arguments": list(extra_arguments),
        }
        if cwd is not None:
            self._options["cwd"] = os.fspath(cwd)

    def move(self, cwd: str | None, env: Mapping[str, str | None]) -> None:
        """Launch in another folder, if one is given, and in a changed environment from now on."""
        self._options["env"] = _changed(self._options["env"], env)
        if cwd is not None:
            self._options["cwd"] = cwd

    def launch(self, link: Link) -> None:
        """Start the process and connect the link to it, now or when it has reported its ports."""
        first = self._transport or (default_transport() if self._here else "tcp")
        if self._transport is None and first != "tcp" and self._name != BUILT_IN:
            link.second_start = partial(self._start, link, "tcp")
        self._start(link, first)

    def _start(self, link: Link, transport: LaunchTransport) -> None:
        files, attempt = new_files(transport), link.attempt
        link.connection_file = files.connection_file
        info = None
        try:
            if self._here and transport == "tcp" and knows_registration(self.spec):
                port = link.register(files.kernel_id, LOOPBACK, partial(self._registered, link, files, attempt))
                public, secret = self.keys.curve
                registration = RegistrationInfo(
                    kernel_id=files.kernel_id,
                    registration_ip=LOOPBACK,
                    registration_port=port,
                    key=self.keys.key,
                    curve_publickey=public,
                    curve_secretkey=secret,
                )
                write_registration_file(files.connection_file, registration)
            else:
                info = new_connection(transport, files, self._name, self.keys)
            name, kernel_id = files.mark
            process = KernelProcess(
                link.clock,
                partial(new_provisioner, self.spec, self._name, files, info),
                {**self._options, "env": {**self._options["env"], name: kernel_id}},
                files.started,
                link.exited,
                files.remove,
                link.crashed,
                None if info is None or self._here else partial(self._launched, link, files, attempt, info),
            )
            link.process = process
            process.start()
        except BaseException:
            files.remove()
            raise
        if files.ports is not None:
            # The kernel has bound them, or will not: a start that fails is told there, too.
            link.ready.add_done_callback(lambda _: files.let_go())
        if info is not None and self._here:
            link.open(info, attempt)

    def _launched(self, link: Link, files: Files, attempt: int, asked: ConnectionInfo, told: Mapping[str, Any]) -> None:
        """Connect to where the provisioner says that the kernel is, on the provisioners' thread.

        What it does not say is as it was asked for.
        """
        text = {name: value.decode() if isinstance(value, bytes) else value for name, value in told.items()}
        try:
            info = ConnectionInfo.from_json({**asked.to_json(), **text})
            if info != asked:
                write_connection_file(files.connection_file, info)
        except (ConnectionFileError, OSError) as error:
            link.fail_start(f"was launched, and cannot be connected to: {error}")
        else:
            link.opened(info, attempt)

    def _registered(self, link: Link, files: Files, attempt: int, ports: dict[Channel, int]) -> None:
        info = self.keys.info("tcp", LOOPBACK, self._name).with_ports(ports)
        # In place of the registration file, which has served: who looks for running kernels finds this one.
        write_connection_file(files.connection_file, info)
        link.opened(info, attempt)


def _changed(env: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    for name, value in change.items():
        if not isinstance(value, str | None):
            raise TypeError(f"the environment variable {name!r} is a text, and not {value!r}")
    return {name: value for name, value in {**env, **change}.items() if value is not None}
