"""
The reactor's methods, for a prompt.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from crochet._interactive.reactor_proxy import Carried
from support.process import FakeProcess
from support.stepping import BOUND


@pytest.fixture
def carried(running: FakeProcess) -> Iterator[Carried]:
    """
    Those of a reactor in a thread of its own, while the test lasts.
    """
    carried = Carried(running.reactor, running.bridge, running.loop.calls)
    carried.start()
    yield carried
    carried.stop()


@pytest.mark.usefixtures("carried")
def test_a_method_is_called_in_the_reactor_thread(running: FakeProcess) -> None:
    """
    From wherever; what it returns or raises comes back.
    """
    fired = threading.Event()
    threads: list[str] = []

    def fire() -> None:
        threads.append(threading.current_thread().name)
        fired.set()

    timer = running.reactor.callLater(0.001, fire)
    assert fired.wait(BOUND)
    assert threads == ["crochet-reactor"]
    assert not timer.active()
    with pytest.raises(TypeError):
        running.reactor.callLater()
    assert running.reactor.callLater.__name__ == "callLater"


@pytest.mark.usefixtures("carried")
def test_in_the_reactor_thread_it_is_the_method_itself(running: FakeProcess) -> None:
    """
    It need not wait for anybody.
    """

    def in_reactor() -> bool:
        timer = running.reactor.callLater(BOUND, threading.Event)
        timer.cancel()
        return bool(timer.cancelled)

    assert running.wait_for(BOUND)(in_reactor)()


def test_without_a_running_reactor_it_is_the_method_itself(process: FakeProcess) -> None:
    """
    Nobody would answer.
    """
    carried = Carried(process.reactor, process.bridge, process.loop.calls)
    carried.start()
    assert process.reactor.callLater(1.0, threading.Event).active()


def test_all_is_put_back(running: FakeProcess) -> None:
    """
    But what somebody else has replaced is left alone, before and after.
    """
    reactor = running.reactor
    before = dict(vars(reactor))
    reactor.listenTCP = mine = object()
    carried = Carried(reactor, running.bridge, running.loop.calls)
    try:
        carried.start()
        assert reactor.listenTCP is mine
        assert vars(reactor)["callLater"] is reactor.callLater
        reactor.listenUDP = mine
        carried.stop()
        assert reactor.listenUDP is mine
    finally:
        del reactor.listenTCP, reactor.listenUDP
    assert vars(reactor) == before
    carried.stop()
