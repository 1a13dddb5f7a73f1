"""
Operations that wait for what has fired.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, inlineCallbacks, succeed
from twisted.python.failure import Failure

from crochet._diagnostics.stranded import go_on, stranded
from support.process import LoggedFailures
from support.stepping import Background, Steps


class Interrupted(BaseException):
    """
    What a signal handler raises in the reactor thread.
    """


def _interrupt() -> None:
    raise Interrupted


class Body:
    """
    An operation that waits for a Deferred, and what it has done.

    Args:
        resumed: is called when it goes on.
    """

    def __init__(self, kind: str, resumed: Callable[[], object] = int) -> None:
        self.deferred: Deferred[Any] = Deferred()
        self.second: Deferred[Any] = Deferred()
        self.ended = 0
        self._resumed = resumed
        self.operation: Deferred[Any] = getattr(self, kind)()
        if kind in ("gathered", "chained"):
            self.operation.addCallback(tuple)
        # As a call does, and does again.
        self.seen: list[Any] = []
        self._settle = partial(self.operation.addBoth, self.seen.append)
        self._settle()

    async def body(self) -> tuple[Any, Any]:
        try:
            first = await self.deferred
            self._resumed()
            return first, await self.second
        finally:
            self.ended += 1

    def coroutine(self) -> Deferred[Any]:
        return ensureDeferred(self.body())

    def nested(self) -> Deferred[Any]:
        async def outer() -> Any:
            return await self.coroutine()

        return ensureDeferred(outer())

    @inlineCallbacks
    def generator(self) -> Generator[Deferred[Any], Any, tuple[Any, Any]]:
        try:
            first = yield self.deferred
            self._resumed()
            second = yield self.second
            return first, second
        finally:
            self.ended += 1

    def gathered(self) -> Deferred[Any]:
        self.deferred.addCallback(lambda value: [self._resumed(), value][1])
        return gatherResults([self.deferred, self.second])

    def chained(self) -> Deferred[Any]:
        self.deferred.addCallback(lambda value: [self._resumed(), value][1])
        return succeed(None).addCallback(lambda _: gatherResults([self.deferred, self.second]))

    def go_on(self) -> bool:
        """
        Do what is done for a call's operation that is in flight. Tell whether it was stranded.
        """
        path = stranded(self.operation)
        if path is not None:
            go_on(path, "body", self._settle)
        return path is not None


KINDS = ("coroutine", "nested", "generator", "gathered", "chained")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_go_on_or_fail(kind: str, logged: LoggedFailures) -> None:
    """
    At whichever bytecode of Twisted's an exception comes in between. What has not returned by then
    is closed, at the latest when the error is dropped, whose frames may hold it.
    """
    lost = 0
    bodies: list[Body] = []
    at_once: set[int] = set()
    for at in itertools.count():
        body = Body(kind)
        body.second.callback(8)
        bodies.append(body)
        steps = Steps(at, _interrupt, defer.__file__, is_signal=True)
        with suppress(Interrupted):
            Background(steps.run, partial(body.deferred.callback, 7)).outcome()
        if not body.deferred.called:
            body.deferred.callback(7)
        if not body.seen and body.go_on():
            lost += 1
            body.go_on()  # those that it had not called are called now
            if type(getattr(body.seen[0], "value", None)) is Interrupted:
                at_once.add(body.ended)
        seen = body.seen
        assert seen, f"lost at step {at}"
        assert isinstance(seen[0], Failure) or seen[0] == (7, 8)
        if not steps.is_over:
            break
    assert lost > 3
    for each in bodies:
        each.seen.clear()
        for deferred in (each.deferred, each.second):
            deferred.addBoth(lambda _: None)
    gc.collect()
    if kind in ("coroutine", "nested", "generator"):
        assert {each.ended for each in bodies} == {1}
        # (Frames that those of an error lead back to may hold what waits again.)
        assert 1 in at_once
        assert 0 not in at_once or kind == "generator" or sys.version_info < (3, 11)
    del body, each, seen, deferred
    bodies.clear()
    gc.collect()
    logged.take()  # what was interrupted is logged by Twisted, too


@pytest.mark.parametrize("kind", KINDS)
def test_are_left_alone_while_they_are_resumed(kind: str) -> None:
    """
    By what has just fired: what goes on may run the reactor's loop itself.
    """
    looks: list[bool] = []
    body = Body(kind, lambda: looks.extend(body.go_on() for _ in range(3)))
    body.deferred.callback(7)
    assert len(looks) == 3
    assert looks[0] or kind in ("gathered", "chained")
    assert not body.go_on()
    assert not body.seen
    body.second.callback(8)
    assert body.seen == [(7, 8)]


def test_are_left_alone_if_they_have_gone_on_since() -> None:
    """
    Since that was seen from another thread.
    """
    body = Body("coroutine")
    paths: list[Any] = []
    body._resumed = lambda: paths.append(stranded(body.operation))
    body.deferred.callback(7)
    go_on(paths[0], "body", int)
    body.second.callback(8)
    assert body.seen == [(7, 8)]


def test_fail_with_the_error_that_struck() -> None:
    """
    If the Deferred has that. It is not logged, too.
    """
    body = Body("nested")
    state: Any = vars(body.deferred)
    state["_callbacks" if "_callbacks" in state else "callbacks"].clear()
    body.deferred.callback(7)
    body.deferred.addCallback(lambda _: _interrupt())
    assert body.go_on()
    (failure,) = body.seen
    assert type(failure.value) is Interrupted
    assert body.deferred.result is None


def test_fail_with_an_error_that_says_so() -> None:
    """
    If nobody knows what struck. Others that have the Deferred keep its value.
    """
    body = Body("coroutine")
    state: Any = vars(body.deferred)
    state["_callbacks" if "_callbacks" in state else "callbacks"].clear()
    body.deferred.callback(7)
    assert body.go_on()
    (failure,) = body.seen
    with pytest.raises(RuntimeError, match=r"body\(\) cannot go on: what it waits for is there"):
        failure.raiseException()
    assert body.deferred.result == 7
    assert body.ended == 1


@pytest.mark.parametrize("kind", KINDS)
def test_are_not_those_that_wait(kind: str) -> None:
    """
    For what has not fired, or is paused.
    """
    body = Body(kind)
    assert not body.go_on()
    body.deferred.pause()
    body.deferred.callback(7)
    assert not body.go_on()
    assert not body.seen
    body.deferred.unpause()
    body.second.callback(8)
    assert body.seen == [(7, 8)]


def test_are_not_those_that_gather_what_is_just_calling_something() -> None:
    """
    Where all that is gathered has fired.
    """
    deferreds: list[Deferred[Any]] = [Deferred(), Deferred()]
    paths: list[Any] = []

    def look(value: int) -> int:
        paths.append(stranded(operation))
        go_on(paths[-1], "body", int)
        return value

    deferreds[1].addCallback(look)
    operation = gatherResults(deferreds)
    deferreds[0].callback(7)
    deferreds[1].callback(8)
    assert paths[0][-1] is deferreds[1]
    assert operation.result == [7, 8]
