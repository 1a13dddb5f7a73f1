"""
The pytest plugin: each test runs a suite of its own in a new process, with no other plugin but
those that it is about.
"""

from __future__ import annotations

import importlib.util
import os
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from support.programs import run_python
from support.stepping import BOUND

_PROJECT = Path(__file__).parents[2]
_OTHERS = ("asyncio", "anyio", "twisted")

_IMPORTS = """
import os
import signal
import threading
import time

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from twisted.internet.task import deferLater

from crochet import run_in_reactor, setup, shutdown, wait_for
"""


def run_suite(
    pytester: pytest.Pytester, suite: str, *options: str, beside: tuple[str, ...] = ()
) -> pytest.RunResult:
    """
    Run a suite in a new process, with warnings as errors.

    Args:
        pytester: pytest's fixture.
        suite: the module, without what most import.
        options: of pytest's.
        beside: the other plugins that are to be active.
    """
    return run_file(pytester, _IMPORTS + suite, *options, "-W", "error", beside=beside)


def run_file(
    pytester: pytest.Pytester, text: str, *options: str, beside: tuple[str, ...] = ()
) -> pytest.RunResult:
    """
    Run a suite in a new process.
    """
    pytester.makepyfile(test_suite=text)
    if not entry_points(group="pytest11", name="crochet"):
        options = ("-p", "_crochet_pytest", *options)  # used from its source
    for name in _OTHERS:
        if name not in beside:
            options = ("-p", f"no:{name}", *options)
    options = ("-p", "no:cacheprovider", "--strict-markers", "-rA", *options)
    return pytester.runpytest_subprocess(*options, timeout=2 * BOUND)


class TestInert:
    """
    A run that uses nothing of it.
    """

    def test_imports_nothing(self, pytester: pytest.Pytester) -> None:
        """
        Neither the package nor Twisted, though it is loaded and its marker is known.
        """
        result = run_file(
            pytester,
            """
import sys

def test_nothing_is_imported(pytestconfig):
    assert any(line.startswith("crochet(") for line in pytestconfig.getini("markers"))
    names = {name.partition(".")[0] for name in sys.modules}
    assert "_crochet_pytest" in names
    assert not names & {"crochet", "twisted"}
""",
        )
        result.assert_outcomes(passed=1)

    def test_module_imports_nothing(self) -> None:
        """
        Beyond pytest and the standard library.
        """
        finished = run_python(
            """
            import sys
            import _crochet_pytest

            print("crochet" in sys.modules, "twisted" in sys.modules)
            """
        )
        assert finished.stdout == "False False\n"

    def test_is_loaded_by_an_old_pytest(self) -> None:
        """
        6.2, with a pluggy of its time; `make downstream` runs suites with that one.
        """
        run_python(
            """
            import pytest

            def hookimpl(function=None, hookwrapper=False, optionalhook=False, tryfirst=False,
                         trylast=False):
                return function or (lambda function: function)

            pytest.hookimpl = hookimpl
            names = "Stash StashKey Parser Config CallInfo Metafunc PytestPluginManager"
            for name in names.split():
                delattr(pytest, name)
            import _crochet_pytest
            """
        )

    def test_is_found_by_its_entry_point(self) -> None:
        """
        The project's file has it, and so has what is installed, if it is.
        """
        text = (_PROJECT / "pyproject.toml").read_text()
        assert '[project.entry-points.pytest11]\ncrochet = "_crochet_pytest"\n' in text
        assert {each.value for each in entry_points(group="pytest11", name="crochet")} <= {
            "_crochet_pytest"
        }

    def test_says_nothing_of_a_package_imported_before(self) -> None:
        """
        Pytest would warn that it cannot rewrite the assertions of the package, unless told not to.
        """
        import crochet

        assert "PYTEST_DONT_REWRITE" in (crochet.__doc__ or "")

    def test_leaves_a_run_without_tests_alone(self, pytester: pytest.Pytester) -> None:
        """
        What is collected need not be a test.
        """
        result = run_file(pytester, "class TestNothing:\n    pass\n\nhelper = 3\n")
        assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


