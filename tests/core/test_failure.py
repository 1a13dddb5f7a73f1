"""
The error of a call, from the reactor thread to whoever takes it.
"""

from __future__ import annotations

import asyncio
import builtins
import copy
import gc
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, FirstError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import alsoProvides

from crochet._core.failure import StoredError, Uncollected, report_all
from crochet._coroutines.cancellation import is_cancellation
from crochet._threads.finalizer import at_once
from support.process import LoggedFailures
from support.stepping import together


class Uncopyable(Exception):
    """
    An error whose ``__init__`` wants other arguments than its ``args``.
    """

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


def _body(errors: list[BaseException]) -> None:
    raise errors.pop()


def _fault(error: BaseException, uncollected: Uncollected | None = None) -> StoredError:
    """
    Return the fault of a body that raised an error, and none of whose frames holds it.
    """
    errors = [error]
    del error
    registry: Uncollected = {} if uncollected is None else uncollected
    try:
        _body(errors)
    except BaseException as raised:
        return StoredError("body", raised, raised.__traceback__, registry, at_once)
    raise AssertionError


def _taken(fault: StoredError) -> BaseException:
    """
    Take a fault and return the error, as it arrived.
    """
    try:
        fault.throw()
    except BaseException as error:
        return error


def _functions(error: BaseException) -> list[str]:
    """
    Return the names of the functions in an error's traceback.
    """
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


class TestTaking:
    """
    Every taker raises the type and value that the body raised.
    """

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("why", 3),
            KeyError("key"),
            OSError(2, "No such file", "name"),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            StopIteration(7),
            Uncopyable(code=7),
        ],
    )
    def test_gives_the_same_type_and_value_to_everybody(self, error: BaseException) -> None:
        """
        To the first the very object.
        """
        fault = _fault(error)
        first, *others = (_taken(fault) for _ in range(3))
        assert first is error
        for other in others:
            assert type(other) is type(error)
            assert other.args == error.args
            assert str(other) == str(error)
            assert vars(other) == vars(error)

    @pytest.mark.parametrize("error", [ValueError("why"), Uncopyable(code=7)])
    def test_joins_both_sides_in_the_traceback(self, error: BaseException) -> None:
        """
        The reactor's frames below the taker's, and as many however often it is taken.
        """
        fault = _fault(error)
        expected = ["_taken", "throw", "_fault", "_body"]
        for _ in range(5):
            assert _functions(_taken(fault)) == expected

    def test_gives_an_object_of_its_own_to_each(self) -> None:
        """
        So that one who raises his again does not change another's.
        """
        fault = _fault(ValueError("why"))
        errors = [_taken(fault) for _ in range(3)]
        assert len({id(error) for error in errors}) == 3
        with suppress(ValueError):
            raise errors[0]
        with suppress(ValueError):
            raise errors[1]
        assert _functions(errors[2]) == ["_taken", "throw", "_fault", "_body"]

    def test_gives_the_original_to_the_only_one(self) -> None:
        """
        Without making a copy that nobody will want.
        """
        error = ValueError("why")
        fault = _fault(error)
        with pytest.raises(ValueError, match="why") as caught:
            fault.throw(is_last=True)
        assert caught.value is error
        assert fault._error is error

    def test_two_takers_at_once(self) -> None:
        """
        1. The first has begun to copy the error. 2. The second copies it, deletes `_is_fresh`
        and raises the original. 3. The first finishes its copy, finds `_is_fresh` gone and
        raises its copy. Told at the head of _core/failure.py.
        """
        second: list[BaseException] = []

        class Hooked(Exception):
            is_hooked = True

            def __copy__(self) -> Hooked:
                if type(self).is_hooked:
                    type(self).is_hooked = False
                    second.append(_taken(fault))
                return type(self)(*self.args)

        error = Hooked("why")
        fault = _fault(error)
        first = _taken(fault)
        third = _taken(fault)
        assert second == [error]
        assert len({id(each) for each in (first, second[0], third)}) == 3
        for each in (first, error, third):
            assert type(each) is Hooked
            assert each.args == ("why",)
            assert _functions(each) == ["_taken", "throw", "_fault", "_body"]

    def test_two_takers_who_have_both_seen_the_original(self) -> None:
        """
        1. The first has copied the error and holds the original. 2. The second does likewise,
        deletes `_is_fresh` and raises the original. 3. The first finds `_is_fresh` gone.
        """
        second: list[BaseException] = []

        class SteppedFault(StoredError):
            reads = 0

            @property
            def _error(self) -> BaseException:
                error = self.held
                type(self).reads += 1
                if self.reads == 2:  # one to copy it, one to give it away
                    second.append(_taken(self))
                return error

            @_error.setter
            def _error(self, error: BaseException) -> None:
                self.held = error

        error = ValueError("why")
        fault = SteppedFault("body", error, None, {}, None)
        first = _taken(fault)
        assert second == [error]
        assert first is not error
        assert first.args == error.args

    def test_many_takers_in_threads(self) -> None:
        """
        No two get the same object, and each sees its own frames only.
        """
        faults = [_fault(ValueError(number)) for number in range(50)]

        def take_all(index: int) -> list[BaseException]:
            return [_taken(fault) for fault in faults]

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            taken = together(4, take_all)
        finally:
            sys.setswitchinterval(interval)
        errors = [error for errors in taken for error in errors]
        assert len({id(error) for error in errors}) == 200
        assert {tuple(_functions(error)) for error in errors} == {
            ("_taken", "throw", "_fault", "_body")
        }
        assert [[error.args[0] for error in errors] for errors in taken] == [[*range(50)]] * 4


