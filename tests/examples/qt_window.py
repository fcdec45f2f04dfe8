"""What a user of the Qt console does and sees. Run by test_qt_console.py, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from PySide6.QtCore import QEventLoop, Qt, QTimer
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit
from qt_console import Console

from kernelbridge import launch
from kernelbridge.testing import DEADLINE

# Computes: a signal that comes just before Python waits for something does not end that wait.
WAITS = "print('begun', flush=True); exec('while True: pass')"


@pytest.fixture(scope="module")
def app() -> QApplication:
    app = QApplication([])
    app.setQuitOnLastWindowClosed(False)
    return app


class User:
    """Types in a window, presses its buttons, and looks at it whenever something has changed there."""

    def __init__(self, window: Console) -> None:
        self.window = window
        self.line = window.line

    def enter(self, text: str) -> None:
        QTest.keyClicks(self.line, text)
        QTest.keyClick(self.line, Qt.Key.Key_Return)

    def press(self, button: str) -> None:
        next(action for action in self.window.findChildren(QAction) if action.text() == button).trigger()

    @property
    def text(self) -> str:
        return self.window.shown.toPlainText()

    @property
    def status(self) -> str:
        return self.window.statusBar().currentMessage()

    def until(self, holds: Callable[[], bool]) -> None:
        """Let Qt's loop run until this holds. It is looked at when the window has shown something, or done it."""
        loop, late = QEventLoop(), QTimer(singleShot=True, interval=int(1000 * DEADLINE))
        late.timeout.connect(lambda: loop.exit(1))
        for changed in (self.window.came, self.window.to_do):
            # Connected later than the window itself, and so called later; and then once more when the loop is idle.
            changed.connect(loop.quit, Qt.ConnectionType.QueuedConnection)
        late.start()
        while not holds():
            assert loop.exec() == 0, f"this has not come: {self.text!r}, {self.status!r}"

    def until_asked(self, prompt: str) -> None:
        self.until(lambda: self.window.prompt.text() == prompt)


@contextmanager
def used(app: QApplication) -> Iterator[User]:
    """A window that is shown, from when it has heard of its kernel until it is closed."""
    with closing(launch()) as bridge:
        user = User(Console(bridge))
        user.window.show()
        user.until(lambda: user.status == "idle")
        yield user
        user.window.close()
        # It goes at once, and the program when the kernel has gone.
        assert not user.window.isVisible()
        assert app.exec() == 0
        assert bridge.status == "closed"


@pytest.fixture(scope="module")
def shared(app: QApplication, runtime: object) -> Iterator[User]:
    with used(app) as user:
        yield user


@pytest.fixture
def user(shared: User) -> User:
    """A window for all tests, with an empty line. Only the active one hears its keys."""
    shared.window.activateWindow()
    assert QTest.qWaitForWindowActive(shared.window)
    assert shared.line.hasFocus()
    shared.line.clear()
    return shared


def test_it_shows_what_the_kernel_does_in_order(user: User) -> None:
    user.enter("import sys; print('one'); print('two', file=sys.stderr); display('three'); 'four'")
    user.until(lambda: user.text.endswith("four'\none\ntwo\n'three'\n'four'\n") and user.status == "idle")
    user.enter("1 / 0")
    user.until(lambda: user.text.endswith("ZeroDivisionError: division by zero\n"))
    assert "\x1b" not in user.text


def test_former_lines_come_back(user: User) -> None:
    user.enter("x = 1")
    user.enter("y = 2")
    for key, line in (("Up", "y = 2"), ("Up", "x = 1"), ("Down", "y = 2"), ("Down", ""), ("Down", "")):
        QTest.keyClick(user.line, getattr(Qt.Key, f"Key_{key}"))
        assert user.line.text() == line


def test_tab_completes(user: User) -> None:
    QTest.keyClicks(user.line, "1 + ab")
    QTest.keyClick(user.line, Qt.Key.Key_Tab)
    popup = user.line.completer().popup()
    assert popup is not None
    user.until(popup.isVisible)
    assert "1 + abs" in user.window.matches.stringList()
    popup.hide()


def test_it_asks_what_the_code_asks(user: User) -> None:
    user.enter("name = input('name? '); import getpass; print(name, getpass.getpass('secret? '))")
    for prompt, mode, answer in (("name? ", "Normal", "Ada"), ("secret? ", "Password", "xyz")):
        user.until_asked(prompt)
        assert user.line.echoMode() == getattr(QLineEdit.EchoMode, mode)
        user.enter(answer)
    user.until(lambda: user.text.endswith("\nAda xyz\n") and user.window.prompt.text() == ">>> ")
    # Nobody answers: the question goes with its code, and what is entered next is code.
    user.enter("input('again? ')")
    user.until_asked("again? ")
    user.press("Interrupt")
    user.until_asked(">>> ")
    user.enter("'code'")
    user.until(lambda: user.text.endswith("\n'code'\n"))


def test_an_interrupt_ends_what_runs(user: User) -> None:
    user.enter(WAITS)
    user.enter("'never'")
    user.until(lambda: user.text.endswith("\nbegun\n") and user.status == "busy")
    user.press("Interrupt")
    user.until(lambda: user.status == "idle")
    user.enter("'again'")
    user.until(lambda: user.text.endswith("\n'again'\n"))
    assert "KeyboardInterrupt" in user.text
    assert "'never'" not in user.text


def test_what_was_too_much_to_read_is_told(user: User) -> None:
    user.enter(WAITS)
    user.until(lambda: user.text.endswith("\nbegun\n"))
    user.window.show_message(user.window.bridge.subscribe(snapshot=True).get(DEADLINE))
    assert user.text.endswith("[more than can be shown; what runs has shown:]\nbegun\n")
    user.press("Interrupt")
    user.until(lambda: user.status == "idle")


def test_the_kernel_dies_and_is_restarted(app: QApplication) -> None:
    with used(app) as user:
        user.enter("import os; os._exit(1)")
        user.until(lambda: user.status == "dead")
        user.press("Restart")
        user.until(lambda: user.status == "idle")
        user.enter("'new'")
        user.until(lambda: user.text.endswith("\n'new'\n"))
