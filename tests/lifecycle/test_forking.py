"""
Forks: the parent is left undisturbed, and the child is as if ``setup()`` had just been called.

All of it in new processes, and on each of the reactors that Linux has. A child that hangs is ended
by its alarm, which shows all stacks.
"""

from __future__ import annotations

import os
import textwrap
from typing import Any

import pytest

from support.programs import REACTORS, Finished, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

# What every program here begins with. The warning is Python's own, from 3.12 on, and is about the
# program's call of os.fork().
_BEGINNING = """
import contextlib, faulthandler, gc, importlib, os, signal, sys, threading, time, traceback
import warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
BOUND = float(sys.argv[1])
if len(sys.argv) > 2:
    importlib.import_module(f"twisted.internet.{sys.argv[2]}reactor").install()
import crochet
from twisted.internet.defer import Deferred

faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)

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

def in_child(function, *args):
    "Fork, and have the child call something and end; return its number."
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(int(BOUND))
        function(*args)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

def end_of(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"

def descriptors():
    return sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []

def raised(kind, function, *args):
    try:
        function(*args)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")
"""


def run(code: str, *args: str, **more: Any) -> Finished:
    """
    Run a program that forks.
    """
    return run_python(_BEGINNING + textwrap.dedent(code), *args, **more)


