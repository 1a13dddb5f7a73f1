"""
What a thread is blocked in, and whether that can end.

Real threads are blocked in real things; what plays the reactor's part is one of them, which does
not answer.
"""

from __future__ import annotations

import _thread
import linecache
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from crochet import _errors
from crochet._core.call import Call
from crochet._core.decorators import Decorators
from crochet._core.result import call_of
from crochet._diagnostics import deadlock as _deadlock
from crochet._diagnostics.deadlock import Blocked, blocked_in, place_of, wait_of
from crochet._threads.primitives import Waiter
from support.process import FakeProcess, open_bridge
from support.reactor import FakeReactor
from support.stepping import BOUND, Background, without_lines


class Scene:
    """
    A bridge to a reactor that never turns, and threads that are blocked for as long as it is open.
    """

    def __init__(self) -> None:
        self.bridge = open_bridge(FakeReactor())
        self.calls = Decorators(self.bridge)
        self.wait: Any = self.calls.wait_for(None)(self.fetch)
        self.threads: list[Background[Any]] = []
        self.undo: list[Callable[[], object]] = []

    def fetch(self) -> None:
        """
        Be what is called; nobody does.
        """

    def begin(self, function: Callable[..., Any], *args: Any) -> threading.Thread:
        """
        Start a thread.
        """
        background = Background(function, *args)
        self.threads.append(background)
        return background.thread

    def reactor(self, function: Callable[..., Any], *args: Any) -> threading.Thread:
        """
        Start the thread that plays the reactor's part.
        """
        thread = self.begin(function, *args)
        self.bridge.reactor_thread = thread.ident
        return thread

    def seen(self, is_it: Callable[[Blocked], object] = bool) -> Blocked:
        """
        Return what the reactor's thread is blocked in, once it is.
        """
        assert self.bridge.reactor_thread is not None
        deadline = time.monotonic() + BOUND
        while time.monotonic() < deadline:
            blocked = blocked_in(self.bridge.reactor_thread, self.bridge)
            if blocked is not None and is_it(blocked):
                return blocked
        raise AssertionError("this has not been seen")

    def end(self) -> None:
        """
        Let go of all threads.
        """
        self.bridge.close(_errors.stopped)
        for undo in self.undo:
            undo()
        for each in self.threads:
            each.thread.join(BOUND)
            assert not each.thread.is_alive()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    A scene that is over when the test is.
    """
    scene = Scene()
    yield scene
    scene.end()


def _is_circle(blocked: Blocked) -> bool:
    return bool(blocked.waits)


class TestCircles:
    """
    A thread that waits for one that waits for it.
    """

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    def test_join_of_a_thread_that_waits_for_a_call(self, scene: Scene, kind: str) -> None:
        """
        In either way of waiting, and it is certain. The text names who, where, and what to do.
        """
        result: Any = scene.calls.run_in_reactor(scene.fetch)
        caller = scene.begin(scene.wait if kind == "wait_for" else lambda: result().wait(BOUND))
        scene.reactor(lambda: caller.join())
        blocked = scene.seen(_is_circle)
        assert blocked.is_certain
        (wait,) = blocked.waits
        assert (wait.ident, wait.name) == (caller.ident, "Scene.fetch")
        assert wait.reactor_thread == scene.bridge.reactor_thread
        assert wait.waiter is next(iter(scene.bridge.waits))
        text = blocked.text
        assert text.startswith("The reactor thread waits in test_deadlock.py:"), text
        assert " for the end of thread " in text
        assert "for Scene.fetch(). None of them can go on." in text
        assert text.endswith("with deferToThread().")

    def test_join_through_other_threads(self, scene: Scene) -> None:
        """
        Each is named.
        """
        caller = scene.begin(scene.wait)
        others = [caller]
        for _ in range(3):
            others.append(scene.begin(others[-1].join))
        scene.reactor(others[-1].join)
        blocked = scene.seen(_is_circle)
        assert blocked.is_certain
        assert blocked.text.count("for the end of") == 4

    def test_join_with_a_timeout_is_not_certain(self, scene: Scene) -> None:
        """
        It ends by itself, be it in the reactor thread or farther along.
        """
        caller = scene.begin(scene.wait)
        other = scene.begin(caller.join, 2 * BOUND)
        scene.reactor(other.join)
        blocked = scene.seen(_is_circle)
        assert not blocked.is_certain
        assert "None of them can go on" in blocked.text

    def test_future_of_a_pool(self, scene: Scene) -> None:
        """
        The worker that runs it is found; a future that nobody works on says nothing of whom.
        """
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(scene.wait)
            scene.reactor(lambda: _raises(future.result))
            blocked = scene.seen(_is_circle)
            assert blocked.is_certain
            assert "for a future that thread 'ThreadPoolExecutor" in blocked.text
            scene.end()
        alone: Future[None] = Future()
        scene.reactor(lambda: alone.result(BOUND))
        assert not scene.seen().is_certain
        assert scene.seen().text.endswith("for a future.")
        alone.set_result(None)

    @pytest.mark.parametrize("kind", ["with", "acquire"])
    def test_reentrant_lock(self, scene: Scene, kind: str) -> None:
        """
        It says who has it, so this is certain, too.
        """
        locks = Locks()
        caller = scene.begin(locks.hold, scene.wait)
        scene.reactor(locks.take_with if kind == "with" else locks.take)
        blocked = scene.seen(_is_circle)
        assert blocked.is_certain
        assert f"'self.lock', which thread {caller.name!r} has" in blocked.text
        assert blocked_in(caller.ident or 0, scene.bridge) is not None

    def test_reentrant_lock_with_a_timeout_is_not_certain(self, scene: Scene) -> None:
        """
        As ever.
        """
        locks = Locks()
        scene.begin(locks.hold, scene.wait)
        scene.reactor(locks.take_for_a_while)
        assert not scene.seen(_is_circle).is_certain

    def test_import(self, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A module whose import waits for a call that imports it.
        """
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "circular_config.py").write_text("import builtins\nbuiltins.crochet_wait()\n")
        monkeypatch.setattr("builtins.crochet_wait", scene.wait, raising=False)
        importer = scene.begin(_raises, lambda: __import__("circular_config"))
        deadline = time.monotonic() + BOUND
        while "circular_config" not in sys.modules and time.monotonic() < deadline:
            pass
        scene.reactor(_raises, lambda: __import__("circular_config"))
        blocked = scene.seen(_is_circle)
        assert blocked.is_certain
        what = f"import the module 'circular_config', which thread {importer.name!r} is importing"
        assert what in blocked.text
        assert blocked.text.endswith("Move the call out of the import, into a function that is "
                                     "called after it.")  # fmt: skip

    def test_circle_without_the_one_asked_about(self, scene: Scene) -> None:
        """
        Two others wait for one another. It is told, but whoever waits for us has no part in it.
        """
        over = threading.Event()
        first, second = threading.RLock(), threading.RLock()
        holding = threading.Barrier(3)

        def hold_and_take(own: Any, other: Any) -> None:
            with own:
                holding.wait(BOUND)
                while not over.is_set():
                    if other.acquire(timeout=0.2):
                        other.release()

        one = scene.begin(hold_and_take, first, second)
        scene.begin(hold_and_take, second, first)
        holding.wait(BOUND)
        scene.undo.append(over.set)
        scene.reactor(one.join)
        blocked = scene.seen(lambda blocked: blocked.text.count("for the lock") == 2)
        assert not blocked.waits
        assert not blocked.is_certain
        assert "None of them" not in blocked.text


