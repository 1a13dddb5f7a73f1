"""
The consumer's side of a stream: how a thread waits for the next item, and how it gives up.

The body and its driver are one call, carried by the bridge like any other: its answer is the end of
the stream, or its error, and comes after the last item. So whatever ends calls (the reactor's end,
a fork, exit) ends streams. What must always hold:

1. When a wait for an item ends without one, for lack of time, by Ctrl-C or any other exception, the
   body has ended or was told to, and the stream is closed.
2. An exhausted or closed stream is over, for ever; an error is raised once, before that.
3. A thread that waits is listed in ``bridge.waits``, for as long as only an item, the end, or a
   task that another thread puts to its waiter can end its wait.

Threads: one at a time takes items (``pipe.free``); any may close. What a consumer holds never holds
it: not the pipe, not the driver, not the call. A signal's exception may come between any two steps.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from functools import partial
from typing import Any, Final
from weakref import ref

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import PENDING
from .._core.deadline import get_bound, get_end
from .._core.failure import StoredError
from .._core.progress import INTERVAL, OnProgress, Progress, Reported, last_report, progress_of
from .._core.waiting import CANCEL_DELIVERY, ends
from .._errors import Limit, Reason
from .._threads import clock, timeouts
from .._threads.finalizer import Finalizer
from .._threads.primitives import CROWD, Task, Waiter, discard
from .call import StreamCall
from .pipe import Pipe


class NoItem:
    """
    What a wait ends with that has no item. With an error, that is to be raised.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None = None) -> None:
        self.error: BaseException | None = error


OVER: Final = NoItem()  # there will be none
NOT_YET: Final = NoItem()  # there is none yet


class ItemWait:
    """
    One wait for an item: since when, until when, and why no longer.
    """

    __slots__ = ("began", "end", "limit")

    def __init__(self, limit: float, began: float | None = None) -> None:
        self.began: float = clock.monotonic() if began is None else began
        self.end: float = self.began + limit
        self.limit: Limit = Limit(limit)
        deadline = get_end()
        if deadline < self.end:
            self.end = deadline
            self.limit = Limit(deadline - self.began, by_deadline=True)