class TestMarker:
    """
    ``@pytest.mark.crochet``
    """

    def test_runs_tests_in_the_reactor_thread(self, pytester: pytest.Pytester) -> None:
        """
        Of every kind, with their fixtures set up in the main thread.
        """
        result = run_suite(
            pytester,
            """
pytestmark = pytest.mark.crochet

@pytest.fixture(params=[1, 2])
def number(request):
    assert threading.current_thread() is threading.main_thread()
    yield request.param
    assert threading.current_thread() is threading.main_thread()

def in_reactor():
    return threading.current_thread().name == "crochet-reactor"

async def test_coroutine(number):
    from twisted.internet import reactor
    await deferLater(reactor, 0.0)
    assert in_reactor() and number in (1, 2)

@inlineCallbacks
def test_inline_callbacks():
    from twisted.internet import reactor
    yield deferLater(reactor, 0.0)
    assert in_reactor()

def test_deferred():
    from twisted.internet import reactor
    return deferLater(reactor, 0.0).addCallback(lambda _: in_reactor() or 1 / 0)

def test_plain():
    assert in_reactor()

@pytest.mark.parametrize("a", ["x", "y"])
class TestClass:
    async def test_method(self, a):
        assert in_reactor() and a in "xy" and isinstance(self, TestClass)

    @staticmethod
    async def test_static(a):
        assert in_reactor() and a in "xy"
""",
        )
        result.assert_outcomes(passed=9)

    def test_takes_a_mark_that_a_conftest_adds(self, pytester: pytest.Pytester) -> None:
        """
        After collection.
        """
        pytester.makeconftest(
            """
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker("crochet")
            """
        )
        result = run_suite(
            pytester,
            """
async def test_coroutine():
    assert threading.current_thread().name == "crochet-reactor"
""",
        )
        result.assert_outcomes(passed=1)

    def test_lets_outcomes_through(self, pytester: pytest.Pytester) -> None:
        """
        Whether a body skips, fails, or fails as expected, and shows the assertion.
        """
        result = run_suite(
            pytester,
            """
pytestmark = pytest.mark.crochet

async def test_skips():
    pytest.skip("closed today")

async def test_fails_as_expected():
    pytest.xfail("known")

@pytest.mark.xfail(raises=ZeroDivisionError)
async def test_raises_as_expected():
    await succeed(1 / 0)

async def test_fails():
    pytest.fail("no tea")

async def test_asserts():
    from twisted.internet import reactor
    cups = await deferLater(reactor, 0.0, lambda: 3)
    assert cups == 4

async def test_raises_a_timeout_of_its_own():
    import crochet
    raise crochet.TimeoutError("mine")
""",
        )
        result.assert_outcomes(skipped=1, xfailed=2, failed=3)
        result.stdout.fnmatch_lines(
            [
                "*Failed: no tea",
                "*_ test_asserts _*",
                "*async def test_asserts():",
                ">       assert cups == 4",
                "E       assert 3 == 4",
                "test_suite.py:*: AssertionError",
                "*TimeoutError: mine",
            ]
        )
        result.stdout.no_fnmatch_line("*_crochet_pytest.py*")

    def test_refuses_a_value(self, pytester: pytest.Pytester) -> None:
        """
        An asynchronous generator, say, of which nothing would be run.
        """
        result = run_suite(
            pytester,
            """
@pytest.mark.crochet
async def test_generator():
    yield 1

@pytest.mark.crochet
def test_value():
    return 3
""",
        )
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(["*TypeError: test_generator() returned a async_generator*"])

    def test_refuses_methods_of_a_test_case(self, pytester: pytest.Pytester) -> None:
        """
        Which unittest would run without a look at the marker.
        """
        result = run_suite(
            pytester,
            """
import unittest

@pytest.mark.crochet
class TestShop(unittest.TestCase):
    def test_price(self):
        raise AssertionError("this is not run")
""",
        )
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*the marker crochet is for functions*"])

    @pytest.mark.parametrize(
        ("mark", "option", "said"),
        [
            ("crochet(3, colour=1)", "crochet_timeout=5", "*unexpected keyword argument 'colour'*"),
            ("crochet('soon')", "crochet_timeout=5", "*has the timeout 'soon'*"),
            ("crochet(allow_leaks='colours')", "crochet_timeout=5", "*allows the leak 'colours'*"),
            ("crochet(reactor='steam')", "crochet_timeout=5", "*asks for the reactor 'steam'*"),
            ("crochet", "crochet_timeout=soon", "*crochet_timeout is a number of seconds*'soon'*"),
            ("crochet", "crochet_reactor=steam", "*crochet_reactor is one of*, not 'steam'"),
        ],
    )
    def test_refuses_what_it_does_not_know(
        self, pytester: pytest.Pytester, mark: str, option: str, said: str
    ) -> None:
        """
        In the marker, and in the setting: once, when tests are collected, and nothing of ours with
        it.
        """
        result = run_suite(
            pytester,
            f"""
@pytest.mark.{mark}
@pytest.mark.parametrize("number", [1, 2])
async def test_coroutine(number):
    pass
""",
            "-o",
            option,
        )
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([said])
        shown = result.stdout.str() + result.stderr.str()
        assert len(re.findall(r"the marker crochet|crochet_(?:timeout|reactor) is", shown)) == 1
        assert "_crochet_pytest" not in shown.partition("collected")[2]
        assert "Traceback" not in shown

    def test_runs_each_example_of_hypothesis(self, pytester: pytest.Pytester) -> None:
        """
        In the reactor thread.
        """
        result = run_suite(
            pytester,
            """
from hypothesis import given, settings, strategies

seen = []

@pytest.mark.crochet
@pytest.mark.parametrize("word", ["a", "b"])
@given(number=strategies.integers(0, 3))
@settings(max_examples=5, deadline=None, database=None)
async def test_numbers(word, number):
    from twisted.internet import reactor
    await deferLater(reactor, 0.0)
    assert threading.current_thread().name == "crochet-reactor"
    seen.append((word, number))

def test_were_seen():
    assert {word for word, _ in seen} == {"a", "b"}
""",
        )
        result.assert_outcomes(passed=3)


