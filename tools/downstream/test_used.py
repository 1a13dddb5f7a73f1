"""
A suite that uses everything the plugin has.
"""

import threading

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from crochet import wait_for

MAIN = threading.get_ident()
ident = wait_for(timeout=5)(threading.get_ident)


@pytest.mark.crochet
@pytest.mark.parametrize("number", [1, 2])
async def test_coroutine(number):
    from twisted.internet import reactor

    await deferLater(reactor, 0.001)
    assert threading.get_ident() != MAIN


class TestMethods:
    @pytest.mark.crochet(timeout=5)
    def test_deferred(self):
        assert threading.get_ident() != MAIN
        return succeed(None)


@pytest.mark.xfail(strict=True)
@pytest.mark.crochet(timeout=0.05)
async def test_that_takes_too_long():
    await Deferred()


def test_reactor(crochet_reactor):
    assert ident() != MAIN


def test_session(crochet_session):
    assert ident() != MAIN


def test_clock(crochet_clock):
    deferred = Deferred()
    crochet_clock.callLater(3, deferred.callback, 8)
    assert wait_for(timeout=5)(lambda: deferred)() == 8
    assert ident() == MAIN
