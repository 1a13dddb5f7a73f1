"""
The pytest plugin: a marker, the fixtures ``crochet_reactor``, ``crochet_session`` and
``crochet_clock``, and asynchronous fixtures for the tests that use one of these.

pytest imports this in every run of everybody who has Crochet installed. So it stands beside the
package and not within it, and imports the package when a test asks for it: then a run that does
not use it pays for this file only, no reactor is installed, and coverage measures the package from
its first line. PYTEST_DONT_REWRITE

For the same reason it is loaded by any pytest from 6.2 on, with any pluggy, and uses nothing at its
top level that is younger: what fails there fails a run that has no use for it.

How it keeps out of the way of other plugins for coroutines: it touches tests that have its marker
and no others. Of those it hides, right when they are collected, that they are coroutine functions,
so no other plugin takes them for its own.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from crochet.testing import CrochetClock, CrochetReactor
    from crochet.testing._leaks import LeakCheck

_FIXTURES = {"crochet_reactor", "crochet_clock"}
_REACTORS = ("asyncio", "default", "epoll", "poll", "select")
_LEAKS = ("operations", "delayed_calls", "readers", "errors")

# Attributes of ours; pytest.Stash is not there before 7.0.
# Of a test: whether it was cut short, by an error or by being skipped.
_CUT_SHORT = "_crochet_was_cut_short"
# Of a run: whether all garbage of earlier tests has been collected.
_IS_CLEAN = "_crochet_is_clean"
# Of a run: the reactor that the first marker with one asks for.
_ASKED = "_crochet_reactor_asked_for"


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add the settings.
    """
    parser.addini(
        "crochet_reactor",
        "the reactor that tests run on: asyncio, default, epoll, poll or select; the installed one "
        "if it is left out",
        default="",
    )
    parser.addini(
        "crochet_timeout",
        "seconds that a test marked crochet may take, unless the marker says otherwise; 0 for no "
        "limit",
        default="10",
    )


def pytest_configure(config: pytest.Config) -> None:
    """
    Make the marker known.
    """
    config.addinivalue_line(
        "markers",
        "crochet(timeout=10.0, *, allow_leaks=(), reactor=None): run an `async def` test, or one "
        "that returns a Deferred, in the reactor thread, and fail it if it leaves something "
        "behind.",
    )


