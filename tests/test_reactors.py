"""
The Twisted reactor: where it comes from, and what is done to it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import twisted.internet

from crochet._reactors import import_reactor, refuse_to_run, use_daemon_threads
from fakes import FakeReactor, close_reactor, new_real_reactor, run_python


@pytest.fixture(params=[FakeReactor, new_real_reactor], ids=["fake", "real"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A reactor that has not run.
    """
    reactor = request.param()
    yield reactor
    close_reactor(reactor)


class TestImport:
    """
    Of the process's reactor.
    """

    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> object:
        """
        What a program has installed.
        """
        installed = object()
        monkeypatch.setitem(sys.modules, "twisted.internet.reactor", installed)
        monkeypatch.setattr(twisted.internet, "reactor", installed, raising=False)
        return installed

    def test_finds_what_is_installed(self, installed: object) -> None:
        """
        Whatever that is.
        """
        assert import_reactor() is installed

    @pytest.mark.parametrize("module", ["threading", "select"])
    def test_refuses_what_gevent_has_replaced(
        self, monkeypatch: pytest.MonkeyPatch, module: str
    ) -> None:
        """
        In which no reactor can run beside the program.
        """
        monkey = SimpleNamespace(is_module_patched=lambda name: name == module)
        monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
        with pytest.raises(RuntimeError, match=rf"gevent.*'{module}'.*patch_all\(thread=False"):
            import_reactor()

    def test_accepts_a_gevent_that_left_them_alone(
        self, installed: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Which is what the refusal asks for.
        """
        monkey = SimpleNamespace(is_module_patched=lambda name: name == "socket")
        monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
        assert import_reactor() is installed


def test_import_installs_the_default_reactor() -> None:
    """
    If the program has installed none.
    """
    run_python(
        """
        import sys
        from crochet._reactors import import_reactor

        assert "twisted.internet.reactor" not in sys.modules
        reactor = import_reactor()
        from twisted.internet import reactor as installed
        assert reactor is installed
        """
    )


class TestRefusals:
    """
    Of a reactor that cannot be run by Crochet.
    """

    def test_none_if_it_has_not_run(self, reactor: Any) -> None:
        """
        As it should be.
        """
        refuse_to_run(reactor)

    def test_none_if_nobody_can_tell(self) -> None:
        """
        As with a reactor of another make.
        """
        refuse_to_run(SimpleNamespace(running=False))  # type: ignore[arg-type]

    def test_if_it_runs(self, reactor: Any) -> None:
        """
        And the program should have said so.
        """
        caught: list[Exception] = []

        def refuse() -> None:
            try:
                refuse_to_run(reactor)
            except RuntimeError as error:
                caught.append(error)
            reactor.stop()

        reactor.callWhenRunning(refuse)
        reactor.run(False)
        assert "is running already" in str(caught[0])
        assert "call crochet.no_setup()" in str(caught[0])

    def test_if_it_has_run(self, reactor: Any) -> None:
        """
        For Twisted's reactors run once.
        """
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        with pytest.raises(RuntimeError, match="has run and was stopped"):
            refuse_to_run(reactor)


class TestPool:
    """
    The threads of ``deferToThread()``.
    """

    def test_has_daemons(self, reactor: Any) -> None:
        """
        Which Python does not wait for before it calls exit hooks.
        """
        use_daemon_threads(reactor)
        seen: list[bool] = []

        def work() -> None:
            seen.append(threading.current_thread().daemon)
            reactor.callFromThread(reactor.stop)

        reactor.callWhenRunning(reactor.callInThread, work)
        reactor.run(False)
        assert seen == [True]

    def test_need_not_be_there(self) -> None:
        """
        Not every reactor has one.
        """
        use_daemon_threads(object())  # type: ignore[arg-type]
