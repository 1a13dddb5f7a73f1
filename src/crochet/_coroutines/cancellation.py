"""
Which errors say no more than that an operation was cancelled.
"""

from __future__ import annotations

from asyncio import CancelledError as TaskCancelledError
from typing import Any, cast

from twisted.internet.defer import CancelledError, FirstError
from twisted.python.failure import Failure

# How HostnameEndpoint says that it was cancelled while it looked up a name. One that there is not
# has "no results".
_LOOKUP_CANCELLED = "Couldn't find the hostname"


def is_cancellation(error: BaseException, *, of_reactor: bool = False, depth: int = 5) -> bool:
    """
    Tell whether an error says no more than that the operation was cancelled, however wrapped.

    Twisted's web client puts the CancelledError of a request into one of its own exceptions, as
    ``reasons``, ``gatherResults()`` into a FirstError, as ``subFailure``, and asyncio's task groups
    those of several tasks into an exception group, as ``exceptions``.

    Args:
        error: the error.
        of_reactor: by the end of the reactor, which closes its connections.
        depth: so many wrappings are looked into: somebody's reasons may lead round in a circle.
    """
    if isinstance(error, (CancelledError, TaskCancelledError)):
        return True
    # Every reactor has loaded it.
    from twisted.internet.error import ConnectingCancelledError, ConnectionClosed, DNSLookupError

    if isinstance(error, DNSLookupError) and error.args:
        # (Its str() begins otherwise.)
        return str(error.args[0]).startswith(_LOOKUP_CANCELLED)
    if isinstance(error, ConnectingCancelledError):
        return True
    if of_reactor and isinstance(error, ConnectionClosed):
        return True
    wrapped: list[object]
    if isinstance(error, FirstError):
        wrapped = [error.subFailure]
    elif group := exceptions_of(error):
        wrapped = [cast("Any", Failure)(each) for each in group]
    else:
        try:
            wrapped = list(getattr(error, "reasons", ()))
        except Exception:
            # Some other class's idea of reasons, of no interest to anybody here.
            return False
    return (
        depth > 0
        and bool(wrapped)
        and all(
            isinstance(reason, Failure)
            and is_cancellation(
                cast("BaseException", reason.value), of_reactor=of_reactor, depth=depth - 1
            )
            for reason in wrapped
        )
    )


def exceptions_of(error: BaseException) -> tuple[BaseException, ...]:
    """
    Return what an exception group has; of any other error nothing, whatever it calls exceptions.
    """
    # Groups are new in Python 3.11; this one looks so that 3.10 has no need of the name.
    is_group = any(kind.__name__ == "BaseExceptionGroup" for kind in type(error).__mro__)
    return cast("Any", error).exceptions if is_group else ()
