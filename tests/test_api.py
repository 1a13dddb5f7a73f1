"""
The way in, by which the rest is loaded. What it loads, and when, is in test_package.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from crochet import _api as _entrance
from crochet._api import Entrance
from crochet._lifecycle.lifecycle import EventLoop
from support.stepping import BOUND


class _Overtaken(Entrance):
    """
    One that a second thread enters, and gets through, while the first is loading.
    """

    def __init__(self) -> None:
        super().__init__("crochet")
        self.second: EventLoop | None = None

    def _enter_second(self) -> None:
        self.second = self.event_loop()

    def _looked_up(self, name: str, names: dict[str, object]) -> object:
        if self.second is None and threading.current_thread().name != "second":
            thread = threading.Thread(target=self._enter_second, name="second")
            thread.start()
            thread.join(BOUND)
        return super()._looked_up(name, names)


class _Interrupted(Entrance):
    """
    One that is entered again, in the same thread, while that is loading.
    """

    def __init__(self) -> None:
        super().__init__("crochet")
        self.refusals: list[str] = []

    def _looked_up(self, name: str, names: dict[str, object]) -> object:
        self.setup()
        for function in (self.no_setup, self.shutdown, self.running, self.status):
            with pytest.raises(RuntimeError, match="in the middle of setup") as refused:
                function()
            self.refusals.append(str(refused.value).partition("(")[0])
        return super()._looked_up(name, names)


def test_threads_that_enter_at_once_get_the_same_event_loop() -> None:
    """
    That of whoever is through first; the other's is dropped.
    """
    entrance = _Overtaken()
    first = entrance.event_loop()
    assert isinstance(first, EventLoop)
    assert first is entrance.second
    assert first is entrance.event_loop()
    assert first.bridge is entrance.bridge


def test_what_interrupts_the_loading_finds_setup_under_way() -> None:
    """
    A signal handler or a ``__del__``: setup() returns, and what it cannot do by then is refused.
    """
    entrance = _Interrupted()
    entrance.event_loop()
    assert entrance.refusals[:4] == ["no_setup", "shutdown", "running", "status"]


def test_shutdown_before_setup_has_nothing_to_do() -> None:
    """
    But to look at what it was given.
    """
    entrance = Entrance("crochet")
    entrance.shutdown(1.0)
    with pytest.raises(TypeError, match="number of seconds"):
        entrance.shutdown("soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    entrance.event_loop()
    entrance.shutdown(1.0)


def test_status_before_setup() -> None:
    """
    Is told without loading the rest, and the same afterwards.
    """
    entrance = Entrance("crochet")
    before = entrance.status()
    entrance.event_loop()
    assert entrance.status().state == before.state == "not set up"


def test_a_name_is_entered_once() -> None:
    """
    Whoever looks it up first; an unknown one is not entered, and the text says whose it is not.
    """
    entrance = Entrance("crochet")
    names: dict[str, object] = {}
    found = entrance.look_up("reactor_only", names)
    assert names == {"reactor_only": found}
    assert entrance.look_up("reactor_only", names) is found
    with pytest.raises(AttributeError, match="module 'crochet' has no attribute 'nothing'"):
        entrance.look_up("nothing", names)
    assert list(names) == ["reactor_only"]


def test_the_extension_is_one() -> None:
    """
    That which loads it for IPython, and that which unloads it, know of each other.
    """
    entrance = Entrance("crochet")
    names: dict[str, object] = {}
    load = entrance.look_up("load_ipython_extension", names)
    unload = entrance.look_up("unload_ipython_extension", names)
    extension = entrance.look_up("_extension", names)
    assert getattr(load, "__self__", None) is getattr(unload, "__self__", None) is extension
    assert entrance.look_up("_event_loop", names) is entrance.event_loop()


def test_a_fork_waits_for_other_threads_that_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    And not for its own, nor for ever: the child would find the lock of a module's import held.
    """
    entrance = Entrance("crochet")
    entrance._wait_for_loaders()  # nobody has entered
    entrance._loaders = [threading.get_ident()]
    entrance._wait_for_loaders()
    looks: list[None] = []

    class Loading(list[int]):
        def __iter__(self) -> Iterator[int]:
            if looks:
                self.clear()  # it is through when it is looked at again
            looks.append(None)
            return super().__iter__()

    entrance._loaders = Loading([-1])
    entrance._wait_for_loaders()
    assert len(looks) == 2
    monkeypatch.setattr(_entrance, "_LOADING_TAKES", 0.01)
    entrance._loaders = [-1]
    entrance._wait_for_loaders()
