"""
The hand-over of items, step by step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any, cast

from crochet._streams.pause import TaskPause
from crochet._streams.pipe import Pipe


class EarlyLook(list[None]):
    """
    Has the consumer look for the ticket right after the driver has put it down, once.
    """

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe: Pipe | None = pipe

    def append(self, ticket: None, /) -> None:
        super().append(ticket)
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.ask()


def test_a_look_before_the_item_asks_for_no_other() -> None:
    """
    Without a buffer the driver goes on when the item was taken and another is asked for.
    """
    asked: list[Callable[[], object]] = []
    bridge = SimpleNamespace(
        generation=0, refusal=None, call_from_thread=asked.append, notice_fork=int
    )
    pipe = Pipe(0, cast("Any", bridge))
    pipe.pauses = EarlyLook(pipe)  # and no ticket: an item was asked for
    assert pipe.put("an item")
    resumed: list[object] = []
    paused: Any = pipe.pause()
    paused.addBoth(resumed.append)
    asked.pop()()
    assert not resumed
    assert pipe.items.popleft() == "an item"
    assert not asked
    pipe.wake = lambda: None
    pipe.ask()
    asked.pop()()
    assert resumed == [None]


def test_a_pause_may_end_in_its_own_context() -> None:
    """
    Where that cannot be entered once more: its task goes on in the next turn.
    """

    async def main() -> None:
        loop, context = asyncio.get_running_loop(), copy_context()
        pause = TaskPause(loop)
        woken: list[TaskPause] = []
        pause.add_done_callback(woken.append, context=context)  # as its task does
        loop.call_soon(pause.callback, None, context=context)
        await asyncio.sleep(0)
        assert not woken
        await asyncio.sleep(0)
        assert woken == [pause]

    asyncio.run(main())