class TestTimeout:
    """
    A test that takes too long.
    """

    def test_shows_what_it_awaits(self, pytester: pytest.Pytester) -> None:
        """
        And where the reactor thread is. The test is cancelled, and the next one runs.
        """
        result = run_suite(
            pytester,
            """
@pytest.mark.crochet(timeout=0.1)
async def test_slow():
    await brew()

@inlineCallbacks
def brew():
    yield Deferred()

@pytest.mark.crochet(0.1)
async def test_stubborn():
    try:
        await Deferred()
    except CancelledError:
        await deferred

deferred = Deferred()

@pytest.mark.crochet
async def test_next():
    deferred.callback(None)
""",
            "-o",
            "crochet_timeout=0",
        )
        result.assert_outcomes(failed=2, passed=1)
        result.stdout.fnmatch_lines(
            [
                "test_slow() has not ended in 0.1 s; its Deferred was cancelled.",
                "It awaits, the innermost last:",
                "  *test_suite.py:* test_slow()",
                "  *test_suite.py:* brew()",
                "  a Deferred",
                "The thread crochet-reactor is here:",
                "  ... * frames of Python and of packages",
                "test_stubborn() has not ended in 0.1 s; it was told to cancel but has not ended*",
            ]
        )

    def test_shows_what_blocks_the_reactor_thread(self, pytester: pytest.Pytester) -> None:
        """
        Where a body has not come back from its call, there is nothing that it awaits.
        """
        result = run_suite(
            pytester,
            """
@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()

@pytest.mark.crochet
def test_blocks(gate):
    gate.wait(60)
""",
            "-o",
            "crochet_timeout=0.1",
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "test_blocks() has not ended in 0.1 s; it was told to cancel but*",
                "It has not come back*the reactor thread is in test_suite.py:*test_blocks()*",
                "The thread crochet-reactor is here:",
                "    gate.wait(60)",
            ]
        )

    def test_is_not_needed_for_ctrl_c(self, pytester: pytest.Pytester) -> None:
        """
        Which ends the run, and cancels the test.
        """
        result = run_suite(
            pytester,
            """
@pytest.mark.crochet(timeout=None)
async def test_interrupted():
    from twisted.internet import reactor
    reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
    try:
        await Deferred()
    except CancelledError:
        print("cancelled")
        raise

def test_next():
    raise AssertionError("this is not run")
""",
            "-s",
        )
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["*cancelled*", "*KeyboardInterrupt*"])


