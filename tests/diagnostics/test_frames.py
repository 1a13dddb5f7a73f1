"""
Places in code: where a call was made, where a coroutine waits, what a thread is doing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from types import FrameType
from typing import Any

import pytest
import twisted.internet.base

from crochet._diagnostics.frames import (
    GENERATED,
    LIBRARY,
    MACHINERY,
    OWN,
    Place,
    above_the_reactor,
    is_ours,
    is_polling,
    line_of,
    owner_of,
    place_of_frame,
    told,
)
from crochet._threads.threads import frames_of_threads, known_name
from support.process import FakeProcess
from support.stepping import BOUND, Background, frame_without_line

_TWISTED = os.path.dirname(os.path.dirname(twisted.internet.base.__file__))
_STDLIB = os.path.dirname(os.__file__)


def frame_here() -> FrameType:
    """
    Return the frame of who calls this.
    """
    return sys._getframe(1)


class TestPlaces:
    """
    One line of one function.
    """

    def test_are_told_in_a_few_words(self) -> None:
        """
        The file without its folder, for a line of text.
        """
        assert str(Place("Client.get", "/srv/app/client.py", 31)) == "client.py:31 Client.get()"
        assert str(Place("<module>", "/srv/app/client.py", 3)) == "client.py:3"

    def test_of_a_frame(self) -> None:
        """
        The line that it has come to.
        """
        frame = frame_here()
        place, line = place_of_frame(frame), frame.f_lineno
        assert (place.file, place.line) == (__file__, line)
        assert place.function.endswith("test_of_a_frame")

    def test_of_an_instruction(self) -> None:
        """
        As it was when its offset was noted, however far the frame has gone since.
        """
        frame = frame_here()
        offset, line = frame.f_lasti, frame.f_lineno
        assert line_of(frame.f_code, offset) == line
        assert line_of(frame.f_code, offset) != frame.f_lineno

    def test_of_an_instruction_that_there_is_not(self) -> None:
        """
        The function's first line.
        """
        code = frame_here.__code__
        assert line_of(code, 10**6) == code.co_firstlineno

    def test_of_a_frame_that_is_at_no_line(self) -> None:
        """
        The code's first line.
        """
        frame = frame_without_line(__file__)
        assert frame.f_lineno is None
        assert place_of_frame(frame).line == 1

    def test_name_no_enclosing_function(self) -> None:
        """
        Which nobody could call.
        """

        class Inner:
            """
            Has a method.
            """

            def method(self) -> Place:
                return place_of_frame(frame_here())

        expected = "Inner.method" if sys.version_info >= (3, 11) else "method"
        assert Inner().method().function == expected


class TestThreads:
    """
    Where other threads are.
    """

    def test_have_a_stack(self) -> None:
        """
        Innermost first.
        """
        here = threading.Event()
        go_on = threading.Event()

        def wait() -> None:
            here.set()
            assert go_on.wait(BOUND)

        background = Background(wait)
        assert here.wait(BOUND)
        ident = background.thread.ident
        assert ident is not None
        seen = above_the_reactor(frames_of_threads()[ident])
        names = [place.function.rpartition(".")[2] for place in seen]
        assert known_name(ident) == "test's background"
        go_on.set()
        background.outcome()
        # The innermost may be anything in threading.Event.
        assert names.index("wait") < names.index("_run") < names.index("run")

    def test_have_none_when_they_have_ended(self) -> None:
        """
        Nor a name.
        """
        assert above_the_reactor(frames_of_threads().get(-1)) == ()
        assert known_name(-1) is None

    def test_are_looked_at_no_deeper_than_anybody_reads(self) -> None:
        """
        However deep.
        """

        def dive(depth: int) -> int:
            return dive(depth - 1) if depth else len(above_the_reactor(frame_here()))

        assert dive(300) == 200


class TestWhose:
    """
    Whose code it is.
    """

    @pytest.mark.parametrize(
        ("file", "owner"),
        [
            ("/srv/app/views.py", OWN),
            ("<stdin>", OWN),
            ("<ipython-input-3-5a1b>", OWN),
            ("/srv/venv/lib/python3.12/site-packages/requests/api.py", LIBRARY),
            (os.path.join(_STDLIB, "site-packages", "six.py"), LIBRARY),
            ("/usr/lib/python3/dist-packages/requests/api.py", LIBRARY),
            ("<string>", GENERATED),
            ("<attrs generated init Order>", GENERATED),
            (os.path.join(_STDLIB, "threading.py"), MACHINERY),
            ("<frozen importlib._bootstrap>", MACHINERY),
            (os.path.join(_TWISTED, "internet", "base.py"), MACHINERY),
            (place_of_frame.__code__.co_filename, MACHINERY),
        ],
    )
    def test_owns_a_file(self, file: str, owner: int) -> None:
        """
        The program, a package, nobody that could be read, or Python, Twisted and Crochet.
        """
        assert owner_of(file) == owner

    def test_owns_a_command_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        What is run by ``python -c`` is the program's.
        """
        monkeypatch.setattr(sys, "argv", ["-c"])
        assert owner_of("<string>") == OWN

    def test_is_told_of_a_stack(self) -> None:
        """
        The program's own lines first, with the package that they have called; what the package
        calls in turn, what the interpreter runs in between and what called the program is left out.
        """
        stack = (
            Place("SSLSocket.read", os.path.join(_STDLIB, "ssl.py"), 1166),
            Place("connection", "/v/site-packages/urllib3/connection.py", 5),
            Place("get", "/v/site-packages/requests/api.py", 73),
            Place("<module>", "/srv/app/rates.py", 3),
            Place("_call_with_frames_removed", "<frozen importlib._bootstrap>", 241),
            Place("<module>", "<string>", 1),
            Place("load", "/srv/app/views.py", 31),
            Place("view", "/srv/app/views.py", 12),
            Place("serve", "/srv/app/serve.py", 8),
        )
        assert told(stack) == (
            "rates.py:3 (inside requests), called by views.py:31 load(), called by "
            "views.py:12 view()"
        )
        # None of it is the program's.
        assert told(stack[:3]) == "connection.py:5 connection(), called by api.py:73 get()"
        assert told(stack[4:6]) == "<string>:1"
        assert told(stack[4:5]) == ""
        assert told(()) == ""

    def test_is_ours(self) -> None:
        """
        By the folder.
        """
        assert is_ours(place_of_frame.__code__.co_filename)
        assert not is_ours(__file__)


