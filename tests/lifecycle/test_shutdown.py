"""
``shutdown()``, and ``setup()`` after it and after every other end of a reactor.

In new processes, and on each of the reactors that Linux has.
"""

from __future__ import annotations

import os
import textwrap
from typing import Any

import pytest

from support.programs import REACTORS, Finished, run_python
from support.stepping import BOUND

_BEGINNING = """
import gc, importlib, logging, os, sys, threading, time, traceback
BOUND = float(sys.argv[1])
if len(sys.argv) > 2:
    importlib.import_module(f"twisted.internet.{sys.argv[2]}reactor").install()
import crochet
from twisted.internet.defer import Deferred

@crochet.wait_for(BOUND)
def add(a, b):
    return a + b

@crochet.wait_for(BOUND)
async def use_everything():
    from twisted.internet import reactor, task, threads
    await task.deferLater(reactor, 0.001, lambda: None)
    return await threads.deferToThread(lambda: "done in the pool")

@crochet.run_in_reactor
def hang():
    return Deferred()

def descriptors():
    return sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []

def raised(kind, function, *args):
    try:
        function(*args)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")

def fewer(now, before):
    "A reactor that was imported before had descriptors already; at most as many are left."
    return len(now) <= len(before)

def has_ended():
    "Wait until the reactor's thread has ended."
    for each in threading.enumerate():
        if each.name == "crochet-reactor":
            each.join(BOUND)
            assert not each.is_alive()
"""


def run(code: str, *args: str, **more: Any) -> Finished:
    """
    Run a program.
    """
    return run_python(_BEGINNING + textwrap.dedent(code), *args, **more)