class TestLeaks:
    """
    What a test leaves behind.
    """

    def test_fails_the_test_that_left_them(self, pytester: pytest.Pytester) -> None:
        """
        By name; and the next test meets none of them.
        """
        result = run_suite(
            pytester,
            """
from twisted.internet.protocol import Factory
from twisted.logger import Logger

held = []

@run_in_reactor
async def brew():
    await Deferred()

def test_operation(crochet_reactor):
    brew()

@pytest.mark.crochet
async def test_delayed_call():
    from twisted.internet import reactor
    reactor.callLater(3600, tea_time)

def tea_time():
    pass

@pytest.mark.crochet
async def test_port():
    from twisted.internet import reactor
    reactor.listenTCP(0, Factory(), interface="127.0.0.1")

@pytest.mark.crochet
async def test_dropped_deferred():
    fail(ValueError("in a Deferred"))

def test_dropped_result(crochet_reactor):
    run_in_reactor(int)("in a result")

def test_held_result(crochet_reactor):
    held.append(run_in_reactor(int)("in a held result"))

@pytest.mark.crochet
async def test_logged_error():
    try:
        int("in the log")
    except ValueError:
        Logger().failure("no number")

@pytest.mark.crochet
async def test_callback_raises():
    from twisted.internet import reactor
    reactor.callLater(0, int, "in a callback")
    await deferLater(reactor, 0.01)

@pytest.mark.crochet
async def test_clean():
    from twisted.internet import reactor
    assert reactor.getDelayedCalls() == []
    await deferLater(reactor, 0.01)
""",
        )
        result.assert_outcomes(passed=9, errors=8)
        result.stdout.fnmatch_lines(
            [
                "test_operation() has left behind, in the reactor or the log:",
                "- an operation that has not ended: brew()",
                "    *test_suite.py:* brew()",
                "    a Deferred",
                "- a delayed call of tea_time() (*test_suite.py:*), due in 3[56]* s",
                "- a reader or writer: *tcp.Port*",
                "    *ValueError: in a Deferred",
                "- a logged error: Unhandled error in EventualResult of int()",
                "    *ValueError: invalid literal * 'in a result'",
                "- an error of int() that nobody has taken:*",
                "    *ValueError: invalid literal * 'in a held result'",
                "- a logged error: no number",
                "    *ValueError: invalid literal * 'in the log'",
                "    *ValueError: invalid literal * 'in a callback'",
            ]
        )

    def test_can_be_allowed(self, pytester: pytest.Pytester) -> None:
        """
        By the marker or through the fixture, by kind or all; and they are left alone.
        """
        result = run_suite(
            pytester,
            """
calls = []

def leave_a_call():
    from twisted.internet import reactor
    calls.append(reactor.callLater(3600, print))

@pytest.mark.crochet(allow_leaks="delayed_calls")
async def test_by_marker():
    leave_a_call()

@pytest.mark.crochet(allow_leaks=("delayed_calls", "errors"))
async def test_by_marker_more():
    leave_a_call()
    fail(ValueError())

@pytest.mark.crochet(allow_leaks=True)
async def test_by_marker_all():
    leave_a_call()

def test_by_fixture(crochet_reactor):
    run_in_reactor(leave_a_call)().wait(5)
    crochet_reactor.allow_leaks("delayed_calls")

@pytest.mark.crochet
async def test_errors(crochet_reactor):
    fail(ValueError("lost"))
    assert [str(error) for error in crochet_reactor.logged_errors()] == ["lost"]

@pytest.mark.crochet
async def test_unknown_kind(crochet_reactor):
    with pytest.raises(ValueError, match="no kind of leak called 'tea'"):
        crochet_reactor.allow_leaks("tea")

@pytest.mark.crochet
async def test_are_still_there():
    assert [call.active() for call in calls] == [True] * 4
    for call in calls:
        call.cancel()
""",
        )
        result.assert_outcomes(passed=7)

    def test_are_cleared_but_not_held_against_a_test_that_has_failed(
        self, pytester: pytest.Pytester
    ) -> None:
        """
        For they are a consequence. Nor does the next test get to know of what its frames held.
        """
        result = run_suite(
            pytester,
            """
@pytest.mark.crochet
async def test_fails():
    from twisted.internet import reactor
    reactor.callLater(3600, print)
    held_by_this_frame = fail(ValueError("lost"))
    raise AssertionError

@pytest.mark.crochet
async def test_next():
    from twisted.internet import reactor
    assert reactor.getDelayedCalls() == []

def test_fails_without_it():
    held_by_this_frame = fail(ValueError("lost"))
    raise AssertionError

@pytest.mark.crochet
async def test_next_again():
    pass
""",
        )
        result.assert_outcomes(failed=2, passed=2)

    def test_wait_for_what_is_on_its_way(self, pytester: pytest.Pytester) -> None:
        """
        What has been told to end at the end of the test is no leak.
        """
        result = run_suite(
            pytester,
            """
from twisted.internet.protocol import Factory

@pytest.mark.crochet
async def test_port():
    from twisted.internet import reactor
    port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
    reactor.callLater(0.001, port.stopListening)
""",
        )
        result.assert_outcomes(passed=1)

    def test_of_wider_fixtures_are_not_the_tests(self, pytester: pytest.Pytester) -> None:
        """
        Whether they are set up for this test, or closed after it.
        """
        result = run_suite(
            pytester,
            """
from twisted.internet.protocol import Factory

@wait_for(timeout=5)
def listen():
    from twisted.internet import reactor
    return reactor.listenTCP(0, Factory(), interface="127.0.0.1")

@wait_for(timeout=5)
def close(port):
    return port.stopListening()

@pytest.fixture(scope="module")
def server(crochet_session):
    port = listen()
    yield port
    close(port)

@pytest.fixture
def own_server(crochet_reactor):
    port = listen()
    yield port
    close(port)

@pytest.mark.crochet
async def test_server(server):
    assert server.getHost().port

@pytest.mark.crochet
async def test_own_server(own_server):
    assert own_server.getHost().port

def test_blocking(server, own_server):
    assert server.getHost().port != own_server.getHost().port
""",
        )
        result.assert_outcomes(passed=3)


