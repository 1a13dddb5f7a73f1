"""
Drives bodies that are coroutines on the asyncio reactor, as tasks of asyncio's.

There a body may await Deferreds and asyncio's awaitables alike, and ``asyncio.current_task()``,
``timeout()``, ``TaskGroup`` and all that builds on them work.

What must always hold:

1. A body starts at once, and goes on as soon as a Deferred that it awaits fires, as it does on
   other reactors. A task by itself would do either in a later turn of the loop.
2. Cancelled by asyncio (``task.cancel()``, a timeout, a task group), a body is thrown asyncio's
   CancelledError, whatever it awaits. Cancelled by Twisted (``EventualResult.cancel()``, a wait
   that was given up), one that awaits a Deferred gets what that Deferred makes of it, which is
   Twisted's CancelledError; else the task is cancelled.
3. No exception ends the loop.
4. The caller is answered when the body has ended; if the caller cancelled it, with Twisted's
   CancelledError for asyncio's.

A body steps itself, its task entered as the current one, as long as it awaits Deferreds and turns
of the loop (``asyncio.sleep(0)``) only. The task does not even exist then: to make one takes longer
than all that such a body does (``_LazyTask``). Nor does a Deferred of the body's own, if its first
step is its last. The task comes to life once somebody uses it, or something else of asyncio's is
awaited. A turn later it asks for its first step, and from then on all steps are the task's:

1. The task is made and asks the loop for its first step.
2. A Deferred fires, and the body makes another step of its own, or several.
3. The task's first step comes. It is told what is awaited now, or how the body has ended.

Verdict: whatever happened in 2, there is one state to be told. A ``_resume()`` that is still to
come does nothing: the task has gone on with what was kept for that, or is about to.

Only one task may be stepped at a time (``_enter_task()`` raises), so a Deferred that is fired by a
task wakes the body that awaits it in the next turn.

A value is answered at once, from within the last step, and so is an error if no task is involved.
Else that is answered in the task's done callback: until then the task's own ``raise`` adds frames
to the exception object, and the waiting thread would do the same at the same time. SystemExit and
KeyboardInterrupt, which a task passes on out of the loop, are kept from it; to the task they are
a cancellation.

Threads: all of it is for the reactor thread only.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task, isfuture
from asyncio import CancelledError as TaskCancelledError
from asyncio.tasks import _enter_task, _leave_task  # documented for those who make tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from . import _drivers
from ._drivers import Awaited, Driver, Steps, TaskFactory, accept_deferreds, error_of
from ._faults import is_cancellation


class _Body(Steps):
    """
    The coroutine that a body returned, driven in its caller's context.

    It steps itself, until its task asks for a step (see the head of this file).
    """

    __slots__ = (
        "_deferred",
        "_ending",
        "_is_handed_over",
        "_kept",
        "_operation",
        "_task",
        "_yielded",
    )

    def __init__(
        self,
        coroutine: Coroutine[object, object, object],
        loop: AbstractEventLoop,
        run: Callable[..., object],
        task: _Task,
    ) -> None:
        # As the others'; to call that would take longer.
        self.coroutine = coroutine
        self._loop = loop
        self._run = run
        self._awaited = None
        self._task: _Task | None = task
        # The Deferred that is awaited by a step of the body's own. One of the task's is _awaited.
        self._deferred: Deferred[object] | None = None
        # What the next step is to be made with, if it can be made but not here and now.
        self._kept: tuple[object, BaseException | None] | None = None
        # What is to be answered. The first step is made without.
        self._operation: _Operation | None = None
        # Whether the task has asked for its first step; what of asyncio's was yielded by then; how
        # the body had ended when the task was made.
        self._is_handed_over = False
        self._yielded: object = None
        self._ending: BaseException | None = None

    def step(self, value: object = None, error: BaseException | None = None) -> object:
        """
        Make steps, as many as can be made now, with the task entered; leave it in any case.

        Returns:
            What is to be answered with, if the first step was the last. Else the operation.
        """
        task: Any = self._task
        loop, coroutine = self._loop, self.coroutine
        yielded: Any
        try:
            try:
                while True:
                    if error is None:
                        yielded = self._run(coroutine.send, value)
                    else:
                        yielded = self._run(coroutine.throw, error)
                    if not isinstance(yielded, Deferred):
                        break
                    yielded.addBoth(self._fire)  # no cast(), which is a call
                    if self._kept is None:
                        self._deferred = yielded
                        return self._get_operation()
                    (value, error), self._kept = self._kept, None  # it had fired
            finally:
                _leave_task(loop, task)
        except StopIteration as end:
            end.__traceback__ = None  # its frames hold this one
            self._note(task, end)
            value = end.value
            if self._operation is None:
                self._task = None
                return value
            _answer_with(self._let_go(), value)
        except BaseException as fault:
            self._note(task, fault)
            return self._fail(fault)
        else:
            if yielded is None:
                self._kept = None, None
                loop.call_soon(self._resume)
            else:
                self._yielded = yielded
                task.get_loop()  # wakes it
            return self._get_operation()
        finally:
            # The error's frames lead back to this one, and the task to the error.
            del error, task
        return None

    def _get_operation(self) -> _Operation:
        operation = self._operation
        if operation is None:
            self._operation = operation = _Operation()
            operation.body = self
        return operation

    def _fail(self, fault: BaseException) -> _Operation:
        # Apart from step(), whose frame the error's lead back to.
        operation = self._get_operation()
        _answer(self._let_go(), fault, _frames_of(fault))
        return operation

    def _note(self, task: _Task, ending: BaseException) -> None:
        # Not here unless the task will soon come for it: the error's frames lead back to here.
        if type(task) is _LazyTask:
            task.ending = ending
        else:
            self._ending = ending

    def _fire(self, outcome: object) -> object:
        """
        Go on with what the Deferred that is awaited has fired with.
        """
        if self._awaited is not None:
            return self._awaited.fire(outcome)
        if isinstance(outcome, Failure):
            value, error = None, error_of(outcome)
            outcome = None  # the body answers for it
        else:
            value, error = outcome, None
        try:
            if self._deferred is None:
                self._kept = value, error  # it had fired before it was awaited; see step()
            else:
                self._deferred = None
                try:
                    _enter_task(self._loop, self._task)  # type: ignore[arg-type]
                except RuntimeError:  # it is fired by a task
                    self._kept = value, error
                    self._loop.call_soon(self._resume)
                else:
                    self.step(value, error)
        finally:
            # The frames of an error that is raised now lead back to this one.
            del error
        return outcome

    def _resume(self) -> None:
        """
        Go on in a turn of the loop, unless the task has, or is about to.
        """
        kept = self._kept
        if kept is not None and type(self._task) is _LazyTask:
            self._kept = None
            _enter_task(self._loop, self._task)
            try:
                self.step(*kept)
            finally:
                del kept

    def send(self, value: None) -> object:
        if self._is_handed_over:
            return self._step(Steps.send, None)
        self._hand_over()
        if self._kept is not None:
            return self._step(_go_on, None)
        return self._get_awaited()

    def throw(self, error: BaseException) -> object:
        if not self._is_handed_over:
            # Cancelled before the task knew what is awaited, and could cancel that.
            self._hand_over()
            if self._kept is None:
                awaited: Any = self._get_awaited()
                if isfuture(awaited) and awaited.cancel():
                    return awaited
            self._kept = None
        return self._step(Steps.throw, error)

    def _hand_over(self) -> None:
        """
        Leave all further steps to the task, or raise how the body has ended.
        """
        self._is_handed_over = True
        if self._ending is not None:
            ending, self._ending = self._ending, None
            try:
                raise _of_task(ending)
            finally:
                del ending

    def _get_awaited(self) -> object:
        """
        Return what the body awaits that its task now asks for the first time.
        """
        deferred = self._deferred
        if deferred is not None:
            self._deferred = None
            self._awaited = Awaited(deferred, self._loop)
            return self._awaited
        yielded, self._yielded = self._yielded, None
        return yielded

    @property
    def awaited_deferred(self) -> Deferred[object] | None:
        """
        The Deferred that the body awaits, if it does, and that has not fired.
        """
        awaited = self._awaited
        if awaited is not None:
            return None if awaited.has_fired else awaited.deferred
        return self._deferred

    def cancel(self) -> None:
        """
        Cancel what is awaited, Twisted's way if it is a Deferred.
        """
        deferred = self.awaited_deferred
        if deferred is not None:
            deferred.cancel()
        else:
            task = self._task
            assert task is not None
            task.cancel()

    def _step(self, go_on: Callable[[Any, Any], object], argument: object) -> object:
        """
        Make a step for the task.
        """
        try:
            return go_on(self, argument)
        except StopIteration as end:
            _answer_with(self._let_go(), end.value)
            raise
        except BaseException as error:
            self._answer_later(error)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise _of_task(error) from None
            raise
        finally:
            del argument

    def _answer_later(self, error: BaseException) -> None:
        task = self._task
        assert task is not None
        task.add_done_callback(partial(_answer, self._let_go(), error, _frames_of(error)))

    def _let_go(self) -> _Operation:
        operation = self._operation
        assert operation is not None
        operation.body = None
        self._task = None
        self._operation = None
        return operation


def _go_on(body: _Body, _: object) -> object:
    kept, body._kept = body._kept, None
    assert kept is not None
    try:
        return body._advance(*kept)
    finally:
        del kept


class _Task(Task[object]):
    """
    The task of a body.
    """

    __slots__ = ("body", "ending")

    body: _Body
    ending: BaseException  # how the body has ended, if it has


class _LazyTask(_Task):
    """
    The task of a body that nobody has looked at yet.

    Most bodies await Deferreds only, and ask nothing of their task. So it is no more than an object
    that ``asyncio.current_task()`` returns, until it is used in any way: then it becomes a task.
    """

    __slots__ = ()

    def __getattribute__(self, name: str) -> object:
        object.__setattr__(self, "__class__", _Task)
        body = self.body
        if hasattr(self, "ending"):
            body._ending = self.ending
            del self.ending
        driver: Any = Driver(body)
        Task.__init__(self, driver, loop=body._loop)
        return getattr(self, name)


_new_task = _LazyTask.__new__


def _of_task(error: BaseException) -> BaseException:
    """
    Return what a task is to end with, for an error.
    """
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return TaskCancelledError(repr(error))
    return error


_FILES: Final = (__file__, _drivers.__file__)


def _frames_of(error: BaseException) -> TracebackType | None:
    """
    Return an error's traceback without our frames, which say nothing of the program.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename in _FILES:
        traceback = traceback.tb_next
    return traceback


