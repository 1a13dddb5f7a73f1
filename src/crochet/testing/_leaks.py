"""
What a test has left behind in the reactor, and how to be rid of it.

It looks at what was there before the test and at what is there after it:

- operations: calls that nobody has answered yet;
- delayed calls of the reactor, or of the clock in its place;
- readers and writers of the reactor's: sockets, ports, pipes of child processes;
- errors: failures that were logged, among them those of dropped Deferreds and results, and the
  errors of results that are still held and that nobody has taken.

What has been told to end may need a moment for it, so a reactor is looked at several times before
anything is held against the test; time is lost only where something is left. Then all that can be
is cancelled or closed, so that the next test does not meet it.

Threads: the reactor's lists are looked at in its thread, the rest is the test thread's. The log
may be written to from any; what it adds to is a list, whose every operation is one step.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast
from weakref import WeakSet

from twisted.internet.main import CONNECTION_LOST
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from .._core.bridge import Bridge
from .._core.call import Call
from .._core.failure import Uncollected
from .._diagnostics.waits_on import awaits
from .._threads.primitives import Latch

T = TypeVar("T")

KINDS: Final = ("operations", "delayed_calls", "readers", "errors")

# Seconds between one look at the reactor and the next, while something is left.
_PAUSES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2)

# Seconds that the reactor thread has to let itself be looked at.
_PATIENCE = 5.0

# Seconds that a log observer may take for what was dropped.
_LOGGING_TAKES = 1.0


class Busy(Exception):
    """
    The reactor thread has not come to what it was told.
    """


class LeakCheck:
    """
    One test's. Made before it; ``find_and_clear()`` after it.

    Args:
        bridge: carries the calls.
        get_reactor: returns the reactor, or what has its delayed calls; None while there is none.
        whereabouts: returns the stack of the reactor thread.
    """

    def __init__(
        self,
        bridge: Bridge,
        get_reactor: Callable[[], Any],
        whereabouts: Callable[[], str] | None = None,
    ) -> None:
        self._bridge = bridge
        self._get_reactor = get_reactor
        # None if there is no other thread.
        self._whereabouts = whereabouts
        self._allowed: set[str] = set()
        self._events: list[LogEvent] = []  # appended to by any thread
        self._observer = cast("ILogObserver", self._note)
        self._operations: WeakSet[Call] = WeakSet(bridge.calls_in_flight())
        self._uncollected: Uncollected = bridge.uncollected.copy()
        # By id. They are held, or some other object might get the id of one.
        self._delayed_calls: dict[int, object] = {}
        self._selectables: dict[int, object] = {}

    def begin(self) -> None:
        """
        Note what is there before the test. Blocks until the reactor thread has looked.
        """
        with suppress(Busy):
            self._delayed_calls, self._selectables = self._look()
        # What is watched is not forgotten before it has ended, however forgotten it is.
        self._bridge.on_submit = lambda call: call.add_callback(partial(bool))
        globalLogPublisher.addObserver(self._observer)

    def _note(self, event: LogEvent) -> None:
        if "log_failure" in event and event.get("log_level", LogLevel.critical) >= LogLevel.error:
            self._events.append(event)

    def allow(self, *kinds: str) -> None:
        """
        Hold none of these against the test; all, if none is named. They are left alone, too.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"there is no kind of leak called {kind!r}; there are: {KINDS}")
        self._allowed.update(kinds or KINDS)

    def take_errors(self) -> list[BaseException]:
        """
        Return what was logged since the last time. Blocks for a garbage collection.
        """
        self._collect_garbage()
        taken = self._events.copy()
        del self._events[: len(taken)]
        return [cast("BaseException", event["log_failure"].value) for event in taken]

    def find_and_clear(self) -> list[str]:
        """
        Return what has been left behind, in words, and clear it away.

        Blocks for a garbage collection, and for a third of a second if there is anything.
        """
        try:
            self._collect_garbage()
            leaks: list[str] = []
            try:
                leaks = self._settle()
                self._clear()
            except Busy as error:
                leaks.append(str(error))
            if "errors" not in self._allowed:
                leaks += [_words_of(event) for event in self._events]
                leaks += self._untaken()
            else:
                self._untaken()
            self._collect_garbage()  # what was cancelled just now is no news
            return leaks
        finally:
            self._bridge.on_submit = None
            globalLogPublisher.removeObserver(self._observer)
            self._events.clear()

    def _collect_garbage(self) -> None:
        """
        Have Deferreds and results that were dropped log their failures.
        """
        gc.collect()
        is_logged = Latch()
        self._bridge.when_dropped(is_logged.open)
        is_logged.wait(_LOGGING_TAKES)

    def _settle(self) -> list[str]:
        pauses = _PAUSES if self._whereabouts else ()
        leaks = self._left()
        for pause in pauses:
            if not leaks:
                break
            time.sleep(pause)
            leaks = self._left()
        return leaks

    def _left(self) -> list[str]:
        delayed_calls, selectables = self._new()
        return [
            *(_operation(result) for result in self._new_operations()),
            *(_delayed_call(call, self._get_reactor().seconds()) for call in delayed_calls),
            *(f"a reader or writer: {selectable!r}" for selectable in selectables),
        ]

    def _new_operations(self) -> list[Call]:
        if "operations" in self._allowed:
            return []
        return [each for each in self._bridge.calls_in_flight() if each not in self._operations]

    def _new(self) -> tuple[list[Any], list[Any]]:
        delayed_calls, selectables = self._look()
        for kind, found, before in (
            ("delayed_calls", delayed_calls, self._delayed_calls),
            ("readers", selectables, self._selectables),
        ):
            for known in [*found] if kind in self._allowed else before:
                found.pop(known, None)
        return [*delayed_calls.values()], [*selectables.values()]

    def _look(self) -> tuple[dict[int, Any], dict[int, Any]]:
        reactor = self._get_reactor()
        if reactor is None:
            return {}, {}

        def look() -> tuple[dict[int, Any], dict[int, Any]]:
            selectables: list[object] = []
            if hasattr(reactor, "getReaders"):
                selectables = [*reactor.getReaders(), *reactor.getWriters()]
            internal = getattr(reactor, "_internalReaders", ())
            return (
                {id(call): call for call in reactor.getDelayedCalls()},
                {id(each): each for each in selectables if each not in internal},
            )

        return self._in_reactor(reactor, look)

    def _in_reactor(self, reactor: Any, function: Callable[[], T]) -> T:
        if self._whereabouts is None:
            return function()
        has_looked = Latch()
        outcome: list[T] = []

        def run() -> None:
            try:
                outcome.append(function())
            finally:
                has_looked.open()

        reactor.callFromThread(run)
        if not has_looked.wait(_PATIENCE):
            raise Busy(
                f"the reactor thread, which has done nothing else for {_PATIENCE:g} s. It is "
                f"here:\n{self._whereabouts()}"
            )
        return outcome[0]

    def _clear(self) -> None:
        operations = self._new_operations()
        for operation in operations:
            operation.cancel()
        delayed_calls, selectables = self._new()
        if not operations and not delayed_calls and not selectables:
            return
        reactor = self._get_reactor()

        def clear() -> None:
            for call in delayed_calls:
                if call.active():
                    call.cancel()
            for selectable in selectables:
                _close(reactor, selectable)

        if reactor is not None:
            self._in_reactor(reactor, clear)
            self._settle()  # what closes may need a moment for it

    def _untaken(self) -> list[str]:
        """
        Take the errors of results that are still held.
        """
        leaks: list[str] = []
        for reference in self._bridge.uncollected.copy():
            stored = reference()
            if stored is not None and reference not in self._uncollected:
                failure = cast("Any", stored.failure())
                leaks.append(
                    f"an error of {stored.name}() that nobody has taken: "
                    f"{_indented(failure.getTraceback())}"
                )
        return leaks


