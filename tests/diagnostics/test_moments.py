"""
What is seen of the reactor thread, and by how many.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import NamedTuple, cast

import pytest

from crochet import _errors
from crochet._core.bridge import Bridge
from crochet._core.result import call_of
from crochet._diagnostics import moments as _moments
from crochet._diagnostics.frames import Place, above_the_reactor
from crochet._diagnostics.moments import Moment, Moments, Sight, sight_of
from crochet._stash.memory import MemoryStash
from crochet._threads.primitives import Latch
from support.process import FakeProcess, call_for
from support.stepping import BOUND, Background

PARSING = Sight((Place("parse", "/srv/app/views.py", 31),), False, "views.py:31 parse()")
FARTHER = Sight((Place("parse", "/srv/app/views.py", 40),), False, "views.py:40 parse()")
SAVING = Sight((Place("save", "/srv/app/models.py", 7),), False, "models.py:7 save()")


class Seen(NamedTuple):
    """
    What a look has found.
    """

    at: float


def no_bridge() -> Bridge:
    """
    Return one to no reactor.
    """
    return Bridge(_errors.not_set_up, MemoryStash())


class Looks(Moments):
    """
    Counts them.
    """

    def __init__(self) -> None:
        super().__init__(no_bridge())
        self.number = 0
        self.now = 100.0
        self.meanwhile: Callable[[], object] = int

    def look(self) -> Moment:
        self.number += 1
        self.meanwhile()
        return cast("Moment", Seen(self.now))


@pytest.fixture
def moments() -> Looks:
    """
    Those of looks at 100 seconds past the clock's beginning.
    """
    return Looks()


class TestSharing:
    """
    One looks for all.
    """

    def test_lasts_for_as_long_as_is_asked(self, moments: Looks) -> None:
        """
        A look that is too old is made again.
        """
        assert moments.get(99.9, 99.0).at == 100.0
        moments.now = 100.2
        assert [moments.get(oldest, 99.0).at for oldest in (99.9, 100.0)] == [100.0, 100.0]
        assert moments.get(100.1, 99.0).at == 100.2
        assert moments.number == 2

    def test_is_waited_for(self, moments: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        1. One looks. 2. Others come, find that it does, and wait. 3. It has looked, and they have
        what it has found, though each lets the next through.
        """
        others: list[Background[Moment]] = []
        are_waiting = threading.Semaphore(0)

        class ToldLatch(Latch):
            """
            Tells of each that waits for it.
            """

            def wait(self, seconds: float) -> bool:
                are_waiting.release()
                return super().wait(BOUND)

        def begin() -> None:
            for _ in range(3):
                others.append(Background(moments.get, 99.9, 99.0))
            for _ in range(3):
                assert are_waiting.acquire(timeout=BOUND)

        monkeypatch.setattr(_moments, "Latch", ToldLatch)
        moments.meanwhile = begin
        seen = moments.get(99.9, 99.0)
        assert [other.outcome() for other in others] == [seen] * 3
        assert moments.number == 1

    def test_is_not_waited_for_if_an_older_one_will_do(self, moments: Looks) -> None:
        """
        1. One looks, for the last look is somewhat old. 2. Another takes that for the time being.
        """
        first = moments.get(99.0, 99.0)
        moments.now = 105.0
        others: list[Moment] = []
        moments.meanwhile = lambda: others.append(moments.get(104.9, 99.0))
        assert moments.get(104.9, 99.0).at == 105.0
        assert others == [first]

    def test_outlasts_one_that_never_comes_back(self, moments: Looks) -> None:
        """
        1. A signal's exception takes it away before it can say so. 2. The next waits for a while,
        and then looks itself. 3. Nobody waits any more.
        """
        waits: list[float] = []

        class Lost(Latch):
            """
            Is never opened.
            """

            def wait(self, seconds: float) -> bool:
                waits.append(seconds)
                return super().wait(0)

        moments._latch = Lost()
        assert moments.get(99.9, 99.0).at == 100.0
        assert waits == [0.25]
        assert moments._latch is None
        assert moments.number == 1

    def test_outlasts_one_that_fails(self, moments: Looks) -> None:
        """
        The next looks again.
        """

        def fail() -> None:
            raise ValueError("in here")

        moments.meanwhile = fail
        with pytest.raises(ValueError, match="in here"):
            moments.get(99.9, 99.0)
        moments.meanwhile = int
        assert moments._latch is None
        assert moments.get(99.9, 99.0).at == 100.0