class TestTheReactorThread:
    """
    What the reactor does, by its thread's stack.
    """

    def test_polls_when_there_is_nothing_to_do(self, running: FakeProcess) -> None:
        """
        And not within a callback.
        """
        ident = running.bridge.reactor_thread
        assert ident is not None
        seen = running.wait_for(BOUND)(lambda: above_the_reactor(frame_here()))()
        assert [place.function for place in seen if place.file == __file__]
        assert not is_polling(seen)
        assert not [place for place in seen if "run_in_thread" in place.function]
        # A moment later it has returned to its poll.
        is_back = threading.Event()
        for _ in range(10_000):
            if is_polling(above_the_reactor(frames_of_threads().get(ident))):
                is_back.set()
                break
            is_back.wait(BOUND / 10_000)
        assert is_back.is_set()

    def test_is_not_below_what_runs_the_reactor(self) -> None:
        """
        That is the program's ``main()``.
        """
        base = os.path.join(_TWISTED, "internet", "base.py")
        names: dict[str, Any] = {"look": lambda: above_the_reactor(frame_here().f_back)}
        for name, file, called in (
            ("parse", "views.py", "look"),
            ("mainLoop", base, "parse"),
            ("run", base, "mainLoop"),
            ("main", "app.py", "run"),
        ):
            exec(compile(f"def {name}(): return {called}()", file, "exec"), names)
        reactors = (Place("parse", "views.py", 1), Place("mainLoop", base, 1))
        assert names["main"]() == reactors
        assert names["mainLoop"]()[:2] == reactors
        assert names["mainLoop"]()[2].function.endswith("test_is_not_below_what_runs_the_reactor")

    def test_is_not_below_asyncios_loop(self) -> None:
        """
        Which the program may run instead of the reactor.
        """

        async def look() -> tuple[Place, ...]:
            return above_the_reactor(frame_here())

        def names_seen(loop: asyncio.AbstractEventLoop) -> list[str]:
            seen = loop.run_until_complete(look())
            loop.close()
            return [each.function.rpartition(".")[2] for each in seen if each.file == __file__]

        assert names_seen(asyncio.new_event_loop()) == ["look"]
