"""
How waiters whose answers came together let one another through.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial

import pytest

from crochet import EventualResult, _errors
from crochet._core.bridge import Bridge
from crochet._core.call import Call
from crochet._threads import handoff
from crochet._threads.handoff import MOMENT
from crochet._threads.primitives import Waiter
from crochet._threads.threads import start_thread
from support.process import FakeProcess, open_bridge
from support.reactor import FakeReactor, close_reactor, new_real_reactor
from support.stepping import (
    BOUND,
    SOURCE,
    Background,
    FakeClock,
    FakeWaiter,
    Steps,
    together,
    wait_until,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """
    The one that the handoff looks at.
    """
    clock = FakeClock()
    clock.install(monkeypatch)
    return clock


class Interrupted(BaseException):
    """
    What a signal handler raises.
    """


class Caller:
    """
    A thread that waits for an answer.
    """

    def __init__(self, world: World, body: Callable[[], object] = int) -> None:
        self._world = world
        self.waiter = Waiter()
        self.call = _new_call(world.bridge, body, self.waiter)
        self.is_through = False

    @property
    def is_released(self) -> bool:
        """
        Whether it could come through.
        """
        return not self.waiter.empty()

    def answer(self) -> None:
        """
        As in a drain, in the reactor thread.
        """
        self.call.answer(42, self._world.handoff)

    def come(self) -> None:
        """
        Come through, in the thread that waits; released, or not, when it has given up.
        """
        self.is_through = True
        self._world.order.append(self)
        if self._world.handoff.turns:
            self._world.handoff.wake_next(self.waiter)


def _new_call(bridge: Bridge, body: Callable[[], object], *waiters: Waiter) -> Call:
    return Call(bridge, "body", (body, (), {}, copy_context()), dict.fromkeys(waiters))


class World:
    """
    A bridge and its handoff, with callers.
    """

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.reactor.start()
        self.bridge = open_bridge(self.reactor)
        self.handoff = self.bridge.handoff
        self.bodies: list[int] = []
        self.handoff.schedule_check = lambda: None
        self.handoff.watchdog = self
        self.handoff.begin()
        self.callers: list[Caller] = []
        self.order: list[Caller] = []

    def caller(self, body: Callable[[], object] = int) -> Caller:
        """
        Return one that has no answer yet.
        """
        self.callers.append(Caller(self, body))
        return self.callers[-1]

    def answered(self) -> Caller:
        """
        Return one that has.
        """
        caller = self.caller()
        caller.answer()
        return caller

    def call(self) -> None:
        """
        Make a call, whose body adds to ``bodies``.
        """
        self.bridge.submit(_new_call(self.bridge, partial(self.bodies.append, 1)))

    def settle(self) -> None:
        """
        Have all come who are released, until nobody is left who could.
        """
        while ready := [each for each in self.callers if each.is_released and not each.is_through]:
            for each in ready:
                each.come()


def _every_step(
    prepare: Callable[[World], tuple[Callable[[], object], Callable[[], object]]],
    source: str = SOURCE,
) -> Iterator[World]:
    """
    Yield worlds in which one thing was done in the middle of another, at each step of it.

    Args:
        prepare: returns the one that is stepped, and what is done in the middle.
        source: the file to which those steps belong, or the whole package.
    """
    for at in itertools.count():
        world = World()
        stepped, meanwhile = prepare(world)
        steps = Steps(at, meanwhile, source)
        with suppress(Interrupted):
            steps.run(stepped)
        if not steps.is_over:
            assert at > 10, "hardly anything was stepped"
            return
        yield world


@pytest.mark.usefixtures("clock")
class TestOrder:
    """
    Of those who are let through.
    """

    def test_is_that_of_the_answers(self) -> None:
        """
        The first is released at once, and each of the others by the one before.
        """
        world = World()
        first, second, third = (world.answered() for _ in range(3))
        assert (first.is_released, second.is_released, third.is_released) == (True, False, False)
        first.come()
        assert (second.is_released, third.is_released) == (True, False)
        second.come()
        assert third.is_released
        third.come()
        assert not world.handoff.turns

    def test_leaves_out_who_has_given_up(self) -> None:
        """
        Before its turn has come.
        """
        world = World()
        first, second, third = (world.answered() for _ in range(3))
        second.come()
        assert not third.is_released
        first.come()
        assert third.is_released

    def test_does_not_concern_others(self) -> None:
        """
        Who were released on their own.
        """
        world = World()
        first, second = (world.answered() for _ in range(2))
        world.caller().come()
        assert (first.is_released, second.is_released) == (True, False)

    def test_does_not_keep_who_was_released_before(self) -> None:
        """
        For a task, or twice, be it the first or a later one.
        """
        world = World()
        for task in (len, None):
            caller = world.caller()
            caller.waiter.put(task)
            caller.answer()
        world.settle()
        assert not world.handoff.is_under_way()


@pytest.mark.usefixtures("clock")
def test_waiters_are_let_through_in_the_order_of_their_answers() -> None:
    """
    One after the other.
    """
    world = World()
    waiters = [world.answered() for _ in range(5)]
    world.settle()
    assert world.order == waiters
    assert not world.handoff.is_under_way()


@pytest.mark.usefixtures("clock")
class TestInterleaving:
    """
    Of the reactor thread and the waiters. At each step of one, another does all that it does.
    """

    @pytest.mark.parametrize("is_stepped", ["passing on", "answering"])
    def test_of_passing_on_and_answering(self, is_stepped: str) -> None:
        """
        The last comes through while another is answered; and the other way round.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            last, answered = world.answered(), world.caller()
            if is_stepped == "passing on":
                return last.come, answered.answer
            return answered.answer, last.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.callers)
            assert not world.handoff.is_under_way()

    def test_of_two_that_pass_on(self) -> None:
        """
        For two may be on the way: the last to come is followed by whom the reactor thread let
        through meanwhile. They may want the same one to be the next.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            one, two = world.answered(), world.answered()
            world.handoff._release_next()
            assert list(world.handoff.turns) == [one.waiter, two.waiter]
            for _ in range(2):
                world.answered()
            world.call()
            return one.come, two.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.callers)
            assert not world.handoff.is_under_way()
            world.reactor.turn()
            assert world.bodies == [1]

    @pytest.mark.parametrize("is_stepped", ["passing on", "giving up"])
    def test_of_passing_on_and_giving_up(self, is_stepped: str) -> None:
        """
        Whose turn is next has given up, and goes; and the other way round.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, second, _ = (world.answered() for _ in range(3))
            if is_stepped == "passing on":
                return first.come, second.come
            return second.come, first.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.callers)

    def test_of_giving_up_and_answering(self) -> None:
        """
        One that has gone before it was queued keeps the others for a moment at most.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            gone = world.caller()
            return gone.answer, gone.come

        kept = 0
        for world in _every_step(prepare):
            behind = world.answered()
            world.settle()
            kept += not behind.is_through
            world.handoff._released -= 2 * MOMENT
            world.handoff.check(wakes=False)
            world.settle()
            assert behind.is_through
        assert kept > 0

    @pytest.mark.parametrize("is_first", [True, False])
    def test_of_releasing_all_and_passing_on(self, is_first: bool) -> None:
        """
        One of them comes through meanwhile.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, second, _ = (world.answered() for _ in range(3))
            return world.handoff.release_all, first.come if is_first else second.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.callers)

    @pytest.mark.parametrize("is_stepped", ["releasing all", "answering"])
    def test_of_releasing_all_and_answering(self, is_stepped: str) -> None:
        """
        Another is answered meanwhile; and the other way round.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            world.answered()
            world.answered()
            answered = world.caller()
            if is_stepped == "releasing all":
                return world.handoff.release_all, answered.answer
            return answered.answer, world.handoff.release_all

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.callers)
            assert not world.handoff.is_under_way()

    def test_of_releasing_all_and_a_call(self) -> None:
        """
        That is made meanwhile: one of the two wakes the reactor.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            world.answered()
            world.answered()
            return world.handoff.release_all, world.call

        for world in _every_step(prepare):
            world.reactor.turn()
            assert world.bodies == [1]

    def test_of_a_look_and_passing_on(self) -> None:
        """
        A look finds a handoff that is under way, before and after.
        """
        found: list[bool] = []
        for at in itertools.count():
            world = World()
            world.handoff.line.append(world.caller().waiter)
            steps = Steps(at, world.handoff._release_next)
            steps.run(lambda handoff=world.handoff: found.append(handoff.is_under_way()))
            if not steps.is_over:
                break
        assert len(found) > 5
        assert all(found)

    def test_of_passing_on_and_a_call(self) -> None:
        """
        That is made while the last comes through: one of the two wakes the reactor.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            return world.answered().come, world.call

        for world in _every_step(prepare):
            world.reactor.turn()
            assert world.bodies == [1]

    def test_of_passing_on_to_somebody_and_a_call(self) -> None:
        """
        That does not wake the reactor, for that one will.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, _ = (world.answered() for _ in range(2))
            return first.come, world.call

        for world in _every_step(prepare):
            assert world.reactor.number_of_wakings() == 0
            world.settle()
            assert world.reactor.number_of_wakings() == 1

    def test_of_a_call_and_passing_on(self) -> None:
        """
        The other way round.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            return world.call, world.answered().come

        for world in _every_step(prepare):
            world.reactor.turn()
            assert world.bodies == [1]


@pytest.mark.usefixtures("clock")
class TestMinding:
    """
    Of those who do not come.
    """

    def test_releases_all_when_nobody_has_come_for_a_moment(self, clock: FakeClock) -> None:
        """
        And not before.
        """
        world = World()
        waiters = [world.answered() for _ in range(3)]
        clock.now = MOMENT
        world.handoff.check()
        assert [each.is_released for each in waiters] == [True, False, False]
        clock.now = 1.5 * MOMENT
        world.handoff.check()
        assert all(each.is_released for each in waiters)
        assert not world.handoff.turns

    def test_one_that_comes_late_releases_all(self, clock: FakeClock) -> None:
        """
        For others would be late, too: a thread computes, or many do.
        """
        world = World()
        waiters = [world.answered() for _ in range(4)]
        clock.now = MOMENT
        waiters[0].come()
        assert [each.is_released for each in waiters] == [True, True, False, False]
        clock.now = 2.5 * MOMENT
        waiters[1].come()
        assert all(each.is_released for each in waiters)

    def test_the_first_has_its_moment_from_when_it_is_opened(self, clock: FakeClock) -> None:
        """
        However long ago the last came through.
        """
        world = World()
        world.answered().come()
        clock.now = 100.0
        world.handoff.begin()
        waiters = [world.answered() for _ in range(3)]
        waiters[0].come()
        assert [each.is_released for each in waiters] == [True, True, False]

    def test_each_has_a_moment(self, clock: FakeClock) -> None:
        """
        However many came before.
        """
        world = World()
        waiters = [world.answered() for _ in range(10)]
        for number, each in enumerate(waiters[:8], 1):
            clock.now = number * 0.9 * MOMENT
            each.come()
            world.handoff.check()
        assert waiters[8].is_released
        assert not waiters[9].is_released

    def test_the_last_wakes_the_reactor_for_calls(self) -> None:
        """
        That were made since the first was on the way; and nobody else does.
        """
        world = World()
        waiters = [world.answered() for _ in range(3)]
        world.call()
        for each in waiters:
            assert world.reactor.number_of_wakings() == 0
            each.come()
        assert world.reactor.number_of_wakings() == 1
        world.reactor.turn()
        assert world.bodies == [1]

    def test_wakes_the_reactor_for_calls_whose_last_does_not_come(self, clock: FakeClock) -> None:
        """
        And only for those.
        """
        world = World()
        world.answered()
        world.call()
        world.handoff.check()
        assert world.reactor.number_of_wakings() == 0
        clock.now = 2 * MOMENT
        world.handoff.check()
        world.reactor.turn()
        assert world.bodies == [1]
        wakings = world.reactor.number_of_wakings()
        world.handoff.check()
        assert world.reactor.number_of_wakings() == wakings

    def test_goes_on_where_one_was_interrupted(self, clock: FakeClock) -> None:
        """
        At any step of passing on.
        """

        def interrupt() -> None:
            raise Interrupted

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, *_ = (world.answered() for _ in range(3))
            world.call()
            return first.come, interrupt

        for world in _every_step(prepare):
            world.settle()
            clock.now += 2 * MOMENT
            world.handoff.check()
            world.settle()
            assert all(each.is_through for each in world.callers)
            world.reactor.turn()
            assert world.bodies == [1]

    def test_goes_on_where_the_reactor_thread_was_interrupted(self, clock: FakeClock) -> None:
        """
        At any step of queuing a waiter, and whatever it does then.
        """

        def interrupt() -> None:
            raise Interrupted

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            world.answered().come()
            return partial(world.handoff.enqueue, world.caller().waiter), interrupt

        left = 0
        for world in _every_step(prepare):
            left += bool(world.handoff.line)
            clock.now += MOMENT
            world.handoff.begin()
            clock.now += MOMENT
            world.handoff.begin()
            world.handoff.check(wakes=False)
            assert not world.handoff.is_under_way()
        assert left > 0

    def test_forgets_nobody_where_releasing_all_was_interrupted(self) -> None:
        """
        At any step: a waiter may be released twice, but is not taken out before.
        """

        def interrupt() -> None:
            raise Interrupted

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            for _ in range(3):
                world.answered()
            return world.handoff.release_all, interrupt

        for world in _every_step(prepare):
            world.handoff.release_all()
            world.settle()
            assert all(each.is_through for each in world.callers)

    def test_leaves_nobody_in_line_when_a_drain_was_interrupted(self) -> None:
        """
        At any step of queuing them.
        """

        def interrupt() -> None:
            raise Interrupted

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            for _ in range(4):
                world.bridge.submit(world.caller().call)
            return partial(world.bridge.drain_in_reactor, world.bridge._wakeup), interrupt

        for world in _every_step(prepare, handoff.__file__):
            world.settle()
            assert not world.handoff.is_under_way()

    @pytest.mark.parametrize("kind", [IndexError, RuntimeError, ValueError, Interrupted])
    @pytest.mark.parametrize("is_queued", [True, False])
    def test_an_answer_that_was_interrupted_is_given(
        self, kind: type[BaseException], *, is_queued: bool
    ) -> None:
        """
        At any step, and to all who wait. What interrupts it comes out.
        """

        def interrupt() -> None:
            raise kind("a signal")

        for at in itertools.count():
            world = World()
            world.answered()
            caller = world.caller()
            handoff = world.handoff if is_queued else None
            steps = Steps(at, interrupt)
            is_interrupted = False
            try:
                steps.run(partial(caller.call.answer, 42, handoff))
            except kind:
                is_interrupted = True
            if not steps.is_over:
                assert at > 20
                return
            assert is_interrupted
            if caller.call.outcome == 42:  # or else it had not begun
                world.settle()
                assert caller.is_through

    @pytest.mark.parametrize("kind", [IndexError, RuntimeError, ValueError])
    def test_what_interrupts_comes_out(self, kind: type[Exception]) -> None:
        """
        Be it of a kind that deques raise, too. What handles it releases all.
        """

        def interrupt() -> None:
            raise kind("a signal")

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, *_ = (world.answered() for _ in range(3))

            def come() -> None:
                with pytest.raises(kind, match="a signal"):
                    first.come()
                world.handoff.release_all()

            return come, interrupt

        for at in itertools.count():
            world = World()
            come, _ = prepare(world)
            steps = Steps(at, interrupt)
            try:
                steps.run(come)
            except pytest.fail.Exception:
                assert not steps.is_over
                assert at > 20
                return
            world.settle()
            assert all(each.is_through for each in world.callers)

    def test_a_long_body_is_looked_behind(self, clock: FakeClock) -> None:
        """
        Between two calls of a drain, for a thread that has not come by then.
        """
        world = World()
        seen: list[bool] = []

        def body() -> None:
            seen.append(world.callers[1].is_released)
            if len(seen) == 3:
                clock.now = 2 * MOMENT

        for _ in range(5):
            world.bridge.submit(world.caller(body).call)
        world.reactor.turn()
        assert seen == [False, False, False, True, True]

    def test_a_long_body_is_looked_behind_in_a_small_drain(self, clock: FakeClock) -> None:
        """
        Too, for others may be on their way.
        """
        world = World()
        waiters = [world.answered() for _ in range(3)]
        seen: list[bool] = []
        work: list[Callable[[], object]] = [
            lambda: setattr(clock, "now", 2 * MOMENT),
            lambda: seen.append(waiters[2].is_released),
        ]
        for body in work:
            world.bridge.submit(world.caller(body).call)
        world.bridge.drain_in_reactor(world.bridge._wakeup)
        assert seen == [True]

    def test_comes_to_an_end_with_the_reactor(self) -> None:
        """
        Nobody is left waiting.
        """
        world = World()
        waiters = [world.answered() for _ in range(3)]
        world.bridge.close(_errors.stopped)
        assert all(each.is_released for each in waiters)

    def test_begins_anew_in_a_forked_child(self) -> None:
        """
        In which there are none of these threads.
        """
        world = World()
        waiters = [world.answered() for _ in range(3)]
        world.bridge.after_fork_in_child(_errors.forked, _errors.not_run_in_child)
        assert not waiters[-1].is_released
        assert not world.handoff.is_under_way()
        world.bridge.open(world.reactor.callFromThread)
        assert not world.handoff.begin()
        world.handoff.schedule_check = lambda: None
        assert not world.handoff.begin()
        world.handoff.watchdog = self
        assert world.handoff.begin()
        last = world.answered()
        assert last.is_released
        world.call()
        last.come()
        world.reactor.turn()
        assert world.bodies == [1]


class TestWays:
    """
    Out of a wait: the thread that is next in line is released.
    """

    @pytest.fixture
    def unminded(self) -> Iterator[FakeProcess]:
        """
        A process in which nobody sees to those who do not come.
        """
        process = FakeProcess(None, start_thread)
        process.loop.setup()
        process.bridge.handoff.schedule_check = lambda: None
        process.bridge.handoff.watchdog = process
        yield process
        process.exit()

    def _answer(self, process: FakeProcess) -> Waiter:
        """
        Answer the only call, and return a waiter that is queued behind its.
        """
        [call] = process.bridge.calls_in_flight()
        call.answer(42, process.bridge.handoff)
        behind = Waiter()
        process.bridge.handoff.enqueue(behind)
        assert behind.empty()
        return behind

    def test_by_a_call(self, unminded: FakeProcess) -> None:
        """
        To a ``wait_for`` function.
        """
        call = unminded.wait_for(None)(int)
        assert _in_one_drain(unminded, *[call] * 5) == [0] * 5

    def test_by_a_result(self, unminded: FakeProcess) -> None:
        """
        Of a ``run_in_reactor`` function.
        """
        started = unminded.run_in_reactor(int)

        def call() -> object:
            return started().wait()

        assert _in_one_drain(unminded, *[call] * 5) == [0] * 5

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    def test_by_an_interruption(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter], kind: str
    ) -> None:
        """
        That comes with the answer.
        """
        behind: list[Waiter] = []

        def meanwhile(timeout: float) -> None:
            behind.append(self._answer(stepped))
            raise Interrupted

        waits(meanwhile)
        with pytest.raises(Interrupted):
            _ask(stepped, kind)
        assert not behind[0].empty()

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    def test_after_the_time_is_over(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter], kind: str
    ) -> None:
        """
        When the answer comes all the same, at the last moment.
        """
        behind: list[Waiter] = []

        def meanwhile(timeout: float) -> None:
            behind.append(self._answer(stepped))
            assert list(stepped.bridge.handoff.turns) == [waiter]
            assert waiter.wait(0) is None  # it wakes for lack of time

        waiter = waits(meanwhile)
        assert _ask(stepped, kind) == 42
        assert not behind[0].empty()

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    @pytest.mark.parametrize("comes_with_it", [False, True])
    def test_after_a_task(
        self,
        stepped: FakeProcess,
        waits: Callable[..., FakeWaiter],
        kind: str,
        *,
        comes_with_it: bool,
    ) -> None:
        """
        For which it was released before the answer came, or right before it.
        """
        behind: list[Waiter] = []

        def meanwhile(timeout: float) -> None:
            if len(waiter.waits) == 1:
                waiter.put(lambda: None)
            if len(waiter.waits) == 2 or comes_with_it:
                behind.append(self._answer(stepped))

        waiter = waits(meanwhile)
        assert _ask(stepped, kind) == 42
        assert len(waiter.waits) == 2 - comes_with_it
        assert not behind[0].empty()


def _ask(process: FakeProcess, kind: str) -> object:
    if kind == "wait_for":
        return process.wait_for(5)(int)()
    return process.run_in_reactor(int)().wait(5)


def _in_one_drain(process: FakeProcess, *callers: Callable[[], object]) -> list[object]:
    """
    Have each caller make its call in a thread of its own, one after the other, and all of them
    started at once.
    """
    blocked, go = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go.wait(BOUND)

    blocking = process.run_in_reactor(block)()
    assert blocked.wait(BOUND)
    threads: list[Background[object]] = []
    for number, caller in enumerate(callers, 1):
        threads.append(Background(caller))
        wait_until(lambda n=number: _waiting(process) == n, "a call was not made")
    go.set()
    blocking.wait(BOUND)
    return [each.outcome() for each in threads]


def _waiting(process: FakeProcess) -> int:
    """
    Return how many calls that have not started are waited for.
    """
    return sum(len(call.callbacks) for call in process.bridge.first_queued(10_000)[0])


class TestReactors:
    """
    Of every kind, in a thread, with callers in others.
    """

    @pytest.fixture(params=["epoll", "asyncio", "poll", "select"])
    def process(self, request: pytest.FixtureRequest) -> Iterator[FakeProcess]:
        """
        A process whose reactor and threads are real.
        """
        reactor = new_real_reactor(request.param)
        process = FakeProcess(reactor, start_thread)
        process.loop.setup()
        process.bridge.handoff.watchdog = process
        yield process
        process.exit()
        close_reactor(reactor)

    def test_let_waiters_line_up(self, process: FakeProcess) -> None:
        """
        When several are answered at once, and only then.
        """
        handoff = process.bridge.handoff
        lengths: list[int] = []

        def look() -> int:
            lengths.append(len(handoff.turns) + len(handoff.line))
            return len(lengths)

        call = process.wait_for(None)(look)
        assert _in_one_drain(process, *[call] * 5) == [1, 2, 3, 4, 5]
        assert max(lengths) > 1
        lengths.clear()
        assert call() == 1
        assert lengths == [0]

    def test_go_on_without_who_does_not_come(self, process: FakeProcess) -> None:
        """
        Calls that wait for the last to come through, too.
        """
        handoff = process.bridge.handoff
        later: list[EventualResult[int]] = []

        def enqueue_nobody() -> None:
            handoff.enqueue(Waiter())
            handoff._released += 3 * MOMENT  # not at the first look

        def call() -> None:
            later.append(process.run_in_reactor(lambda: 42)())

        callers = map(process.wait_for(None), (enqueue_nobody, int, int, call))
        assert _in_one_drain(process, *callers) == [None, 0, 0, None]
        assert later[0].wait(BOUND) == 42
        assert not handoff.turns

    def test_go_on_without_who_lets_nobody_through(self, process: FakeProcess) -> None:
        """
        Since it is kept just when it has taken itself out as the last, and others are in line.
        """
        handoff = process.bridge.handoff
        kept = Waiter()

        def enqueue_nobody() -> None:
            assert handoff.begin()
            handoff._released += BOUND  # nobody is late
            handoff.enqueue(Waiter())

        process.wait_for(BOUND)(enqueue_nobody)()
        handoff.line.append(kept)
        handoff.turns.clear()
        assert process.wait_for(BOUND)(int)() == 0
        time.sleep(5 * MOMENT)  # enough to lie down to sleep in
        handoff._released -= 2 * BOUND
        wait_until(lambda: not kept.empty(), "nobody has released it")

    def test_serve_many(self, process: FakeProcess) -> None:
        """
        Each of whom gets its own answers, from calls and from results.
        """
        double = process.wait_for(BOUND)(lambda number: 2 * number)
        triple = process.run_in_reactor(lambda number: 3 * number)

        def caller(index: int) -> bool:
            numbers = range(index, index + 50)
            return [double(number) + triple(number).wait(BOUND) for number in numbers] == [
                5 * number for number in numbers
            ]

        assert all(together(20, caller))
        assert not process.bridge.handoff.turns
