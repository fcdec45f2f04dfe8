"""A pool of kernels that have started already, for who cannot wait until one has.

    with KernelPool("python3", 4) as pool:          async with KernelPool("python3", 4) as pool:
        with pool.claim(cwd=folder) as bridge:          async with await pool.aclaim(cwd=folder) as bridge:
            bridge.execute("1 + 1").result()                await bridge.execute("1 + 1")

A claim takes a kernel that waits, sets it up, and hands its bridge over: from then on it is a bridge like any other,
which its new owner closes. Another kernel starts in its place. Who gets what, and when one starts, is decided in
stock.py. Starts and ends take their time and are a thread's (starter.py); all else is done where it happens, on the
claimer's thread or a bridge's, under one lock.

A kernel that waits costs a ping every 1.5 s. If it dies it is replaced.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final, Self, Unpack

import attrs

from kernelbridge.bridges.service import Service
from kernelbridge.frontend.bridge import GRACE, Bridge, Policy, on_a_thread
from kernelbridge.frontend.errors import (
    BridgeClosedError,
    BridgeCrashedError,
    BridgeError,
    ClaimError,
    KernelStartError,
)
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.liveness import RESTART_LIMIT
from kernelbridge.frontend.starter import LaunchOptions, Starter, death_of, problem_of, run
from kernelbridge.frontend.stock import Stock

STARTS: Final = 2
"""How many kernels of a pool start at the same time, unless its owner says otherwise."""

_CLOSED: Final = "the pool was closed"

Setup = Callable[[str | None, Mapping[str, str | None]], str]
"""Returns code that sets a kernel up: given its working folder (None: as it is) and what to change in its environment
(None takes a name out of it)."""


@attrs.define(eq=False)
class _Claim:
    """Who wants a kernel, and how. What becomes of it is written under the pool's lock."""

    cwd: str | None
    env: Mapping[str, str | None]
    code: str
    """What sets the kernel up; nothing if it is to be as it is."""
    future: Future[Bridge] = attrs.field(factory=Future[Bridge])
    bridge: Bridge | None = None
    """The kernel that it is given, or was."""
    over: bool = False
    """Whether the future has been settled, or somebody is about to, or nobody waits for it any more."""


