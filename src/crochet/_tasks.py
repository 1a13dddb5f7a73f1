"""
Drives coroutines on the asyncio reactor, where they may await Deferreds and asyncio's awaitables.

There a coroutine is an asyncio task, so that ``asyncio.current_task()``, ``timeout()``,
``TaskGroup`` and all that builds on them work. Between the task and the coroutine stands a
``Driver``: it hands on what the coroutine yields, but for a Deferred, which it has the task take
for a future (``_Awaited``).

What must always hold:

1. A body starts at once, and goes on as soon as a Deferred that it awaits fires, as it does on
   other reactors. A task by itself would do either in a later turn of the loop.
2. Cancelled by asyncio (``task.cancel()``, a timeout, a task group), a coroutine is thrown
   asyncio's CancelledError, whatever it awaits. Cancelled by Twisted (``EventualResult.cancel()``,
   a wait that was given up), one that awaits a Deferred gets what that Deferred makes of it, which
   is Twisted's CancelledError; else the task is cancelled.
3. No exception ends the loop.
4. The caller is answered when the body has ended; if the caller cancelled it, with Twisted's
   CancelledError for asyncio's.

A body steps itself, its task entered as the current one, as long as it awaits Deferreds only.
The task does not even exist then: to make one takes longer than all that such a body does
(``_LazyTask``). It comes to life once somebody uses it, or something of asyncio's is awaited. A
turn later it asks for its first step, and from then on all steps are the task's:

1. The task is made and asks the loop for its first step.
2. A Deferred fires, and the body makes another step of its own, or several.
3. The task's first step comes. It is told what is awaited now, or how the body has ended.

Verdict: whatever happened in 2, there is one state to be told. A ``_resume()`` that was put off to
a later turn does nothing: the task has gone on with that Deferred, or is about to.

Only one task may be stepped at a time (``_enter_task()`` raises), so a Deferred that is fired by a
task wakes those who await it in the next turn.

A value is answered at once, from within the last step, and so is an error if no task is involved.
Else that is answered in the task's done callback: until then the task's own ``raise`` adds frames
to the exception object, and the waiting thread would do the same at the same time. SystemExit and
KeyboardInterrupt, which a task passes on out of the loop, are kept from it; to the task they are
a cancellation.

Threads: all of it is for the reactor thread only.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task, current_task
from asyncio import CancelledError as TaskCancelledError
from asyncio.tasks import _enter_task, _leave_task  # documented for those who make tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ._faults import is_cancellation

Wakeup = Callable[[Any], object]


class _Awaited:
    """
    A Deferred, as the task that awaits it sees it: something like a future.
    """

    # Here, and not in __init__(), which is called for every Deferred that is awaited.
    _asyncio_future_blocking = True  # how tasks know a future that is awaited
    wakeup: Wakeup | None = None
    _context: Context | None = None
    _cancellation: TaskCancelledError | None = None
    has_fired = False
    _error: BaseException | None = None
    _value: object = None

    def __init__(self, deferred: Deferred[object], loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._deferred = deferred
        deferred.addBoth(self._fire)

    def _fire(self, outcome: object) -> object:
        self.has_fired = True
        if isinstance(outcome, Failure):
            self._error = _error_of(outcome)
            if self._cancellation is not None and is_cancellation(self._error):
                self._error = self._cancellation
            outcome = None  # the coroutine answers for it
        else:
            self._value = outcome
        wakeup = self.wakeup
        if wakeup is not None:
            self.wakeup = None
            # Nobody expects a task to go on while he is cancelling it.
            try:
                if self._cancellation is None and current_task(self._loop) is None:
                    wakeup(self)
                else:
                    self._loop.call_soon(wakeup, self, context=self._context)
            finally:
                # The frames of an error that is raised now lead back to this one.
                del wakeup
        return outcome

    def take(self) -> tuple[object, BaseException | None]:
        """
        Return what to send or to throw into the coroutine, once: an error's frames lead back here.
        """
        taken = self._value, self._error
        self._value = self._error = None
        return taken

    def cancel_as_twisted(self) -> None:
        """
        Cancel the Deferred, to have the coroutine get what comes of it.
        """
        self._deferred.cancel()

    # What follows is for the task.

    def get_loop(self) -> AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wakeup: Wakeup, *, context: Context | None = None) -> None:
        if self.has_fired:  # cancelled by a task that was not told of it before
            self._loop.call_soon(wakeup, self, context=context)
        else:
            self.wakeup, self._context = wakeup, context

    def cancel(self, msg: object = None) -> bool:
        """
        Cancel the Deferred for asyncio. It may take its time, or answer something else.
        """
        if self.has_fired:
            return False
        self._cancellation = TaskCancelledError() if msg is None else TaskCancelledError(msg)
        self._deferred.cancel()
        return True

    def result(self) -> None:
        """
        Wake the task: its driver has the outcome.
        """


def _error_of(failure: Any) -> BaseException:
    error: BaseException = failure.value
    return error.with_traceback(failure.tb)


class Driver:
    """
    A coroutine that may yield Deferreds, as one that yields futures only.
    """

    _awaited: _Awaited | None = None

    def __init__(
        self,
        coroutine: Coroutine[object, object, object],
        loop: AbstractEventLoop,
        run: Callable[..., object],
    ) -> None:
        self._coroutine = coroutine
        self._loop = loop
        # How a method of the coroutine's is called.
        self._run = run

    def __getattr__(self, name: str) -> object:
        # Its name, cr_frame and the like, for those who look into tasks.
        return getattr(self._coroutine, name)

    def send(self, value: None) -> object:
        """
        Go on; called by the task.
        """
        awaited = self._awaited
        if awaited is None:
            return self._advance(None, None)
        self._awaited = None
        return self._advance(*awaited.take())

    def throw(self, error: BaseException) -> object:
        """
        Go on with an error; called by the task.
        """
        self._awaited = None
        return self._advance(None, error)

    def close(self) -> None:
        """
        End a coroutine that goes on no more.
        """
        self._coroutine.close()

    def _advance(self, value: object, error: BaseException | None) -> object:
        coroutine = self._coroutine
        try:
            while True:
                if error is None:
                    yielded = self._run(coroutine.send, value)
                else:
                    yielded = self._run(coroutine.throw, error)
                if not isinstance(yielded, Deferred):
                    return yielded
                awaited = _Awaited(cast("Deferred[object]", yielded), self._loop)
                if not awaited.has_fired:
                    self._awaited = awaited
                    return awaited
                value, error = awaited.take()
        finally:
            # Its traceback holds this frame.
            error = awaited = None  # type: ignore[assignment]


cast("Any", Coroutine).register(Driver)


class _Nothing(Enum):
    """
    Stands for what was yielded, where nothing was; None is something.
    """

    NOTHING = "nothing"


_NOTHING: Final = _Nothing.NOTHING


class _Body(Driver):
    """
    The coroutine that a body returned, driven in its caller's context.

    It steps itself, until its task asks for a step (see the head of this file).
    """

    # Whether the task has asked for its first step; what was yielded by then and is no Deferred;
    # how the body had ended when the task was made.
    _is_handed_over = False
    _yielded: object = _NOTHING
    _ending: BaseException | None = None

    def __init__(
        self,
        coroutine: Coroutine[object, object, object],
        context: Context,
        loop: AbstractEventLoop,
        operation: _Operation,
    ) -> None:
        # As Driver's; to call it would take longer.
        self._coroutine = coroutine
        self._loop = loop
        self._run = context.run
        self._operation = operation
        self._task: _Task | None = _new_task(_LazyTask)
        self._task.body = self

    def start(self, value: object = None, error: BaseException | None = None) -> None:
        """
        Make a step.
        """
        task, loop = self._task, self._loop
        assert task is not None
        try:
            _enter_task(loop, task)
            try:
                yielded = self._advance(value, error)
            finally:
                _leave_task(loop, task)
        except StopIteration as end:
            end.__traceback__ = None  # its frames hold this one
            self._note(task, end)
            _answer_with(self._let_go(), end.value)
        except BaseException as fault:
            self._note(task, fault)
            _answer(self._let_go(), fault, _frames_of(fault))
        else:
            awaited = self._awaited
            if awaited is not None:
                awaited.wakeup = self._resume
            else:
                self._yielded = yielded
                task.get_loop()  # wakes it
        finally:
            # The error's frames lead back to this one, and the task to the error.
            del error, task

    def _note(self, task: _Task, ending: BaseException) -> None:
        # Not here unless the task will soon come for it: the error's frames lead back to here.
        if type(task) is _LazyTask:
            task.ending = ending
        else:
            self._ending = ending

    def _resume(self, awaited: _Awaited) -> None:
        # The task may have asked since, and have been told.
        if awaited is self._awaited and not self._is_handed_over:
            self._awaited = None
            self.start(*awaited.take())

    def send(self, value: None) -> object:
        if not self._is_handed_over:
            yielded = self._hand_over()
            # A bare yield wants a turn, and has had it. A Deferred may have fired since.
            if yielded is not None and (type(yielded) is not _Awaited or not yielded.has_fired):
                return yielded
        return self._step(Driver.send, None)

    def throw(self, error: BaseException) -> object:
        if not self._is_handed_over:
            # Cancelled before the task knew what is awaited, and could cancel that.
            yielded: Any = self._hand_over()
            if yielded is not None and yielded.cancel():
                return yielded
        return self._step(Driver.throw, error)

    def _hand_over(self) -> object:
        """
        Return what is awaited now, for the task, or raise how it has ended.
        """
        self._is_handed_over = True
        if self._ending is not None:
            ending, self._ending = self._ending, None
            try:
                raise _of_task(ending)
            finally:
                del ending
        yielded, self._yielded = self._yielded, _NOTHING
        return self._awaited if yielded is _NOTHING else yielded

    def cancel(self) -> None:
        """
        Cancel what is awaited, Twisted's way if it is a Deferred.
        """
        awaited = self._awaited
        if awaited is not None and not awaited.has_fired:
            awaited.cancel_as_twisted()
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
        operation.body = None
        self._task = None
        del self._operation
        return operation


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
        Task.__init__(self, cast("Any", body), loop=body._loop)
        return getattr(self, name)


_new_task = _LazyTask.__new__


def _of_task(error: BaseException) -> BaseException:
    """
    Return what a task is to end with, for an error.
    """
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return TaskCancelledError(repr(error))
    return error


def _frames_of(error: BaseException) -> TracebackType | None:
    """
    Return an error's traceback without our frames, which say nothing of the program.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
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
CODES: Final = (_Body.start.__code__, Driver.send.__code__, Driver.throw.__code__)


