"""
Which reactor a program asks for, and whether it can have it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import twisted.internet
from twisted.internet import default

from crochet._reactor import choice as _choice
from crochet._reactor.choice import Choice
from support.process import FakeProcess
from support.programs import run_python
from support.reactor import close_reactor, new_real_reactor
from support.stepping import Background

NAMES = ["asyncio", "epoll", "poll", "select"]


def _loops() -> Any:
    """
    Make an event loop, as a factory does.
    """
    return asyncio.new_event_loop()


class TestAsking:
    """
    For what there is not.
    """

    @pytest.mark.parametrize(
        ("reactor", "factory", "kind", "text"),
        [
            ("asnycio", None, ValueError, "no reactor 'asnycio'.*'asyncio', 'default', 'epoll'"),
            (5, None, TypeError, "'asyncio', 'default'.* or the installed one, not 5"),
            (object, None, TypeError, "or the installed one, not <class 'object'>"),
            (twisted.internet, None, TypeError, "or the installed one, not <module"),
            ("asyncio", "uvloop", TypeError, "uvloop.new_event_loop, not 'uvloop'"),
            ("epoll", _loops, ValueError, r'setup\(reactor="asyncio", loop_factory=...\)'),
            (None, _loops, ValueError, r'setup\(reactor="asyncio", loop_factory=...\)'),
        ],
    )
    def test_is_refused(
        self, process: FakeProcess, reactor: Any, factory: Any, kind: Any, text: str
    ) -> None:
        """
        Whether the reactor runs already or not.
        """
        for _ in range(2):
            with pytest.raises(kind, match=text):
                process.loop.setup(reactor=reactor, loop_factory=factory)
            process.loop.no_setup()

    def test_of_no_such_class(self) -> None:
        """
        A class of reactors is none, either.
        """
        with pytest.raises(TypeError, match="or the installed one, not <class"):
            Choice(type(FakeProcess().reactor), None)  # type: ignore[arg-type]


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    A process in which no reactor is installed, and what the test installs is not at its end.
    """
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor", raising=False)
    monkeypatch.delattr(twisted.internet, "reactor", raising=False)
    monkeypatch.setattr(twisted.internet, "reactor", None, raising=False)
    yield
    installed: Any = sys.modules.pop("twisted.internet.reactor", None)
    if installed is not None:
        close_reactor(installed)


def _installed() -> Any:
    return sys.modules["twisted.internet.reactor"]


