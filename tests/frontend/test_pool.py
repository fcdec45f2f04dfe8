"""KernelPool: kernels that have started are handed out, set up, and replaced; none is left (contract F11).

That no thread, process, descriptor or file is left is checked after every test, by the fixture `runtime`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kernelbridge import KernelPool
from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.errors import (
    BridgeClosedError,
    BridgeCrashedError,
    ClaimError,
    KernelDiedError,
    KernelStartError,
    NoSuchKernelError,
)
from kernelbridge.testing import DEADLINE

NEVER_READY = "import threading; threading.Event().wait()"


def output(bridge: Bridge, code: str) -> str:
    """Run code, and return what it has printed."""
    execution = bridge.execute(code)
    assert execution.result(DEADLINE).content["status"] == "ok"
    return "".join(output["text"] for output in execution.outputs)


def kill(bridge: Bridge) -> None:
    """Kill a kernel, and wait until that has had all its consequences in its bridge."""
    process = bridge._link.process
    assert process is not None
    process.signal(signal.SIGKILL)
    process.wait()


class TestClaims:
    @pytest.mark.parametrize("name", ["kernelbridge", "python3"])
    def test_a_kernel_is_handed_out_as_if_it_had_been_launched_so(self, name: str, tmp_path: Path) -> None:
        names = "'GIVEN', 'ALL', 'GONE'"
        shows = f"import os; print(os.getcwd(), *(os.environ.get(name) for name in ({names})), _dh)"
        with KernelPool(name, 1, starts=1, env={"ALL": "all", "GONE": "here"}) as pool:
            with pool.claim(cwd=tmp_path, env={"GIVEN": "it's", "GONE": None}) as bridge:
                assert bridge.status == "idle"
                before = output(bridge, "print(sorted(globals()))")
                assert "os" not in before
                assert output(bridge, shows) == f"{tmp_path} it's all None [{tmp_path!r}]\n"
                assert bridge.execute("1").result(DEADLINE).content["execution_count"] == 3
                # One starts behind it.
                pool.wait_ready(DEADLINE)
                assert pool.waiting == 1
                # F8
                bridge.restart()
                assert output(bridge, shows) == f"{tmp_path} it's all None [{tmp_path!r}]\n"
            with pool.claim() as bridge:
                assert output(bridge, shows) == f"{Path.cwd()} None all here [{Path.cwd()!r}]\n"

    def test_in_an_event_loop(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with KernelPool(size=2) as pool:
                await pool.ready()
                one, other = await asyncio.gather(pool.aclaim(cwd=tmp_path), pool.aclaim(cwd="/"))
                async with one, other:
                    execution = one.execute("import os; os.getcwd()")
                    await execution
                    assert execution.outputs[0]["data"]["text/plain"] == repr(str(tmp_path))

        asyncio.run(main())

    def test_kernels_may_be_warmed_up(self) -> None:
        with KernelPool(size=1, warm_up="import decimal\nwarm = True") as pool, pool.claim() as bridge:
            assert output(bridge, "print(warm, decimal.__name__)") == "True decimal\n"

    def test_what_the_kernel_refuses_is_told_and_the_next_claim_gets_another(self, tmp_path: Path) -> None:
        with KernelPool(size=1) as pool:
            with pytest.raises(ClaimError, match=r"'kernelbridge' cannot be set up: FileNotFoundError: .*'/nowhere'"):
                pool.claim(cwd="/nowhere")
            with pool.claim(cwd=tmp_path) as bridge:
                assert output(bridge, "import os; print(os.getcwd())") == f"{tmp_path}\n"

    def test_languages_that_the_pool_does_not_know_are_named(self, kernel_that: Callable[..., str]) -> None:
        name = kernel_that(NEVER_READY, language="cobol")
        with (
            KernelPool(name, 1, transport="tcp") as pool,
            pytest.raises(ClaimError, match=r"can be set in cobol, which 'made' runs: give the pool a `setup`"),
        ):
            pool.claim(cwd="/")

    def test_a_function_may_make_the_code_that_sets_up(self) -> None:
        def setup(cwd: str | None, env: Mapping[str, str | None]) -> str:
            return f"given = {cwd, env}"

        with KernelPool(size=1, setup=setup) as pool, pool.claim(cwd="/a/../b", env={"C": "d"}) as bridge:
            assert output(bridge, "print(given)") == "('/b', {'C': 'd'})\n"

    def test_who_claims_waits_no_longer_than_he_says(self, kernel_that: Callable[..., str]) -> None:
        with KernelPool(kernel_that(NEVER_READY), 1, transport="tcp") as pool:
            with pytest.raises(TimeoutError, match="no kernel within 0 s"):
                pool.claim(timeout=0)
            assert not pool._claims
            assert not pool._stock.claims
            with pytest.raises(TimeoutError):
                pool.wait_ready(0)

    def test_what_cannot_be_is_said_at_once(self) -> None:
        with pytest.raises(NoSuchKernelError, match="no kernel named 'nobody'"):
            KernelPool("nobody")
        with pytest.raises(ValueError, match="a pool of 0 kernels"):
            KernelPool(size=0)
        with pytest.raises(ValueError, match="0 may start at once"):
            KernelPool(starts=0)


class _Held:
    """A lock that its thread lets go of, once, and then waits until something has happened that it has caused."""

    def __init__(self, lock: threading.Lock, cause: threading.Event, happened: threading.Event) -> None:
        self._lock = lock
        self._cause = cause
        self._happened = happened
        self._thread = threading.current_thread()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.current_thread() is self._thread and not self._cause.is_set():
            self._cause.set()
            assert self._happened.wait(DEADLINE)


def test_a_kernel_that_starts_right_behind_a_claim_is_set_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    may_start, has_it = threading.Event(), threading.Event()
    claims: list[Any] = []

    def launch_late(*arguments: Any, **options: Any) -> Bridge:
        assert may_start.wait(DEADLINE)
        return launch(*arguments, **options)

    def set_up_and_tell(pool: KernelPool, claim: Any, bridge: Bridge) -> None:
        claims.append(claim)
        set_up(pool, claim, bridge)
        has_it.set()

    set_up = KernelPool._set_up
    monkeypatch.setattr("kernelbridge.frontend.starter.launch", launch_late)
    monkeypatch.setattr(KernelPool, "_set_up", set_up_and_tell)
    with KernelPool(size=1, starts=1) as pool:
        monkeypatch.setattr(pool, "_lock", _Held(pool._lock, may_start, has_it))
        pool.claim(cwd="/").close()
    assert len(claims) == 1


class TestBounds:
    def test_no_more_start_at_once_than_may_and_no_more_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        launched: list[Bridge] = []
        starting: list[int] = []

        def launch_and_count(*arguments: Any, **options: Any) -> Bridge:
            starting.append(1 + sum(bridge.status == "starting" for bridge in launched))
            launched.append(launch(*arguments, **options))
            return launched[-1]

        monkeypatch.setattr("kernelbridge.frontend.starter.launch", launch_and_count)
        with KernelPool(size=3, starts=1) as pool:
            pool.wait_ready(DEADLINE)
            assert pool.waiting == 3
            assert repr(pool) == "<KernelPool of 'kernelbridge', 3 of 3 wait>"
        assert starting == [1, 1, 1]


class TestDeaths:
    def test_one_that_dies_while_it_waits_is_replaced(self) -> None:
        died: list[Bridge] = []
        with KernelPool(size=1, on_death=died.append) as pool:
            pool.wait_ready(DEADLINE)
            former = pool._stock.kernels[0]
            kill(former)
            with pool.claim() as bridge:
                assert bridge is not former
                assert output(bridge, "print(1)") == "1\n"
        # Nobody was to be told of a kernel that was nobody's.
        assert died == []

    def test_one_that_has_died_unnoticed_is_not_handed_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The pool's thread is late."""
        may_go_on = threading.Event()
        with KernelPool(size=1) as pool:
            pool.wait_ready(DEADLINE)
            former = pool._stock.kernels[0]
            pool._starter.do(lambda: may_go_on.wait(DEADLINE))
            kill(former)
            claim = pool._begin(None, None)
            may_go_on.set()
            with claim.future.result(DEADLINE) as bridge:
                assert bridge is not former

    def test_what_is_to_be_done_when_it_has_died_begins_with_the_claim(self) -> None:
        told = threading.Event()
        died: list[Bridge] = []

        def on_death(bridge: Bridge) -> None:
            died.append(bridge)
            told.set()

        with KernelPool(size=1, on_death=on_death) as pool, pool.claim() as bridge:
            with pytest.raises(KernelDiedError):
                bridge.execute("import os; os._exit(3)").result(DEADLINE)
            assert told.wait(DEADLINE)
            assert died == [bridge]

    def test_one_that_dies_while_it_is_set_up_is_replaced(self, tmp_path: Path) -> None:
        mark = tmp_path / "died"
        code = f"import os\nif not os.path.exists({str(mark)!r}): open({str(mark)!r}, 'w'); os._exit(3)"
        with KernelPool(size=1, setup=lambda cwd, env: code) as pool, pool.claim(cwd="/") as bridge:
            assert output(bridge, "print(1)") == "1\n"
        assert mark.exists()

    def test_not_for_ever(self) -> None:
        with KernelPool(size=1, restart_limit=1, setup=lambda cwd, env: "import os; os._exit(3)") as pool:
            with pytest.raises(KernelStartError, match="exit status 3"):
                pool.claim(cwd="/")
            # Without that it is well.
            pool.claim().close()

    def test_kernels_that_do_not_start_are_tried_so_often_and_then_once_for_a_claim(
        self, kernel_that: Callable[..., str], tmp_path: Path
    ) -> None:
        starts = tmp_path / "starts"
        name = kernel_that(f"open({str(starts)!r}, 'a').write('x'); raise SystemExit('boom')")
        with KernelPool(name, 2, starts=1, transport="tcp", restart_limit=2) as pool:
            for expected in (3, 4):
                with pytest.raises(KernelStartError, match="exit status 1 while starting: boom"):
                    pool.claim()
                assert starts.read_text() == "x" * expected
            with pytest.raises(KernelStartError, match="boom"):
                pool.wait_ready(DEADLINE)

    def test_who_waits_for_all_is_told_that_they_do_not_start(self, kernel_that: Callable[..., str]) -> None:
        name = kernel_that("raise SystemExit('boom')")
        with (
            KernelPool(name, 1, transport="tcp", restart_limit=0) as pool,
            pytest.raises(KernelStartError, match="boom"),
        ):
            pool.wait_ready(DEADLINE)

    def test_neither_are_those_handed_out_that_fail_to_warm_up(self) -> None:
        with (
            KernelPool(size=1, warm_up="1 / 0", restart_limit=0) as pool,
            pytest.raises(KernelStartError, match="has failed to warm up: ZeroDivisionError"),
        ):
            pool.claim()

    def test_nor_those_that_die_of_it(self) -> None:
        with (
            KernelPool(size=1, warm_up="import os; os._exit(3)", restart_limit=0) as pool,
            pytest.raises(KernelStartError, match="exit status 3"),
        ):
            pool.claim()

    @pytest.mark.slow
    def test_claims_are_served_while_kernels_are_killed_in_whatever_state_they_are(self) -> None:
        chance = random.Random(1)

        def claim(number: int) -> str | None:
            with pool.claim(env={"NUMBER": str(number)}) as bridge:
                with pool._lock:
                    held = list(pool._starter.held)
                process = chance.choice(held)._link.process if held else None
                if process is not None:
                    process.signal(signal.SIGKILL)
                try:
                    return output(bridge, "import os; print(os.environ['NUMBER'])")
                except KernelDiedError:
                    # The signal was on its way when the kernel was handed over.
                    return None

        with KernelPool(size=4, restart_limit=1000) as pool, ThreadPoolExecutor(4) as threads:
            for number, given in enumerate(threads.map(claim, range(40))):
                assert given in (f"{number}\n", None)
            with pool.claim() as bridge:
                assert output(bridge, "print('served')") == "served\n"

    def test_a_fault_of_the_pool_ends_its_claims(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> Bridge:
            raise ZeroDivisionError("in the pool")

        monkeypatch.setattr("kernelbridge.frontend.starter.launch", fail)
        with KernelPool(size=1) as pool, pytest.raises(BridgeCrashedError, match="in the pool"):
            pool.claim()


class TestEnd:
    def test_closing_wakes_who_waits_for_a_kernel(self, kernel_that: Callable[..., str]) -> None:
        async def main() -> None:
            pool = KernelPool(kernel_that(NEVER_READY), 2, transport="tcp")
            waiting = [asyncio.ensure_future(wait) for wait in (pool.aclaim(), pool.aclaim(), pool.ready())]
            await asyncio.sleep(0)
            await pool.aclose()
            for wait in waiting:
                with pytest.raises(BridgeClosedError, match="the pool was closed"):
                    await wait
            for face in (pool.claim, pool.wait_ready):
                with pytest.raises(BridgeClosedError, match="the pool was closed"):
                    face()
            await pool.aclose()

        asyncio.run(main())

    @pytest.mark.parametrize("ends", ["close", "cancel"])
    def test_who_is_set_up_is_woken_too_and_leaves_no_kernel(self, ends: str, folder: Path) -> None:
        """Also when who waits for it is cancelled."""
        fifo = folder / "fifo"
        os.mkfifo(fifo)
        code = f"import threading\nopen({str(fifo)!r}, 'w').close()\nthreading.Event().wait()"

        async def main() -> None:
            pool = KernelPool(size=1, setup=lambda cwd, env: code)
            claim = asyncio.ensure_future(pool.aclaim(cwd="/"))
            await asyncio.to_thread(fifo.read_bytes)
            if ends == "close":
                await pool.aclose(grace=0)
                with pytest.raises(BridgeClosedError, match="the pool was closed"):
                    await claim
            else:
                claim.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await claim
                # There is room for another.
                await pool.ready()
                assert len(pool._starter.held) == 1
                await pool.aclose()

        asyncio.run(main())

    def test_what_was_claimed_is_the_claimers(self) -> None:
        with KernelPool(size=1) as pool:
            bridge = pool.claim()
        assert output(bridge, "print(1)") == "1\n"
        bridge.close()

    def test_an_interrupt_ends_the_kernels_grace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C, when a kernel does not end at once."""
        graces: list[float] = []
        close = Bridge.close

        def interrupted(bridge: Bridge, *, grace: float) -> None:
            graces.append(grace)
            if grace:
                raise KeyboardInterrupt
            close(bridge, grace=grace)

        pool = KernelPool(size=1)
        pool.wait_ready(DEADLINE)
        monkeypatch.setattr(Bridge, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.close()
        assert graces[-1] == 0