class TestReactor:
    """
    ``crochet_reactor`` and ``crochet_session``
    """

    def test_sets_up_and_shuts_down(self, pytester: pytest.Pytester) -> None:
        """
        Once for the session, even where a test does it, too.
        """
        pytester.makeconftest(
            """
            import threading

            def pytest_unconfigure():
                names = [thread.name for thread in threading.enumerate()]
                print("threads:", names)
            """
        )
        result = run_suite(
            pytester,
            """
@wait_for(timeout=5)
def thread():
    return threading.current_thread()

def test_blocking(crochet_reactor):
    assert thread().name == "crochet-reactor"
    shutdown()

def test_next(crochet_reactor):
    assert thread().name == "crochet-reactor"
""",
            "-s",
        )
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["threads: ['MainThread']"])

    def test_leaves_running_what_the_program_has_set_up(self, pytester: pytest.Pytester) -> None:
        """
        The session's end is not the program's.
        """
        pytester.makeconftest(
            """
            import threading
            import crochet
            crochet.setup()

            def pytest_unconfigure():
                print("alive:", crochet.run_in_reactor(lambda: 3)().wait(5))
            """
        )
        result = run_suite(
            pytester,
            """
@pytest.mark.crochet
async def test_coroutine():
    pass
""",
            "-s",
        )
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["alive: 3"])

    def test_works_with_a_reactor_that_the_program_runs(self, pytester: pytest.Pytester) -> None:
        """
        In some thread of its own, after ``no_setup()``.
        """
        pytester.makeconftest(
            """
            import threading
            import crochet
            crochet.no_setup()
            from twisted.internet import reactor
            threading.Thread(
                target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True
            ).start()

            def pytest_unconfigure():
                reactor.callFromThread(reactor.stop)
            """
        )
        result = run_suite(
            pytester,
            """
@pytest.mark.crochet
async def test_leak():
    from twisted.internet import reactor
    reactor.callLater(3600, print)
""",
        )
        result.assert_outcomes(passed=1, errors=1)