class KernelPool:
    """Keeps `size` kernels of one kind started, and hands them out. Any thread and any event loop may use it.

    Takes the name of their kernelspec; how many wait; how many may start at once; `warm_up`, code that each runs when
    it has started (imports, say; a kernel's first cell takes it longer than the next); `setup`, for languages other
    than Python: what makes the code that a claim runs; and what `launch` takes, whose `on_death` begins with the claim,
    and whose `restart_limit` also bounds how many kernels in a row may fail to start or die while they wait.

    The pool is there at once, and its kernels some time later: `wait_ready` waits for them, as a claim does for its
    own. Raises `NoSuchKernelError`.
    """

    def __init__(
        self,
        kernel_name: str = "kernelbridge",
        size: int = 2,
        *,
        starts: int = STARTS,
        warm_up: str = "",
        setup: Setup | None = None,
        on_death: Policy = "stay",
        **options: Unpack[LaunchOptions],
    ) -> None:
        # jupyter_client takes 0.2 s to import, and only who launches needs it.
        from kernelbridge.frontend.launch import find_kernelspec

        if size < 1 or starts < 1:
            raise ValueError(f"a pool of {size} kernels of which {starts} may start at once would have none")
        self._kernel_name = kernel_name
        self._size = size
        spec = options.get("kernelspec") or find_kernelspec(kernel_name)
        self._language: str = spec.language
        is_python = self._language.lower() == "python"
        self._setup = setup if setup is not None else set_up_python if is_python else None
        # Guards what stands below it. Never held while anything is waited for or settled; the locks of bridges are
        # taken after it.
        self._lock = threading.Lock()
        self._stock: Stock[Bridge, _Claim] = Stock(size, starts, options.get("restart_limit", RESTART_LIMIT))
        self._claims: set[_Claim] = set()
        """All that are not over."""
        self._fills: list[Future[None]] = []
        """Of those who wait until the stock is full."""
        self._ended: Callable[[], BridgeError] | None = None
        """What is raised where anything more is asked for; None until the end."""
        self._starter = Starter(
            kernel_name,
            options,
            on_death,
            # What a kernel does for the first time takes it longer: so it has run something when it is handed out.
            warm_up or ("pass" if is_python else ""),
            self._lock,
            wanted=self._is_wanted,
            on_start=self._started,
            on_failure=self._failed,
            on_death=self._died,
            on_crash=self._crashed,
        )
        self._starter.start()

    @property
    def waiting(self) -> int:
        """How many kernels wait to be claimed."""
        with self._lock:
            return len(self._stock.kernels)

    # For the caller

    def claim(
        self,
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float | None = None,
    ) -> Bridge:
        """Return a bridge to a kernel that is ready, which is the caller's to close.

        Takes the kernel's working folder and what to add to its environment (None takes a name out of it), set by code
        that it runs silently: what a program reads only while it starts has been read. So is a kernel that is started
        in its place. Waits at most `timeout` seconds of real time for a kernel, and for that.

        Raises `ClaimError` when the kernel cannot be set up, because it refuses or because the pool does not know how
        in its language; `KernelStartError` when kernels do not start any more; `BridgeClosedError` when the pool is, or
        was meanwhile, closed; `TimeoutError`.
        """
        claim = self._begin(cwd, env)
        try:
            return claim.future.result(timeout)
        except BaseException as failure:
            if (bridge := self._withdraw(claim)) is not None:
                self._starter.end(bridge)
            if isinstance(failure, TimeoutError):
                raise TimeoutError(f"no kernel within {timeout} s") from None
            raise

    async def aclaim(
        self, *, cwd: str | os.PathLike[str] | None = None, env: Mapping[str, str | None] | None = None
    ) -> Bridge:
        """Do what `claim` does, while the event loop goes on. Who is cancelled leaves no kernel behind."""
        claim = self._begin(cwd, env)
        try:
            return await asyncio.wrap_future(claim.future)
        except BaseException:
            if (bridge := self._withdraw(claim)) is not None:
                await bridge.aclose(grace=0)
                self._starter.forget(bridge)
            raise

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait at most `timeout` seconds of real time until `size` kernels wait.

        Raises `KernelStartError` when they do not start, `BridgeClosedError`, and `TimeoutError`.
        """
        self._filled().result(timeout)

    async def ready(self) -> None:
        """Wait until `size` kernels wait. Raises as `wait_ready` does."""
        await asyncio.wrap_future(self._filled())

    def close(self, *, grace: float = GRACE) -> None:
        """End the pool and the kernels that were not handed over, each killed if it runs `grace` seconds from now.

        Returns when nothing of them is left. Claims that wait raise `BridgeClosedError`. Closing again does nothing. A
        KeyboardInterrupt meanwhile ends the kernels' grace and is raised again.
        """
        try:
            self._close(grace)
        except BaseException:
            self._close(0)
            raise

    async def aclose(self, *, grace: float = GRACE) -> None:
        """Do what `close` does, while the event loop goes on. It goes on to its end also when it is cancelled."""
        await on_a_thread("kernelbridge-frontend-close", partial(self.close, grace=grace))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<KernelPool of {self._kernel_name!r}, {self.waiting} of {self._size} wait>"

    # Claims

    def _begin(self, cwd: str | os.PathLike[str] | None, env: Mapping[str, str | None] | None) -> _Claim:
        path, more = None if cwd is None else os.path.abspath(cwd), dict(env or {})  # noqa: PTH100
        claim = _Claim(path, more, self._code(path, more))
        # A running future refuses to be cancelled: what becomes of the kernel is decided in one place.
        claim.future.set_running_or_notify_cancel()
        with self._lock:
            if self._ended is not None:
                raise self._ended()
            self._claims.add(claim)
            # What the claim has may be another's doing from here on.
            claim.bridge = bridge = self._stock.claim(claim)
        if bridge is None:
            self._starter.ring()
        else:
            self._set_up(claim, bridge)
        return claim

    def _code(self, cwd: str | None, env: Mapping[str, str | None]) -> str:
        if cwd is None and not env:
            return ""
        if self._setup is None:
            raise ClaimError(
                f"no working folder and no environment can be set in {self._language or 'an unknown language'}, which "
                f"{self._kernel_name!r} runs: give the pool a `setup` that returns the code for that"
            )
        return self._setup(cwd, env)

    def _set_up(self, claim: _Claim, bridge: Bridge) -> None:
        """Set a kernel up for a claim, and hand it over."""
        if claim.code:
            run(bridge, claim.code, partial(self._was_set_up, claim, bridge))
        else:
            self._hand_over(claim, bridge)

    def _was_set_up(self, claim: _Claim, bridge: Bridge, execution: Execution) -> None:
        try:
            problem = problem_of(execution)
        except BridgeClosedError:
            # By who does not want the kernel any more.
            return
        except BridgeError as death:
            self._lost(claim, bridge, death)
            return
        if problem is None:
            self._hand_over(claim, bridge)
        else:
            self._fail([claim], lambda: ClaimError(f"kernel {self._kernel_name!r} cannot be set up: {problem}"))
            self._starter.discard(bridge)

    def _hand_over(self, claim: _Claim, bridge: Bridge) -> None:
        with self._lock:
            if claim.over:
                # Whoever has decided that closes the bridge.
                return
            lives = bridge._hand_over(claim.cwd, claim.env)
            if lives:
                claim.over = True
                self._claims.discard(claim)
                self._starter.held.discard(bridge)
                self._stock.handed_over()
        if not lives:
            self._lost(claim, bridge, death_of(bridge))
            return
        claim.future.set_result(bridge)
        # Only now, so that the start of the next one does not take this one's time.
        self._starter.ring()

    def _lost(self, claim: _Claim, bridge: Bridge, death: BridgeError) -> None:
        """Give a claim another kernel than the one that has died; in its turn, which is the first."""
        with self._lock:
            if claim.over:
                return
            claim.bridge = another = self._stock.claim(claim, first=True)
            in_vain = self._stock.lost(death, bridge._link.ready_seconds)
        self._tell(in_vain, death)
        self._starter.discard(bridge)
        if another is not None:
            self._starter.do(partial(self._set_up, claim, another))

    def _withdraw(self, claim: _Claim) -> Bridge | None:
        """Learn that nobody waits for a claim any more. Returns the kernel that it has got, to be closed."""
        with self._lock:
            claim.over = True
            self._claims.discard(claim)
            self._stock.withdraw(claim)
            if claim.bridge is not None:
                self._starter.held.add(claim.bridge)
        return claim.bridge

    def _fail(self, claims: Sequence[_Claim], error: Callable[[], BridgeError]) -> None:
        """Tell claims that they get no kernel. If one has got one, that is for the caller to close."""
        for claim in claims:
            with self._lock:
                was_over, claim.over = claim.over, True
                claim.bridge = None
                self._claims.discard(claim)
            if not was_over:
                claim.future.set_exception(error())

    def _filled(self) -> Future[None]:
        filled: Future[None] = Future()
        filled.set_running_or_notify_cancel()
        with self._lock:
            if self._ended is not None:
                raise self._ended()
            if self._stock.failure is not None:
                raise _start_error(self._stock.failure)
            if not self._stock.is_full:
                self._fills.append(filled)
                return filled
        filled.set_result(None)
        return filled

    def _take_fills(self) -> list[Future[None]]:
        with self._lock:
            fills, self._fills = self._fills, []
        return fills

    # Kernels

    def _is_wanted(self) -> bool:
        with self._lock:
            return self._ended is None and self._stock.start()

    def _started(self, bridge: Bridge) -> None:
        with self._lock:
            claim = self._stock.started(bridge)
            if claim is not None:
                claim.bridge = bridge
            is_full = self._stock.is_full
        if claim is not None:
            self._set_up(claim, bridge)
        if is_full:
            for filled in self._take_fills():
                filled.set_result(None)

    def _failed(self, why: Exception) -> None:
        with self._lock:
            in_vain = self._stock.failed(why)
        self._tell(in_vain, why)

    def _died(self, bridge: Bridge) -> None:
        # What becomes of one that starts, or is set up, is told elsewhere.
        self._starter.do(partial(self._died_waiting, bridge))

    def _died_waiting(self, bridge: Bridge) -> None:
        death = death_of(bridge)
        with self._lock:
            if bridge not in self._stock.kernels:
                return
            self._stock.kernels.remove(bridge)
            in_vain = self._stock.lost(death, bridge._link.ready_seconds)
        self._tell(in_vain, death)
        self._starter.end(bridge)

    def _tell(self, in_vain: Sequence[_Claim], why: Exception) -> None:
        """Tell those who wait that it is in vain."""
        self._fail(in_vain, partial(_start_error, why))
        with self._lock:
            given_up = self._stock.failure is not None
        if given_up:
            for filled in self._take_fills():
                filled.set_exception(_start_error(why))

    # The end

    def _close(self, grace: float) -> None:
        self._give_up(lambda: BridgeClosedError(_CLOSED))
        self._starter.close(grace)

    def _give_up(self, error: Callable[[], BridgeError]) -> None:
        with self._lock:
            self._ended = error
            claims = list(self._claims)
        self._fail(claims, error)
        for filled in self._take_fills():
            filled.set_exception(error())

    def _crashed(self, _: Service, failure: BaseException) -> None:
        self._give_up(lambda: BridgeCrashedError(f"the pool's thread ended with {failure!r}"))


def _start_error(why: Exception) -> KernelStartError:
    """Return a new one for each who is told."""
    return KernelStartError(str(why))


def set_up_python(cwd: str | None, env: Mapping[str, str | None]) -> str:
    """Return code that sets a Python kernel up, and leaves no name behind."""
    lines = []
    if cwd is not None:
        lines.append(f"__import__('os').chdir({cwd!r})")
        # IPython's `cd -` and `%dhist` begin there, as in a kernel that was launched there.
        lines.append("globals().get('_dh', [])[:] = [__import__('pathlib').Path.cwd()]")
    added = {name: value for name, value in env.items() if value is not None}
    lines.append(f"__import__('os').environ.update({added!r})")
    lines += [f"__import__('os').environ.pop({name!r}, None)" for name in env.keys() - added.keys()]
    return "\n".join(lines)