def _answer_with(operation: _Operation, value: object) -> None:
    if isinstance(value, Deferred):
        cast("Deferred[object]", value).chainDeferred(operation)
    else:
        operation.callback(value)


def _answer(
    operation: _Operation,
    error: BaseException,
    traceback: TracebackType | None,
    task: Task[object] | None = None,
) -> None:
    if task is not None and not task.cancelled():
        task.exception()  # so that asyncio does not log it, too
    if operation.is_cancelled and is_cancellation(error):
        if isinstance(error, TaskCancelledError):
            error = CancelledError(*error.args)
        elif hasattr(error, "exceptions"):
            error = CancelledError(str(error))  # a task group has its own way to say it
    error.__traceback__ = traceback
    operation.errback(Failure(error, type(error), traceback))  # type: ignore[no-untyped-call]
    del error, traceback


class _Operation(Deferred[object]):
    """
    What comes of a body that is driven as a task.
    """

    body: _Body | None = None
    is_cancelled = False

    def cancel(self) -> None:
        """
        Cancel the body, and leave it to that what comes of it.
        """
        if self.body is not None:
            self.is_cancelled = True
            self.body.cancel()


# What runs the coroutines.
CODES: Final = (_Body.step.__code__, Steps.send.__code__, Steps.throw.__code__)


def start_task(
    coroutine: Coroutine[Any, object, object], context: Context, loop: AbstractEventLoop
) -> object:
    """
    Start a coroutine as a task of the loop that runs in this thread.

    Where a task is being stepped already no other can be. There it is started by Twisted.

    Returns:
        A Deferred of what comes of it; or, if it has returned already, what it has returned.
    """
    task: Any = _new_task(_LazyTask)
    task.body = body = _Body(coroutine, loop, context.run, task)
    try:
        _enter_task(loop, task)  # step() leaves it
    except RuntimeError:
        # A task is being stepped: the one in which a program runs its reactor, say.
        return context.run(Deferred.fromCoroutine, coroutine)
    factory: Any = loop.get_task_factory()
    if type(factory) is not TaskFactory:
        accept_deferreds(loop)
    del task  # it will know the error, whose frames lead back to this one
    return body.step()