class TestShutdown:
    """
    All is back to what it was before ``setup()``.
    """

    @pytest.mark.parametrize("kind", REACTORS)
    def test_gives_everything_back(self, kind: str) -> None:
        """
        Threads and descriptors; and waiters, in whichever way they wait, are released.
        """
        run(
            """
            from twisted.internet import reactor
            from twisted.internet.protocol import Factory
            import socket
            threads, before = threading.active_count(), descriptors()
            crochet.shutdown()  # nothing to do
            assert descriptors() == before
            crochet.setup()
            use_everything()
            port = crochet.wait_for(BOUND)(
                lambda: reactor.listenTCP(0, Factory(), interface="127.0.0.1").getHost().port)()
            texts, barrier = [], threading.Barrier(9)

            def wait(function, *args):
                barrier.wait(BOUND)
                texts.append(raised(crochet.ReactorStopped, function, *args))

            pending = hang()
            waiters = [threading.Thread(target=wait, args=(function, *args)) for function, *args in
                       [(pending.wait,), (pending.wait, BOUND),
                        (crochet.wait_for(BOUND)(Deferred),), (hang().wait,)] * 2]
            for each in waiters: each.start()
            barrier.wait(BOUND)
            uid = hang().stash()
            crochet.shutdown()
            for each in waiters: each.join(BOUND)
            assert len(texts) == 8 and all("shutdown" in each for each in texts), texts
            assert "shutdown" in raised(crochet.ReactorStopped, crochet.retrieve_result(uid).wait)
            assert "shutdown" in raised(crochet.ReactorStopped, add, 1, 2)
            assert threading.active_count() == threads, threading.enumerate()
            assert fewer(descriptors(), before), (descriptors(), before)
            down = descriptors()
            crochet.shutdown()
            crochet.shutdown(0)
            assert descriptors() == down
            assert "shutdown" in raised(crochet.ReactorStopped, add, 1, 2)
            """,
            kind,
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_gives_operations_time_to_clean_up(self, kind: str) -> None:
        """
        They are cancelled, and may wait for the reactor once more; new calls are refused.
        """
        done = run(
            """
            from twisted.internet import reactor, task, threads
            crochet.setup()
            started = threading.Event()

            @crochet.run_in_reactor
            async def operate(number):
                try:
                    if number == 9:
                        started.set()
                    await Deferred()
                finally:
                    refused.append(raised(crochet.ReactorStopped, hang))
                    await task.deferLater(reactor, 0.01, lambda: None)
                    await threads.deferToThread(lambda: None)
                    cleaned.append(number)

            refused, cleaned = [], []
            results = [operate(number) for number in range(10)]
            assert started.wait(BOUND)
            crochet.shutdown(BOUND)
            assert sorted(cleaned) == list(range(10)), cleaned
            assert len(refused) == 10
            for each in results:
                raised(crochet.ReactorStopped, each.wait)
            """,
            kind,
        )
        assert not done.stderr

    def test_writes_what_was_logged(self) -> None:
        """
        With a handler that is slow, and in each life.
        """
        done = run(
            """
            from twisted.logger import Logger
            class Slow(logging.Handler):
                def emit(self, record):
                    time.sleep(0.001)
                    print(record.getMessage())
            logger = logging.getLogger("twisted")
            logger.addHandler(Slow())
            logger.setLevel(logging.WARNING)
            for life in range(2):
                crochet.setup()
                log = crochet.run_in_reactor(Logger().warn)
                for number in range(100):
                    log(f"{life} {number}")
                add(1, 2)
                crochet.shutdown()
                print("down")
            """
        )
        expected = [[f"{life} {number}" for number in range(100)] + ["down"] for life in (0, 1)]
        assert done.stdout.split("\n")[:-1] == expected[0] + expected[1]

    def test_in_other_threads(self) -> None:
        """
        Any may call it but the reactor's, and those of its pool, for which the reactor waits.
        """
        run(
            """
            from twisted.internet.threads import deferToThread
            crochet.setup()
            in_reactor = crochet.run_in_reactor(crochet.shutdown)()
            assert "reactor thread" in raised(crochet.DeadlockError, in_reactor.wait, BOUND)
            in_pool = crochet.run_in_reactor(deferToThread)(crochet.shutdown)
            assert "pool" in raised(crochet.DeadlockError, in_pool.wait, BOUND)
            assert use_everything() == "done in the pool"
            thread = threading.Thread(target=crochet.shutdown)
            thread.start()
            thread.join(BOUND)
            assert not thread.is_alive()
            raised(crochet.ReactorStopped, add, 1, 2)
            assert threading.active_count() == 1
            """
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_of_a_blocked_reactor(self, kind: str) -> None:
        """
        Raises TimeoutError, with the stack, refuses calls from then on, and can be repeated.
        """
        run(
            """
            threads, before = threading.active_count(), descriptors()
            crochet.setup()
            way_out = threading.Event()

            @crochet.run_in_reactor
            def block_the_reactor():
                entered.set()
                assert way_out.wait(BOUND)

            entered = threading.Event()
            block_the_reactor()
            assert entered.wait(BOUND)
            for _ in range(2):
                text = raised(crochet.TimeoutError, crochet.shutdown, 0.05)
                assert "in block_the_reactor" in text and "0.05 s" in text, text
                assert "shutdown" in raised(crochet.ReactorStopped, add, 1, 2)
            way_out.set()
            crochet.shutdown()
            assert threading.active_count() == threads
            assert fewer(descriptors(), before)
            crochet.setup()
            assert use_everything() == "done in the pool"
            """,
            kind,
        )

    def test_takes_no_nonsense(self) -> None:
        """
        As all of our timeouts.
        """
        run(
            """
            crochet.setup()
            raised(TypeError, crochet.shutdown, "1")
            raised(ValueError, crochet.shutdown, float("nan"))
            assert add(1, 2) == 3
            crochet.shutdown(None)
            crochet.setup()
            crochet.shutdown(float("inf"))
            crochet.setup()
            crochet.shutdown(1e300)
            """
        )

    def test_under_no_setup(self) -> None:
        """
        Is refused: the program runs the reactor.
        """
        run(
            """
            crochet.no_setup()
            assert "no_setup" in raised(RuntimeError, crochet.shutdown)
            """
        )


class TestRestart:
    """
    ``setup()`` after an end.
    """

    @pytest.mark.parametrize("kind", REACTORS)
    def test_100_cycles(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Leave no thread, no descriptor, no exit hook and no memory behind; everything works in
        each, through references to the reactor that are as old as the program.
        """
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            monkeypatch.delenv(name)  # its tracer keeps 4 kB for every thread that there was
        run(
            """
            import atexit, tracemalloc
            from twisted.internet import reactor
            from twisted.internet.threads import deferToThread
            kind = type(reactor)

            def live():
                crochet.setup()
                assert add(1, 2) == 3
                assert use_everything() == "done in the pool"
                pending = hang()
                assert reactor.running and type(reactor) is kind
                crochet.shutdown()
                raised(crochet.ReactorStopped, pending.wait)
                assert not reactor.running

            def state():
                gc.collect()
                return (threading.active_count(), descriptors(), atexit._ncallbacks())

            for _ in range(5):
                live()
            before = state()
            tracemalloc.start()
            memory = []
            for _ in range(4):
                gc.collect()
                memory.append(tracemalloc.get_traced_memory()[0])
                for _ in range(24):
                    live()
            assert state() == before, (state(), before)
            # What is left behind is so each time. (CPython's dict of interned strings grows once.)
            grown = [after - begin for begin, after in zip(memory[1:], memory[2:])]
            assert min(grown) < 24 * 1000, f"{grown} bytes more"
            """,
            kind,
        )

    @pytest.mark.parametrize("kind", REACTORS)
    @pytest.mark.parametrize("end", ["stop", "crash", "die"])
    def test_after_another_end(self, kind: str, end: str) -> None:
        """
        Waiters are released at once, later calls refused with the cause.
        """
        done = run(
            f"""
            end, cause = {end!r}, { ({"die": "SystemExit|OSError"}.get(end, "stop"))!r}
            """
            """
            import re
            logging.getLogger("twisted").addHandler(logging.NullHandler())
            from twisted.internet import reactor
            crochet.setup()
            use_everything()
            before = threading.active_count(), len(descriptors())

            def die():
                # Either loop goes on, whatever callbacks raise.
                if hasattr(reactor, "_asyncioEventloop"):
                    reactor._asyncioEventloop._run_once = break_down
                else:
                    reactor._started = Leaving()

            def break_down():
                raise OSError("for a test")

            class Leaving:
                def __bool__(self):
                    raise SystemExit("for a test")

            for life in range(3):
                pending, waiting = hang(), []
                waiter = threading.Thread(
                    target=lambda: waiting.append(raised(crochet.ReactorStopped, pending.wait)))
                waiter.start()
                how = {"stop": reactor.stop, "crash": reactor.crash, "die": die}[end]
                crochet.run_in_reactor(how)()
                waiter.join(BOUND)
                assert not waiter.is_alive()
                assert re.search(cause, waiting[0]), waiting
                has_ended()
                assert re.search(cause, raised(crochet.ReactorStopped, add, 1, 2))
                crochet.setup()
                assert use_everything() == "done in the pool"
                assert (threading.active_count(), len(descriptors())) == before
            assert "crochet-reactor" in [each.name for each in threading.enumerate()]
            """,
            kind,
        )
        assert "Error in" not in done.stderr

    @pytest.mark.parametrize("kind", REACTORS)
    def test_while_the_program_stops_it(self, kind: str) -> None:
        """
        setup() waits for its end. But in a thread that this end waits for, the reactor's own or one
        of its pool, it does nothing.
        """
        run(
            """
            from twisted.internet import reactor, threads
            is_ending, returned = threading.Event(), []

            def set_up():
                assert is_ending.wait(BOUND)
                returned.append(crochet.setup())

            def hold():
                is_ending.set()
                set_up()
                held = Deferred()
                reactor.callLater(0.3, held.callback, None)
                return held

            crochet.setup()
            crochet.run_in_reactor(reactor.addSystemEventTrigger)("before", "shutdown", hold)
            crochet.run_in_reactor(threads.deferToThread)(set_up)
            crochet.run_in_reactor(reactor.stop)()
            assert is_ending.wait(BOUND)
            crochet.setup()
            assert add(3, 4) == 7
            assert returned == [None, None]
            """,
            kind,
        )

    def test_late_results_of_an_earlier_life(self) -> None:
        """
        Do no harm, nor do cancellations of them; an error that nobody can take is logged.
        """
        done = run(
            """
            crochet.setup()
            operations = []
            @crochet.run_in_reactor
            def operate():
                operations.append(Deferred())
                # What is cancelled is not what answers.
                return Deferred().addErrback(lambda failure: operations.append(Deferred()) or
                                             operations[-1])
            first, second, third = operate(), operate(), operate()
            add(1, 2)
            crochet.shutdown(0.1)
            assert len(operations) == 6
            del operations[:3]
            crochet.setup()
            first.cancel()
            @crochet.wait_for(BOUND)
            def answer():
                operations[0].callback(1)
                operations[1].errback(ValueError("late"))
            answer()
            operations[2].callback(3)
            for each in (first, second, third):
                assert "shutdown" in raised(crochet.ReactorStopped, each.wait)
            assert use_everything() == "done in the pool"
            crochet.shutdown()
            """
        )
        assert "ValueError: late" in done.stderr

    @pytest.mark.parametrize("kind", REACTORS)
    def test_running(self, kind: str) -> None:
        """
        A ``with`` block has a reactor, whatever is raised in it.
        """
        run(
            """
            threads, open_before = threading.active_count(), descriptors()
            with crochet.running():
                add(1, 2)
            before = threading.active_count(), descriptors()
            assert before[0] == threads and fewer(before[1], open_before)
            for _ in range(3):
                with crochet.running():
                    assert use_everything() == "done in the pool"
                assert (threading.active_count(), descriptors()) == before
            def fail():
                with crochet.running(logging=False, timeout=BOUND):
                    # The reactor's, the watch's, the finalizer's.
                    assert threading.active_count() == before[0] + 3
                    add(1, 2)
                    raise ValueError("why")
            assert raised(ValueError, fail) == "why"
            assert (threading.active_count(), descriptors()) == before
            raised(crochet.ReactorStopped, add, 1, 2)
            """,
            kind,
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_many_threads_at_once(self, kind: str) -> None:
        """
        Set up, shut down and call: no deadlock, no leak, each call answered or refused.
        """
        run(
            """
            with crochet.running():
                use_everything()
            before = threading.active_count(), descriptors()
            sys.setswitchinterval(1e-6)
            barrier, errors = threading.Barrier(9), []

            def churn(number):
                try:
                    barrier.wait(BOUND)
                    for turn in range(15):
                        if number % 3 == 0:
                            crochet.setup()
                        elif number % 3 == 1:
                            crochet.shutdown(BOUND)
                        for _ in range(5):
                            try:
                                assert add(turn, 1) == turn + 1
                            except (crochet.ReactorStopped, RuntimeError) as error:
                                text = str(error)
                                assert "reactor" in text, text
                except BaseException:
                    errors.append(traceback.format_exc())

            threads = [threading.Thread(target=churn, args=(n,)) for n in range(9)]
            for each in threads: each.start()
            for each in threads: each.join(BOUND)
            assert not any(each.is_alive() for each in threads)
            assert not errors, errors[0]
            crochet.shutdown()
            assert (threading.active_count(), descriptors()) == before
            with crochet.running():
                assert use_everything() == "done in the pool"
            """,
            kind,
        )


class TestReactorOfTheProgram:
    """
    Under ``no_setup()``.
    """

    @pytest.mark.parametrize("kind", REACTORS)
    @pytest.mark.parametrize("runs_first", [False, True])
    def test_crash_is_noticed(self, kind: str, runs_first: bool) -> None:
        """
        At once, also if ``no_setup()`` came when it ran already; and it may be run again.
        """
        run(
            f"""
            runs_first = {runs_first}
            """
            """
            from twisted.internet import reactor
            if not runs_first:
                crochet.no_setup()
            texts = []

            def use():
                crochet.no_setup()
                add(1, 2)
                pending = hang()
                waiter = threading.Thread(
                    target=lambda: texts.append(raised(crochet.ReactorStopped, pending.wait)))
                waiter.start()
                reactor.callFromThread(reactor.crash)
                waiter.join(BOUND)
                assert not waiter.is_alive()
                texts.append(raised(crochet.ReactorStopped, add, 1, 2))

            for _ in range(3):
                thread = threading.Thread(target=use)
                reactor.callWhenRunning(thread.start)
                reactor.run(installSignalHandlers=False)
                thread.join(BOUND)
                assert not thread.is_alive()
            assert len(texts) == 6 and all("crash" in each for each in texts), texts
            """,
            kind,
        )

    def test_exception_through_run_is_noticed(self) -> None:
        """
        Such as Ctrl-C's, which an asyncio reactor lets through.
        """
        run(
            """
            from twisted.internet import reactor
            crochet.no_setup()
            pending = hang()
            def interrupt():
                raise KeyboardInterrupt
            reactor.callWhenRunning(lambda: reactor._asyncioEventloop.call_soon(interrupt))
            raised(KeyboardInterrupt, lambda: reactor.run(installSignalHandlers=False))
            raised(crochet.ReactorStopped, pending.wait)
            raised(crochet.ReactorStopped, add, 1, 2)
            """,
            "asyncio",
            flags=(),
        )

    def test_second_run_while_it_runs(self) -> None:
        """
        Is refused by Twisted, and changes nothing.
        """
        run(
            """
            from twisted.internet import reactor
            from twisted.internet.error import ReactorAlreadyRunning
            crochet.no_setup()
            def use():
                try:
                    again = crochet.run_in_reactor(reactor.run)()
                    raised(ReactorAlreadyRunning, again.wait, BOUND)
                    assert use_everything() == "done in the pool"
                    said.append("well")
                finally:
                    reactor.callFromThread(reactor.stop)
            said = []
            reactor.callWhenRunning(threading.Thread(target=use).start)
            reactor.run()
            assert said
            """
        )


@pytest.mark.parametrize("reactor", REACTORS)
@pytest.mark.parametrize("set_up", ["setup", "no_setup"])
def test_end_of_a_subinterpreter(reactor: str, set_up: str) -> None:
    """
    CPython aborts the process if it has threads left then; and its descriptors are given back.
    """
    pytest.importorskip("_testcapi", reason="it has what runs code in a subinterpreter")
    program = f"""
        import os, sys, threading
        from importlib import import_module
        import_module("twisted.internet.{reactor}reactor").install()
        import crochet
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred
        from twisted.internet.threads import deferToThread

        crochet.{set_up}()
        if "{set_up}" == "no_setup":
            threading.Thread(target=reactor.run, args=(False,)).start()
        pending = crochet.run_in_reactor(Deferred)()
        assert crochet.wait_for({BOUND})(deferToThread)(int) == 0
        assert crochet.run_in_reactor(int)().as_future().result({BOUND}) == 0
        if "{set_up}" == "no_setup":
            reactor.callFromThread(reactor.stop)
    """
    finished = run_python(
        """
        import os, sys, textwrap
        import ctypes  # as Twisted does; some libffi keep a descriptor open once it is used
        import _testcapi

        before = os.listdir("/dev/fd")
        path = f"import sys; sys.path[:] = {sys.path!r}" + chr(10)
        ended = _testcapi.run_in_subinterp(path + textwrap.dedent(sys.argv[2]))
        print("ended", ended, len(os.listdir("/dev/fd")) - len(before))
        """,
        program,
        flags=(),
    )
    left = 0 if set_up == "setup" else int(finished.stdout.split()[-1])
    assert finished.stdout == f"ended 0 {left}\n", finished.stderr