class TestHistory:
    """
    What an error says of the errors before it.
    """

    @staticmethod
    def _with_history() -> StoredError:
        try:
            try:
                raise KeyError("context")
            except KeyError:
                raise ValueError("why") from OSError("cause")
        except ValueError as error:
            return StoredError("body", error, error.__traceback__, {}, at_once)

    def test_arrives_whole(self) -> None:
        """
        At the first taker and at the others.
        """
        fault = self._with_history()
        for _ in range(3):
            error = _taken(fault)
            assert repr(error.__cause__) == "OSError('cause')"
            assert repr(error.__context__) == "KeyError('context')"
            assert error.__suppress_context__

    def test_may_be_none(self) -> None:
        """
        Nor does taking it add any.
        """
        fault = _fault(ValueError("why"))
        for _ in range(3):
            error = _taken(fault)
            assert (error.__cause__, error.__context__) == (None, None)
            assert not error.__suppress_context__

    @pytest.mark.parametrize("is_last", [True, False])
    @pytest.mark.parametrize("error", [ValueError("why"), Uncopyable(code=7)])
    def test_does_not_include_what_a_taker_was_handling(
        self, error: BaseException, is_last: bool
    ) -> None:
        """
        That is the taker's own affair, and no other's.
        """
        fault = _fault(error)
        for _ in range(2):
            try:
                raise LookupError("the taker's own")
            except LookupError:
                with pytest.raises(type(error)) as caught:
                    fault.throw(is_last=is_last)
            assert caught.value.__context__ is None


class TestMemory:
    """
    What a fault keeps alive.
    """

    @contextmanager
    def _without_collections(self) -> Iterator[None]:
        gc.disable()
        try:
            yield
        finally:
            gc.enable()

    def test_no_frame_of_a_taker(self) -> None:
        """
        Once the taker has dropped its error; no garbage collection is needed.
        """

        class Local:
            pass

        def take() -> weakref.ref[Local]:
            local = Local()
            with suppress(ValueError):
                fault.throw()
            return weakref.ref(local)

        fault = _fault(ValueError("why"))
        with self._without_collections():
            assert [take()() for _ in range(3)] == [None] * 3

    def test_not_the_error_once_it_is_dropped(self) -> None:
        """
        A fault and the tracebacks of its takers form no cycle.
        """

        class Error(Exception):
            pass

        fault: StoredError | None = _fault(Error("why"))
        assert fault is not None
        with self._without_collections():
            references = [weakref.ref(_taken(fault)), weakref.ref(fault)]
            del fault
            assert [reference() for reference in references] == [None, None]