class TestSpells:
    """
    What the watch notes.
    """

    def test_last_from_turn_to_look(self) -> None:
        """
        In one function, at whatever line of it.
        """
        moments = Moments(no_bridge())
        moments.note(10.0, 10.2, PARSING)
        moments.note(10.0, 10.3, FARTHER)
        (spell,) = moments.spells
        assert (spell.since, spell.until, spell.where) == (10.0, 10.3, "views.py:31 parse()")

    def test_end_where_another_function_is_seen(self) -> None:
        """
        Within one turn, and so for one call after the other.
        """
        moments = Moments(no_bridge())
        moments.note(10.0, 10.2, PARSING)
        moments.note(10.0, 10.3, SAVING)
        assert [(spell.since, spell.until) for spell in moments.spells] == [
            (10.0, 10.2),
            (10.2, 10.3),
        ]

    def test_end_with_a_turn(self) -> None:
        """
        Even if the same function is called then.
        """
        moments = Moments(no_bridge())
        moments.note(10.0, 10.2, PARSING)
        moments.note(10.5, 10.7, PARSING)
        assert [(spell.since, spell.until) for spell in moments.spells] == [
            (10.0, 10.2),
            (10.5, 10.7),
        ]

    def test_begin_with_the_body(self, running: FakeProcess) -> None:
        """
        Not with the turn, in which many calls of the same function may have come and gone.
        """
        moments = Moments(no_bridge())
        for started in (10.0, 10.1):
            body = call_of(call_for(running))
            body.started = started
            moments.note(9.0, started + 0.05, PARSING._replace(body=body))
        assert [(spell.since, spell.until) for spell in moments.spells] == [
            (10.0, 10.05),
            (10.1, 10.15),
        ]

    def test_are_forgotten(self) -> None:
        """
        There are not more of them the longer a process lives.
        """
        moments = Moments(no_bridge())
        for at in range(1000):
            moments.note(at, at + 0.5, PARSING)
        assert len(moments.spells) == 100


class TestSight:
    """
    Where the reactor thread is.
    """

    def test_of_a_body(self, running: FakeProcess) -> None:
        """
        Is told with the call, and of one that is no Python code by its name.
        """
        seen: list[Sight] = []

        class Sleep:
            """
            Looks where its thread is, as seen from a frame of ours.
            """

            __qualname__ = "sleep"

            def __call__(self) -> None:
                stack = above_the_reactor(sys._getframe().f_back)
                seen.append(sight_of(stack, running.bridge.body))

        result = running.run_in_reactor(Sleep())()
        result.wait(BOUND)
        (sight,) = seen
        assert (sight.where, sight.is_idle) == ("sleep()", False)
        assert sight.body is call_of(result)
        assert sight.function == "sleep()"

    def test_of_a_thread_that_has_ended(self) -> None:
        """
        Is nowhere.
        """
        assert sight_of(above_the_reactor(None), None) == Sight((), True)

    def test_of_nothing_that_is_worth_telling(self) -> None:
        """
        Is the innermost line that is in a file.
        """
        frozen = Place("_load", "<frozen importlib._bootstrap>", 1)
        encoder = Place("encode", threading.__file__, 7)
        assert sight_of((frozen, encoder), None).where == "threading.py:7 encode()"
        assert sight_of((frozen,), None).where == ""