def _raises(function: Callable[[], object]) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011
        function()


class Locks:
    """
    Locks, and who takes them.
    """

    def __init__(self) -> None:
        self.lock: Any = threading.RLock()
        self.is_held = threading.Event()

    def hold(self, function: Callable[[], object]) -> None:
        """
        Call something that blocks, with the lock.
        """
        with self.lock:
            self.is_held.set()
            function()

    def take_with(self) -> None:
        """
        Wait for it, and give it back.
        """
        self.is_held.wait(BOUND)
        with self.lock:
            pass

    def take(self) -> None:
        """
        The same by a call.
        """
        self.is_held.wait(BOUND)
        self.lock.acquire()
        self.lock.release()

    def take_for_a_while(self) -> None:
        """
        The same with a timeout.
        """
        self.is_held.wait(BOUND)
        if self.lock.acquire(timeout=BOUND):
            self.lock.release()


class TestOthers:
    """
    What does not tell who could end it.
    """

    @pytest.mark.parametrize(
        ("what", "begin"),
        [
            ("an item of a queue", lambda it: it.queue.get()),
            ("an event", lambda it: it.event.wait()),
            ("an event", lambda it: it.event.wait(BOUND)),
            ("a condition", lambda it: it.wait_for_condition()),
            ("a semaphore", lambda it: it.semaphore.acquire()),
        ],
    )
    def test_are_named(self, scene: Scene, what: str, begin: Callable[[Any], object]) -> None:
        """
        By what the program has called, not by what that calls.
        """
        thing = Things()
        scene.undo.append(thing.end)
        scene.reactor(begin, thing)
        blocked = scene.seen()
        assert f"for {what}." in blocked.text
        assert not blocked.waits
        assert not blocked.is_certain

    def test_plain_lock(self, scene: Scene) -> None:
        """
        Nobody knows who has it, and that is said.
        """
        locks = Locks()
        locks.lock = threading.Lock()
        scene.begin(locks.hold, scene.wait)
        scene.reactor(locks.take_with)
        blocked = scene.seen(lambda blocked: "an event" not in blocked.text)
        assert blocked.text.endswith(
            "for the lock 'self.lock', which does not say which thread holds it."
        )
        assert not blocked.is_certain

    def test_work(self, scene: Scene) -> None:
        """
        A thread that does not wait for anything that is known, or has ended, is not blocked.
        """
        isover = []
        at_work = threading.Event()

        def work() -> None:
            at_work.set()
            while not isover:
                with nothing.at_all:
                    pass

        nothing = Nothing()
        thread = scene.begin(work)
        assert at_work.wait(BOUND)
        assert thread.ident is not None
        for _ in range(100):
            assert blocked_in(thread.ident, scene.bridge) is None
            assert blocked_in(thread.ident, scene.bridge, reads_source=False) is None
        isover.append(True)
        thread.join(BOUND)
        assert blocked_in(thread.ident, scene.bridge) is None
        assert blocked_in(threading.get_ident(), scene.bridge) is None

    @pytest.mark.parametrize("is_cached", [True, False])
    def test_code_that_is_at_no_line(self, scene: Scene, *, is_cached: bool) -> None:
        """
        As any may be for a moment, for the thread goes on while it is looked at.
        """
        if is_cached:
            linecache.getlines(__file__)
        else:
            linecache.cache.pop(__file__, None)
        is_over = threading.Event()
        source = "while not is_over.is_set(): frame.append(sys._getframe())"
        frames: deque[FrameType] = deque(maxlen=1)
        names = {"is_over": is_over, "frame": frames, "sys": sys}
        thread = scene.begin(exec, without_lines(source, __file__), names)
        while not frames:
            assert thread.is_alive()
        assert frames[0].f_lineno is None
        assert place_of(frames[0]) == f"{os.path.basename(__file__)}:1"
        for _ in range(100):
            assert blocked_in(thread.ident or 0, scene.bridge) is None
        is_over.set()

    def test_wait_that_is_answered(self, scene: Scene) -> None:
        """
        Its thread is on its way, though it is listed still.
        """
        call = call_of(scene.calls.run_in_reactor(scene.fetch)())
        with self.waiting(scene, call) as ident:
            assert scene.seen(_is_circle).is_certain
            call.outcome = 7
            assert wait_of(ident, scene.bridge) is None
            assert blocked_in(ident, scene.bridge) is None

    def test_wait_that_is_not_listed(self, scene: Scene) -> None:
        """
        A thread that gives up, or runs a task meanwhile, is in code of ours and goes on by itself.
        """
        call = call_of(scene.calls.run_in_reactor(scene.fetch)())
        with self.waiting(scene, call) as ident:
            scene.seen(_is_circle)
            scene.bridge.waits.clear()
            assert wait_of(ident, scene.bridge) is None
            assert blocked_in(ident, scene.bridge) is None

    def test_wait_that_is_interrupted(self, scene: Scene) -> None:
        """
        1. A thread waits. 2. A signal handler of the program's comes to be run in it, and is at
        work: it goes on by itself, and may give back what the reactor thread waits for.
        """
        call = call_of(scene.calls.run_in_reactor(scene.fetch)())
        over = []

        def work() -> None:
            while not over:
                pass

        with self.waiting(scene, call, lambda waiter: work()) as ident:
            assert blocked_in(ident, scene.bridge) is None
            blocked = scene.seen()
            assert not blocked.waits
            assert not blocked.is_certain
            over.append(True)

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_wait_of_another_moment(
        self, scene: Scene, when: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The watch copies who waits. 2. It takes the frames. 3. It looks for the wait of a thread.
        A wait that has begun or ended in between, of a new thread with the same ident, say, may not
        be what the frames show.
        """
        call = call_of(scene.calls.run_in_reactor(scene.fetch)())
        with self.waiting(scene, call) as ident:
            scene.seen(_is_circle)
            waits = scene.bridge.waits
            other = scene.bridge.new_waiter()
            look = _deadlock.frames_of_threads

            def look_and_begin_another() -> dict[int, FrameType]:
                waits.clear()
                waits[other] = ident, call
                return look()

            def look_and_end() -> dict[int, FrameType]:
                frames = look()
                waits.clear()
                return frames

            between = look_and_begin_another if when == "before" else look_and_end
            monkeypatch.setattr(_deadlock, "frames_of_threads", between)
            assert blocked_in(ident, scene.bridge) is None

    @contextmanager
    def waiting(
        self, scene: Scene, call: Call, block: Callable[[Waiter], object] | None = None
    ) -> Iterator[int]:
        """
        A thread that is listed as waiting for a call, and the reactor thread, which joins it.

        Args:
            scene: where they are.
            call: what for.
            block: in what the thread is; in a wait of ours unless told.
        """
        waits, waiter = scene.bridge.waits, scene.bridge.new_waiter()
        is_listed = threading.Event()

        def wait() -> None:
            waits[waiter] = threading.get_ident(), call
            is_listed.set()
            (block or (lambda waiter: waiter.wait(BOUND)))(waiter)

        thread = scene.begin(wait)
        assert is_listed.wait(BOUND)
        assert thread.ident is not None
        scene.reactor(thread.join)
        yield thread.ident
        waiter.put(None)
        thread.join(BOUND)

    def test_thread_that_threading_does_not_know(self, scene: Scene) -> None:
        """
        It has no name.
        """
        locks = Locks()
        over = threading.Event()
        scene.undo.append(over.set)
        _thread.start_new_thread(locks.hold, (lambda: over.wait(BOUND),))
        assert locks.is_held.wait(BOUND)
        scene.reactor(locks.take_with)
        assert "'self.lock', which another thread has, and another thread" in scene.seen().text

    def test_thread_of_the_standard_library(self, scene: Scene) -> None:
        """
        One that runs nothing of the program's.
        """
        event = threading.Event()
        thread = threading.Thread(target=event.wait, args=(BOUND,))
        thread.start()
        scene.bridge.reactor_thread = thread.ident
        text = scene.seen(lambda blocked: "for an event" in blocked.text).text
        event.set()
        thread.join()
        assert text.startswith("The reactor thread waits in threading.py:")

    def test_thread_joined_that_is_unknown(self, scene: Scene) -> None:
        """
        It may have ended since.
        """
        over = threading.Event()
        scene.undo.append(over.set)
        other = scene.begin(over.wait, BOUND)
        other_name = other.name
        scene.reactor(other.join)
        assert f"for the end of thread {other_name!r}, and" in scene.seen().text


class Nothing:
    """
    Things that are not locks, but are entered like one.
    """

    at_all = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("no code of the program's is to be run")


class Things:
    """
    Things to wait for.
    """

    def __init__(self) -> None:
        self.queue: queue.Queue[None] = queue.Queue()
        self.event = threading.Event()
        self.condition = threading.Condition()
        self.semaphore = threading.Semaphore(0)
        self.isover = False

    def wait_for_condition(self) -> None:
        """
        Wait until it is over.
        """
        with self.condition:
            self.condition.wait_for(lambda: self.isover)

    def end(self) -> None:
        """
        Let everybody go.
        """
        self.queue.put(None)
        self.event.set()
        self.semaphore.release()
        self.isover = True
        with self.condition:
            self.condition.notify_all()


class TestPlaces:
    """
    Where the program is.
    """

    def test_is_the_programs_own(self) -> None:
        """
        The innermost frame that is not the standard library's, Twisted's or ours.
        """
        place = place_of(sys._getframe())
        assert place.startswith("test_deadlock.py:")
        assert place.endswith(" test_is_the_programs_own()")

    def test_is_not_the_packages_that_the_program_has_called(self) -> None:
        """
        Nor what the interpreter has made up. Of a package's code alone, that is told.
        """
        places: list[str] = []
        namespace: dict[str, Any] = {
            "__name__": "requests",
            "look": lambda: places.append(place_of(sys._getframe().f_back)),
        }
        source = "def get(again=None):\n again() if again else look()"
        exec(compile(source, "/v/site-packages/requests.py", "exec"), namespace)
        made_up: dict[str, Any] = {"__name__": "made_up", "get": namespace["get"]}
        exec("def call():\n get(get)", made_up)
        line = sys._getframe().f_lineno + 1
        made_up["call"]()
        thread = threading.Thread(target=made_up["call"])
        thread.start()
        thread.join()
        name = "test_is_not_the_packages_that_the_program_has_called"
        assert places == [f"test_deadlock.py:{line} {name}()", "requests.py:2 get()"]

    def test_of_a_thread_of_the_librarys(self) -> None:
        """
        What there is, where nothing is the program's.
        """
        thread = Background(threading.Event().wait, 0.0)
        thread.outcome()
        event = threading.Event()
        waiting = threading.Thread(target=event.wait, args=(BOUND,))
        waiting.start()
        place = place_of(sys._current_frames()[waiting.ident or 0])
        event.set()
        waiting.join()
        assert place.startswith("threading.py:")
        assert place_of(None) == "an unknown place"

    def test_of_a_call_without_python_code(self, running: FakeProcess) -> None:
        """
        The call's name is all there is, and not where the program runs the reactor.
        """
        places: list[str] = []

        class Place:
            """
            Looks where its thread is, as seen from a frame of ours.
            """

            __qualname__ = "sleep"

            def __call__(self) -> None:
                places.append(place_of(sys._getframe().f_back, running.bridge.body))

        running.run_in_reactor(Place())().wait(BOUND)
        assert places == ["sleep()"]

    def test_of_a_library_that_the_loop_calls(self) -> None:
        """
        And not where the program runs the reactor.
        """
        places: list[str] = []
        namespace = {"__name__": "twisted.something", "places": places, "sys": sys}
        namespace["place_of"] = place_of
        code = "def work():\n places.append(place_of(sys._getframe()))"
        exec(compile(code, "/somewhere/something.py", "exec"), namespace)
        reactor: Any = FakeReactor()
        reactor.callLater(0, namespace["work"])
        reactor.callLater(0, reactor.stop)
        reactor.run(installSignalHandlers=False)
        assert places == ["something.py:2 work()"]

    def test_of_a_module(self) -> None:
        """
        It has no function, and code that was not read from a file no source.
        """
        namespace: dict[str, Any] = {"place_of": place_of, "sys": sys, "__name__": "app"}
        exec(compile("\nplace = place_of(sys._getframe())", "/somewhere/app.py", "exec"), namespace)
        assert namespace["place"] == "app.py:2"

    def test_of_a_wait(self, scene: Scene) -> None:
        """
        A thread is in a wait of ours, or not; then it tells for what.
        """
        assert wait_of(threading.get_ident(), scene.bridge) is None
        thread = scene.begin(scene.wait)
        assert thread.ident is not None
        deadline = time.monotonic() + BOUND
        while (wait := wait_of(thread.ident, scene.bridge)) is None:
            assert time.monotonic() < deadline
        assert wait.name == "Scene.fetch"