class Consumer:
    """
    Takes the items of one stream, and ends its body.

    Args:
        bridge: carries the call.
        call: the body's and its driver's. It has *waiter* among its callbacks.
        pipe: the items'.
        waiter: what a thread that waits for an item is blocked on.
        limit: seconds for each item.
        grace: seconds for the body's cleanup.
        progress: is called with what the body reports, in the thread that waits.
    """

    __slots__ = (
        "_tells_at",
        "_told",
        "bridge",
        "call",
        "finalizer",
        "grace",
        "limit",
        "name",
        "pipe",
        "progress",
        "waiter",
        "wake",
    )

    def __init__(
        self,
        bridge: Bridge,
        call: StreamCall,
        pipe: Pipe,
        waiter: Waiter,
        limit: float,
        grace: float,
        progress: OnProgress | None = None,
    ) -> None:
        self.bridge: Bridge = bridge
        self.call: StreamCall = call
        self.pipe: Pipe = pipe
        self.waiter: Waiter = waiter
        self.wake: partial[None] = partial(waiter.put, None)
        self.limit: float = limit
        self.grace: float = grace
        self.name: str = call.name
        # Has the body end with the stream, which alone holds this.
        self.finalizer: Finalizer = Finalizer(bridge.when_dropped, call.close_soon)
        call.finalizer = ref(self.finalizer)
        self.progress: OnProgress | None = progress
        if progress is not None:
            self._told: Reported | None = None
            self._tells_at = 0.0

    def begin(self, at_end: partial[Any] | None = None) -> None:
        """
        Have the body begin, and *at_end* called in the end; by default, what releases a coroutine
        that awaits an item. Blocks never.
        """
        try:
            # The bridge is to hold the call, and so the driver: in a garbage collection that finds
            # it together with the stream Python would close the body, anywhere.
            self.bridge.watched.add(self.call)
            self.call.callbacks[at_end or partial(self.pipe.release)] = None  # these do not raise
            self.bridge.submit(self.call)
        except BaseException:
            self.close_soon()
            self.bridge.watched.discard(self.call)
            raise

    def take(self, limit: float, *, is_beat: bool = False) -> object:
        """
        Return the next item; or NOT_YET if it does not come in *limit* seconds, and that *is_beat*.

        Blocks up to *limit* seconds, or until a deadline.

        Raises:
            StopIteration: there are no more items, or the stream is closed.
            BaseException: what ``Stream.__next__()`` raises.
        """
        pipe, bridge = self.pipe, self.bridge
        if get_ident() == bridge.reactor_thread and bridge.is_reactor_thread():
            raise _errors.next_in_reactor_thread(self.name)
        is_mine, item = False, None
        try:
            is_mine = discard(pipe.free, None)
            if is_mine:
                items = pipe.items
                if items and bridge.mark[0] and not (pipe.is_closed or self._is_parents()):
                    item = items.popleft()
                    if pipe.pauses and len(items) <= pipe.half:
                        pipe.ask()
                else:
                    item = self._wait(limit, is_beat)
                pipe.free.append(None)
        except BaseException:
            try:
                self._interrupted()
            except BaseException:
                self._interrupted()  # interrupted before it had begun to guard itself
                raise
            raise
        if not is_mine:
            item = self.not_mine()
        if type(item) is NoItem and item is not NOT_YET:
            try:
                self.raise_error(item)
                raise StopIteration
            finally:
                del item, self, pipe  # the error's traceback holds this frame
        return item

    def _is_parents(self) -> bool:
        return self.pipe.generation != self.bridge.generation

    def not_mine(self) -> NoItem:
        """
        Return what somebody gets who cannot have the next item, for somebody else waits for it.

        Raises:
            ValueError: so it is.
        """
        self.bridge.notice_fork()
        if self.pipe.is_closed or self._is_parents():  # who waited was a thread of the parent's
            return OVER
        raise _errors.item_awaited(self.name)

    def _wait(self, limit: float, is_beat: bool) -> object:
        pipe, bridge, waiter = self.pipe, self.bridge, self.waiter
        call, items = self.call, pipe.items
        pipe.wake = self.wake  # before looking; see the heads of call.py and of pipe.py
        # (In a forked child that has noticed it no call of the parent's is pending.)
        is_open = call.outcome is PENDING and bridge.mark[0] and not (items or pipe.is_closed)
        is_plain = self.progress is None and get_bound() is None and len(bridge.waits) <= CROWD
        if not (is_open and is_plain):
            return self._wait_on(ItemWait(limit), None, is_beat)
        # Mostly the item is there, or the end, before anything else need be known.
        began = clock.monotonic()
        patience = timeouts.LONGEST
        pipe.ask()
        bridge.waits[waiter] = get_ident(), call
        task = waiter.wait(limit if limit < patience else patience)
        bridge.waits.pop(waiter, None)
        if task is None and bridge.mark[0] and not pipe.is_closed:
            if call.outcome is PENDING:
                if items and pipe.half < 0:
                    return items.popleft()
            elif not (items or bridge.handoff.turns):
                return OVER
        return self._wait_on(ItemWait(limit, began), task, is_beat)

    def _wait_on(self, wait: ItemWait, task: Task | None, is_beat: bool) -> object:
        """
        Wait for an item that the body was asked for, and run *task* first, if there is one.
        """
        pipe, bridge, call, waiter = self.pipe, self.bridge, self.call, self.waiter
        ident = get_ident()
        warns_at = wait.began + timeouts.LONGEST
        while True:
            if bridge.handoff.turns:
                bridge.handoff.wake_next(waiter)
            if task is not None:
                task()
            pipe.wake = self.wake  # before looking, as above
            item = self.look()
            now = clock.monotonic()
            if self.progress is not None:
                self._tell(self.progress, now, is_last=item is OVER or now >= wait.end)
            if item is not NOT_YET:
                pipe.wake = None
                return item
            if now >= wait.end:
                if is_beat and not wait.limit.by_deadline:
                    pipe.wake = None
                    return self.look()
                error = self._give_up(wait)
                if error is not None:
                    return NoItem(error)
                continue
            if now >= warns_at:
                warns_at = wait.end
                bridge.diagnosis.warn_if_in_loop(self.name)
            bridge.waits[waiter] = ident, call
            patience = bridge.look_up(waiter, wait.end, now)
            if self.progress is not None and patience > INTERVAL:
                patience = INTERVAL
            task = waiter.wait(patience)  # in slices: see LONGEST
            bridge.waits.pop(waiter, None)
            if bridge.waits.is_crowd:
                bridge.waits.pass_on(waiter, clock.monotonic())

    def _tell(self, progress: OnProgress, now: float, *, is_last: bool) -> None:
        """
        Tell what the body has reported, if that is new: ten times a second at most, and the last.
        """
        reported = self.call.reported
        if reported is not self._told and (is_last or now >= self._tells_at):
            self._told, self._tells_at = reported, now + INTERVAL
            progress(progress_of(reported) or Progress())

    def look(self) -> object:
        """
        Return the item that is there, OVER, or NOT_YET if the body was asked for one.
        """
        self.bridge.notice_fork()
        pipe = self.pipe
        if pipe.is_closed or self._is_parents():
            return OVER
        is_over = self.call.outcome is not PENDING  # before the items: it comes after the last
        if pipe.items:
            item = pipe.items.popleft()
            if len(pipe.items) <= pipe.half:
                pipe.ask()
            return item
        if is_over:
            return OVER
        pipe.ask()
        return NOT_YET

    def _give_up(self, wait: ItemWait) -> BaseException | None:
        """
        Close the stream for lack of time, and return the error to be raised; None if there is an
        item, or the end, after all.
        """
        reason = self.explain(wait)  # before it is cancelled: then it waits on nothing
        pipe = self.pipe
        if pipe.items or pipe.is_closed or self.call.outcome is not PENDING:
            return None
        has_begun, has_ended = self.end(CANCEL_DELIVERY)
        self.waiter.clear()  # it is too late for tasks
        return self.too_late(wait, reason, has_begun=has_begun, has_ended=has_ended)

    def explain(self, wait: ItemWait) -> Reason:
        """
        Tell why there is no item yet.
        """
        reason = self.bridge.explain(self.call, wait.began)
        number = self.pipe.handed_over
        if reason.state != "waiting" or not number or not reason.awaits:
            return reason
        items = "1 item" if number == 1 else f"{number} items"
        chain = " > ".join(map(str, reason.awaits))
        text = f"It has given {items} so far, and waits in {chain}."
        return reason._replace(text=f"{text} {last_report(self.call.reported)}".rstrip())

    def too_late(
        self, wait: ItemWait, reason: Reason, *, has_begun: bool, has_ended: bool
    ) -> BaseException:
        """
        Return the error of a wait whose time was over.
        """
        if not has_begun:
            return _errors.never_started(self.name, wait.limit, reason)
        return _errors.no_item(self.name, wait.limit, reason, ended=has_ended)

    def end(self, patience: float) -> tuple[bool, bool]:
        """
        Have the body end, and tell whether it had begun, and whether it has ended.

        Blocks up to *patience* seconds, until the reactor thread has told it; and if it has,
        altogether for as long as the body is given. In the reactor thread, never.
        """
        call, bridge, grace = self.call, self.bridge, self.grace
        has_begun = self.close_soon()
        if call.outcome is PENDING and get_ident() != bridge.reactor_thread:
            waiter = bridge.new_waiter()
            call.callbacks[waiter] = None
            began = clock.monotonic()
            if not ends(call, waiter, min(patience, grace)) and self.pipe.is_ending:
                ends(call, waiter, began + grace - clock.monotonic())
            call.callbacks.pop(waiter, None)
            if bridge.handoff.turns:
                bridge.handoff.wake_next(waiter)
        return has_begun, call.outcome is not PENDING

    def close_soon(self) -> bool:
        """
        Have the body end, and tell whether it had begun. From any thread; blocks never.
        """
        has_begun = self.call.close_soon()
        self.finalizer.detach()  # after it: told twice is better than never
        return has_begun

    def close(self) -> None:
        """
        Have the body end. Blocks up to its grace; in the reactor thread, never.
        """
        try:
            self.end(self.grace)
        except BaseException:
            self.close_soon()
            self.bridge.handoff.release_all()
            raise

    def _interrupted(self) -> None:
        """
        Close the stream, as the exception that has ended a wait is handled, and say so there.
        """
        call, bridge = self.call, self.bridge
        try:
            bridge.waits.pop(self.waiter, None)
            was_open = call.outcome is PENDING
            has_begun, has_ended = self.end(CANCEL_DELIVERY)
            self.waiter.clear()
            add_note = getattr(sys.exc_info()[1], "add_note", None)  # from Python 3.11 on
            if was_open and add_note is not None:
                add_note(_errors.how_it_ended(self.name, started=has_begun, ended=has_ended))
        except BaseException:
            self.call.close_soon()  # a second one
            raise
        finally:
            # The first may have cut a wake-up short, or kept others waiting; see handoff.py.
            bridge.handoff.release_all()
            bridge.wake()

    def raise_error(self, item: NoItem) -> None:
        """
        Raise what a wait has ended with, or the stream, unless that was its end.
        """
        pipe, outcome = self.pipe, self.call.outcome
        try:
            if item.error is not None:
                raise item.error
            if pipe.is_closed:
                return
            pipe.is_closed = True
            self.finalizer.detach()
            if self._is_parents():
                raise _errors.forked(self.name)
            if type(outcome) is StoredError:
                outcome.throw()
        finally:
            del item, self, pipe, outcome  # the error's traceback holds this frame
