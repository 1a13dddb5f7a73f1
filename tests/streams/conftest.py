"""
Processes whose reactors run, of either kind: Twisted's own, and asyncio's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crochet._core import waiting as _waiting
from crochet._streams import consumer as _consumer
from crochet._streams.context import Contexting
from crochet._streams.iterating import Iterating
from crochet._streams.objects import Objects
from crochet._threads.threads import start_thread
from support.process import FakeProcess
from support.reactor import close_reactor, new_real_reactor
from support.stepping import BOUND


def _runs(name: str | None) -> Iterator[Any]:
    reactor = new_real_reactor(name)
    process: Any = FakeProcess(reactor, start_thread)
    process.iterate = Iterating(process.bridge).iterate_in_reactor
    process.context = Contexting(process.bridge).context_in_reactor
    process.blocking = Objects(process.bridge).blocking
    process.loop.setup()
    yield process
    process.exit()
    close_reactor(reactor)


@pytest.fixture(scope="module", params=["default", "asyncio"])
def either(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A process whose reactor runs; each test is run with one of either kind.
    """
    yield from _runs(request.param)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Has threads that give up wait for the reactor thread to hear of it, however busy the machine.
    """
    for module in (_waiting, _consumer):
        monkeypatch.setattr(module, "CANCEL_DELIVERY", BOUND)


@pytest.fixture(scope="module")
def on_asyncio() -> Iterator[Any]:
    """
    A process whose reactor is asyncio's.
    """
    yield from _runs("asyncio")


@pytest.fixture(params=["default", "asyncio"])
def own(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    Likewise, for one test alone, which may stop it.
    """
    yield from _runs(request.param)


@pytest.fixture
def stepped_streams(stepped: FakeProcess) -> Any:
    """
    A process with a fake reactor that runs, a turn whenever the test says so.
    """
    process: Any = stepped
    process.iterate = Iterating(stepped.bridge).iterate_in_reactor
    return process