# Of the old kind, for wrapper=True needs pluggy 1.2.
@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, None]:
    """
    Claim marked tests, before any other plugin has seen them.
    """
    outcome = yield
    made = None if outcome.excinfo else outcome.get_result()
    for item in cast("list[object]", made) if isinstance(made, list) else [made]:
        _claim(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Claim those, too, that a conftest.py has marked by now; and refuse what a marker cannot mean.

    Raises:
        UsageError: for all such markers together, each named once.
    """
    marked: dict[int, tuple[pytest.Item, pytest.Mark]] = {}  # a parametrized test's is one
    for item in items:
        _claim(item)
        marker = item.get_closest_marker("crochet")
        if marker is not None:
            marked.setdefault(id(marker), (item, marker))
    faults: list[str] = []
    if marked:
        _configured_timeout(config)
        _reactor_setting(config)
    for item, marker in marked.values():
        try:
            _, _, reactor = _terms(item, marker)
        except (TypeError, ValueError) as error:
            name = item.nodeid.partition("[")[0]
            faults.append(f"the marker crochet of {name} {error}")
        else:
            if reactor is not None and not hasattr(config, _ASKED):
                setattr(config, _ASKED, reactor)
    if faults:
        raise pytest.UsageError("\n".join(faults))


def _claim(item: object) -> None:
    if not isinstance(item, pytest.Item) or item.get_closest_marker("crochet") is None:
        return
    if not isinstance(item, pytest.Function) or hasattr(item, "_testcase"):
        return
    if inspect.iscoroutinefunction(item.obj):
        item.obj = _plain(item.obj)
    names = item.fixturenames
    if not _FIXTURES & {*names}:
        # Behind those of wider scopes, which may be set up for this test and stay after it.
        known = item._fixtureinfo.name2fixturedefs
        wide = [
            index
            for index, name in enumerate(names)
            if name in known and known[name][-1].scope != "function"
        ]
        names.insert(wide[-1] + 1 if wide else 0, "crochet_reactor")


def _plain(function: Callable[..., object]) -> Callable[..., object]:
    """
    Return the same function as one that merely returns a coroutine.
    """

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        return function(*args, **kwargs)

    # inspect.markcoroutinefunction() leaves one of these.
    for mark in ("_is_coroutine_mark", "_is_coroutine"):
        vars(call).pop(mark, None)
    return call


def pytest_runtest_setup(item: pytest.Item) -> None:
    """
    Refuse what cannot be run as its marker says, for it would pass unseen.
    """
    if item.get_closest_marker("crochet") is not None and hasattr(item, "_testcase"):
        pytest.fail(
            "the marker crochet is for functions and methods of plain classes; unittest runs the "
            "methods of a TestCase itself. Leave out the base class, or call a function made by "
            "wait_for() in the test",
            pytrace=False,
        )


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, None]:
    """
    Run the asynchronous fixtures of our tests in the reactor thread.
    """
    function: Any = fixturedef.func
    names = {"crochet_reactor", "crochet_session", "crochet_clock"}
    # The test that the fixture is set up for, which those of wider scopes do not tell otherwise.
    is_ours = names & {*request._pyfuncitem.fixturenames}
    if is_ours and (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        fixturedef.func = _blocking(function, request)  # type: ignore[misc]
        try:
            yield
        finally:
            fixturedef.func = function  # type: ignore[misc]
    else:
        yield


def _blocking(function: Any, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """
    Return an asynchronous fixture's function as one that pytest calls: a plain one, or a generator.
    """
    from contextlib import asynccontextmanager

    from crochet import context_in_reactor, wait_for

    is_clocked = request.scope == "function" and "crochet_clock" in request.fixturenames
    # It outlives the fixture, for it was set up before.
    request.getfixturevalue("crochet_clock" if is_clocked else "crochet_session")
    timeout = None if is_clocked else _configured_timeout(request.config)
    if inspect.ismethod(function) and request.instance is not None:
        function = function.__func__.__get__(request.instance)
    if inspect.iscoroutinefunction(function):
        return cast("Callable[..., Any]", wait_for(timeout)(function))
    # From its first line to its last it is one task: what it enters, it leaves there, too.
    manage: Any = context_in_reactor(timeout)(asynccontextmanager(function))

    def generate(**arguments: object) -> Iterator[object]:
        __tracebackhide__ = True
        with manage(**arguments) as value:
            yield value

    return generate


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """
    Run a marked test in the reactor thread.
    """
    __tracebackhide__ = True
    marker = pyfuncitem.get_closest_marker("crochet")
    if marker is None:
        return None
    timeout, _, _ = _terms(pyfuncitem, marker)
    name, function = pyfuncitem.name, pyfuncitem.obj
    hypothesis = getattr(function, "hypothesis", None)
    if hypothesis is not None:
        # It calls this once for each example, and pytest calls hypothesis.
        inner = getattr(hypothesis.inner_test, "crochet_inner", hypothesis.inner_test)

        def run_example(*args: object, **kwargs: object) -> None:
            __tracebackhide__ = True
            _run(name, functools.partial(inner, *args), kwargs, timeout)

        hypothesis.inner_test = functools.update_wrapper(run_example, inner)
        vars(run_example)["crochet_inner"] = inner  # for the next of a parametrized test
        return None
    arguments = {each: pyfuncitem.funcargs[each] for each in pyfuncitem._fixtureinfo.argnames}
    _run(name, function, arguments, timeout)
    return True


def _run(
    name: str, function: Callable[..., object], arguments: dict[str, Any], timeout: float | None
) -> None:
    from crochet import _event_loop
    from crochet.testing._body import run_body

    text = run_body(_event_loop, name, function, arguments, timeout)
    if text is not None:
        pytest.fail(text, pytrace=False)


def _terms(
    item: pytest.Item, marker: pytest.Mark
) -> tuple[float | None, tuple[str, ...] | bool, str | None]:
    """
    Return what a marker says: the timeout, the kinds of leaks that are allowed, True for all, and
    the reactor.

    Raises:
        TypeError: it has an argument too many, or one of another type.
        ValueError: there is no such leak or reactor.
    """
    # Virtual time passes at once, and a wait without an end is refused there.
    is_clocked = "crochet_clock" in getattr(item, "fixturenames", ())
    default = None if is_clocked else _configured_timeout(item.config)

    def terms(
        timeout: Any = default, *, allow_leaks: Any = (), reactor: Any = None
    ) -> tuple[Any, Any, Any]:
        return timeout, (allow_leaks,) if isinstance(allow_leaks, str) else allow_leaks, reactor

    try:
        inspect.signature(terms).bind(*marker.args, **marker.kwargs)
    except TypeError as error:
        raise TypeError(f"{error}; its arguments are timeout, allow_leaks and reactor") from None
    seconds, kinds, reactor = terms(*marker.args, **marker.kwargs)
    if seconds is not None and not isinstance(seconds, (int, float)):
        raise TypeError(f"has the timeout {seconds!r}, and takes a number of seconds or None")
    for kind in () if isinstance(kinds, bool) else kinds:
        if kind not in _LEAKS:
            raise ValueError(f"allows the leak {kind!r}, and there are {', '.join(_LEAKS)}")
    if reactor is not None and reactor not in _REACTORS:
        raise ValueError(f"asks for the reactor {reactor!r}, and knows {', '.join(_REACTORS)}")
    if reactor is not None and is_clocked:
        raise ValueError("asks for a reactor, but crochet_clock takes the place of one")
    return seconds, kinds, reactor


def _reactor_setting(config: pytest.Config) -> str:
    name = cast("str", config.getini("crochet_reactor"))
    if name and name not in _REACTORS:
        raise pytest.UsageError(f"crochet_reactor is one of {', '.join(_REACTORS)}, not {name!r}")
    return name


def _set_up(reactor: str | None) -> None:
    """
    Have the reactor run, or fail the test with what keeps it from that.
    """
    from crochet import _event_loop

    options: dict[str, Any] = {"reactor": reactor} if reactor else {}
    try:
        _event_loop.setup(**options)
    except RuntimeError as error:
        if not reactor:
            raise
        pytest.fail(str(error), pytrace=False)


def _configured_timeout(config: pytest.Config) -> float | None:
    text = config.getini("crochet_timeout")
    try:
        return float(text) or None
    except ValueError:
        raise pytest.UsageError(
            f"crochet_timeout is a number of seconds, or 0 for no limit, not {text!r}"
        ) from None


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """
    Note which tests were cut short: what those leave behind is a consequence.
    """
    if call.excinfo is not None:
        setattr(item, _CUT_SHORT, True)
    if call.when == "call" and not _FIXTURES & {*getattr(item, "fixturenames", ())}:
        setattr(item.config, _IS_CLEAN, False)


@pytest.fixture(scope="session")
def crochet_session(pytestconfig: pytest.Config) -> Iterator[None]:
    """
    The reactor runs in its thread, from its first use in the session to the session's end.

    For fixtures of wider scopes that call decorated functions; tests take crochet_reactor.
    """
    from crochet import _event_loop

    was_set_up = _event_loop._is_set_up
    if not was_set_up:
        _refuse_pytest_twisted(pytestconfig)
    _set_up(_reactor_setting(pytestconfig) or getattr(pytestconfig, _ASKED, None))
    yield
    if not was_set_up:  # else it is the program's
        _event_loop.shutdown()


@pytest.fixture
def crochet_reactor(
    request: pytest.FixtureRequest, crochet_session: None
) -> Iterator[CrochetReactor]:
    """
    The reactor runs in its thread, and the test fails if it leaves anything behind in it.
    """
    from crochet import _event_loop
    from crochet.testing import CrochetReactor
    from crochet.testing._body import stacks
    from crochet.testing._leaks import LeakCheck

    if "crochet_clock" in request.fixturenames:
        pytest.fail(
            "crochet_clock takes the place of the reactor, so a test has one of crochet_clock and "
            "crochet_reactor, not both",
            pytrace=False,
        )

    marker = request.node.get_closest_marker("crochet")
    # An earlier test may have shut it down.
    _set_up(_terms(request.node, marker)[2] if marker is not None else None)
    _collect_garbage(request.config)
    leaks = LeakCheck(_event_loop.bridge, _event_loop.running_reactor, stacks)
    leaks.begin()
    yield CrochetReactor(leaks)
    _finish(request, leaks)


@pytest.fixture
def crochet_clock(request: pytest.FixtureRequest) -> Iterator[CrochetClock]:
    """
    A clock in place of the reactor: decorated functions run at once, and time is virtual.
    """
    from crochet import _event_loop
    from crochet.testing._clock import clocked
    from crochet.testing._leaks import LeakCheck

    _refuse_pytest_twisted(request.config)
    _collect_garbage(request.config)
    clocks: list[CrochetClock] = []
    leaks = LeakCheck(_event_loop.bridge, lambda: clocks[0])
    with clocked(_event_loop, leaks) as clock:
        clocks.append(clock)
        leaks.begin()
        yield clock
        _finish(request, leaks)


def _refuse_pytest_twisted(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("twisted"):
        pytest.fail(
            "pytest-twisted runs every test of this session on the reactor, in the main thread, "
            "and crochet needs it for a thread of its own, or keeps it still for crochet_clock. "
            "Run one of the two: with -p no:twisted, or with -p no:crochet",
            pytrace=False,
        )


def _collect_garbage(config: pytest.Config) -> None:
    """
    Have dropped errors of earlier tests logged now, and not while this one is watched.
    """
    if not getattr(config, _IS_CLEAN, False):
        # The last exception, which holds its frames. pytest itself drops it before each call.
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            if hasattr(sys, name):
                delattr(sys, name)
        gc.collect()


def _finish(request: pytest.FixtureRequest, leaks: LeakCheck) -> None:
    item = request.node
    marker = item.get_closest_marker("crochet")
    if marker is not None:
        _, allowed, _ = _terms(item, marker)
        if allowed is True:
            leaks.allow()
        elif allowed:
            leaks.allow(*allowed)
    found = leaks.find_and_clear()
    was_cut_short = getattr(item, _CUT_SHORT, False)
    setattr(request.config, _IS_CLEAN, not was_cut_short)
    if found and not was_cut_short:
        text = "\n".join(f"- {leak}" for leak in found)
        pytest.fail(
            f"{item.name}() has left behind, in the reactor or the log:\n{text}", pytrace=False
        )