@pytest.mark.usefixtures("nothing_installed")
class TestInstalling:
    """
    What is asked for, where none is installed.
    """

    @pytest.mark.parametrize("name", NAMES)
    def test_by_name(self, name: str) -> None:
        """
        Asked again, it is the one in place; asked for others, it is not.
        """
        choice = Choice(name, None)  # type: ignore[arg-type]
        reactor: Any = choice.obtain(_installed, None)
        assert type(reactor).__name__.lower().startswith(name)
        assert choice.obtain(_installed, None) is reactor
        for other in set(NAMES) - {name}:
            with pytest.raises(RuntimeError, match=rf"reactor='{other}'\) came too late.*{name}"):
                Choice(other, None).obtain(_installed, None)  # type: ignore[arg-type]

    def test_the_default(self) -> None:
        """
        Is left to Twisted.
        """
        reactor = new_real_reactor("default")

        def import_reactor() -> Any:
            sys.modules["twisted.internet.reactor"] = reactor
            return reactor

        assert Choice("default", None).obtain(import_reactor, None) is reactor

    def test_with_a_loop(self) -> None:
        """
        Of a factory's, which is not set as the thread's.
        """
        made: list[Any] = []

        def factory() -> Any:
            made.append(asyncio.new_event_loop())
            return made[-1]

        def obtain() -> Any:
            reactor = Choice("asyncio", factory).obtain(_installed, None)
            with pytest.raises(RuntimeError, match="no current event loop"):
                asyncio.get_event_loop()
            return reactor

        # In the main thread, asking would make one.
        assert [Background(obtain).outcome()._asyncioEventloop] == made

    def test_nothing_if_the_factory_fails(self) -> None:
        """
        As with one that raises, or returns what no reactor can run on.
        """
        closed = asyncio.new_event_loop()
        closed.close()

        def fail() -> Any:
            raise LookupError("no loops today")

        for factory, kind, text in (
            (fail, LookupError, "no loops today"),
            (lambda: 7, TypeError, "a new event loop of asyncio's, not int 7"),
            (lambda: closed, ValueError, "that is closed.*asyncio.new_event_loop"),
        ):
            with pytest.raises(kind, match=text):
                Choice("asyncio", factory).obtain(_installed, None)
            assert "twisted.internet.reactor" not in sys.modules

    def test_closes_the_loop_if_the_reactor_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        For lack of a descriptor, say.
        """
        made: list[Any] = []

        def factory() -> Any:
            made.append(asyncio.new_event_loop())
            return made[-1]

        def fail(loop: object) -> Any:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(_choice, "_class_of", lambda name: fail)
        with pytest.raises(OSError, match="Too many open files"):
            Choice("asyncio", factory).obtain(_installed, None)
        assert made[0].is_closed()

    @pytest.mark.parametrize("faster", NAMES[1:3])
    def test_beside_another_thread(self, monkeypatch: pytest.MonkeyPatch, faster: str) -> None:
        """
        1. Nothing is installed, and a reactor is made.
        2. Another thread installs one.
        3. It is that one, if it is of the kind.
        """
        other = new_real_reactor(faster)
        kind: Any = _choice._class_of("poll")

        def make() -> Any:
            sys.modules["twisted.internet.reactor"] = other
            return kind()

        choice = Choice("poll", None)
        with monkeypatch.context() as patch:
            patch.setattr(_choice, "_class_of", lambda name: make if not _any() else kind)
            if faster == "poll":
                assert choice.obtain(_installed, None) is other
            else:
                with pytest.raises(RuntimeError, match="came too late"):
                    choice.obtain(_installed, None)

    def test_what_the_platform_does_not_have(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Is said so.
        """
        monkeypatch.setitem(sys.modules, "twisted.internet.epollreactor", None)
        with pytest.raises(RuntimeError, match=r"'epoll' is not available on this platform \("):
            Choice("epoll", None).obtain(_installed, None)

    def test_beside_gevent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Nothing is.
        """
        monkey = SimpleNamespace(is_module_patched=lambda name: True)
        monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
        with pytest.raises(RuntimeError, match="gevent"):
            Choice("select", None).obtain(_installed, None)
        assert "twisted.internet.reactor" not in sys.modules


def _any() -> bool:
    return "twisted.internet.reactor" in sys.modules


class TestChecking:
    """
    A reactor that is in place.
    """

    def test_by_name(self) -> None:
        """
        It may be of a subclass. The default is of one of the kinds.
        """
        for name in (*NAMES, "default"):
            kind: Any = _choice._class_of(name)
            reactor = type("Mine", (kind,), {"__init__": lambda self: None})()
            Choice(name, None).check(reactor, None)  # type: ignore[arg-type]
        assert default.install.__module__.endswith(_choice._class_of("default").__module__)

    def test_itself(self, process: FakeProcess) -> None:
        """
        Before it runs, while it does, and no other.
        """
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"=<support\.reactor\.FakeReactor>\) came too"):
                process.loop.setup(reactor=FakeProcess().reactor)
            process.loop.setup(reactor=process.reactor)
            process.loop.setup()

    def test_of_the_programs(self, process: FakeProcess) -> None:
        """
        After no_setup(), it is the same.
        """
        process.loop.no_setup()
        process.loop.setup(reactor=process.reactor)
        with pytest.raises(RuntimeError, match=r"a support\.reactor\.FakeReactor is installed"):
            process.loop.setup(reactor="select")

    def test_that_has_just_ended(self, process: FakeProcess) -> None:
        """
        There is none to be checked.
        """
        process.loop.setup()
        process.loop._life = None
        process.loop.setup(reactor="select")

    @pytest.mark.parametrize("kept", [None, _loops])
    def test_the_loop_factory(self, kept: Any) -> None:
        """
        It cannot be another any more, unless the reactor is to be revived.
        """
        kind: Any = _choice._class_of("asyncio")
        reactor = type("Mine", (kind,), {"__init__": lambda self: None})()
        reactor.running = False

        def factory() -> Any:
            return asyncio.new_event_loop()

        asked = Choice("asyncio", factory)
        owner = "test_choice._loops has made its event loop" if kept else "and has an event loop"
        with pytest.raises(RuntimeError, match=rf"TestChecking.*factory\) came too late.*{owner}"):
            asked.check(reactor, kept)
        asked.check(reactor, factory)
        Choice("asyncio", None).check(reactor, kept)
        reactor._startedBefore = True
        asked.check(reactor, kept)
        reactor.running = True
        with pytest.raises(RuntimeError, match="came too late"):
            asked.check(reactor, kept)

    def test_the_same_loop_factory(self) -> None:
        """
        Be it made anew by each call, or be it an object without a name.
        """

        class Factory:
            def __call__(self) -> Any:
                return asyncio.new_event_loop()

            def __repr__(self) -> str:
                return "<a factory>"

        factory = Factory()
        assert _choice._are_same(factory, factory)
        assert not _choice._are_same(factory, Factory())
        assert not _choice._are_same(factory, None)
        assert _choice._named(factory) == "<a factory>"
        lambdas = [lambda: asyncio.new_event_loop() for _ in range(2)]
        assert _choice._are_same(*lambdas)


class TestProgram:
    """
    In a process of its own.
    """

    @pytest.mark.parametrize("name", [*NAMES, "default"])
    def test_chooses(self, name: str) -> None:
        """
        At its top, again anywhere, after a restart, and after another choice was refused.
        """
        run_python(
            """
            import sys, threading
            from crochet import running, run_in_reactor, setup, shutdown, wait_for

            name = sys.argv[2]
            assert "twisted.internet.reactor" not in sys.modules
            setup(reactor=name)
            from twisted.internet import reactor

            @wait_for(10)
            def where():
                return reactor.running, threading.current_thread().name

            for _ in range(2):
                assert where() == (True, "crochet-reactor")
                for other in "select", "asyncio":
                    if other in type(reactor).__name__.lower():
                        continue
                    try:
                        setup(reactor=other)
                    except RuntimeError as error:
                        assert f"reactor={other!r}" in str(error), error
                        assert type(reactor).__name__ in str(error), error
                        assert "at the top of the program" in str(error), error
                    else:
                        sys.exit("not refused")
                setup(), setup(reactor=name), setup(reactor=reactor)
                assert where()
                shutdown()
                with running(reactor=name):
                    assert where()
                setup()
            """,
            name,
        )

    def test_is_too_late(self) -> None:
        """
        Nothing is changed, so setup() with the reactor in place may follow.
        """
        run_python(
            """
            import sys, threading
            from twisted.internet import selectreactor
            selectreactor.install()
            from crochet import run_in_reactor, setup, wait_for

            try:
                setup(reactor="asyncio")
            except RuntimeError as error:
                assert "SelectReactor" in str(error) and "'asyncio'" in str(error)
            else:
                sys.exit("not refused")
            assert threading.active_count() == 1
            setup()
            assert wait_for(10)(lambda: 7)() == 7
            """
        )

    def test_has_a_loop_of_the_reactor_threads_own(self) -> None:
        """
        The caller's is neither taken nor set: in a thread, in a coroutine, after a restart, in a
        forked child.
        """
        run_python(
            """
            import asyncio, os, sys, warnings
            from crochet import setup, shutdown, wait_for

            made = []
            def factory():
                made.append(asyncio.new_event_loop())
                return made[-1]

            @wait_for(10)
            async def loops():
                await asyncio.sleep(0)
                return {asyncio.get_running_loop(), asyncio.get_event_loop()}

            @wait_for(10)
            def plain():
                return {asyncio.get_running_loop(), asyncio.get_event_loop()}

            async def main():
                mine = asyncio.get_running_loop()
                setup(reactor="asyncio", loop_factory=factory)
                assert loops() == plain() == {made[-1]}
                assert asyncio.get_running_loop() is mine
                shutdown()
                assert made[-1].is_closed()
                setup()
                assert len(made) == 2 and loops() == plain() == {made[-1]}

            asyncio.run(main())
            assert loops() == {made[1]}
            if hasattr(os, "fork"):
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
                if pid == 0:
                    ok = loops() == plain() == {made[2]}
                    os._exit(0 if ok else 1)
                assert os.waitpid(pid, 0)[1] == 0
            assert loops() == {made[1]} and len(made) == 2
            try:
                setup(reactor="asyncio", loop_factory=asyncio.SelectorEventLoop)
            except RuntimeError as error:
                assert "__main__.factory has made its event loop" in str(error), error
            else:
                sys.exit("not refused")
            shutdown()
            setup(reactor="asyncio", loop_factory=asyncio.SelectorEventLoop)
            assert type(*loops()) is asyncio.SelectorEventLoop and len(made) == 2
            """
        )

    def test_has_installed_it_in_a_coroutine(self) -> None:
        """
        On a loop that runs already. The reactor thread cannot run that, too.
        """
        run_python(
            """
            import asyncio, sys
            from crochet import setup

            async def main():
                from twisted.internet import asyncioreactor
                asyncioreactor.install()
                try:
                    setup()
                except RuntimeError as error:
                    assert "an event loop that runs already" in str(error), error
                else:
                    sys.exit("not refused")
                from twisted.internet import reactor
                reactor.removeAll()

            asyncio.run(main())
            """,
            flags=(),
        )

    def test_has_a_loop_of_another_make(self) -> None:
        """
        uvloop's, through restarts and a fork, with timers, processes and connections.
        """
        pytest.importorskip("uvloop")
        run_python(
            """
            import asyncio, os, sys, warnings
            import uvloop
            from crochet import setup, shutdown, wait_for

            setup(reactor="asyncio", loop_factory=uvloop.new_event_loop)
            from twisted.internet import reactor
            from twisted.internet.task import deferLater
            from twisted.internet.utils import getProcessOutput

            @wait_for(float(sys.argv[1]))
            async def use_everything():
                await deferLater(reactor, 0.001)
                async def serve(reader, writer):
                    writer.write(await reader.readline())
                    writer.close()
                server = await asyncio.start_server(serve, "127.0.0.1", 0)
                port = server.sockets[0].getsockname()[1]
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"echo\\n")
                line = await reader.readline()
                writer.close()
                server.close()
                output = await getProcessOutput(sys.executable, ["-c", "print('output')"])
                kind = type(asyncio.get_running_loop()).__module__
                return line.strip(), output.strip(), kind

            expected = (b"echo", b"output", "uvloop")
            for _ in range(3):
                assert use_everything() == expected
                descriptors = len(os.listdir("/proc/self/fd"))
                shutdown()
                setup()
                assert use_everything() == expected
                assert len(os.listdir("/proc/self/fd")) == descriptors
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
            if pid == 0:
                os._exit(use_everything() != expected)
            assert os.waitpid(pid, 0)[1] == 0
            assert use_everything() == expected
            """,
            flags=(),
        )