def start_task(
    coroutine: Coroutine[object, object, object], context: Context, loop: AbstractEventLoop
) -> Deferred[object]:
    """
    Start a coroutine as a task of the loop that runs in this thread, outside of any task.
    """
    accept_deferreds(loop)
    operation = _Operation()
    body = operation.body = _Body(coroutine, context, loop, operation)
    body.start()
    return operation


class _Following(Deferred[object]):
    """
    What comes of a future that a body returned.
    """

    def __init__(self, future: Future[object]) -> None:
        super().__init__()
        self._is_cancelled = False
        self._future: Future[object] | None = future
        future.add_done_callback(self._end)

    def cancel(self) -> None:
        """
        Cancel the future, and leave it to that what comes of it.
        """
        if self._future is not None:
            self._is_cancelled = True
            self._future.cancel()

    def _end(self, future: Future[object]) -> None:
        self._future = None
        error: BaseException | None
        if future.cancelled():
            error = CancelledError() if self._is_cancelled else TaskCancelledError()
        else:
            error = future.exception()
        if error is None:
            self.callback(future.result())
        else:
            traceback = error.__traceback__
            self.errback(Failure(error, type(error), traceback))  # type: ignore[no-untyped-call]
        del error


def follow_future(future: Future[object]) -> Deferred[object]:
    """
    Return a Deferred that fires as a future of this thread's loop does.
    """
    return _Following(future)


def _call(function: Callable[..., object], argument: object) -> object:
    return function(argument)


class _TaskFactory:
    """
    Makes tasks whose coroutines may await Deferreds.

    Args:
        make: how the loop made tasks before, if not as loops do.
    """

    def __init__(self, make: Callable[..., Future[object]] | None) -> None:
        self._make = make

    def __call__(
        self,
        loop: AbstractEventLoop,
        coroutine: Coroutine[object, object, object],
        **arguments: object,
    ) -> Future[object]:
        driver = cast("Coroutine[Any, Any, object]", Driver(coroutine, loop, _call))
        if self._make is None:
            return Task(driver, loop=loop, **cast("Any", arguments))
        return self._make(loop, driver, **arguments)


def accept_deferreds(loop: AbstractEventLoop) -> None:
    """
    Have all tasks that a loop makes from now on accept Deferreds.
    """
    factory = cast("Any", loop.get_task_factory())
    if type(factory) is not _TaskFactory:
        loop.set_task_factory(_TaskFactory(factory))  # type: ignore[arg-type]
