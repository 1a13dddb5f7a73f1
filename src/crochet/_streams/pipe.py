"""
The hand-over of a stream's items, from the driver in the reactor thread to one consumer.

What must always hold:

1. At most *size* items are handed over and not taken; with none, only what was asked for.
2. A driver that pauses is resumed once, by whoever takes the ticket out of ``pauses``.
3. A consumer waits only while there is no item, and somebody is to release it.

The driver puts the ticket down before the last item that there is room for; a consumer that takes
items, or finds none, looks for it afterwards. One of them sees what the other did, and the ticket
goes to one. By the time the reactor thread comes to resume it, the driver has paused: both are in
that thread.

Threads: put(), pause() and resume() are the reactor thread's; the rest is the consumer's, of whom
there is one at a time (``free``). ``is_closed`` may be set by any thread. No locks: single
operations of lists and deques.
"""

from __future__ import annotations

from asyncio.events import _get_running_loop
from collections import deque
from collections.abc import Awaitable, Callable

from .._core.bridge import Bridge
from .._threads.primitives import discard
from .pause import DeferredPause, TaskPause

# So many items are handed over at most before the reactor looks at anything else.
_BATCH = 100


class Pipe:
    """
    What a stream's driver and its consumer share. It holds neither of them.

    Args:
        size: how many items the driver may be ahead of the consumer.
        bridge: carries what the reactor thread is asked to do.
    """

    __slots__ = (
        "_breath",
        "_bridge",
        "_pause",
        "_paused",
        "free",
        "generation",
        "half",
        "handed_over",
        "is_closed",
        "is_ending",
        "items",
        "pauses",
        "size",
        "wake",
    )

    def __init__(self, size: int, bridge: Bridge) -> None:
        self.size: int = size
        # When so few are left a driver that has paused is resumed. Never, if it is to be asked.
        self.half: int = size // 2 if size else -1
        self._bridge = bridge
        bridge.notice_fork()
        self.generation: int = bridge.generation
        self.items: deque[object] = deque()
        # Holds the ticket while the driver pauses, or is about to. It does from the beginning, if
        # it is to be asked for each item.
        self.pauses: list[None] = [] if size else [None]
        # Whoever takes it is the consumer, for one item.
        self.free: list[None] = [None]
        # What the consumer that waits is released by; the driver takes it. Consumer writes, before
        # it looks at the items for the last time.
        self.wake: Callable[[], object] | None = None
        # Whether nobody wants any more items. Only ever set, by any thread.
        self.is_closed: bool = False
        # Whether the body has been told. Only ever set, in the reactor thread.
        self.is_ending: bool = False
        self.handed_over: int = 0  # reactor thread writes; for status()
        # Reactor thread only: what the driver awaits, and what it always does.
        self._paused: DeferredPause | TaskPause | None = None
        self._pause: DeferredPause | TaskPause | None = None
        self._breath = _BATCH  # likewise

    @property
    def described(self) -> str:
        """
        How many items there were, and who waits for whom. From any thread.
        """
        number, buffered = self.handed_over, len(self.items)
        text = f"{number} item{'' if number == 1 else 's'} handed over, {buffered} of them buffered"
        if self.wake is not None:
            return f"{text}, its consumer waits"
        return f"{text}, waits for its consumer" if self.pauses else text

    def put(self, item: object) -> bool:
        """
        Hand over an item, and tell whether to pause now. Reactor thread only; blocks never.
        """
        items = self.items
        is_full = len(items) + 1 >= self.size  # nobody else appends
        if is_full:
            self.pauses.append(None)  # 1. before the item; see ask()
        items.append(item)
        self.handed_over += 1
        if self.wake is not None:  # after appending
            self.release()
        # 2. The item may be gone already: if this gets the ticket back, it goes on.
        if is_full and not (len(items) <= self.half and discard(self.pauses, None)):
            self._breath = _BATCH
            return True
        self._breath -= 1
        if self._breath:
            return False
        # A body that awaits nothing, and a consumer that keeps up with it, would keep the reactor
        # thread for ever.
        self._breath = _BATCH
        self._bridge.call_from_thread(self.resume)
        return True

    def pause(self) -> Awaitable[None]:
        """
        Return what the driver is to await until it is resumed. Reactor thread only.
        """
        if self._pause is None:
            loop = _get_running_loop()
            self._pause = DeferredPause() if loop is None else TaskPause(loop)
        self._paused = self._pause
        return self._pause

    def resume(self) -> None:
        """
        Have the driver go on. Reactor thread only.
        """
        if self.items and not self.size:
            # A look that came between the ticket and the item has taken the ticket: nothing is
            # asked for yet. Unless the item is taken just now, and another waited for.
            self.pauses.append(None)
            if self.items or self.wake is None or not discard(self.pauses, None):
                return
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def ask(self) -> None:
        """
        Have the driver go on, if it pauses. For the consumer, after it has taken an item or found
        none; blocks never.
        """
        if self.pauses and discard(self.pauses, None):
            try:
                self._bridge.call_from_thread(self.resume)
            except Exception:
                # A reactor that has ended has closed what it is woken by.
                if self._bridge.refusal is None:
                    raise

    def release(self) -> None:
        """
        Have the consumer that waits, if one does, look what there is. From any thread; blocks
        never.
        """
        wake, self.wake = self.wake, None
        if wake is not None:
            wake()
