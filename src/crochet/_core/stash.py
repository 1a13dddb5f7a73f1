"""
Results that wait to be retrieved by number, in this process.

A number is all that a visitor needs to get at a result, so it has to be beyond guessing, and a
failed retrieval must not tell whether a number ever was one.

No lock: to put is one dict operation, and so is to take out; of any number of threads that want
the same entry, ``dict.pop`` gives it to one.
"""

from __future__ import annotations

import secrets

from .result import EventualResult

# Fits the signed 64-bit columns and fields into which programs put it.
_BITS = 63


class Stash:
    """
    A table of results, each to be taken out once.
    """

    def __init__(self) -> None:
        self._results: dict[int, EventualResult[object]] = {}

    def put(self, result: EventualResult[object]) -> int:
        """
        Keep a result and return its number.
        """
        while True:
            uid = secrets.randbits(_BITS)
            if self._results.setdefault(uid, result) is result:
                return uid

    def take(self, result_id: int) -> EventualResult[object]:
        """
        Take out the result of that number.

        Call it from any thread. Blocks never.

        Raises:
            KeyError: there is none, or no more.
        """
        # Only a plain int: True and 1.0 are equal to one, and a list cannot even be looked up.
        result = self._results.pop(result_id, None) if type(result_id) is int else None
        if result is None:
            raise KeyError(
                "no result is stashed under this number: it was never given out, it was "
                "retrieved already, or it was given out by another process; each stash() allows "
                "one retrieve_result()"
            )
        return result
