"""`kernelbridge check`: what it takes, its exit statuses, and a small check of a real kernel."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from kernelbridge.cli import main
from kernelbridge.testing.check import RULES


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel that does not start."""
    folder = tmp_path / "kernels" / "broken"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-c", "raise SystemExit('no such thing')", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Broken", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    return "broken"


def test_a_kernel_that_holds_the_rules(tmp_path: Path) -> None:
    html, junit = tmp_path / "c.html", tmp_path / "c.xml"
    ran = check(
        "kernelbridge", "--rule", "status.brackets", "--trials", "2", "--json", "--html", html, "--junit", junit
    )
    assert ran.exit_code == 0, ran.output
    fields = json.loads(ran.stdout)
    assert [rule["id"] for rule in fields["rules"]] == ["status.brackets"]
    (kernel,) = fields["kernels"]
    (verdict,) = kernel["verdicts"]
    assert (kernel["name"], kernel["implementation"]) == ("kernelbridge", "kernelbridge")
    assert (verdict["status"], verdict["trials"], verdict["violations"]) == ("held", 2, 0)
    assert ran.stderr.splitlines() == ["Checking kernelbridge.", f"Written: {html}", f"Written: {junit}"]
    assert "status.brackets" in html.read_text(encoding="utf-8")
    assert ElementTree.fromstring(junit.read_bytes()).get("tests") == "1"


def test_the_short_table_sums_up_what_was_held() -> None:
    ran = check("kernelbridge", "--rule", "wire.ids", "--rule", "wire.topic", "--trials", "1", "--short")
    assert ran.exit_code == 0, ran.output
    assert "| 2 more rules, where they apply | ✓ |" in ran.stdout.splitlines()


def test_a_kernel_that_does_not_start_is_a_failure(broken: str) -> None:
    ran = check(broken, "--quiet", "--rule", "status.brackets")
    assert ran.exit_code == 1
    assert ran.stderr == ""
    assert ran.stdout.startswith("broken: not checked: ")
    assert "no such thing" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a kernel"),
        (["no-such-kernel"], "no kernel named 'no-such-kernel'; there are"),
        (["kernelbridge", "--rule", "no-such-rule"], "no rule matches 'no-such-rule'; there are wire.*"),
        (["kernelbridge", "--trials", "0"], "--trials"),
        (["kernelbridge", "--json", "--quiet"], "--quiet and --json exclude each other"),
        (["kernelbridge", "--html", "/no/such/folder/x.html"], "there is no folder /no/such/folder"),
        (["kernelbridge", "--junit", "/"], "is a directory"),
    ],
)
def test_bad_input_is_told_before_anything_is_tried(arguments: list[str], said: str) -> None:
    ran = check(*arguments)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert "Checking" not in ran.stderr
    assert "Traceback" not in ran.output


def test_the_rules_are_listed() -> None:
    assert check("--list").stdout.splitlines()[1:] != []
    named = json.loads(check("--list", "--json").stdout)["rules"]
    assert [rule["id"] for rule in named] == [rule.id for rule in RULES]


def test_ids_can_be_copied_from_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = [line.rstrip() for line in check("--list").stdout.splitlines()]
    assert {rule.id for rule in RULES} <= set(lines)
    assert max(map(len, lines)) <= 40


def test_a_theme_stands_for_its_rules() -> None:
    named = json.loads(check("--list", "--json", "--rule", "status", "--rule", "order.prompt").stdout)["rules"]
    assert {rule["theme"] for rule in named} == {"status", "order"}
    assert [rule["id"] for rule in named if rule["theme"] == "order"] == ["order.prompt"]
    assert len(named) == 1 + sum(rule.theme == "status" for rule in RULES)
