"""
How waiters whose answers came together let one another through.
"""

from __future__ import annotations

import itertools
import threading
import time
from _thread import LockType, allocate_lock
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial

import pytest

from crochet import EventualResult, _errors
from crochet._core import bridge as _bridge
from crochet._core import result as _result
from crochet._core.result import answer
from crochet._threads import handoff as _relay
from crochet._threads.handoff import MOMENT
from crochet._threads.primitives import send_errand
from crochet._threads.threads import start_thread
from support.process import FakeProcess, open_bridge
from support.reactor import FakeReactor, close_reactor, new_real_reactor
from support.stepping import (
    BOUND,
    SOURCE,
    Background,
    FakeClock,
    FakeLock,
    Steps,
    together,
    wait_until,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """
    The one that the relay looks at.
    """
    clock = FakeClock()
    clock.install(monkeypatch)
    return clock


class Interrupted(BaseException):
    """
    What a signal handler raises.
    """


class Waiter:
    """
    A thread that waits at its gate.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._result: EventualResult[object] = EventualResult(
            world.bridge, "body", (int, (), {}, copy_context()), {}
        )
        self._gate: LockType = allocate_lock()
        self._gate.acquire()
        self.opener = self._gate.release
        self._result._waiters[self.opener] = None
        self.is_through = False

    @property
    def is_open(self) -> bool:
        """
        Whether it could come through.
        """
        return not self._gate.locked()

    def answer(self) -> None:
        """
        As in a drain, in the reactor thread.
        """
        answer(self._result, 42, self._world.relay)

    def come(self) -> None:
        """
        Come through, in the waiter's thread; by the gate, or without, when it has given up.
        """
        self.is_through = True
        self._world.order.append(self)
        if self._world.turns:
            self._world.relay.pass_on(self.opener)


class World:
    """
    A bridge and its relay, with waiters.
    """

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.reactor.start()
        self.bridge = open_bridge(self.reactor)
        self.relay = self.bridge.handoff
        self.turns = self.relay.turns
        self.bodies: list[int] = []
        self.relay.minder = lambda: None
        self.relay.watcher = self
        self.relay.begin()
        self.waiters: list[Waiter] = []
        self.order: list[Waiter] = []

    def waiter(self) -> Waiter:
        """
        Return one that has no answer yet.
        """
        self.waiters.append(Waiter(self))
        return self.waiters[-1]

    def lined_up(self) -> Waiter:
        """
        Return one that has.
        """
        waiter = self.waiter()
        waiter.answer()
        return waiter

    def call(self) -> None:
        """
        Make a call, whose body adds to ``bodies``.
        """
        self.bridge.submit(
            EventualResult(self.bridge, "body", (self.bodies.append, (1,), {}, copy_context()), {})
        )

    def settle(self) -> None:
        """
        Have all come whose gates are open, until nobody is left who could.
        """
        while ready := [each for each in self.waiters if each.is_open and not each.is_through]:
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
        The first gate is opened at once, and each of the others by the one before.
        """
        world = World()
        first, second, third = (world.lined_up() for _ in range(3))
        assert (first.is_open, second.is_open, third.is_open) == (True, False, False)
        first.come()
        assert (second.is_open, third.is_open) == (True, False)
        second.come()
        assert third.is_open
        third.come()
        assert not world.turns

    def test_leaves_out_who_has_given_up(self) -> None:
        """
        Before his turn has come.
        """
        world = World()
        first, second, third = (world.lined_up() for _ in range(3))
        second.come()
        assert not third.is_open
        first.come()
        assert third.is_open

    def test_does_not_concern_others(self) -> None:
        """
        Whose gates were opened on their own.
        """
        world = World()
        first, second = (world.lined_up() for _ in range(2))
        world.waiter().come()
        assert (first.is_open, second.is_open) == (True, False)

    def test_a_gate_that_an_errand_has_opened_is_no_error(self) -> None:
        """
        Be it the first or a later one.
        """
        world = World()
        for _ in range(2):
            waiter = world.waiter()
            waiter.opener()
            waiter.answer()
        world.settle()
        assert not world.turns


@pytest.mark.usefixtures("clock")
def test_waiters_are_let_through_in_the_order_of_their_answers() -> None:
    """
    One after the other.
    """
    world = World()
    waiters = [world.lined_up() for _ in range(5)]
    world.settle()
    assert world.order == waiters
    assert not world.relay.is_under_way()


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
            last, answered = world.lined_up(), world.waiter()
            if is_stepped == "passing on":
                return last.come, answered.answer
            return answered.answer, last.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.waiters)
            assert not world.relay.is_under_way()

    def test_of_two_that_pass_on(self) -> None:
        """
        For two may be on the way: the last to come is followed by whom the reactor thread let
        through meanwhile. They may want the same one to be the next.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            one, two = world.lined_up(), world.lined_up()
            world.relay._let_next()
            assert list(world.turns) == [one.opener, two.opener]
            for _ in range(2):
                world.lined_up()
            world.call()
            return one.come, two.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.waiters)
            assert not world.relay.is_under_way()
            world.reactor.turn()
            assert world.bodies == [1]

    @pytest.mark.parametrize("is_stepped", ["passing on", "giving up"])
    def test_of_passing_on_and_giving_up(self, is_stepped: str) -> None:
        """
        Whose turn is next has given up, and goes; and the other way round.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, second, _ = (world.lined_up() for _ in range(3))
            if is_stepped == "passing on":
                return first.come, second.come
            return second.come, first.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.waiters)

    def test_of_giving_up_and_answering(self) -> None:
        """
        Whoever has gone before the gate was put there keeps the others for a moment at most.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            gone = world.waiter()
            return gone.answer, gone.come

        kept = 0
        for world in _every_step(prepare):
            behind = world.lined_up()
            world.settle()
            kept += not behind.is_through
            world.relay._opened -= 2 * MOMENT
            world.relay.hurry()
            world.settle()
            assert behind.is_through
        assert kept > 0

    @pytest.mark.parametrize("is_first", [True, False])
    def test_of_opening_all_and_passing_on(self, is_first: bool) -> None:
        """
        One of them comes through meanwhile.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, second, _ = (world.lined_up() for _ in range(3))
            return world.relay.open_all, first.come if is_first else second.come

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.waiters)

    @pytest.mark.parametrize("is_stepped", ["opening all", "answering"])
    def test_of_opening_all_and_answering(self, is_stepped: str) -> None:
        """
        Another is answered meanwhile; and the other way round.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            world.lined_up()
            world.lined_up()
            answered = world.waiter()
            if is_stepped == "opening all":
                return world.relay.open_all, answered.answer
            return answered.answer, world.relay.open_all

        for world in _every_step(prepare):
            world.settle()
            assert all(each.is_through for each in world.waiters)
            assert not world.relay.is_under_way()

    def test_of_opening_all_and_a_call(self) -> None:
        """
        That is made meanwhile: one of the two wakes the reactor.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            world.lined_up()
            world.lined_up()
            return world.relay.open_all, world.call

        for world in _every_step(prepare):
            world.reactor.turn()
            assert world.bodies == [1]

    def test_of_a_look_and_passing_on(self) -> None:
        """
        Who looks finds a relay that is under way, before and after.
        """
        found: list[bool] = []
        for at in itertools.count():
            world = World()
            world.relay.line.append(world.waiter().opener)
            steps = Steps(at, world.relay._let_next)
            steps.run(lambda relay=world.relay: found.append(relay.is_under_way()))
            if not steps.is_over:
                break
        assert len(found) > 5
        assert all(found)

    def test_of_passing_on_and_a_call(self) -> None:
        """
        That is made while the last comes through: one of the two wakes the reactor.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            return world.lined_up().come, world.call

        for world in _every_step(prepare):
            world.reactor.turn()
            assert world.bodies == [1]

    def test_of_passing_on_to_somebody_and_a_call(self) -> None:
        """
        That does not wake the reactor, for that one will.
        """

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, _ = (world.lined_up() for _ in range(2))
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
            return world.call, world.lined_up().come

        for world in _every_step(prepare):
            world.reactor.turn()
            assert world.bodies == [1]


@pytest.mark.usefixtures("clock")
class TestMinding:
    """
    Of those who do not come.
    """

    def test_opens_all_when_nobody_has_come_for_a_moment(self, clock: FakeClock) -> None:
        """
        And not before.
        """
        world = World()
        waiters = [world.lined_up() for _ in range(3)]
        clock.now = MOMENT
        world.relay.mind()
        assert [each.is_open for each in waiters] == [True, False, False]
        clock.now = 1.5 * MOMENT
        world.relay.mind()
        assert all(each.is_open for each in waiters)
        assert not world.turns

    def test_whoever_comes_late_opens_all(self, clock: FakeClock) -> None:
        """
        For others would be late, too: a thread computes, or many do.
        """
        world = World()
        waiters = [world.lined_up() for _ in range(4)]
        clock.now = MOMENT
        waiters[0].come()
        assert [each.is_open for each in waiters] == [True, True, False, False]
        clock.now = 2.5 * MOMENT
        waiters[1].come()
        assert all(each.is_open for each in waiters)

    def test_the_first_has_its_moment_from_when_it_is_opened(self, clock: FakeClock) -> None:
        """
        However long ago the last relay was.
        """
        world = World()
        world.lined_up().come()
        clock.now = 100.0
        world.relay.begin()
        waiters = [world.lined_up() for _ in range(3)]
        waiters[0].come()
        assert [each.is_open for each in waiters] == [True, True, False]

    def test_each_has_a_moment(self, clock: FakeClock) -> None:
        """
        However many came before.
        """
        world = World()
        waiters = [world.lined_up() for _ in range(10)]
        for number, each in enumerate(waiters[:8], 1):
            clock.now = number * 0.9 * MOMENT
            each.come()
            world.relay.mind()
        assert waiters[8].is_open
        assert not waiters[9].is_open

    def test_the_last_wakes_the_reactor_for_calls(self) -> None:
        """
        That were made since the first was on the way; and nobody else does.
        """
        world = World()
        waiters = [world.lined_up() for _ in range(3)]
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
        world.lined_up()
        world.call()
        world.relay.mind()
        assert world.reactor.number_of_wakings() == 0
        clock.now = 2 * MOMENT
        world.relay.mind()
        world.reactor.turn()
        assert world.bodies == [1]
        wakings = world.reactor.number_of_wakings()
        world.relay.mind()
        assert world.reactor.number_of_wakings() == wakings

    def test_goes_on_where_one_was_interrupted(self, clock: FakeClock) -> None:
        """
        At any step of passing on.
        """

        def interrupt() -> None:
            raise Interrupted

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, *_ = (world.lined_up() for _ in range(3))
            world.call()
            return first.come, interrupt

        for world in _every_step(prepare):
            world.settle()
            clock.now += 2 * MOMENT
            world.relay.mind()
            world.settle()
            assert all(each.is_through for each in world.waiters)
            world.reactor.turn()
            assert world.bodies == [1]

    def test_goes_on_where_the_reactor_thread_was_interrupted(self, clock: FakeClock) -> None:
        """
        At any step of putting somebody in line, and whatever it does then.
        """

        def interrupt() -> None:
            raise Interrupted

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            world.lined_up().come()
            opener = world.waiter().opener
            return lambda: world.relay.line_up(opener), interrupt

        left = 0
        for world in _every_step(prepare):
            left += bool(world.relay.line)
            clock.now += MOMENT
            world.relay.begin()
            clock.now += MOMENT
            world.relay.begin()
            world.relay.hurry()
            assert not world.relay.is_under_way()
        assert left > 0

    def test_leaves_nobody_in_line_when_a_drain_was_interrupted(self) -> None:
        """
        At any step of lining up.
        """

        def interrupt() -> None:
            raise Interrupted

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            for _ in range(4):
                world.bridge.submit(world.waiter()._result)
            wakeup = world.bridge._wakeup
            return lambda: world.bridge.drain_in_reactor(wakeup), interrupt

        for world in _every_step(prepare, _relay.__file__):
            world.settle()
            assert not world.relay.is_under_way()

    @pytest.mark.parametrize("kind", [IndexError, RuntimeError, ValueError, Interrupted])
    @pytest.mark.parametrize("lines_up", [True, False])
    def test_an_answer_that_was_interrupted_is_given(
        self, kind: type[BaseException], *, lines_up: bool
    ) -> None:
        """
        At any step, and to all who wait. What interrupts it comes out.
        """

        def interrupt() -> None:
            raise kind("a signal")

        for at in itertools.count():
            world = World()
            world.lined_up()
            answered = world.waiter()
            relay = world.relay if lines_up else None
            steps = Steps(at, interrupt)
            is_interrupted = False
            try:
                steps.run(partial(answer, answered._result, 42, relay))
            except kind:
                is_interrupted = True
            if not steps.is_over:
                assert at > 20
                return
            assert is_interrupted
            if answered._result.done():  # or else it had not begun
                world.settle()
                assert answered.is_through

    @pytest.mark.parametrize("kind", [IndexError, RuntimeError, ValueError])
    def test_what_interrupts_comes_out(self, kind: type[Exception]) -> None:
        """
        Be it of a kind that deques and locks raise, too. Whoever it leaves opens all gates.
        """

        def interrupt() -> None:
            raise kind("a signal")

        def prepare(world: World) -> tuple[Callable[[], object], Callable[[], object]]:
            first, *_ = (world.lined_up() for _ in range(3))

            def come() -> None:
                with pytest.raises(kind, match="a signal"):
                    first.come()
                world.relay.open_all()

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
            assert all(each.is_through for each in world.waiters)

    def test_a_long_body_is_looked_behind(
        self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Between two calls of a drain, whoever has not come by then.
        """
        monkeypatch.setattr(_bridge, "monotonic", clock)
        world = World()
        seen: list[bool] = []
        waiters = [world.waiter() for _ in range(5)]
        for number, each in enumerate(waiters):

            def body(number: int = number) -> None:
                seen.append(waiters[1].is_open)
                if number == 2:
                    clock.now = 2 * MOMENT

            each._result._work = (body, (), {}, copy_context())
            world.bridge.submit(each._result)
        world.reactor.turn()
        assert seen == [False, False, False, True, True]

    def test_a_long_body_is_looked_behind_in_a_small_drain(
        self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Too, for others may be on their way.
        """
        monkeypatch.setattr(_bridge, "monotonic", clock)
        world = World()
        waiters = [world.lined_up() for _ in range(3)]
        seen: list[bool] = []
        work: list[Callable[[], object]] = [
            lambda: setattr(clock, "now", 2 * MOMENT),
            lambda: seen.append(waiters[2].is_open),
        ]
        for body in work:
            call = world.waiter()._result
            call._call.work = (body, (), {}, copy_context())
            world.bridge.submit(call)
        world.bridge.drain_in_reactor(world.bridge._wakeup)
        assert seen == [True]

    def test_comes_to_an_end_with_the_reactor(self) -> None:
        """
        Nobody is left waiting.
        """
        world = World()
        waiters = [world.lined_up() for _ in range(3)]
        world.bridge.close(_errors.stopped)
        assert all(each.is_open for each in waiters)

    def test_begins_anew_in_a_forked_child(self) -> None:
        """
        In which there are none of these threads.
        """
        world = World()
        waiters = [world.lined_up() for _ in range(3)]
        world.bridge.after_fork_in_child(_errors.forked, _errors.not_run_in_child)
        assert not waiters[-1].is_open
        assert not world.relay.is_under_way()
        world.bridge.open(world.reactor.callFromThread)
        assert not world.relay.begin()
        world.relay.minder = lambda: None
        assert not world.relay.begin()
        world.relay.watcher = self
        assert world.relay.begin()
        last = world.lined_up()
        assert last.is_open
        world.call()
        last.come()
        world.reactor.turn()
        assert world.bodies == [1]


class TestWays:
    """
    Through a gate, and away from it: whoever stands behind is let through.
    """

    @pytest.fixture
    def unminded(self) -> Iterator[FakeProcess]:
        """
        A process in whose relay nobody sees to those who do not come.
        """
        process = FakeProcess(None, start_thread)
        process.loop.setup()
        process.bridge.handoff.minder = lambda: None
        process.bridge.handoff.watcher = process
        yield process
        process.exit()

    def _behind(self, process: FakeProcess) -> LockType:
        """
        Return a gate that was lined up now.
        """
        gate = allocate_lock()
        gate.acquire()
        process.bridge.handoff.line_up(gate.release)
        return gate

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

    def test_by_a_result_that_is_given_up(self, stepped: FakeProcess) -> None:
        """
        By a signal's exception, just when the answer has come.
        """
        result = stepped.run_in_reactor(int)()
        behind: list[LockType] = []

        def interrupt() -> None:
            answer(result, 42, stepped.bridge.handoff)
            behind.append(self._behind(stepped))
            raise Interrupted

        clock = FakeClock()
        with pytest.MonkeyPatch.context() as patch:
            clock.install(patch)
            patch.setattr(_result, "allocate_lock", lambda: FakeLock(lambda _: interrupt(), clock))
            with pytest.raises(Interrupted):
                result.wait(5)
        assert not behind[0].locked()

    def test_after_the_time_is_over(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        When the answer comes all the same, at the last moment.
        """
        behind: list[LockType] = []

        def meanwhile(timeout: float) -> None:
            [result] = stepped.bridge.calls_in_flight()
            [opener] = result._call.callbacks
            answer(result, 42, stepped.bridge.handoff)
            behind.append(self._behind(stepped))
            assert list(stepped.bridge.handoff.turns) == [opener]

        gate(meanwhile)
        assert stepped.wait_for(5)(int)() == 42
        assert not behind[0].locked()

    def test_after_an_errand(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        For which the gate was opened before.
        """
        relay = stepped.bridge.handoff
        behind: list[LockType] = []

        def meanwhile(timeout: float) -> None:
            if len(lock.waits) == 1:
                send_errand(lock, lambda: None)  # type: ignore[arg-type]
            else:
                [result] = stepped.bridge.calls_in_flight()
                answer(result, 42, relay)
                behind.append(self._behind(stepped))

        lock = gate(meanwhile)
        assert stepped.wait_for(5)(int)() == 42
        assert len(lock.waits) == 2
        assert not behind[0].locked()

    def test_by_an_interruption(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        That comes with the answer.
        """
        behind: list[LockType] = []

        def meanwhile(timeout: float) -> None:
            [result] = stepped.bridge.calls_in_flight()
            answer(result, 42, stepped.bridge.handoff)
            behind.append(self._behind(stepped))
            raise Interrupted

        gate(meanwhile)
        with pytest.raises(Interrupted):
            stepped.wait_for(5)(int)()
        assert not behind[0].locked()


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
    return sum(len(result._call.callbacks) for result in process.bridge.calls_queued())


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
        process.bridge.handoff.watcher = process
        yield process
        process.exit()
        close_reactor(reactor)

    def test_let_waiters_line_up(self, process: FakeProcess) -> None:
        """
        When several are answered at once, and only then.
        """
        relay = process.bridge.handoff
        lengths: list[int] = []

        def look() -> int:
            lengths.append(len(relay.turns) + len(relay.line))
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
        relay = process.bridge.handoff
        later: list[EventualResult[int]] = []

        def line_up_a_dead_man() -> None:
            relay.line_up(lambda: None)
            relay._opened += 3 * MOMENT  # not at the first look

        def call() -> None:
            later.append(process.run_in_reactor(lambda: 42)())

        callers = map(process.wait_for(None), (line_up_a_dead_man, int, int, call))
        assert _in_one_drain(process, *callers) == [None, 0, 0, None]
        assert later[0].wait(BOUND) == 42
        assert not relay.turns

    def test_go_on_without_who_lets_nobody_through(self, process: FakeProcess) -> None:
        """
        Since he is kept just when his gate was the last to be taken out, and others stand in line.
        """
        relay = process.bridge.handoff
        kept = allocate_lock()
        kept.acquire()

        def line_up_a_dead_man() -> None:
            assert relay.begin()
            relay._opened += BOUND  # nobody is late
            relay.line_up(lambda: None)

        process.wait_for(BOUND)(line_up_a_dead_man)()
        relay.line.append(kept.release)
        relay.turns.clear()
        assert process.wait_for(BOUND)(int)() == 0
        time.sleep(5 * MOMENT)  # enough to lie down to sleep in
        relay._opened -= 2 * BOUND
        assert kept.acquire(timeout=BOUND)

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
