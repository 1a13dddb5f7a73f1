"""
The Twisted reactor, where it comes from.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import twisted.internet

from crochet._reactor.reactor import import_reactor
from support.programs import run_python


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

    @pytest.mark.parametrize(
        ("patcher", "name", "module"),
        [
            ("gevent.monkey", "is_module_patched", "threading"),
            ("gevent.monkey", "is_module_patched", "select"),
            ("eventlet.patcher", "is_monkey_patched", "thread"),
            ("eventlet.patcher", "is_monkey_patched", "select"),
        ],
    )
    def test_refuses_what_greenlets_have_replaced(
        self, monkeypatch: pytest.MonkeyPatch, patcher: str, name: str, module: str
    ) -> None:
        """
        In which no reactor can run beside the program. What is said first is what always helps.
        """
        package = patcher.partition(".")[0]
        patched = SimpleNamespace(**{name: lambda asked: asked == module})
        monkeypatch.setitem(sys.modules, patcher, patched)
        match = rf"{package}.*'{module}'.*-k gthread.*{package}\.monkey.*\(thread=False"
        with pytest.raises(RuntimeError, match=match):
            import_reactor()

    @pytest.mark.parametrize("patcher", ["gevent.monkey", "eventlet.patcher"])
    def test_accepts_greenlets_that_left_them_alone(
        self, installed: object, monkeypatch: pytest.MonkeyPatch, patcher: str
    ) -> None:
        """
        As a program can have it.
        """

        def is_patched(module: str) -> bool:
            return module == "socket"

        patched = SimpleNamespace(is_module_patched=is_patched, is_monkey_patched=is_patched)
        monkeypatch.setitem(sys.modules, patcher, patched)
        assert import_reactor() is installed


def test_import_installs_the_default_reactor() -> None:
    """
    If the program has installed none.
    """
    run_python(
        """
        import sys
        from crochet._reactor.reactor import import_reactor

        assert "twisted.internet.reactor" not in sys.modules
        reactor = import_reactor()
        from twisted.internet import reactor as installed
        assert reactor is installed
        """
    )
