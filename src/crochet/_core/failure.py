"""
The error of a call, from the reactor thread to the threads that take it.

What must always hold:

1. Every taker raises the type and value that the body raised, with the reactor's frames below and
   its own above, however many takers there are and however often each takes.
2. A stored error keeps no frame of a taker alive.
3. One that nobody took is logged once: when it is dropped, or at exit.

Threads: made and filled in the reactor thread, then read-only but for ``_error``, ``_is_fresh`` and
what ``collect()`` writes, which any taker touches. One that is dropped is logged by the finalizer
thread. No locks.
"""

from __future__ import annotations

import copy
import weakref
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, cast

from twisted.logger import Logger
from twisted.python.failure import Failure

from .._errors import set_cause, set_context, set_suppress, set_traceback
from .._threads.finalizer import Finalizer, WhenDropped
from .._threads.primitives import claim, take

_log = Logger(namespace="crochet")

# The errors that nobody has taken yet, which are not kept alive by that. Who takes one out logs it,
# or need not; the reference stays when the error is gone. To enter, to take out and to copy are
# single operations that run no Python code.
Uncollected = dict["weakref.ref[StoredError]", None]


class StoredError:
    """
    One error, to be raised by any number of takers, or logged if there is none.

    Raising an exception object changes it: the frames it passes are added to its ``__traceback__``
    and the exception being handled becomes its ``__context__``. One object raised in two threads
    mixes their frames, and one that is kept after it was raised keeps its takers'. So this
    remembers traceback, cause and context as they were, hands the original to the first taker only,
    and keeps a copy for the others.

    An exception that cannot be copied faithfully (one whose ``__init__`` wants other arguments than
    its ``args``, say) is the same object for all. Its traceback is set right before each raise, so
    it stays of constant length; threads that take it at once may see each other's frames.
    """

    __slots__ = (
        "__weakref__",
        "_cause",
        "_context",
        "_error",
        "_finalizer",
        "_is_fresh",
        "_name",
        "_reference",
        "_suppress",
        "_traceback",
        "_uncollected",
    )

    def __init__(
        self,
        name: str,
        error: BaseException,
        traceback: TracebackType | None,
        uncollected: Uncollected,
        when_dropped: WhenDropped | None,
    ) -> None:
        self._name = name
        self._error = error
        self._traceback = traceback
        self._cause = error.__cause__
        self._context = error.__context__
        self._suppress = error.__suppress_context__
        self._is_fresh = True
        set_traceback(error, traceback)
        self._uncollected = uncollected
        self._finalizer: Finalizer | None = None
        self._reference: weakref.ref[StoredError] | None = None
        if when_dropped is not None:
            reference: weakref.ref[StoredError] = weakref.ref(self)
            self._reference = reference
            uncollected[reference] = None
            # Without this object: it is called when that is gone.
            report = partial(_report, uncollected, reference, name, error, traceback)
            self._finalizer = Finalizer(when_dropped, report)

    @property
    def name(self) -> str:
        """
        The name of the function that has failed.
        """
        return self._name

    @property
    def error(self) -> BaseException:
        """
        The error, to be looked at only. That does not collect it.
        """
        return self._error

    @property
    def traceback(self) -> TracebackType | None:
        """
        Where it was raised.
        """
        return self._traceback

    @property
    def is_collected(self) -> bool:
        """
        Tell whether somebody has taken the error, or was told of it in a log.
        """
        return self._reference not in self._uncollected

    def collect(self) -> None:
        """
        Note that somebody knows of the error, so that it need not be logged.
        """
        reference, finalizer = self._reference, self._finalizer
        if reference is not None:
            self._uncollected.pop(reference, None)
        if finalizer is not None:
            finalizer.detach()
            self._finalizer = None  # it holds the error

    def throw(self, *, is_last: bool = False) -> NoReturn:
        """
        Raise the error in the calling thread, which collects it.

        Args:
            is_last: nobody else can take this error any more, so no copy need be made.
        """
        self.collect()
        error = self._error if is_last else self._taken()
        context = self._context
        try:
            set_traceback(error, self._traceback)
            raise error
        finally:
            # `raise` has just made the exception that the taker was handling, if any, part of
            # this one's history. It is not, and the next taker must not see it.
            set_context(error, context)
            __tracebackhide__ = True
            del error, context
            self = cast("Any", None)  # of arguments that are missing IPython complains

    def _taken(self) -> BaseException:
        spare = _faithful_copy(self._error)
        if spare is None:
            return self._error
        set_cause(spare, self._cause)
        set_context(spare, self._context)
        set_suppress(spare, self._suppress)
        set_traceback(spare, self._traceback)
        original = self._error
        # Two takers may both have made a copy. The one that empties the slot leaves its copy behind
        # and raises the original, the other raises its own: no two raise the same object.
        if not claim(self, "_is_fresh"):
            return spare
        self._error = spare
        return original

    def failure(self) -> Failure:
        """
        Return the error as a Failure, which collects it.
        """
        self.collect()
        return self._as_failure()

    def _as_failure(self) -> Failure:
        return Failure(self._error, type(self._error), self._traceback)  # type: ignore[no-untyped-call]

    def report(self) -> None:
        """
        Log the error, unless somebody knows of it already.
        """
        if self._reference is not None:
            known = self._name, self._error, self._traceback
            _report(self._uncollected, self._reference, *known)


def _report(
    uncollected: Uncollected,
    reference: weakref.ref[StoredError],
    name: str,
    error: BaseException,
    traceback: TracebackType | None,
) -> None:
    """
    Log an error, unless that was done, or it was taken.
    """
    # Leaving the register decides who logs, should two threads come here at once.
    if take(uncollected, reference):
        failure = Failure(error, type(error), traceback)  # type: ignore[no-untyped-call]
        _log.failure("Unhandled error in EventualResult of {name}()", failure=failure, name=name)


def report_all(uncollected: Uncollected) -> None:
    """
    Log every error that nobody has taken: for the end of the process.
    """
    for reference in uncollected.copy():
        stored = reference()
        if stored is not None:
            stored.report()


def _faithful_copy(error: BaseException) -> BaseException | None:
    """
    Return a copy that nobody can tell from the original, or None if there is no making one.
    """
    try:
        return _copied(error)
    except Exception:
        try:
            _copied(error)
        except Exception:
            # Whatever the class did not like about being copied, its users want the error itself.
            return None
        raise  # out of a signal handler: it does not come at each attempt


def _copied(error: BaseException) -> BaseException | None:
    spare = copy.copy(error)
    is_faithful = (
        type(spare) is type(error)
        and len(spare.args) == len(error.args)
        and all(a is b for a, b in zip(spare.args, error.args, strict=True))
        and vars(spare).keys() == vars(error).keys()
    )
    return spare if is_faithful else None