class TestChoice:
    """
    Of the reactor.
    """

    pytestmark = pytest.mark.skipif(
        "CROCHET_TEST_REACTOR" in os.environ, reason="each process has another reactor then"
    )

    def test_by_the_setting(self, pytester: pytest.Pytester) -> None:
        """
        For all tests: what they await may be asyncio's.
        """
        result = run_suite(
            pytester,
            """
import asyncio

@pytest.mark.crochet
async def test_coroutine():
    assert await asyncio.sleep(0.01, 3) == 3

def test_blocking(crochet_reactor):
    assert wait_for(60)(asyncio.sleep)(0.01, 3) == 3

@pytest.mark.crochet(reactor="select")
async def test_other():
    raise AssertionError("this is not run")
""",
            "-o",
            "crochet_reactor=asyncio",
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["*setup(reactor='select') came too late*"])

    def test_by_a_marker(self, pytester: pytest.Pytester) -> None:
        """
        Which also holds for what is set up for tests before it.
        """
        result = run_suite(
            pytester,
            """
import asyncio

@pytest.mark.crochet
async def test_before():
    await asyncio.sleep(0.01)

@pytest.mark.crochet(reactor="asyncio")
async def test_coroutine():
    await asyncio.sleep(0.01)
""",
        )
        result.assert_outcomes(passed=2)

    def test_is_not_for_the_clock(self, pytester: pytest.Pytester) -> None:
        """
        Which takes the place of a reactor.
        """
        result = run_suite(
            pytester,
            """
@pytest.mark.crochet(reactor="asyncio")
async def test_coroutine(crochet_clock):
    pass
""",
        )
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*crochet_clock takes the place of one"])


class TestAsynchronousFixtures:
    """
    Run in the reactor thread.
    """

    def test_of_each_scope(self, pytester: pytest.Pytester) -> None:
        """
        Each from its first line to its last in one task, and torn down after what uses it.
        """
        result = run_suite(
            pytester,
            """
events = []

async def moment():
    from twisted.internet import reactor
    assert threading.current_thread().name == "crochet-reactor"
    await deferLater(reactor, 0.01)

@pytest.fixture(scope="session")
async def house():
    await moment()
    yield "house"
    await moment()
    events.append("house")

@pytest.fixture(scope="module")
async def room(house):
    await moment()
    return f"room of the {house}"

@pytest.fixture
async def table(room):
    await moment()
    events.append("laid")
    yield f"table in the {room}"
    await moment()
    events.append("cleared")

@pytest.mark.crochet
async def test_coroutine(table):
    await moment()
    assert table == "table in the room of the house"
    assert events == ["laid"]

def test_blocking(crochet_reactor, table):
    assert table == "table in the room of the house"
    assert events == ["laid", "cleared", "laid"]

class TestMethods:
    name = "Ada"

    @pytest.fixture
    async def guest(self):
        await moment()
        yield self.name

    @pytest.mark.crochet
    async def test_method(self, guest, table):
        assert guest == "Ada"

def test_end():
    assert events == ["laid", "cleared"] * 3
""",
        )
        result.assert_outcomes(passed=4)

    def test_fail_as_others_do(self, pytester: pytest.Pytester) -> None:
        """
        At either end; one that takes too long is cancelled.
        """
        result = run_suite(
            pytester,
            """
@pytest.fixture
async def broken():
    raise ValueError("at the beginning")

@pytest.fixture
async def breaking():
    yield
    raise ValueError("at the end")

@pytest.fixture
async def slow():
    await Deferred()

@pytest.mark.crochet
async def test_broken(broken):
    pass

@pytest.mark.crochet
async def test_breaking(breaking):
    pass

@pytest.mark.crochet
async def test_slow(slow):
    pass
""",
            "-o",
            "crochet_timeout=0.3",
        )
        result.assert_outcomes(passed=1, errors=3)
        result.stdout.fnmatch_lines(["*ValueError: at the beginning", "*ValueError: at the end"])
        result.stdout.fnmatch_lines(["*slow() has not answered in 0.3 s*"])

    def test_on_the_clock(self, pytester: pytest.Pytester) -> None:
        """
        In virtual time, with nothing left behind.
        """
        result = run_suite(
            pytester,
            """
@pytest.fixture
async def tea(crochet_clock):
    await deferLater(crochet_clock, 60.0)
    yield "tea"
    await deferLater(crochet_clock, 60.0)

@pytest.mark.crochet
async def test_coroutine(crochet_clock, tea):
    assert (crochet_clock.seconds(), tea) == (60.0, "tea")

def test_blocking(tea, crochet_clock):
    assert (crochet_clock.seconds(), tea) == (60.0, "tea")
""",
        )
        result.assert_outcomes(passed=2)


