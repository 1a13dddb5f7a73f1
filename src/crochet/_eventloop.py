"""
The names that programs import from ``crochet._eventloop``, as if that were public.

It is a module of version 2.1.1. Web applications catch its ``TimeoutError``, and tests of clients
that are built on Crochet look for its ``EventualResult``. MAAS puts a class of its own in there,
and deletes what is deprecated from ``EventLoop``, of which ``crochet._main`` is the one instance.
"""

from __future__ import annotations

from types import SimpleNamespace as EventLoop

from ._core.result import EventualResult
from ._errors import ReactorStopped, TimeoutError

__all__ = ["EventLoop", "EventualResult", "ReactorStopped", "TimeoutError"]
