"""
Single steps, and what a thread blocks on.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from weakref import WeakSet

import pytest

from crochet._threads import primitives
from crochet._threads.primitives import (
    CROWD,
    Latch,
    Waiter,
    Waits,
    claim,
    discard,
    entries_of,
    first_of,
    pop_first,
    take,
)
from support.stepping import BOUND, Background, FakeWaiter, Steps, together


class Slotted:
    """
    Something with one slot, which is filled.
    """

    __slots__ = ("work",)

    def __init__(self) -> None:
        self.work = 1


class _Task:
    """
    Something to be put to a waiter, that tells when it is dropped.
    """

    def __init__(self, dropped: Callable[[], object] = bool) -> None:
        self._dropped = dropped

    def __call__(self) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        self._dropped()


class Changing(Iterator[int]):
    """
    An iterator over something that was changed meanwhile, the first time.
    """

    def __init__(self) -> None:
        self._left = iter([1, 2])
        self._was_changed = False

    def __iter__(self) -> Iterator[int]:
        self._was_changed = not self._was_changed
        # A function of C is to raise it.
        return iter(_changed()) if self._was_changed else self

    def __next__(self) -> int:
        return next(self._left)


def _changed() -> Any:
    """
    Return an iterator over a deque that has grown since.
    """
    items = deque([1])
    iterator = iter(items)
    items.append(2)
    return iterator


# Each primitive where there is nothing to be found, with what a function of C raises then, and what
# it returns. And where there is something.
NOTHING: dict[str, tuple[Callable[[], object], type[Exception], object]] = {
    "claim": (lambda: claim(object(), "work"), AttributeError, False),
    "take": (lambda: take({}, 1), KeyError, False),
    "discard": (lambda: discard([], 1), ValueError, False),
    "first_of": (lambda: first_of(deque()), IndexError, None),
    "pop_first": (lambda: pop_first(deque()), IndexError, None),
    "entries_of": (lambda: entries_of(Changing()), RuntimeError, [1, 2]),
    "put": (lambda: _released().put(None), RuntimeError, None),
    "open": (lambda: _open_latch().open(), RuntimeError, None),
}


SOMETHING: dict[str, Callable[[], object]] = {
    "claim": lambda: claim(Slotted(), "work"),
    "take": lambda: take({1: None}, 1),
    "discard": lambda: discard([1], 1),
    "first_of": lambda: first_of(deque([1])),
    "pop_first": lambda: pop_first(deque([1])),
    "entries_of": lambda: entries_of([1]),
    "put": lambda: Waiter().put(None),
    "open": lambda: Latch().open(),
}


def _released() -> Waiter:
    waiter = Waiter()
    waiter.put(None)
    return waiter


def _open_latch() -> Latch:
    latch = Latch()
    latch.open()
    return latch


class TestSingleSteps:
    """
    What several threads change, of whom one is the first.
    """

    def test_tell_whether_it_was_there(self) -> None:
        """
        The second time it is not.
        """
        owner, entries = Slotted(), {1: None}
        items, queue = [1], deque([1])
        assert (claim(owner, "work"), claim(owner, "work")) == (True, False)
        assert (take(entries, 1), take(entries, 1)) == (True, False)
        assert (discard(items, 1), discard(items, 1)) == (True, False)
        assert (discard(queue, 1), discard(queue, 1)) == (True, False)

    def test_of_what_comes_first(self) -> None:
        """
        One looks at it, the other takes it out.
        """
        queue = deque([1, 2])
        assert (first_of(queue), pop_first(queue), pop_first(queue)) == (1, 1, 2)

    def test_list_what_is_there_in_its_order(self) -> None:
        """
        Of a dict its keys.
        """
        assert entries_of({2: None, 1: None}) == [2, 1]

    @pytest.mark.parametrize("name", NOTHING)
    def test_find_nothing(self, name: str) -> None:
        """
        Which is no error, and here each of them does meet what it is not to raise.
        """
        find, kind, nothing = NOTHING[name]
        met: list[BaseException] = []
        is_a_handlers = primitives.is_a_handlers
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                primitives,
                "is_a_handlers",
                lambda error: bool(met.append(error)) or is_a_handlers(error),
            )
            assert find() == nothing
        assert [type(error) for error in met] == [kind]

    @pytest.mark.parametrize("is_there", [False, True])
    @pytest.mark.parametrize("name", NOTHING)
    def test_let_out_what_a_signal_handler_raises(self, name: str, *, is_there: bool) -> None:
        """
        Be it of the very kind that says there is nothing, and wherever it comes. (In new threads,
        for one that is traced keeps the exception that it was handling.)
        """
        find, kind, _ = NOTHING[name]
        if is_there:
            find = SOMETHING[name]

        def interrupt() -> None:
            raise kind("of a handler")

        for at in itertools.count():
            steps = Steps(at, interrupt, primitives.__file__)
            try:
                Background(steps.run, find).outcome()
                was_raised = False
            except kind:
                was_raised = True
            assert was_raised == steps.is_over, f"it was swallowed at step {at}"
            if not was_raised:
                break
        assert at >= 3

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
    def test_let_out_what_a_real_handler_raises_in_a_wait(self) -> None:
        """
        In the middle of the function of C, which goes on otherwise.
        """

        def handle(*_: object) -> None:
            raise LookupError("of a handler")

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(LookupError, match="of a handler"):
                Waiter().wait(BOUND)
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_of_many_threads_one_is_the_first(self) -> None:
        """
        For each thing, and each thing has one.
        """
        owners = [Slotted() for _ in range(200)]
        entries = dict.fromkeys(range(200))
        queue = deque(range(200))

        def race(_: int) -> list[tuple[str, object]]:
            won: list[tuple[str, object]] = []
            won += [("claimed", n) for n, owner in enumerate(owners) if claim(owner, "work")]
            won += [("taken", n) for n in range(200) if take(entries, n)]
            while (first := pop_first(queue)) is not None:
                won.append(("popped", first))
            return won

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            won = list(itertools.chain(*together(4, race)))
        finally:
            sys.setswitchinterval(interval)
        kinds = ("claimed", "popped", "taken")
        assert sorted(won, key=repr) == sorted(itertools.product(kinds, range(200)), key=repr)


@pytest.fixture(params=[Waiter, FakeWaiter], ids=["real", "fake"])
def waiter(request: pytest.FixtureRequest) -> Any:
    """
    A waiter, and the one that tests take for it, which is to do the same.
    """
    return request.param()


class TestWaiter:
    """
    What one thread blocks on.
    """

    def test_ends_with_its_time(self, waiter: Waiter) -> None:
        """
        For which None says that there is nothing to do.
        """
        assert waiter.wait(0) is None
        assert waiter.wait(0.01) is None

    def test_that_was_released_waits_for_nothing(self, waiter: Waiter) -> None:
        """
        Once, however often it was: the thread then looks at all that those have done before.
        """
        waiter.put(None)
        waiter.put(None)
        assert not waiter.empty()
        assert waiter.wait(BOUND) is None
        assert waiter.empty()
        waiter.put(None)
        assert not waiter.empty()

    def test_returns_tasks_in_order(self, waiter: Waiter) -> None:
        """
        Each once, releases between them, and does not call them itself.
        """
        ran: list[int] = []
        tasks = [partial(ran.append, number) for number in range(2)]
        for put in (tasks[0], None, tasks[1]):
            waiter.put(put)
        assert [waiter.wait(0) for _ in range(3)] == [*tasks, None]
        assert ran == []

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
    @pytest.mark.parametrize("kind", [Waiter, Latch])
    def test_ends_with_its_time_after_a_handler_that_took_longer(self, kind: Any) -> None:
        """
        1. A thread waits. 2. A signal handler is run in it until the wait's time is over. 3. It
        looks once more. (The wait of a SimpleQueue then never ends, up to CPython 3.12.)
        """
        waiter = kind()
        handled: list[float] = []
        end = time.monotonic() + 0.1

        def handle(*_: object) -> None:
            while time.monotonic() < end:
                pass
            handled.append(time.monotonic())

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            waiter.wait(0.09)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert len(handled) == 1

    def test_is_released_by_another_thread(self) -> None:
        """
        While this one waits.
        """
        waiter = Waiter()
        other = Background(waiter.put, len)
        assert waiter.wait(BOUND) is len
        other.outcome()

    def test_a_fake_one_is_released_meanwhile(self) -> None:
        """
        It tells for how long it would have blocked, and does so once.
        """
        waiter = FakeWaiter(lambda seconds: waiter.put(len))
        assert waiter.wait(5) is len
        assert waiter.waits == [5]

    @pytest.mark.parametrize("kind", [Waiter, FakeWaiter], ids=["real", "fake"])
    @pytest.mark.parametrize("is_cleared", [True, False])
    def test_drops_tasks_with_itself(self, kind: Any, *, is_cleared: bool) -> None:
        """
        Or when it is cleared: for nobody comes to do them, and who has sent them is to learn that.
        """
        tasks: WeakSet[Any] = WeakSet()
        waiter = kind()
        for _ in range(2):
            task = _Task()
            tasks.add(task)
            waiter.put(task)
        del task
        assert len(tasks) == 2
        if is_cleared:
            waiter.clear()
        else:
            del waiter
        assert len(tasks) == 0

    def test_is_cleared_of_what_a_destructor_puts(self, waiter: Waiter) -> None:
        """
        1. The waiter drops a task. 2. Its destructor puts another, to this waiter.
        """
        waiter.put(_Task(lambda: waiter.put(len)))
        waiter.clear()
        assert waiter.wait(0) is None
        assert waiter.empty()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_is_released_in_a_child_that_was_forked_in_a_wait(self) -> None:
        """
        1. A thread waits. 2. A signal handler forks. 3. In the child, in the middle of that wait,
        it releases it, and the wait ends there. 4. The parent's is another.
        """
        waiter = Waiter()
        children: list[int] = []
        task: object = None

        def handle(*_: object) -> None:
            children.append(os.fork())
            waiter.put(len if children == [0] else None)

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            task = waiter.wait(BOUND)
        finally:
            if children == [0]:
                os._exit(7 if task is len else 1)
            signal.signal(signal.SIGALRM, before)
        assert task is None
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7


class TestWaits:
    """
    Who waits for what.
    """

    def test_has_the_innermost(self) -> None:
        """
        Of a thread that waits in the middle of a wait; and the outer one again after that, also if
        that was taken out meanwhile, for a task, and entered again.
        """
        waits, waiters = Waits(), [Waiter() for _ in range(3)]
        other = Waiter()
        waits[other] = 2, "another call"
        for number, waiter in enumerate(waiters):
            waits[waiter] = 1, number
            assert waits.by_thread() == {1: (waiter, number), 2: (other, "another call")}
        for inner, outer in ((2, 1), (1, 0)):
            waits.pop(waiters[inner])
            assert waits.by_thread()[1] == (waiters[outer], outer)
        waits[waiters[0]] = waits.pop(waiters[0])
        waits[waiters[1]] = 1, 1
        assert waits.by_thread()[1] == (waiters[1], 1)

    def test_are_spread_where_many_wait(self) -> None:
        """
        Each by another time, within bounds: were all of them over at once, each thread would keep
        the others from going on.
        """
        few = Waits({Waiter(): (number, None) for number in range(CROWD)})
        assert few.spread() == 0
        many = Waits({Waiter(): (number, None) for number in range(2 * CROWD)})
        spreads = {many.spread() for _ in range(50)}
        assert len(spreads) > 40
        assert min(spreads) >= 0
        assert max(spreads) <= 2e-6 * CROWD**2
        assert (few.is_crowd, many.is_crowd) == (False, True)

    def test_releases_all_of_one_thread(self) -> None:
        """
        In a forked child, and forgets those of the others.
        """
        waits = Waits()
        outer, inner, other = (Waiter() for _ in range(3))
        for waiter, ident in ((outer, 1), (other, 2), (inner, 1)):
            waits[waiter] = ident, "a call"
        waits.after_fork_in_child(1)
        assert [each.empty() for each in (outer, inner, other)] == [False, False, True]
        assert list(waits) == [outer, inner]
        waits.after_fork_in_child(3)
        assert waits == {}

    def test_is_read_by_others(self) -> None:
        """
        While threads come and go: each look has entries of threads that do wait.
        """
        waits, is_over = Waits(), threading.Event()

        def come_and_go(index: int) -> None:
            while not is_over.is_set():
                waiter = Waiter()
                waits[waiter] = index, "a call"
                waits.pop(waiter, None)

        threads = [Background(come_and_go, index) for index in range(3)]
        try:
            for _ in range(2000):
                seen = waits.by_thread()
                assert seen.keys() <= {0, 1, 2}
                assert all(type(waiter) is Waiter for waiter, _ in seen.values())
        finally:
            is_over.set()
        for thread in threads:
            thread.outcome()
        assert waits == {}


class Noted(Waiter):
    """
    Notes that it was released.
    """

    __slots__ = ("_released",)

    def __init__(self, end: float, released: list[Waiter]) -> None:
        super().__init__()
        self.end = end
        self._released = released

    def put(self, item: object) -> None:
        assert item is None
        self._released.append(self)


class Crowd(Waits):
    """
    Many that wait, and how many entries were copied. Their times are over one after the other.

    Args:
        ends: when those are.
    """

    def __init__(self, *ends: float) -> None:
        super().__init__()
        self.released: list[Waiter] = []
        self.all = [Noted(end, self.released) for end in ends]
        self.update({waiter: (number, "a call") for number, waiter in enumerate(self.all)})
        self.spread()
        self.copied = 0

    def copy(self) -> dict[Waiter, tuple[int, Any]]:
        self.copied += len(self)
        return super().copy()

    def come(self, waiter: Waiter, now: float) -> list[Waiter]:
        """
        Have a thread come through, and return whom it has released.
        """
        before = len(self.released)
        self.pass_on(waiter, now)
        return self.released[before:]


class TestCrowds:
    """
    Where many wait each thread that comes through releases the next whose time is over.
    """

    def test_one_at_a_time(self) -> None:
        """
        In the order of their ends; and those that come by themselves meanwhile release none, or
        there would be the more of them on their way.
        """
        crowd = Crowd(9.0, *[7.0] * CROWD, 11.0, 5.0, 6.0)
        *_, late, first, second = crowd.all
        third, comes_by_itself = crowd.all[1:3]
        assert crowd.come(comes_by_itself, 8.0) == [first]
        assert crowd.come(crowd.all[3], 8.01) == []
        assert crowd.come(first, 8.02) == [second]
        assert crowd.come(second, 8.02) == [third]
        assert late not in crowd.released

    def test_until_no_time_is_over(self) -> None:
        """
        Then the next that comes by itself looks again; and it finds those that came since.
        """
        crowd = Crowd(*[20.0] * CROWD, 5.0, 6.0)
        first, second = crowd.all[-2:]
        other = crowd.all[0]
        assert crowd.come(other, 5.5) == [first]
        del crowd[first]
        assert crowd.come(first, 5.5) == []
        new = Noted(5.7, crowd.released)
        crowd[new] = -1, "a call"
        assert crowd.come(other, 5.8) == [new]
        assert crowd.come(new, 5.999) == []
        assert crowd.come(other, 6.0) == [second]  # without another look

    def test_past_those_that_have_gone(self) -> None:
        """
        Or that are about to, and so will not come.
        """
        crowd = Crowd(*[20.0] * CROWD, 5.0, 5.1, 5.2, 5.3, 5.4)
        first, gone, gives_up, by_itself, last = crowd.all[-5:]
        assert crowd.come(by_itself, 8.0) == [first]
        del crowd[gone]
        assert crowd.come(gives_up, 8.0) == []
        assert crowd.come(first, 8.0) == [last]

    def test_and_not_for_ever(self) -> None:
        """
        1. One is released, and does not come: it was interrupted. 2. A moment later another comes
        by itself, and releases the next.
        """
        crowd = Crowd(*[5.0] * (CROWD + 5))
        others = crowd.all[-3:]
        (lost,) = crowd.come(others[0], 8.0)
        assert crowd.come(others[1], 8.01) == []
        (following,) = crowd.come(others[2], 8.06)
        assert following is not lost
        assert following not in others

    def test_until_few_are_left(self) -> None:
        """
        Each of which may sleep for long: they all look up.
        """
        crowd = Crowd(*[20.0] * (CROWD + 1))
        assert crowd.come(crowd.all[0], 8.0) == []
        del crowd[crowd.all[0]]
        assert crowd.come(crowd.all[0], 8.0) == crowd.all[1:]
        assert not crowd.is_crowd

    def test_at_a_cost_that_does_not_grow(self) -> None:
        """
        With the number of those whose time is over together.
        """

        def cost(number: int) -> float:
            crowd, now = Crowd(*[5.0] * number), 5.0
            (comes,) = crowd.come(crowd.all[-1], now)
            del crowd[crowd.all[-1]]
            while len(crowd) > CROWD:
                now += 0.0001  # seconds that each takes
                following = crowd.come(comes, now)
                del crowd[comes]
                (comes,) = following
            assert len(crowd.released) == len({*crowd.released}) == number - CROWD
            return crowd.copied / number

        assert cost(16_000) <= cost(1000) + 1 <= 10


class TestLatch:
    """
    What many wait for.
    """

    def test_lets_nobody_through_before_it_is_open(self) -> None:
        """
        And then everybody, however often it is opened.
        """
        latch = Latch()
        assert not latch.wait(0)
        assert not latch.wait(0.01)
        for _ in range(2):
            latch.open()
            assert latch.wait(0)
            assert latch.wait(BOUND)

    def test_lets_all_through_who_wait(self) -> None:
        """
        Each lets the next through.
        """
        latch = Latch()
        waiting = [Background(latch.wait, BOUND) for _ in range(5)]
        latch.open()
        assert [each.outcome() for each in waiting] == [True] * 5