class TestClock:
    """
    ``crochet_clock``
    """

    def test_needs_no_thread_and_no_reactor(self, pytester: pytest.Pytester) -> None:
        """
        Nor does a coroutine test.
        """
        result = run_suite(
            pytester,
            """
import sys

@wait_for(timeout=5)
async def brew(minutes, clock):
    await deferLater(clock, 60 * minutes)
    return "tea"

def test_in_time(crochet_clock):
    setup()
    assert brew(0.05, crochet_clock) == "tea"
    assert crochet_clock.seconds() == 3
    shutdown()

def test_too_late(crochet_clock):
    with pytest.raises(TimeoutError, match="has not answered in 5 s"):
        brew(1, crochet_clock)
    assert crochet_clock.seconds() == 5

@pytest.mark.crochet
async def test_coroutine(crochet_clock):
    await deferLater(crochet_clock, 24 * 3600)

@pytest.mark.crochet
async def test_waits_for_ever(crochet_clock):
    await Deferred()

def test_leaves_a_call_behind(crochet_clock):
    crochet_clock.callLater(3, print)

def test_may_leave_a_call_behind(crochet_clock):
    crochet_clock.callLater(3, print)
    crochet_clock.allow_leaks("delayed_calls")

def test_no_reactor():
    assert "twisted.internet.reactor" not in sys.modules
    assert threading.active_count() == 1
""",
        )
        result.assert_outcomes(passed=6, failed=1, errors=1)
        result.stdout.fnmatch_lines(
            [
                "- a delayed call of print(), due in 3.0 s",
                "*DeadlockError: this wait has no timeout*",
            ]
        )

    def test_is_not_for_a_test_with_the_reactor(self, pytester: pytest.Pytester) -> None:
        """
        For it takes its place.
        """
        result = run_suite(
            pytester,
            """
def test_both(crochet_clock, crochet_reactor):
    pass
""",
        )
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*crochet_clock takes the place of the reactor*"])

    def test_refuses_calls_to_a_reactor_that_it_has_installed(
        self, pytester: pytest.Pytester
    ) -> None:
        """
        By being the first to import it, in the body. The next test has that one run.
        """
        result = run_suite(
            pytester,
            """
@wait_for(60)
def brew():
    from twisted.internet import reactor
    return deferLater(reactor, 0.01, lambda: "tea")

def test_mixed(crochet_clock):
    import sys
    assert "twisted.internet.reactor" not in sys.modules
    for _ in range(2):
        with pytest.raises(RuntimeError, match="does not run in a test with crochet_clock"):
            brew()

def test_after(crochet_reactor):
    assert brew() == "tea"
""",
        )
        result.assert_outcomes(passed=2)

    def test_refuses_calls_to_the_reactor(self, pytester: pytest.Pytester) -> None:
        """
        Which runs by another clock, in its thread, or not at all. Afterwards it takes them again.
        """
        result = run_suite(
            pytester,
            """
@wait_for(60)
def brew():
    from twisted.internet import reactor
    return deferLater(reactor, 0.01, lambda: "tea")

def test_before(crochet_reactor):
    assert brew() == "tea"

def test_mixed(crochet_clock):
    with pytest.raises(RuntimeError, match="does not run in a test with crochet_clock"):
        brew()

def test_after(crochet_reactor):
    assert brew() == "tea"
""",
        )
        result.assert_outcomes(passed=3)


