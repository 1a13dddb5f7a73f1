"""
The event loop of asyncio's that an asyncio reactor runs on.
"""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from crochet._reactor import asyncio_loop as _event_loops
from crochet._reactor.asyncio_loop import default_loop, end_tasks, new_loop, run_in_thread
from support.process import LoggedFailures
from support.reactor import FakeReactor, close_reactor, new_real_reactor
from support.stepping import Background


class TestMaking:
    """
    Of a new one.
    """

    def test_is_left_to_asyncio(self) -> None:
        """
        But on Windows, where its usual one cannot watch descriptors.
        """
        loop = new_loop(None)
        assert isinstance(loop, asyncio.AbstractEventLoop)
        loop.close()

    def test_on_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Reactors need one that can.
        """
        monkeypatch.setattr(_event_loops, "sys", SimpleNamespace(platform="win32"))
        loop = default_loop()
        assert isinstance(loop, asyncio.SelectorEventLoop)
        loop.close()

    def test_refuses_one_that_runs(self) -> None:
        """
        It is somebody else's.
        """

        async def main() -> None:
            with pytest.raises(ValueError, match="runs already"):
                new_loop(asyncio.get_running_loop)

        asyncio.run(main())


@pytest.fixture
def reactor() -> Any:
    """
    An asyncio reactor that has not run.
    """
    reactor = new_real_reactor("asyncio")
    yield reactor
    close_reactor(reactor)


def _run(reactor: Any) -> None:
    run_in_thread(reactor)
    end_tasks(reactor, 0.1)


class TestRunning:
    """
    A reactor in a thread.
    """

    def test_has_the_loop_set_there(self, reactor: Any) -> None:
        """
        While it runs, and before and after that not.
        """
        seen: list[Any] = []

        def look() -> None:
            seen.append({asyncio.get_running_loop(), asyncio.get_event_loop()})
            reactor.stop()

        reactor.callWhenRunning(reactor.callLater, 0, look)
        Background(_run, reactor).outcome()
        assert seen == [{reactor._asyncioEventloop}]

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
    def test_survives_what_ends_programs(
        self, reactor: Any, kind: type[BaseException], logged: LoggedFailures
    ) -> None:
        """
        Asyncio lets it out of a task that nobody awaits, too. It is logged, as Twisted does.
        """
        seen: list[str] = []

        async def leave() -> None:
            raise kind("now")

        async def await_it() -> None:
            try:
                await tasks[0]
            except BaseException as error:
                seen.append(repr(error))
            await asyncio.sleep(0)
            reactor.stop()

        tasks: list[Any] = []

        def begin() -> None:
            loop = asyncio.get_running_loop()
            tasks.extend([loop.create_task(leave()), loop.create_task(await_it())])

        reactor.callWhenRunning(reactor.callLater, 0, begin)
        Background(_run, reactor).outcome()
        assert seen == [f"{kind.__name__}('now')"]
        assert [type(error) for error in logged.take()] == [kind]

    def test_ends_by_it_if_the_reactor_does_not_run(self, reactor: Any) -> None:
        """
        It was raised before it did, or after.
        """

        def fail(installSignalHandlers: bool) -> None:
            raise SystemExit("too early")

        reactor.run = fail
        with pytest.raises(SystemExit, match="too early"):
            Background(run_in_thread, reactor).outcome()

    def test_of_another_kind(self) -> None:
        """
        It is only run.
        """
        reactor = FakeReactor()
        reactor.callWhenRunning(reactor.stop)
        run_in_thread(reactor)
        end_tasks(reactor, 0.1)


class TestEnd:
    """
    Of what is left in the loop.
    """

    def test_of_tasks(self, reactor: Any) -> None:
        """
        They are cancelled and clean up, await what they may; those that do not end are left.
        """
        seen: list[str] = []

        async def generate() -> Any:
            try:
                yield 1
            finally:
                seen.append("generator")

        async def clean_up() -> None:
            generator = generate()
            generators.append(generator)
            await generator.__anext__()
            try:
                await Deferred()
            finally:
                await asyncio.sleep(0)
                seen.append("task")

        async def leave() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                raise SystemExit("while cleaning up")

        generators: list[Any] = []
        tasks: list[Any] = []

        def begin() -> None:
            loop = asyncio.get_running_loop()
            tasks.append(loop.create_task(clean_up()))
            reactor.callLater(0, reactor.stop)

        reactor.callWhenRunning(reactor.callLater, 0, begin)
        Background(_run, reactor).outcome()
        assert seen == ["task", "generator"]
        assert tasks[0].cancelled()
        del tasks[:], generators[:], leave

    def test_is_logged_if_it_fails(self, reactor: Any, logged: LoggedFailures) -> None:
        """
        The thread ends as it should.
        """

        async def leave() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                raise SystemExit("while cleaning up")

        tasks: list[Any] = []

        def begin() -> None:
            tasks.append(asyncio.get_running_loop().create_task(leave()))
            reactor.callLater(0, reactor.stop)

        reactor.callWhenRunning(reactor.callLater, 0, begin)
        Background(_run, reactor).outcome()
        assert [type(error) for error in logged.take()] == [SystemExit]
        if sys.version_info >= (3, 11):
            assert isinstance(tasks[0].exception(), SystemExit)

    def test_in_no_time_is_no_error(self, reactor: Any) -> None:
        """
        If there is nothing to end: as for ``shutdown(0)``, or an exit without patience.
        """
        Background(end_tasks, reactor, 0.0).outcome()

    def test_of_a_closed_loop(self, reactor: Any) -> None:
        """
        The program has done it all.
        """
        reactor._asyncioEventloop.close()
        end_tasks(reactor, 0.1)