class TestCopies:
    """
    An error that cannot be copied faithfully is the same object for all.
    """

    @staticmethod
    def _error(copying: Callable[[Any], object], *args: object) -> BaseException:
        class Error(Exception):
            __copy__ = copying

        return Error(*args)

    @pytest.mark.parametrize(
        "copying",
        [
            lambda self: ValueError(*self.args),
            lambda self: type(self)(),
            lambda self: type(self)(*self.args, "more"),
            lambda self: type(self)("equal, but another"[:5]),
            lambda self: None,
            lambda self: 1 / 0,
        ],
        ids=["type", "fewer", "more", "other", "none", "raises"],
    )
    def test_must_not_differ(self, copying: Callable[[Any], object]) -> None:
        """
        In type, arguments or attributes; nor fail.
        """
        error = self._error(copying, ["equal"])
        fault = _fault(error)
        assert [_taken(fault) for _ in range(3)] == [error] * 3

    def test_must_have_the_attributes(self) -> None:
        """
        Which the standard way of copying sees to.
        """
        error = self._error(lambda self: type(self)(*self.args))
        error.code = 3  # type: ignore[attr-defined]
        fault = _fault(error)
        assert _taken(fault) is error
        assert _taken(fault) is error

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, LookupError])
    def test_do_not_swallow_an_interrupt(self, kind: type[BaseException]) -> None:
        """
        That comes while one is made, of whatever class; the error can be taken again.
        """

        class Error(Exception):
            interrupts = [kind("Ctrl-C")]

            def __copy__(self) -> Error:
                while self.interrupts:
                    raise self.interrupts.pop()
                return type(self)(*self.args)

        error = Error("why")
        fault = _fault(error)
        with pytest.raises(kind, match="Ctrl-C"):
            fault.throw()
        assert _taken(fault) is error


class TestReports:
    """
    A fault that nobody took is logged once.
    """

    def test_when_dropped(self, logged: LoggedFailures) -> None:
        """
        With its traceback and the name of the function.
        """
        error = ValueError("why")
        _fault(error)
        assert [event["name"] for event in logged.events] == ["body"]
        assert "_body" in logged.events[0]["log_failure"].getTraceback()
        assert logged.take() == [error]

    def test_at_the_end(self, logged: LoggedFailures) -> None:
        """
        And not again when it is dropped after that.
        """
        uncollected: Uncollected = {}
        errors = [ValueError("first"), ValueError("second")]
        faults = [_fault(error, uncollected) for error in errors]
        collected = _fault(ValueError("third"), uncollected)
        collected.collect()
        report_all(uncollected)
        assert logged.take() == errors
        assert uncollected == {}
        report_all(uncollected)
        faults.clear()
        assert logged.events == []

    def test_at_the_end_although_some_are_gone(self, logged: LoggedFailures) -> None:
        """
        An entry may outlive its fault for a moment, while that is being collected as garbage.
        """
        fault = _fault(ValueError("why"))
        uncollected: Uncollected = {weakref.ref(fault): None}
        fault.collect()
        del fault
        report_all(uncollected)
        assert logged.events == []

    @pytest.mark.parametrize(
        "collect",
        [StoredError.collect, StoredError.failure, StoredError.report, _taken],
        ids=["noted", "asked for", "logged", "taken"],
    )
    def test_not_if_somebody_knows(
        self, logged: LoggedFailures, collect: Callable[[StoredError], object]
    ) -> None:
        """
        In whichever way.
        """
        fault = _fault(ValueError("why"))
        assert not fault.is_collected
        collect(fault)
        assert fault.is_collected
        logged.take()
        del fault
        gc.collect()
        assert logged.events == []

    def test_from_a_garbage_collection(self, logged: LoggedFailures) -> None:
        """
        If it was part of a cycle.
        """
        error = ValueError("why")
        cycle: list[object] = [_fault(error)]
        cycle.append(cycle)
        del cycle
        gc.collect()
        assert logged.take() == [error]


def _group(*errors: BaseException) -> Any:
    """
    Return an exception group, or where there are none, what its backport makes.
    """
    if sys.version_info >= (3, 11):
        return cast("Any", builtins).BaseExceptionGroup("of tasks", errors)
    return type("BaseExceptionGroup", (BaseException,), {"exceptions": errors})("of tasks")