class TestBeside:
    """
    Other plugins that run coroutines.
    """

    @pytest.mark.parametrize("mode", ["strict", "auto"])
    def test_pytest_asyncio(self, pytester: pytest.Pytester, mode: str) -> None:
        """
        Each runs its own, once, in both modes, sync and async fixtures included.
        """
        if importlib.util.find_spec("pytest_asyncio") is None:
            pytest.skip("needs pytest-asyncio")
        result = run_suite(
            pytester,
            """
import asyncio
import pytest_asyncio

runs = []

@pytest_asyncio.fixture
async def three():
    await asyncio.sleep(0)
    return 3

@pytest.mark.asyncio
async def test_theirs(three):
    await asyncio.sleep(0)
    assert three == 3

class TestOurs:
    @pytest.mark.crochet
    @pytest.mark.parametrize("a", [1, 2])
    async def test_ours(self, a):
        from twisted.internet import reactor
        assert threading.current_thread().name == "crochet-reactor"
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        await deferLater(reactor, 0.0)
        runs.append(a)

def test_plain(crochet_reactor):
    assert runs == [1, 2]
""",
            "-o",
            f"asyncio_mode={mode}",
            "-o",
            "asyncio_default_fixture_loop_scope=function",
            beside=("asyncio",),
        )
        result.assert_outcomes(passed=4)

    def test_all_of_them(self, pytester: pytest.Pytester) -> None:
        """
        pytest-asyncio, anyio in its automatic mode, and ours.
        """
        for package in ("pytest_asyncio", "anyio"):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"needs {package}")
        result = run_suite(
            pytester,
            """
import asyncio

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.mark.asyncio
async def test_asyncio():
    await asyncio.sleep(0)

@pytest.mark.anyio
async def test_anyio():
    import anyio
    await anyio.sleep(0)

runs = []

@pytest.mark.crochet
async def test_ours():
    from twisted.internet import reactor
    assert threading.current_thread().name == "crochet-reactor"
    await deferLater(reactor, 0.0)
    runs.append(1)

def test_plain():
    assert runs == [1]
""",
            "-o",
            "asyncio_default_fixture_loop_scope=function",
            "-o",
            "anyio_mode=auto",
            beside=("asyncio", "anyio"),
        )
        result.assert_outcomes(passed=4)

    def test_pytest_twisted(self, pytester: pytest.Pytester) -> None:
        """
        It runs every test on the reactor, in the main thread: ours says that it cannot be there.
        It leaves a run alone that uses pytest-twisted only.
        """
        if importlib.util.find_spec("pytest_twisted") is None:
            pytest.skip("needs pytest-twisted")
        result = run_file(
            pytester,
            """
import pytest
import pytest_twisted
from twisted.internet.task import deferLater

@pytest_twisted.ensureDeferred
async def test_theirs():
    from twisted.internet import reactor
    await deferLater(reactor, 0.0)

def test_plain():
    pass

@pytest.mark.crochet
async def test_ours():
    pass

def test_with_a_clock(crochet_clock):
    pass
""",
            beside=("twisted",),
        )
        result.assert_outcomes(passed=2, errors=2)
        result.stdout.fnmatch_lines(["pytest-twisted runs every test of this session*"] * 2)


def test_the_how_to_page(pytester: pytest.Pytester) -> None:
    """
    All of its code, as one suite.
    """
    text = (_PROJECT / "docs/howto/pytest.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) == 7
    result = run_file(pytester, "\n".join(blocks), "-W", "error")
    result.assert_outcomes(passed=text.count("def test_"))
