"""Chaos in short (F6, F8, F11): a step of each kind and phase; and that the command finds what it is to find."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kernelbridge.frontend.execution_states import State
from kernelbridge.testing import DEADLINE, execute_request, handle
from tests.chaos import __main__ as command
from tests.chaos import workers
from tests.chaos.ledger import Ledger
from tests.chaos.plan import PHASES, Kind, make_plan, make_step, named_step
from tests.chaos.room import Room, processes
from tests.chaos.workers import Outcome, perform_all
from tests.support.bridges import played

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

ROOT = Path(__file__).parents[2]


def chaos(*options: str) -> str:
    """Run the command, which must find nothing, and return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *options], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_some_steps_of_each_kind() -> None:
    names = ["kill-0", "kill-4", "kill-5", "stop-5", "frontend-2"]
    said = chaos("--seed", "5", "--kernels", "kernelbridge", *(f"--only={name}" for name in names))
    assert said.endswith("5 steps, 0 failed\n")


@pytest.mark.slow
def test_every_phase_with_every_kernel() -> None:
    assert chaos("--seed", "6", "--kills", "72", "--stops", "12", "--frontends", "10").endswith("94 steps, 0 failed\n")


COUNTS: dict[Kind, int] = {"kill": 50, "stop": 12, "frontend": 10}


class TestPlan:
    def test_a_step_depends_on_the_seed_and_its_name(self) -> None:
        plan = make_plan(1, COUNTS, ["kernelbridge", "python3", "deno"])
        assert plan == make_plan(1, COUNTS, ["kernelbridge", "python3", "deno"])
        for step in plan:
            again = named_step(1, step.name, ["kernelbridge", "python3", "deno"])
            assert (again, again.random().random()) == (step, step.random().random())
        assert {step.kernel for step in plan} == {"kernelbridge", "python3", "deno"}
        assert plan != make_plan(2, COUNTS, ["kernelbridge", "python3", "deno"])

    def test_all_phases_come_and_the_kinds_are_mixed(self) -> None:
        plan = make_plan(1, COUNTS, ["kernelbridge"])
        assert {(step.kind, step.phase) for step in plan} == {(kind, one) for kind in PHASES for one in PHASES[kind]}
        assert {step.kind for step in plan[: len(plan) // 4]} == set(PHASES)

    @pytest.mark.parametrize("name", ["kill", "kill-", "kill-x", "burn-1"])
    def test_what_is_no_step(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as raised:
            command.main(["--only", name])
        assert raised.value.code == 2
        assert f"no step '{name}'" in capsys.readouterr().err


class TestFinds:
    """What the command is for."""

    @pytest.fixture
    def room(self, tmp_path: Path) -> Room:
        for folder in "rt":
            (tmp_path / folder).mkdir()
        return Room(tmp_path)

    def test_a_step_that_leaves_nothing(self, room: Room) -> None:
        with room.emptied("kill-0") as mark:
            subprocess.run(["true"], env=os.environ | mark, check=True)

    @pytest.mark.parametrize("file", ["r/kernel-1.json", "t/kernelbridge-1"])
    def test_a_file(self, file: str, room: Room, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="files are left"), room.emptied("kill-0"):
            (tmp_path / file).touch()

    def test_a_process_whosever_child_it_is_which_is_ended(self, room: Room) -> None:
        script = "sleep 1000 & echo $!"
        with pytest.raises(AssertionError, match=r"processes are left: \[\d+\]"), room.emptied("kill-0") as mark:
            subprocess.run(["sh", "-c", script], env=os.environ | mark, check=True, stdout=subprocess.DEVNULL)
        room.clear("kill-0")
        assert processes(room.mark("kill-0")) == []

    def test_a_thread(self, room: Room) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        with pytest.raises(AssertionError, match="threads are left"), room.emptied("kill-0"):
            thread.start()
        end.set()
        thread.join()

    @pytest.mark.parametrize("wrong", [lambda: logging.getLogger("kernelbridge").error("wrong"), lambda: 1 / 0])
    def test_an_error_in_a_thread(self, room: Room, wrong: Callable[[], object]) -> None:
        thread = threading.Thread(target=wrong)
        with pytest.raises(AssertionError, match=r"wrong|ZeroDivisionError"), room.emptied("kill-0"):
            thread.start()
            thread.join()

    def test_an_execution_that_ends_as_it_must_not(self) -> None:
        with played() as (kernel, bridge):
            ledger = Ledger()
            ledger.execute(bridge, "1", {State.DIED})
            kernel.play(handle(), parent=kernel.take(execute_request("1")))
            with pytest.raises(AssertionError, match=r"is ok, not one of"):
                ledger.settle()

    def test_a_step_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "HANGS_AFTER", 0.0)
        step = make_step(1, "kill", 1, ["kernelbridge"])
        (outcome,) = perform_all([step], 1, time.monotonic() + DEADLINE)
        assert (outcome.step, outcome.failure) == (step, "it hangs")

    def test_a_failure_is_told_with_what_does_it_again(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        step = make_step(7, "stop", 3, ["kernelbridge"])
        monkeypatch.setattr(command, "perform_all", lambda *_: iter([Outcome(step, 1.0, "a traceback\n")]))
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        assert command.main(["--seed", "7", "--only", "stop-3", "--kernels", "kernelbridge"]) == 1
        said = capsys.readouterr().out
        assert "FAILED stop-3: kernelbridge" in said
        assert "a traceback\nagain: python -m tests.chaos --seed 7 --kernels kernelbridge --only stop-3\n" in said
        assert said.endswith("1 steps, 1 failed\n")

    def test_what_there_was_no_time_for(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        assert command.main(["--minutes", "0"]) == 1
        assert "650 steps were not done" in capsys.readouterr().out
