"""
How the ways in may be called: the types of ``setup()``, ``shutdown()``, ``running()`` and
``retrieve_result()``.

For type checkers, to which the package's names are variables. Nothing loads this at run time.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from ._reactor.asyncio_loop import LoopFactory
from ._reactor.choice import ReactorChoice
from ._threads.timeouts import EXIT_PATIENCE, MAX_QUEUED, STALL_WARNING, Seconds


class Setup(Protocol):
    """
    The type of :func:`setup`.
    """

    def __call__(
        self,
        *,
        logging: bool = True,
        stall_warning: Seconds = STALL_WARNING,
        exit_patience: Seconds = EXIT_PATIENCE,
        max_queued: float | None = MAX_QUEUED,
        reactor: ReactorChoice | None = None,
        loop_factory: LoopFactory | None = None,
    ) -> None:
        """
        Start the reactor.
        """


class Shutdown(Protocol):
    """
    The type of :func:`shutdown`.
    """

    def __call__(self, timeout: Seconds = 10.0) -> None:
        """
        Stop the reactor.
        """


class Running(Protocol):
    """
    The type of :func:`running`.
    """

    def __call__(
        self,
        *,
        logging: bool = True,
        stall_warning: Seconds = STALL_WARNING,
        exit_patience: Seconds = EXIT_PATIENCE,
        max_queued: float | None = MAX_QUEUED,
        timeout: Seconds = 10.0,
        reactor: ReactorChoice | None = None,
        loop_factory: LoopFactory | None = None,
    ) -> AbstractContextManager[None]:
        """
        Have the reactor run for the length of a ``with`` block.
        """
        ...