class Watched:
    """
    What a test has that is to leave nothing behind.
    """

    def __init__(self, leaks: LeakCheck) -> None:
        self._leaks = leaks

    def allow_leaks(self, *kinds: str) -> None:
        """
        Let this test leave something behind on purpose.

        Call it from any thread. Never blocks.

        Args:
            kinds: ``"operations"``, ``"delayed_calls"``, ``"readers"``, ``"errors"``; none for
                all.

        Raises:
            ValueError: there is no such kind.
        """
        self._leaks.allow(*kinds)

    def logged_errors(self) -> list[BaseException]:
        """
        Return the errors that have been logged since the last time; they were expected, then.

        Call it from any thread. Blocks for a garbage collection.
        """
        return self._leaks.take_errors()


def _operation(call: Call) -> str:
    where = awaits(call.running)
    at = "".join(f"\n    {place}" for place in where)
    return f"an operation that has not ended: {call.name}(){at}"


def _delayed_call(call: Any, now: float) -> str:
    function = call.func
    while hasattr(function, "func"):
        function = function.func  # a partial object's
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    code = getattr(function, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    # Twisted knows if DelayedCall.debug is set.
    made = "".join(getattr(call, "creator", None) or ())
    end = f", made here:\n{made.rstrip()}" if made else ""
    return f"a delayed call of {name}(){where}, due in {call.getTime() - now:.1f} s{end}"


def _words_of(event: LogEvent) -> str:
    said = formatEvent(event).strip()
    return f"a logged error: {said}{_indented(event['log_failure'].getTraceback())}"


def _indented(text: str) -> str:
    return "".join(f"\n    {line}" for line in text.rstrip().splitlines())


def _close(reactor: Any, selectable: Any) -> None:
    """
    Have done with a transport or port, in the reactor thread, as the reactor's end would.
    """
    reactor.removeReader(selectable)
    reactor.removeWriter(selectable)
    process = getattr(selectable, "proc", None)  # whose pipe it is
    with suppress(Exception):  # it is to go, and why it would not interests nobody
        if process is not None:
            process.signalProcess("KILL")
    with suppress(Exception):  # likewise
        selectable.connectionLost(Failure(CONNECTION_LOST))  # type: ignore[no-untyped-call]
