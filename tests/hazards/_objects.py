"""
An object that can be entered, waited for and iterated over, and notes what ends where.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

from _leaving import ends
from _verdict import PATIENCE
from twisted.internet.defer import Deferred

import crochet

# Where things have begun to hang.
hanging: list[str] = []


class Thing:
    """
    One that hangs where it is told to: on "enter", "exit", "call" or "item".
    """

    def __init__(self, hangs: str = "") -> None:
        self.hangs = hangs
        self.fails: BaseException | None = None

    async def _pass(self, where: str) -> None:
        if self.hangs == where:
            hanging.append(where)
            await Deferred()

    async def __aenter__(self) -> Thing:
        try:
            await self._pass("enter")
        except BaseException:
            ends.append(threading.get_ident())
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._pass("exit")
            if self.fails is not None:
                raise self.fails
        finally:
            ends.append(threading.get_ident())

    async def call(self) -> int:
        """
        Return one.
        """
        try:
            await self._pass("call")
            return 1
        finally:
            ends.append(threading.get_ident())

    async def items(self) -> AsyncIterator[int]:
        """
        Give one item, and others.
        """
        try:
            yield 1
            await self._pass("item")
            yield 2
        finally:
            ends.append(threading.get_ident())


# Constructed in the reactor thread.
new_thing = crochet.blocking(Thing, timeout=PATIENCE, timeouts={"items": None})
