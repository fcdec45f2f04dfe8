"""A console window of Qt: an input line with history and completion, what the kernel shows, and a kernel to hold.

    python examples/qt_console.py [--kernel NAME]        (needs PySide6)

Qt's loop never waits: what takes its time is done on other threads, and what comes on those reaches the window by
signals. A message holds its thread until it is shown: what comes too fast waits in the subscription, which is bounded.
"""

import argparse
import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtGui import QCloseEvent, QColor, QKeySequence, QShortcut, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QApplication, QCompleter, QLabel, QLineEdit, QMainWindow, QPlainTextEdit, QToolBar

from kernelbridge import Bridge, BridgeError, Message, Request, Resync, launch

PROMPT = ">>> "
RED, BLUE = QColor("firebrick"), QColor("steelblue")


class Console(QMainWindow):
    came, to_do = Signal(object), Signal(object)

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self.bridge, self.threads, self.history, self.back = bridge, ThreadPoolExecutor(), list[str](), 0
        self.question: Future[str] | None = None
        self.shown = QPlainTextEdit(readOnly=True, maximumBlockCount=10_000)
        self.prompt, self.line, self.matches = QLabel(PROMPT), QLineEdit(), QStringListModel()
        self.line.setCompleter(QCompleter(self.matches))
        self.line.returnPressed.connect(self.enter)
        for key, action in (("Tab", self.complete), ("Up", lambda: self.recall(1)), ("Down", lambda: self.recall(-1))):
            QShortcut(QKeySequence(key), self.line, action, context=Qt.ShortcutContext.WidgetShortcut)
        bar = QToolBar()
        bar.addWidget(self.prompt)
        bar.addWidget(self.line)
        bar.addAction("Interrupt", bridge.interrupt)
        bar.addAction("Restart", self.restart)
        self.addToolBar(Qt.ToolBarArea.BottomToolBarArea, bar)
        self.setCentralWidget(self.shown)
        self.line.setFocus()
        self.to_do.connect(self.do)
        self.came.connect(self.show_message, Qt.ConnectionType.BlockingQueuedConnection)
        bridge.subscribe(self.came.emit)
        self.when_answered(bridge.history(n=1000), self.take_history)

    def do(self, call: Callable[[], object]) -> None:
        """Do on the window's thread what was emitted on another."""
        try:
            call()
        except BridgeError as error:
            self.write(f"{error}\n", RED)
        self.statusBar().showMessage(self.bridge.status)

    def restart(self) -> None:
        self.threads.submit(self.bridge.restart).add_done_callback(lambda done: self.to_do.emit(done.result))

    def when_answered(self, request: Request, take: Callable[[dict[str, Any]], object]) -> None:
        request.when_done(lambda: self.to_do.emit(lambda: take(request.result().content)))

    def show_message(self, message: Message) -> None:
        if isinstance(message, Resync):
            self.write("[more than can be shown; what runs has shown:]\n", BLUE)
            for output in (output for running in message.snapshot.running for output in running.outputs):
                self.show_output(output["output_type"], output)
        else:
            self.show_output(message.msg_type, message.content)
        self.statusBar().showMessage(self.bridge.status)

    def show_output(self, kind: str, content: dict[str, Any]) -> None:
        match kind:
            case "execute_input":
                self.write(f"{PROMPT}{content['code']}\n", BLUE)
            case "stream":
                self.write(content["text"], RED if content["name"] == "stderr" else None)
            case "display_data" | "execute_result":
                self.write(content["data"].get("text/plain", f"<{', '.join(content['data'])}>") + "\n")
            case "error":
                self.write("\n".join(content["traceback"]) + "\n", RED)

    def write(self, text: str, colour: QColor | None = None) -> None:
        form, end = QTextCharFormat(), QTextCursor(self.shown.document())
        form.setForeground(colour or self.palette().text().color())
        end.movePosition(QTextCursor.MoveOperation.End)
        end.insertText(re.sub(r"\x1b\[[\d;]*m", "", text), form)
        self.shown.verticalScrollBar().setValue(self.shown.verticalScrollBar().maximum())

    def enter(self) -> None:
        text, question = self.line.text(), self.question
        self.line.clear()
        if question is None:
            self.history.append(text)
            self.back = 0
            self.bridge.execute(text, on_input=self.ask)
        elif question.set_running_or_notify_cancel():
            question.set_result(text)

    async def ask(self, prompt: str, password: bool) -> str:
        """Answer the code's `input`, on a thread for that. Cancelled when the code ends without an answer."""
        question: Future[str] = Future()
        self.to_do.emit(lambda: self.put(question, prompt, password))
        try:
            return await asyncio.wrap_future(question)
        finally:
            self.to_do.emit(lambda: self.put(None, PROMPT, False))

    def put(self, question: Future[str] | None, prompt: str, password: bool) -> None:
        self.question = question
        self.prompt.setText(prompt)
        self.line.setEchoMode(QLineEdit.EchoMode.Password if password else QLineEdit.EchoMode.Normal)

    def take_history(self, reply: dict[str, Any]) -> None:
        self.history[:0] = [text for _, _, text in reply["history"]]

    def recall(self, step: int) -> None:
        self.back = min(max(self.back + step, 0), len(self.history))
        self.line.setText([*self.history, ""][-1 - self.back])

    def complete(self) -> None:
        code = self.line.text()
        self.when_answered(self.bridge.complete(code), lambda reply: self.take_matches(code, reply))

    def take_matches(self, code: str, reply: dict[str, Any]) -> None:
        if code == self.line.text():
            self.matches.setStringList([code[: reply["cursor_start"]] + match for match in reply["matches"]])
            self.line.completer().complete()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.threads.submit(self.bridge.close).add_done_callback(lambda _: self.to_do.emit(QApplication.exit))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", default="kernelbridge")
    app = QApplication()
    app.setQuitOnLastWindowClosed(False)  # but when the kernel has ended
    try:
        with closing(launch(parser.parse_args().kernel)) as bridge:
            window = Console(bridge)
            window.show()
            app.exec()
    except BridgeError as problem:
        parser.error(str(problem))
