"""
What an operation waits for, in words.
"""

from __future__ import annotations

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed

from crochet._awaits import places


async def wait(operation: Any) -> None:
    """
    Wait for something.
    """
    await operation


@inlineCallbacks
def wait_in_generator(operation: Any) -> Generator[Any, Any, None]:
    """
    Wait for something.
    """
    yield operation


def names(awaited: object) -> list[str]:
    """
    Return where it is, without files and lines.
    """
    return [place.rpartition(" in ")[2] for place in places(awaited)]


NOT_FIRED = "a Deferred that nothing has fired yet"


class TestPlaces:
    """
    ``places()``
    """

    def test_leads_from_coroutine_to_coroutine(self) -> None:
        """
        Down to the Deferred, which nobody need be known to fire.
        """
        coroutine = wait(wait(Deferred()))
        driven = Deferred.fromCoroutine(coroutine)
        assert names(coroutine) == ["wait()", "wait()", NOT_FIRED]
        assert __file__ in places(coroutine)[0]
        assert names(driven) == ["wait()", "wait()", NOT_FIRED]
        driven.addErrback(lambda failure: None).cancel()

    def test_leads_through_the_deferreds_of_generators(self) -> None:
        """
        And of coroutines that somebody else drives.
        """
        inner = Deferred.fromCoroutine(wait(Deferred()))
        driven = Deferred.fromCoroutine(wait(wait_in_generator(inner)))
        expected = ["wait()", "wait_in_generator()", "wait()", NOT_FIRED]
        assert names(driven) == expected
        driven.addErrback(lambda failure: None).cancel()

    def test_leads_along_chained_deferreds(self) -> None:
        """
        One that has fired may wait for another.
        """
        inner: Deferred[None] = Deferred()
        outer = succeed(None).addCallback(lambda _: wait_in_generator(inner))
        assert names(outer) == ["wait_in_generator()", NOT_FIRED]
        inner.callback(None)

    def test_leads_through_delegating_generators(self) -> None:
        """
        Which say themselves what they have delegated to.
        """

        def inner() -> Generator[Any, Any, None]:
            yield Deferred()

        def outer() -> Generator[Any, Any, None]:
            yield from inner()

        generator = outer()
        next(generator)
        assert [name.rpartition(".")[2] for name in names(generator)] == ["outer()", "inner()"]

    def test_names_what_it_does_not_know(self) -> None:
        """
        By its class.
        """
        assert names(3) == ["a int"]
        assert names(None) == []

    def test_finds_the_callbacks_of_older_twisteds(self) -> None:
        """
        By the name that they had for them.
        """
        generator = iter([])
        status = SimpleNamespace(waitingOn=SimpleNamespace(callbacks=[((print, None, {}), None)]))

        def cancel(deferred: Deferred[None]) -> None:
            assert status

        assert names(Deferred(cancel)) == [NOT_FIRED]
        coroutine = wait(3)
        status.waitingOn.callbacks.append(((print, (generator, coroutine), {}), None))
        assert names(Deferred(cancel)) == ["wait()", "a SimpleNamespace"]
        coroutine.close()

    def test_ends_where_things_lead_round_in_a_circle(self) -> None:
        """
        After more than anybody reads.
        """
        deferreds: list[Any] = [Deferred(), Deferred()]
        deferreds[0]._chainedTo, deferreds[1]._chainedTo = deferreds[1], deferreds[0]
        assert places(deferreds[0]) == []