class TestCancellations:
    """
    Errors that say no more than that an operation was cancelled.
    """

    class Wrapper(Exception):
        """
        An exception that gives others as its reasons, as those of Twisted's web client do.
        """

        def __init__(self, reasons: object) -> None:
            self.reasons = reasons

    class Touchy(Exception):
        """
        An exception with other ideas of what reasons are.
        """

        @property
        def reasons(self) -> object:
            raise LookupError("there are none")

    @staticmethod
    def _wrap(*errors: Exception) -> Exception:
        return TestCancellations.Wrapper([Failure(error) for error in errors])

    def test_are_told(self) -> None:
        """
        However they are wrapped.
        """
        cancelled = CancelledError()
        for error in (
            cancelled,
            ConnectingCancelledError(None),
            FirstError(Failure(cancelled), 0),
            self._wrap(cancelled),
            self._wrap(cancelled, self._wrap(cancelled)),
            asyncio.CancelledError(),
            _group(cancelled, _group(asyncio.CancelledError())),
        ):
            assert is_cancellation(error)

    def test_are_those_of_a_name_lookup(self) -> None:
        """
        Which Twisted's endpoint gives out as its failure. A real one is not.
        """
        failures: list[Failure] = []

        class Resolver:
            """
            Finds nothing, sooner or later.
            """

            is_done = False

            def resolveHostName(self, receiver: Any, *args: object, **kwargs: object) -> None:
                if self.is_done:
                    receiver.resolutionComplete()

        reactor: Any = MemoryReactorClock()
        reactor.nameResolver = Resolver()
        alsoProvides(reactor, IReactorPluggableNameResolver)  # older Twisteds look for that
        endpoint = HostnameEndpoint(reactor, "example.com", 80)
        connecting: Any = endpoint.connect(cast("Any", None))
        connecting.cancel()
        connecting.addErrback(failures.append)
        reactor.nameResolver.is_done = True
        connecting = endpoint.connect(cast("Any", None))
        connecting.addErrback(failures.append)
        assert [type(each.value) for each in failures] == [DNSLookupError] * 2
        assert [is_cancellation(each.value) for each in failures] == [True, False]

    def test_of_a_reactor_close_connections(self) -> None:
        """
        That is no other cancellation.
        """
        for error in (ConnectionDone(), self._wrap(ConnectionLost(), CancelledError())):
            assert is_cancellation(error, of_reactor=True)
            assert not is_cancellation(error)
        assert not is_cancellation(ConnectionRefusedError(), of_reactor=True)
        assert not is_cancellation(DNSLookupError(), of_reactor=True)

    def test_are_not_taken_for_others(self) -> None:
        """
        Nor are others taken for them.
        """
        cancelled, other = CancelledError(), ValueError("why")
        for error in (
            other,
            FirstError(Failure(other), 0),
            self._wrap(),
            self._wrap(CancelledError(), other),
            self.Wrapper(None),
            self.Wrapper("cancelled"),
            self.Wrapper([CancelledError()]),
            self.Touchy(),
            _group(cancelled, other),
        ):
            assert not is_cancellation(error)


class TestFailures:
    """
    An error as Twisted's Failure.
    """

    def test_have_the_error_and_the_reactors_frames(self) -> None:
        """
        And no taker's.
        """
        error = ValueError("why")
        fault = _fault(error)
        failure = fault.failure()
        assert failure.value is error
        assert failure.type is ValueError
        assert [frame[0] for frame in failure.frames] == ["_fault", "_body"]

    def test_have_no_taker_s_frames_after_a_taking_either(self) -> None:
        """
        They are those of the copy that was left behind.
        """
        fault = _fault(ValueError("why"))
        taken = _taken(fault)
        failure = fault.failure()
        assert failure.value is not taken
        assert failure.value.args == taken.args
        assert _functions(failure.value) == ["_fault", "_body"]
        assert [frame[0] for frame in failure.frames] == ["_fault", "_body"]

    def test_of_an_error_without_frames(self) -> None:
        """
        One that Crochet has made itself.
        """
        fault = StoredError("body", ValueError("why"), None, {}, at_once)
        assert fault.failure().getErrorMessage() == "why"
        assert _functions(_taken(fault)) == ["_taken", "throw"]


def test_copying_is_that_of_the_standard_library() -> None:
    """
    An error with notes and attributes has them in its copies.
    """
    error = ValueError("why")
    error.code = 3  # type: ignore[attr-defined]
    fault = _fault(error)
    _taken(fault)
    assert vars(_taken(fault)) == {"code": 3}
    assert vars(copy.copy(error)) == {"code": 3}


def test_cancellation_in_a_circle_of_reasons_is_none() -> None:
    """
    An error that gives itself as its reason does not keep us looking for ever.
    """
    error = Exception()
    error.reasons = [Failure(error)]  # type: ignore[attr-defined]
    assert not is_cancellation(error)
