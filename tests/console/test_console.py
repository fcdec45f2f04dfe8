"""The console at a kernel whose part is played: what is read, in which order it is shown, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable

import pytest

from kernelbridge.frontend.bridge import launch
from kernelbridge.testing import (
    DEADLINE,
    Always,
    Scriptable,
    always,
    busy,
    call,
    clear_output,
    comm_msg,
    die,
    display,
    error,
    execute_input,
    execute_request,
    flood,
    handle,
    idle,
    input_reply,
    input_request,
    message,
    on,
    reply,
    request,
    result,
    scripted_kernelspec,
    send,
    stderr,
    stdout,
    update_display,
)
from tests.console.typing_person import CTRL_C, CTRL_D, UP, Person, person_at
from tests.support.bridges import connected

COMPLETE = always(request("is_complete"), handle(reply(status="complete")))
NO_HISTORY = always(request("history"), handle(reply(status="ok", history=[])))
USUAL = (COMPLETE, NO_HISTORY)
TRACEBACK = ["\x1b[31mboom\x1b[0m", "Boom: no"]


def with_console(
    talk: Callable[[Person], Awaitable[None]], *script: Scriptable | Always, launched: bool = True, colour: bool = True
) -> None:
    """Let a person talk to a console at a kernel that plays the script."""

    async def run() -> None:
        with connected(*script) as bridge:
            async with person_at(bridge, launched=launched, colour=colour) as person:
                await talk(person)

    asyncio.run(run())


# What is shown


def cell(*shown: Scriptable, count: int = 1) -> Scriptable:
    return on(execute_request("cell"), busy(), execute_input("cell"), *shown, idle(), reply(execution_count=count))


def test_all_that_a_cell_shows_is_shown_in_the_order_in_which_it_was_published() -> None:
    """Contract F1, F2: and the next prompt comes behind all of it, though the reply came first."""
    script = on(
        execute_request("cell"),
        busy(),
        reply(execution_count=7),
        stdout("a"),
        stderr("b\n"),
        display("d"),
        comm_msg({"x": 1}, comm_id="c"),
        stdout("e"),
        update_display("f", display_id="1"),
        result("g", execution_count=7),
        idle(),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("In [8]: ")
        assert person.shown == "ab\nd\nef\n\x1b[31mOut[\x1b[1;31m7\x1b[0m\x1b[31m]:\x1b[0m g\n"
        person.types(CTRL_D)
        assert await person.sees_the_end() == 0

    with_console(talk, *USUAL, script)


def test_an_error_is_shown_with_its_traceback_and_a_prompt_never_stands_behind_text() -> None:
    shown = (stdout("begun"), error("Boom", "no", TRACEBACK))

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("In [2]: ")
        assert person.shown == "begun\x1b[31mboom\x1b[0m\nBoom: no\n"
        person.types("cell\r")
        await person.reads("In [3]: ")
        assert person.shown.endswith("begun\n")

    with_console(talk, *USUAL, cell(*shown), cell(stdout("begun"), count=2))


def test_without_colour_only_the_text_is_left() -> None:
    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("In [2]: ")
        assert person.shown == "boom\nBoom: no\nOut[1]:\n1\n2\n"

    with_console(talk, *USUAL, cell(error("Boom", "no", TRACEBACK), result("1\n2", execution_count=1)), colour=False)


def test_what_is_cleared_is_the_line() -> None:
    shown = (stdout("10%"), clear_output(wait=False), stdout("20%"), clear_output(wait=True), stdout("30%"))

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("In [2]: ")
        assert person.shown == "10%\r\x1b[2K20%\r\x1b[2K30%\n"

    with_console(talk, *USUAL, cell(*shown))


def test_what_a_cells_thread_shows_later_comes_above_the_prompt_and_what_others_cause_does_not() -> None:
    completed = reply(status="ok", matches=["exact"], cursor_start=0, cursor_end=1)
    script = (
        on(
            execute_request("cell"),
            handle(reply(execution_count=1)),
            on(request("complete", code="e", cursor_pos=1), handle(completed)),
            stdout("late"),
        ),
        stdout("not ours\n", parent="somebody"),
        on(execute_request("exact"), handle(stdout("end\n"), reply(execution_count=2))),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("In [2]: ")
        # What is in the midst of being typed stays.
        person.types("e\t")
        await person.reads("late")
        # The reply may come later, by another socket.
        await person.reads("xact")
        person.types("\r")
        await person.reads("In [3]: ")
        assert person.shown == "late\nend\n"

    with_console(talk, *USUAL, *script)


# What is read


def test_a_cell_has_as_many_lines_as_the_kernel_says() -> None:
    code = "for x in y:\n    go(x)"
    script = (
        on(request("is_complete", code="for x in y:"), handle(reply(status="incomplete", indent="    "))),
        on(request("is_complete", code=code), handle(reply(status="invalid"))),
        on(execute_request(code), handle(reply(execution_count=1))),
    )

    async def talk(person: Person) -> None:
        # All at once: what is typed while the kernel is asked comes behind.
        person.types("for x in y:\rgo(x)\r")
        await person.reads("In [2]: ")

    with_console(talk, NO_HISTORY, *script)


def test_a_cell_of_a_kernel_that_cannot_say_ends_at_an_empty_line() -> None:
    script = (
        on(request("is_complete", code="one"), handle(reply(status="unknown"))),
        on(execute_request("one"), handle(reply(execution_count=1))),
        # It has stopped to answer at all, and is not asked any more.
        on(request("is_complete", code="two")),
        on(execute_request("two"), handle(reply(execution_count=2))),
        on(execute_request("three"), handle(reply(execution_count=3))),
    )

    async def talk(person: Person) -> None:
        for number, line in enumerate(("one", "two", "three"), 2):
            person.types(f"{line}\r")
            await person.reads(f"In [{number}]: ")

    with_console(talk, NO_HISTORY, *script)


def test_enter_in_the_midst_of_a_cell_begins_a_line() -> None:
    async def talk(person: Person) -> None:
        # Left, twice.
        person.types("abcd\x1b[D\x1b[D\r\x1b[C\x1b[C\r")
        await person.reads("In [2]: ")

    with_console(talk, *USUAL, on(execute_request("ab\ncd"), handle(reply(execution_count=1))))


def test_the_kernels_history_is_gone_back_in() -> None:
    entries = [[1, 1, "first"], [1, 2, "same"], [2, 1, "same"], "odd", [2, 2, ""]]
    script = (
        on(request("history", hist_access_type="tail"), handle(reply(status="ok", history=entries))),
        on(execute_request("cell"), handle(reply(execution_count=1))),
        on(execute_request("first"), handle(reply(execution_count=2))),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("In [2]: ")
        person.types(f"{UP}{UP}{UP}\r")
        await person.reads("In [3]: ")

    with_console(talk, COMPLETE, *script)


def test_ctrl_c_at_the_prompt_throws_away_what_was_typed() -> None:
    async def talk(person: Person) -> None:
        person.types(f"wrong{CTRL_C}right\r")
        await person.reads("In [2]: ")

    with_console(talk, *USUAL, on(execute_request("right"), handle(reply(execution_count=1))))


def test_what_a_cell_asks_its_frontend_for() -> None:
    page = {"source": "page", "start": 0, "data": {"text/plain": "a page", "text/html": "<p>"}}
    text = {"source": "set_next_input", "text": "next", "replace": False}
    end = {"source": "ask_exit", "keepkernel": False}
    script = (
        on(execute_request("cell"), handle(reply(execution_count=1, payload=[page, text, {"source": "odd"}]))),
        on(execute_request("other!"), handle(reply(execution_count=2, payload=[end]))),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("In [2]: ")
        assert person.shown == "a page\n"
        # What is thrown away does not come back.
        person.types(f"{CTRL_C}other!\r")
        assert await person.sees_the_end() == 0

    with_console(talk, *USUAL, *script)


def test_a_kernel_that_was_there_says_how_many_cells_it_has_run() -> None:
    asked = on(execute_request("", silent=True), handle(reply(execution_count=41)))

    async def talk(person: Person) -> None:
        # Of a prompt that stands already, what changes is drawn.
        await person.reads("42]: ")
        person.types(CTRL_D)
        assert await person.sees_the_end() == 0

    with_console(talk, *USUAL, asked, launched=False)


# What the kernel asks


def test_an_input_request_comes_behind_the_output_and_its_answer_is_sent() -> None:
    """Contract F9."""
    begun = threading.Event()

    def read() -> None:
        # On two sockets, the one message may come before the other.
        assert begun.wait(DEADLINE)

    script = on(
        execute_request("cell", allow_stdin=True),
        busy(),
        *(stdout(f"{number}\n") for number in range(100)),
        stdout("begun"),
        call(read),
        input_request("name? ", password=False),
        on(input_reply("Ada")),
        stdout("hello\n"),
        input_request("secret? ", password=True),
        on(input_reply("word")),
        idle(),
        reply(execution_count=1),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("begun")
        begun.set()
        await person.reads("name?")
        assert person.shown == "".join(f"{number}\n" for number in range(100)) + "begun\n"
        person.types("Ada\r")
        await person.reads("secret?")
        before = len(person.drawn)
        person.types("word\r")
        await person.reads("In [2]: ")
        assert person.shown.endswith("begun\nhello\n")
        assert "word" not in person.drawn[before:]

    with_console(talk, *USUAL, script)


def test_ctrl_d_at_a_question_is_the_end_of_the_input() -> None:
    script = on(
        execute_request("cell"), input_request("more? "), on(input_reply("\x04")), handle(reply(execution_count=1))
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("more?")
        person.types(CTRL_D)
        await person.reads("In [2]: ")

    with_console(talk, *USUAL, script)


def test_ctrl_c_at_a_question_interrupts_and_answers_nothing() -> None:
    """The answer to what is asked next must not be the one to what was asked before."""
    script = on(
        execute_request("cell"),
        input_request("first? "),
        on(request("interrupt"), reply()),
        input_request("second? "),
        on(input_reply("yes")),
        handle(reply(execution_count=1)),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("first?")
        person.types(CTRL_C)
        await person.reads("second?")
        person.types("yes\r")
        await person.reads("In [2]: ")

    with_console(talk, *USUAL, script)


def test_a_question_that_the_cell_does_not_wait_for_is_withdrawn() -> None:
    """Somebody else has interrupted it: the terminal is the next prompt's."""
    script = (
        on(execute_request("cell"), input_request("name? "), on(request("complete"), reply()), reply(), idle()),
        on(execute_request("next"), handle(stdout("next\n"), reply(execution_count=2))),
    )

    async def run() -> None:
        with connected(*USUAL, *script) as bridge:
            async with person_at(bridge) as person:
                person.types("cell\r")
                await person.reads("name?")
                await bridge.complete("now")
                await person.reads("In [2]: ")
                person.types("next\r")
                await person.reads("In [3]: ")
                assert person.shown == "next\n"

    asyncio.run(run())