class TestChild:
    """
    The first call, or ``setup()``, gives it a reactor of its own.
    """

    @pytest.mark.parametrize("kind", REACTORS)
    def test_everything_works(self, kind: str) -> None:
        """
        Through the same reactor object, of the same kind, also in a child's child.
        """
        run(
            """
            from twisted.internet import reactor
            crochet.setup()
            kind = type(reactor)
            assert add(1, 2) == 3

            def check(generations):
                import twisted.internet.reactor as again
                assert add(1, 2) == 3
                assert use_everything() == "done in the pool"
                assert again is reactor and type(reactor) is kind and reactor.running
                crochet.setup()
                if generations:
                    end_of(in_child(check, generations - 1))
                    assert use_everything() == "done in the pool"

            end_of(in_child(check, 2))
            assert use_everything() == "done in the pool"
            """,
            kind,
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_results_are_answered_or_stay_readable(self, kind: str) -> None:
        """
        The pending ones at once, by a text that names the fork; in the parent they go on.
        """
        run(
            """
            crochet.setup()
            operations = []

            @crochet.run_in_reactor
            def operate():
                operations.append(Deferred())
                return operations[-1]

            @crochet.run_in_reactor
            def fail():
                raise ValueError("why")

            pending, uid = operate(), operate().stash()
            answered, failed = add.__wrapped__, fail()
            answered = crochet.run_in_reactor(lambda: 42)()
            assert answered.wait(BOUND) == 42
            raised(ValueError, failed.wait, BOUND)
            answered_uid = answered.stash()
            add(0, 0)
            called_back = []
            pending.add_done_callback(lambda result: called_back.append(os.getpid()))

            def check():
                assert "forked" in raised(crochet.ReactorStopped, pending.wait)
                assert called_back == []  # callbacks are the parent's, as what they act upon
                assert "forked" in raised(crochet.ReactorStopped, crochet.retrieve_result(uid).wait)
                assert crochet.retrieve_result(answered_uid).wait() == 42
                raised(ValueError, failed.wait)
                assert answered.wait() == 42
                assert threading.active_count() == 1, "nothing was started for all this"
                assert add(1, 2) == 3
                operations[0].callback("late")  # an earlier life's, in whichever thread
                assert "forked" in raised(crochet.ReactorStopped, pending.wait)

            end_of(in_child(check))
            crochet.run_in_reactor(lambda: [each.callback(7) for each in operations])().wait(BOUND)
            assert pending.wait(BOUND) == crochet.retrieve_result(uid).wait(BOUND) == 7
            assert called_back == [os.getpid()]
            """,
            kind,
        )

    @pytest.mark.parametrize("wait", ["forever", "hang().wait"])
    def test_forked_by_a_signal_handler_in_the_middle_of_a_wait(self, wait: str) -> None:
        """
        The child's wait is over at once; the parent's goes on.
        """
        run(
            """
            @crochet.wait_for(None)
            def forever():
                return pending

            @crochet.run_in_reactor
            def finish():
                pending.callback(42)

            pending, children = Deferred(), []

            def handler(number, frame):
                children.append(os.fork())

            crochet.setup()
            parent = os.getpid()
            signal.signal(signal.SIGUSR1, handler)
            main = threading.main_thread().ident
            threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGUSR1]).start()
            try:
                if sys.argv[3] == "forever":
                    threading.Timer(0.5, finish).start()
                    assert forever() == 42
                else:
                    hang().wait(0.5)
            except crochet.ReactorStopped as error:
                assert os.getpid() != parent, error
                assert "fork" in str(error), error
                assert add(1, 2) == 3
                os._exit(7)
            except crochet.TimeoutError:
                assert sys.argv[3] != "forever"
            assert os.getpid() == parent
            _, status = os.waitpid(children[0], 0)
            assert os.waitstatus_to_exitcode(status) == 7
            """,
            REACTORS[0],
            wait,
        )

    def test_first_calls_may_come_together(self) -> None:
        """
        From many threads, in the first moment.
        """
        run(
            """
            crochet.setup()
            sys.setswitchinterval(1e-6)

            def check():
                barrier = threading.Barrier(16)
                sums = []
                def call(number):
                    barrier.wait(BOUND)
                    sums.append(add(number, 1) - number)
                threads = [threading.Thread(target=call, args=(n,)) for n in range(16)]
                for each in threads: each.start()
                for each in threads: each.join(BOUND)
                assert sums == [1] * 16, sums
                names = [each.name for each in threading.enumerate()]
                assert names.count("crochet-reactor") == 1, names

            for _ in range(20):
                end_of(in_child(check))
            """
        )

    def test_set_up_without_logs_has_none(self) -> None:
        """
        As the parent was; an explicit ``setup()`` may say otherwise.
        """
        run(
            """
            crochet.setup(logging=False)
            def check():
                add(1, 2)
                assert "crochet-log-writer" not in [each.name for each in threading.enumerate()]
            end_of(in_child(check))
            """
        )
        run(
            """
            crochet.setup()
            def check():
                add(1, 2)
                assert "crochet-log-writer" in [each.name for each in threading.enumerate()]
            end_of(in_child(check))
            """
        )

    def test_exit_hooks_run_once_in_each(self) -> None:
        """
        A child that ends by ``sys.exit()`` stops its own reactor, or has none to stop.
        """
        done = run(
            """
            import atexit
            crochet.setup()
            add(1, 2)
            atexit.register(lambda: print("ends", flush=True))
            for calls in (0, 1):
                pid = os.fork()
                if not pid:
                    signal.alarm(int(BOUND))
                    if calls:
                        add(1, 2)
                    sys.exit(0)
                end_of(pid)
            assert add(1, 2) == 3
            """
        )
        assert done.stdout == "ends\n" * 3
        assert not done.stderr

    def test_shutdown_and_setup(self) -> None:
        """
        Also as the first thing done there; nothing of the parent's is left open.
        """
        run(
            """
            import ctypes  # as Twisted does; some libffi keep a descriptor open once it is used
            before = descriptors()
            crochet.setup(logging=False)
            add(1, 2)
            use_everything()

            def check(calls):
                if calls:
                    assert use_everything() == "done in the pool"
                crochet.shutdown()
                crochet.shutdown()
                assert threading.active_count() == 1
                assert len(descriptors()) == len(before), (descriptors(), before)
                assert "shutdown" in raised(crochet.ReactorStopped, add, 1, 2)
                crochet.setup()
                assert use_everything() == "done in the pool"

            end_of(in_child(check, False))
            end_of(in_child(check, True))
            assert add(1, 2) == 3
            """
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_sees_its_processes_end(self, kind: str) -> None:
        """
        And not the parent's.
        """
        run(
            """
            from twisted.internet import reactor
            from twisted.internet.protocol import ProcessProtocol
            crochet.setup()

            class Seen(ProcessProtocol):
                def __init__(self):
                    self.ended = Deferred()
                def processEnded(self, reason):
                    self.ended.callback(reason.value.exitCode)

            def spawn(code):
                seen = Seen()
                command = [sys.executable, "-S", "-c", code]
                transport = reactor.spawnProcess(seen, sys.executable, command, {}, childFDs={})
                return seen, transport

            @crochet.run_in_reactor
            def run(code):
                return spawn(code)[0].ended

            @crochet.wait_for(BOUND)
            def begin():
                return spawn("import time; time.sleep(1000)")

            seen, long = begin()
            assert run("raise SystemExit(3)").wait(BOUND) == 3
            end_of(in_child(lambda: [run("raise SystemExit(4)").wait(BOUND) == 4 or 1 / 0]))
            crochet.run_in_reactor(lambda: long.signalProcess("KILL") or seen.ended)().wait(BOUND)
            """,
            kind,
        )

    def test_of_a_program_that_only_imported_the_reactor(self) -> None:
        """
        Its poller and its waker are the parent's too, so both would wake each other.
        """
        for kind in REACTORS:
            run(
                """
                from twisted.internet import reactor
                pids = []
                go, went = os.pipe()
                def check():
                    crochet.setup()
                    for number in range(100):
                        assert add(number, 1) == number + 1
                    assert use_everything() == "done in the pool"
                for _ in range(4):
                    pids.append(in_child(check))
                crochet.setup()
                for number in range(100):
                    assert add(number, 1) == number + 1
                for pid in pids:
                    end_of(pid)
                assert use_everything() == "done in the pool"
                """,
                kind,
            )

    def test_of_a_program_that_has_prepared_the_reactor(self) -> None:
        """
        What it is to do when it runs, it does.
        """
        for kind in REACTORS:
            run(
                """
                from twisted.internet import reactor
                done = []
                reactor.callWhenRunning(done.append, "in the parent")
                reactor.getThreadPool()
                def check():
                    reactor.callWhenRunning(done.append, "in the child")
                    reactor.addSystemEventTrigger("before", "shutdown", done.append, "at its end")
                    crochet.setup()
                    assert use_everything() == "done in the pool"
                    assert done == ["in the parent", "in the child"], done
                    crochet.shutdown()
                    assert done == ["in the parent", "in the child", "at its end"], done
                    assert threading.active_count() == 1
                pids = [in_child(check), in_child(check)]
                for pid in pids:
                    end_of(pid)
                assert not done
                """,
                kind,
            )


class TestParent:
    """
    It notices nothing.
    """

    @pytest.mark.parametrize("kind", REACTORS)
    def test_100_forks_under_load(self, kind: str) -> None:
        """
        With 8 threads that call, and events that are logged: no deadlock, no error, no leak.
        """
        run(
            """
            import logging
            from twisted.logger import Logger
            logging.basicConfig(stream=open(os.devnull, "w"), level=logging.INFO)
            crochet.setup()
            log, is_over, errors, counts = Logger(), [], [], []

            @crochet.wait_for(BOUND)
            def log_and_add(a, b):
                log.info("adding")
                return a + b

            def call():
                count = 0
                try:
                    while not is_over:
                        assert log_and_add(count, 1) == count + 1
                        count += 1
                except BaseException as error:
                    errors.append(error)
                counts.append(count)

            def check(number):
                logging.info("the stream that the writer writes to")
                if number % 2:
                    assert log_and_add(number, 1) == number + 1
                if number % 20 == 1:
                    assert use_everything() == "done in the pool"
                    assert len(descriptors()) == len(before), (descriptors(), before)

            use_everything()
            threads = [threading.Thread(target=call) for _ in range(8)]
            for each in threads: each.start()
            before = descriptors()
            for number in range(100):
                end_of(in_child(check, number))
            is_over.append(1)
            for each in threads: each.join(BOUND)
            assert not errors, errors
            assert len(counts) == 8 and all(counts), counts
            assert descriptors() == before, (descriptors(), before)
            assert use_everything() == "done in the pool"
            """,
            kind,
            is_measured=False,
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_is_not_woken_by_a_child(self, kind: str) -> None:
        """
        Nor is anything taken from what its reactor polls, also when a child shuts down.
        """
        run(
            """
            from twisted.internet import protocol, reactor
            from twisted.internet.endpoints import TCP4ServerEndpoint
            import socket
            crochet.setup()

            class Echo(protocol.Protocol):
                def dataReceived(self, data):
                    self.transport.write(data)

            @crochet.wait_for(BOUND)
            def listen():
                return TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
                    protocol.Factory.forProtocol(Echo))

            address = ("127.0.0.1", listen().getHost().port)
            client = socket.create_connection(address, BOUND)

            def echoes(client):
                client.sendall(b"x")
                return client.recv(1) == b"x"

            def polled():
                fds = [int(name) for name in descriptors() if "eventpoll" in link(name)]
                return {fd: [line.split()[1] for line in open(f"/proc/self/fdinfo/{fd}")
                             if line.startswith("tfd")] for fd in fds}

            def link(name):
                with contextlib.suppress(OSError):
                    return os.readlink(f"/proc/self/fd/{name}")
                return ""

            def check():
                assert use_everything() == "done in the pool"
                for _ in range(100):
                    add(1, 2)
                crochet.shutdown()
                crochet.setup()
                add(1, 2)
                gc.collect()

            assert echoes(client)
            loop = polled()
            turns = []
            original = reactor.runUntilCurrent
            def count():
                turns.append(1)
                original()
            crochet.run_in_reactor(setattr)(reactor, "runUntilCurrent", count).wait(BOUND)
            add(1, 2)
            stirred, stir = os.pipe()
            # The fork itself wakes it, to park it.
            for _ in range(3):
                pid = os.fork()
                if not pid:
                    os.read(stirred, 1)
                    in_parent = os._exit
                    status = 1
                    try:
                        signal.alarm(int(BOUND))
                        check()
                        status = 0
                    except BaseException:
                        traceback.print_exc()
                    finally:
                        os._exit(status)
                add(1, 2)
                add(1, 2)
                before = len(turns)
                os.write(stir, b"x")
                end_of(pid)
                # One may be late, of a ring that was heeded before it had the poll return. Those of
                # a child that woke this reactor would be hundreds.
                assert len(turns) <= before + 1, (len(turns), before)
                assert polled() == loop
                assert echoes(client)
                assert echoes(socket.create_connection(address, BOUND))
            """,
            kind,
            flags=(),
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_forks_in_its_reactor_thread(self, kind: str) -> None:
        """
        Where nothing can be parked, and need not be.
        """
        run(
            """
            crochet.setup()
            def check():
                assert add(1, 2) == 3
                assert use_everything() == "done in the pool"
            @crochet.wait_for(BOUND)
            def fork():
                return in_child(check)
            before = descriptors()
            for _ in range(10):
                end_of(fork())
                assert use_everything() == "done in the pool"
            assert descriptors() == before
            """,
            kind,
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_survives_a_child_that_falls_back_into_the_loop(self, kind: str) -> None:
        """
        Forked in a callback that returns there, or that raises SystemExit, which Twisted catches.
        It takes nothing of what is the parent's, and ends.
        """
        run(
            """
            import socket
            from twisted.internet import protocol, reactor
            from twisted.internet.endpoints import TCP4ServerEndpoint
            crochet.setup()
            received = []
            class Sink(protocol.Protocol):
                def dataReceived(self, data):
                    received.append(os.getpid())
                    self.transport.write(str(os.getpid()).encode() + b" ")
            @crochet.wait_for(BOUND)
            def listen():
                return TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
                    protocol.Factory.forProtocol(Sink))
            client = socket.create_connection(("127.0.0.1", listen().getHost().port), BOUND)
            pids = []

            @crochet.run_in_reactor
            def fork(ends):
                pid = os.fork()
                if pid:
                    pids.append(pid)
                    return
                signal.alarm(int(BOUND))
                if ends:
                    sys.exit(0)

            me = str(os.getpid()).encode() + b" "
            for ends in (False, True):
                fork(ends).wait(BOUND)
                for _ in range(50):
                    client.sendall(b"x")
                    assert client.recv(len(me)) == me
                _, status = os.waitpid(pids.pop(), 0)
                assert os.waitstatus_to_exitcode(status) != -signal.SIGALRM, status
                assert use_everything() == "done in the pool"
                client.sendall(b"x")
                assert client.recv(len(me)) == me
            """,
            kind,
        )

    def test_forks_in_many_threads_at_once(self) -> None:
        """
        Among them workers of the reactor's pool, and while setup() and shutdown() are under way.
        """
        run(
            """
            from twisted.internet.threads import deferToThread
            crochet.setup()
            def check():
                assert add(1, 2) == 3
            def fork():
                for _ in range(10):
                    end_of(in_child(check))
            @crochet.wait_for(BOUND * 2)
            def fork_in_pool():
                return deferToThread(fork)
            threads = [threading.Thread(target=each) for each in [fork, fork, fork_in_pool] * 2]
            before = len(descriptors())
            for each in threads: each.start()
            for each in threads: each.join(BOUND * 2)
            assert not any(each.is_alive() for each in threads)
            assert len(descriptors()) <= before + 0, (descriptors(), before)
            assert add(1, 2) == 3
            """
        )

    def test_forks_while_another_thread_sets_up_and_shuts_down(self) -> None:
        """
        In whatever moment, the child can set up, and nothing is said.
        """
        for kind in REACTORS:
            done = run(
                """
                crochet.setup(logging=False)
                crochet.shutdown()
                sys.setswitchinterval(1e-5)
                before, is_over, errors = descriptors(), [], []
                def churn():
                    try:
                        while not is_over:
                            crochet.setup(logging=False)
                            crochet.shutdown()
                    except BaseException:
                        errors.append(traceback.format_exc())
                def check():
                    crochet.setup(logging=False)
                    for number in range(20):
                        assert add(number, 2) == number + 2
                    assert use_everything() == "done in the pool"
                    crochet.shutdown()
                    crochet.setup()
                    assert add(1, 2) == 3
                thread = threading.Thread(target=churn)
                thread.start()
                for _ in range(60):
                    end_of(in_child(check))
                is_over.append(1)
                thread.join(BOUND)
                assert not thread.is_alive()
                assert not errors, errors
                assert descriptors() == before, (descriptors(), before)
                """,
                kind,
            )
            assert not done.stderr

    def test_does_not_wait_for_a_blocked_reactor(self) -> None:
        """
        Which may be blocked by what the forking thread holds.
        """
        run(
            """
            crochet.setup()
            held = threading.Lock()
            entered = threading.Event()
            @crochet.run_in_reactor
            def block():
                entered.set()
                with held:
                    pass
            with held:
                blocked = block()
                assert entered.wait(BOUND)
                pid = in_child(lambda: add(1, 2) == 3 or 1 / 0)
            end_of(pid)
            blocked.wait(BOUND)
            assert add(1, 2) == 3
            """
        )

    def test_forks_in_a_log_handler(self) -> None:
        """
        In the thread that would have to be parked.
        """
        run(
            """
            import logging
            from twisted.logger import Logger
            forked = threading.Event()
            pids = []
            class Forks(logging.Handler):
                def emit(self, record):
                    if "fork" in record.getMessage():
                        pids.append(in_child(lambda: add(1, 2) == 3 or 1 / 0))
                        forked.set()
            logging.getLogger("twisted").addHandler(Forks())
            crochet.setup()
            crochet.run_in_reactor(Logger().error)("fork").wait(BOUND)
            assert forked.wait(BOUND)
            end_of(pids[0])
            """
        )


class TestBehindPythonsBack:
    """
    Forks made by C, as uWSGI makes them, of which no hook is told: the child finds out by itself.
    With the interpreter's lock held (PyDLL) or not, and Python takes the parent's threads for its.

    They fork while all other threads sleep. Else the child may hang in CPython, whatever we do: one
    of those threads has the interpreter's lock, or was to get it next.
    """

    BEGINNING = '''
    import ctypes, select
    crochet.setup()
    c_fork = getattr(ctypes, sys.argv[3])(None).fork
    assert add(1, 2) == 3

    def asleep():
        "Return the number of times that each other thread went to sleep, or None."
        counts = []
        for name in os.listdir("/proc/self/task"):
            if name != str(threading.get_native_id()):
                with open(f"/proc/self/task/{name}/status") as status:
                    lines = dict(line.split(":", 1) for line in status if ":" in line)
                counts.append((name, lines["voluntary_ctxt_switches"]))
                if "S" not in lines["State"].split()[0]:
                    return None
        return counts

    def asleep_at_last():
        before = None
        while os.path.isdir("/proc/self/task") and (before is None or before != asleep()):
            before = asleep()
            time.sleep(0.03)  # who waits for the interpreter's lock looks up every 0.005 s

    def c_forked():
        """Fork past Python, and return the child's number, or 0 in the child.

        One that hangs in CPython before it could do anything is killed, and another is forked.
        """
        while True:
            asleep_at_last()
            told, tell = os.pipe()
            pid = c_fork()
            assert pid >= 0, "no process can be forked"  # or -1 would be killed: all there are
            if not pid:
                os.write(tell, b"x")  # which gives the interpreter's lock away, and takes it again
            os.close(tell)
            has_begun = not pid or select.select([told], [], [], 3)[0]
            os.close(told)
            if has_begun:
                return pid
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def in_c_child(function, *args):
        "Likewise, past Python, and end as any program does."
        sys.stdout.flush()
        pid = c_forked()
        if pid:
            jobs[pid] = function, *args
            return pid
        if MAY_CRASH:
            faulthandler.disable()
        signal.alarm(int(BOUND))
        function(*args)
        sys.exit(0)

    # From CPython 3.13 on the table of the threads that wait (Python/parking_lot.c) has the
    # parent's, on stacks that are gone, until PyOS_AfterFork_Child() empties it. A wait in the
    # child crashes that is put into the same row of it, one in 257 for each of them.
    MAY_CRASH = sys.version_info >= (3, 13)
    end_of_child, jobs = end_of, {}

    def end_of(pid, tries=4):
        "Likewise. Another is forked for one that has crashed in CPython."
        if pid not in jobs or not MAY_CRASH or not tries:
            return end_of_child(pid)
        job = jobs.pop(pid)
        _, status = os.waitpid(pid, 0)
        if status & 0x7F == signal.SIGSEGV:
            return end_of(in_c_child(*job), tries - 1)
        assert status == 0, f"the child ended with {status}"
    '''

    def run(self, code: str, kind: str, library: str) -> Finished:
        """
        Run a program that forks so.
        """
        return run(textwrap.dedent(self.BEGINNING) + textwrap.dedent(code), kind, library)

    @pytest.mark.parametrize("library", ["CDLL", "PyDLL"])
    @pytest.mark.parametrize("kind", REACTORS)
    def test_enters_by_anything(self, kind: str, library: str) -> None:
        """
        A call, setup(), status(), shutdown(), a result of the parent's, a fork, the end: each the
        first thing done there. Nothing is said on stderr, and the parent goes on.
        """
        done = self.run(
            """
            pending, uid = hang(), hang().stash()

            def call():
                assert add(1, 2) == 3
                assert use_everything() == "done in the pool"

            def set_up():
                crochet.setup()
                call()

            def look():
                status = crochet.status()
                assert (status.state, status.calls) == ("forked", ()), status
                call()

            def shut_down():
                crochet.shutdown()
                assert "shutdown" in raised(crochet.ReactorStopped, add, 1, 2)
                set_up()

            def retrieve():
                assert "forked" in raised(crochet.ReactorStopped, crochet.retrieve_result(uid).wait)
                call()

            def wait():
                assert "forked" in raised(crochet.ReactorStopped, pending.wait)

            def poll():
                assert pending.done()
                assert "forked" in raised(crochet.ReactorStopped, pending.as_future().result)

            def fork():
                end_of(in_child(call))
                end_of(in_c_child(call))
                call()
                end_of(in_child(call))
                end_of(in_c_child(call))

            def dump():
                with open(os.devnull, "w") as file:
                    crochet.dump(file)
                assert "forked" in raised(crochet.ReactorStopped, pending.wait)

            def nothing():
                pass

            before = descriptors()
            for each in (
                call, set_up, look, shut_down, retrieve, wait, poll, fork, dump, nothing
            ):
                end_of(in_c_child(each))
                assert add(1, 2) == 3
            assert not pending.done() and not crochet.retrieve_result(uid).done()
            assert use_everything() == "done in the pool"
            assert descriptors() == before
            """,
            kind,
            library,
        )
        assert not done.stderr

    @pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc/self/task")
    @pytest.mark.parametrize("library", ["CDLL", "PyDLL"])
    @pytest.mark.parametrize("kind", REACTORS)
    def test_parent_is_not_woken(self, kind: str, library: str) -> None:
        """
        By nothing that the child does, be it only to cancel what is the parent's, or to call
        without waiting.
        """
        self.run(
            """
            pending = [hang() for _ in range(100)]
            thread = crochet.run_in_reactor(threading.get_native_id)().wait(BOUND)

            def wake_ups():
                with open(f"/proc/self/task/{thread}/status") as status:
                    lines = dict(line.split(":", 1) for line in status if ":" in line)
                return int(lines["voluntary_ctxt_switches"])

            def first(act):
                for each in pending:
                    with contextlib.suppress(AttributeError):
                        act(each)  # asyncio's reactor has no loop before the first call
                for number in range(100):
                    assert add(number, 1) == number + 1
                crochet.shutdown()

            from twisted.internet import reactor
            acts = [
                lambda each: each.cancel(),
                lambda each: crochet.run_in_reactor(id)(each),
                lambda each: reactor.callFromThread(id, each),
            ]
            for act in acts:
                add(1, 2)
                before = wake_ups()
                end_of(in_c_child(first, act))
                # It may have been on its way to sleep, on a busy machine. Those of a child that
                # wakes it would be a hundred.
                assert wake_ups() <= before + 20, (wake_ups(), before)
                assert add(1, 2) == 3 and not any(each.done() for each in pending)
            """,
            kind,
            library,
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_first_calls_may_come_together(self, kind: str) -> None:
        """
        From threads that C has started, or the program. One may have the ident of the parent's
        reactor thread, whose stack it got.
        """
        self.run(
            """
            sys.setswitchinterval(1e-6)

            def check():
                barrier = threading.Barrier(16)
                sums = []
                def call(number):
                    barrier.wait(BOUND)
                    sums.append(add(number, 1) - number)
                threads = [threading.Thread(target=call, args=(n,)) for n in range(16)]
                for each in threads: each.start()
                for each in threads: each.join(BOUND)
                assert sums == [1] * 16, sums

            for _ in range(10):
                end_of(in_c_child(check))
            """,
            kind,
            "PyDLL",
        )

    @pytest.mark.parametrize("kind", REACTORS)
    def test_body_that_forks(self, kind: str) -> None:
        """
        Its clone of the reactor thread does not go on as the parent's, and ends.
        """
        self.run(
            """
            import socket
            from twisted.internet import protocol, reactor
            from twisted.internet.endpoints import TCP4ServerEndpoint

            class Sink(protocol.Protocol):
                def dataReceived(self, data):
                    self.transport.write(str(os.getpid()).encode() + b" ")

            @crochet.wait_for(BOUND)
            def listen():
                return TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
                    protocol.Factory.forProtocol(Sink))

            @crochet.wait_for(BOUND)
            def fork():
                pid = c_forked()
                if pid == 0:
                    signal.alarm(int(BOUND))
                return pid

            client = socket.create_connection(("127.0.0.1", listen().getHost().port), BOUND)
            me = str(os.getpid()).encode() + b" "
            pid = fork()
            for _ in range(50):
                client.sendall(b"x")
                assert client.recv(len(me)) == me
            end_of(pid)
            assert add(1, 2) == 3
            """,
            kind,
            "PyDLL",
        )

    @pytest.mark.parametrize("wait", ["forever", "hang().wait"])
    def test_by_a_signal_handler_in_the_middle_of_a_wait(self, wait: str) -> None:
        """
        The child's wait ends when it looks up; the parent's goes on.
        """
        self.run(
            f"""
            @crochet.wait_for(None)
            def forever():
                return pending

            pending, children = Deferred(), []
            parent = os.getpid()

            def handler(number, frame):
                pid = c_forked()
                if pid:
                    children.append(pid)
                    has_forked.set()
                else:
                    signal.alarm(int(BOUND))

            def fork_and_finish():
                time.sleep(0.3)  # it has looked up by then, and sleeps again
                signal.pthread_kill(main, signal.SIGUSR1)
                has_forked.wait(BOUND)  # asleep, for the handler waits for that
                crochet.run_in_reactor(pending.callback)(42)

            has_forked = threading.Event()
            signal.signal(signal.SIGUSR1, handler)
            main = threading.main_thread().ident
            thread = threading.Thread(target=fork_and_finish, daemon=True)
            thread.start()
            try:
                {wait}(*(() if "{wait}" == "forever" else (0.5,)))
                assert os.getpid() == parent
            except crochet.ReactorStopped as error:
                assert os.getpid() != parent, error
                assert "fork" in str(error), error
                assert add(1, 2) == 3
                os._exit(7)
            except crochet.TimeoutError:
                assert os.getpid() == parent
            thread.join(BOUND)
            assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
            """,
            REACTORS[0],
            "PyDLL",
        )

    def test_waits_are_watched_without_a_look_at_threads(self) -> None:
        """
        Of those that Python lists, some are not there, and CPython crashes as it looks at one. What
        a timeout says is known without.
        """
        self.run(
            """
            @crochet.wait_for(0.5)
            def wait():
                return Deferred()

            @crochet.wait_for(0.5)
            def block():
                time.sleep(1)

            def check():
                text = raised(crochet.TimeoutError, wait)
                assert "wait() has not answered in 0.5 s" in text and "busy" not in text, text
                text = raised(crochet.TimeoutError, block)
                assert "busy for 0.5 s in block()" in text, text
                assert add(1, 2) == 3
                assert "wait()" not in str(crochet.status())

            for _ in range(3):
                end_of(in_c_child(check))
            """,
            REACTORS[0],
            "CDLL",
        )

    def test_what_it_logs_is_not_left_to_a_thread_of_the_parent_s(self) -> None:
        """
        Also if it never calls.
        """
        done = self.run(
            """
            import logging
            from twisted.logger import Logger
            logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
            end_of(in_c_child(lambda: Logger().warn("written in the child")))
            """,
            REACTORS[0],
            "CDLL",
        )
        assert done.stdout == "written in the child\n"

    def test_before_the_program_runs_its_own_reactor(self) -> None:
        """
        As a program does that becomes a daemon by a library in C: the child runs it.
        """
        run(
            """
            import ctypes
            from twisted.internet import reactor
            crochet.no_setup()
            pid = ctypes.PyDLL(None).fork()
            if pid:
                end_of(pid)
                sys.exit(0)
            signal.alarm(int(BOUND))
            sums = []
            def call():
                sums.append(add(1, 2))
                reactor.callFromThread(reactor.stop)
            reactor.callWhenRunning(lambda: threading.Thread(target=call).start())
            reactor.run()
            assert sums == [3]
            """
        )


class TestOtherPrograms:
    """
    Children that run something else are left alone.
    """

    def test_exec_and_subprocess(self) -> None:
        """
        ``os.fork()`` and exec, ``subprocess`` with and without ``preexec_fn``, ``os.system``.
        """
        done = run(
            """
            import subprocess
            crochet.setup()
            add(1, 2)
            hanging = hang()
            before = descriptors()
            command = [sys.executable, "-S", "-c", "import os; print(os.listdir('/proc/self/fd'))"]
            for preexec in (None, os.getpid, os.setsid):
                said = subprocess.check_output(command, preexec_fn=preexec)
                assert said.count(b"'") == 8, said
            pid = os.fork()
            if not pid:
                os.execv(command[0], command[:3] + ["raise SystemExit(3)"])
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            assert os.system("exit 0") == 0
            assert descriptors() == before
            assert not hanging.done()
            assert use_everything() == "done in the pool"
            """
        )
        assert not done.stderr

    def test_child_pays_nothing_until_it_calls(self) -> None:
        """
        No thread, no descriptor.
        """
        run(
            """
            crochet.setup()
            use_everything()
            before = descriptors()
            def check():
                assert threading.active_count() == 1
                assert set(descriptors()) <= set(before)
                crochet.run_in_reactor(lambda: 1)
                assert threading.active_count() == 1
            end_of(in_child(check))
            """
        )


class TestNoSetup:
    """
    A program that runs the reactor itself.
    """

    def test_child_gets_a_clear_error(self) -> None:
        """
        Until it runs a reactor there, whichever thread it was forked in.
        """
        for kind in REACTORS:
            run(
                """
                from twisted.internet import reactor
                crochet.no_setup()
                pending = hang()

                def check():
                    assert "forked" in raised(crochet.ReactorStopped, pending.wait)
                    text = raised(crochet.ReactorStopped, add, 1, 2)
                    assert "no_setup" in text, text
                    crochet.setup()  # some library's: it is still the program that runs it
                    assert threading.active_count() == 1
                    raised(crochet.ReactorStopped, add, 1, 2)
                    crochet.no_setup()
                    sums = []
                    def call():
                        sums.append(add(1, 2))
                        sums.append(use_everything())
                        reactor.callFromThread(reactor.stop)
                    thread = threading.Thread(target=call)
                    thread.start()
                    reactor.run(installSignalHandlers=False)
                    thread.join(BOUND)
                    assert sums == [3, "done in the pool"], sums

                def forks():
                    try:
                        end_of(in_child(check))
                        assert use_everything() == "done in the pool"
                        crochet.run_in_reactor(lambda: end_of(in_child(check)))().wait(BOUND)
                        assert use_everything() == "done in the pool"
                        said.append("well")
                    finally:
                        reactor.callFromThread(reactor.stop)

                said = []
                thread = threading.Thread(target=forks)
                reactor.callWhenRunning(thread.start)
                reactor.run()
                thread.join(BOUND)
                assert said == ["well"]
                """,
                kind,
            )

    def test_fork_before_the_reactor_runs(self) -> None:
        """
        As a program does that becomes a daemon: the child runs it.
        """
        run(
            """
            from twisted.internet import reactor
            crochet.no_setup()
            def check():
                sums = []
                def call():
                    sums.append(add(1, 2))
                    reactor.callFromThread(reactor.stop)
                reactor.callWhenRunning(lambda: threading.Thread(target=call).start())
                reactor.run()
                assert sums == [3]
            end_of(in_child(check))
            """
        )


class TestRealThings:
    """
    What programs fork with.
    """

    @pytest.mark.parametrize("kind", REACTORS)
    def test_multiprocessing(self, kind: str) -> None:
        """
        Process and Pool of the fork context, an executor, and a pseudo-terminal.
        """
        run(
            """
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor
            crochet.setup()
            context = multiprocessing.get_context("fork")

            def twice(number):
                assert use_everything() == "done in the pool"
                return add(number, number)

            def check(queue):
                queue.put(twice(4))

            queue = context.SimpleQueue()
            process = context.Process(target=check, args=(queue,))
            process.start()
            process.join(BOUND)
            assert process.exitcode == 0, process.exitcode
            assert queue.get() == 8
            with context.Pool(4) as pool:
                assert pool.map(twice, range(40)) == [2 * n for n in range(40)]
                pool.close()
                pool.join()
            with ProcessPoolExecutor(2, mp_context=context) as executor:
                assert list(executor.map(twice, range(10))) == [2 * n for n in range(10)]
            pid, terminal = os.forkpty()
            if not pid:
                os._exit(twice(4) != 8)
            end_of(pid)
            os.close(terminal)
            assert use_everything() == "done in the pool"
            """,
            kind,
        )

    def test_daemon(self) -> None:
        """
        Forks twice, each parent ends, all descriptors but the standard ones may be closed.
        """
        for closes in (0, 1):
            done = run(
                f"""
                told, tell = os.pipe()
                os.dup2(tell, 200)
                crochet.setup()
                add(1, 2)
                pid = os.fork()
                if pid:
                    end_of(pid)
                    os.close(tell); os.close(200)
                    print(os.read(told, 100).decode())
                    assert add(1, 2) == 3
                    sys.exit(0)
                os.setsid()
                if os.fork():
                    os._exit(0)
                signal.alarm(int(BOUND))
                if {closes}:
                    os.closerange(3, 200)
                assert use_everything() == "done in the pool"
                os.write(200, b"the daemon works")
                sys.exit(0)
                """
            )
            assert done.stdout == "the daemon works\n"
            assert not done.stderr