# Interrupts and ends


def test_ctrl_c_interrupts_the_cell_that_runs() -> None:
    """Contract F7."""
    script = on(
        execute_request("cell"),
        busy(),
        stdout("runs\n"),
        on(request("interrupt"), reply()),
        error("KeyboardInterrupt", "", ["stopped"]),
        reply(status="error", execution_count=1),
        idle(),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("runs")
        # What a terminal does where no prompt reads its keys.
        signal.raise_signal(signal.SIGINT)
        await person.reads("In [2]: ")
        # The terminal has shown ^C.
        assert person.shown == "runs\n\nstopped\n"

    with_console(talk, *USUAL, script)


def test_the_third_ctrl_c_ends_the_console_when_the_cell_does_not_end() -> None:
    two = on(request("interrupt"), reply(), on(request("interrupt"), reply(), stdout("two\n")))
    script = on(execute_request("cell"), busy(), stdout("runs\n"), two)

    async def talk(person: Person) -> None:
        person.types("cell\r")
        await person.reads("runs")
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert await person.sees_the_end() == 130
        assert person.shown.endswith("The cell does not end.\n")

    with_console(talk, *USUAL, script)


def test_ctrl_c_leaves_out_what_a_cell_that_has_ended_has_yet_to_show() -> None:
    async def run() -> None:
        script = (
            on(execute_request("cell"), handle(flood(100, stdout("x\n")), reply(execution_count=1))),
            on(execute_request("next"), handle()),
        )
        with connected(*USUAL, *script) as bridge:
            async with person_at(bridge) as person:

                def impatient(text: str) -> None:
                    if text == "x\n":
                        person.paper.on_text = lambda text: None
                        # It runs when the cell has ended.
                        bridge.execute("next").result(DEADLINE)
                        signal.raise_signal(signal.SIGINT)

                person.paper.on_text = impatient
                person.types("cell\r")
                await person.reads("In [2]: ")
                # Behind the ^C, on a line of its own.
                assert person.shown == "x\n\n99 more outputs were left out.\n"

    asyncio.run(run())


@pytest.mark.parametrize("while_what", ["a cell runs", "a prompt waits"])
def test_the_death_of_the_kernel_is_said_in_one_line_behind_its_last_words(while_what: str) -> None:
    """Contract F6."""
    last = stdout("last words\n")
    script = (
        on(execute_request("cell"), busy(), last, die(3))
        if while_what == "a cell runs"
        else on(execute_request("cell"), handle(last, reply(execution_count=1)), die(3))
    )

    async def run() -> None:
        with scripted_kernelspec(*USUAL, script) as name:
            async with launch(name) as bridge, person_at(bridge) as person:
                person.types("cell\r")
                assert await person.sees_the_end() == 1
                said = f"The kernel is gone: kernel {name!r} ended with exit status 3."
                assert person.shown == f"last words\n{said}\n"

    asyncio.run(run())


@pytest.mark.parametrize(("restart", "said"), [(False, "has shut the kernel down"), (True, "restarts the kernel")])
def test_what_another_frontend_does_with_the_kernel_is_said(restart: bool, said: str) -> None:
    script = (
        on(execute_request("", silent=True), handle(reply(execution_count=0))),
        on(
            execute_request("cell"),
            busy(),
            send(message("shutdown_reply", restart=restart, parent="somebody"), channel="iopub"),
        ),
    )

    async def talk(person: Person) -> None:
        person.types("cell\r")
        assert await person.sees_the_end() == 1
        assert said in person.shown

    with_console(talk, *USUAL, *script, launched=False)
