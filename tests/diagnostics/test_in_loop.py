"""
Waits that stop the asyncio loop of their thread.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

import crochet
from crochet import BlockingInLoopWarning, TimeoutError
from crochet._diagnostics.explain import Diagnosis
from crochet._diagnostics.in_loop import warn_if_in_loop
from crochet._threads import timeouts
from support.process import FakeProcess
from support.programs import run_python
from support.stepping import BOUND, FakeClock, FakeWaiter

HERE = sys._getframe().f_code.co_filename


@pytest.fixture(autouse=True)
def _without_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROCHET_DEBUG", raising=False)


def caught(function: Callable[[], object]) -> list[warnings.WarningMessage]:
    """
    Return the warnings that are given while a loop calls a function.
    """

    async def main() -> None:
        function()

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("default", BlockingInLoopWarning)
        asyncio.run(main())
    return given


class TestWarnings:
    """
    Are given in a thread whose loop is running.
    """

    def test_name_the_line_and_what_to_write(self) -> None:
        """
        Once per line.
        """

        def wait() -> None:
            for _ in range(3):
                warn_if_in_loop("fetch")

        def wait_elsewhere() -> None:
            warn_if_in_loop("fetch")

        (first,) = caught(wait)
        line = wait.__code__.co_firstlineno + 2
        assert (first.filename, first.lineno, first.category) == (HERE, line, BlockingInLoopWarning)
        text = str(first.message)
        assert text.startswith(f"a wait for fetch() in test_in_loop.py:{line} ")
        assert "await start(...)" in text
        assert "crochet.run_in_reactor(fetch.__wrapped__)" in text
        assert len(caught(wait_elsewhere)) == 1

    def test_are_not_given_elsewhere(self) -> None:
        """
        Where no loop runs, or where one runs in another thread.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_if_in_loop("fetch")

        async def main() -> None:
            await asyncio.to_thread(warn_if_in_loop, "fetch")

        asyncio.run(main())

    def test_are_errors_while_faults_are_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        With CROCHET_DEBUG.
        """
        monkeypatch.setenv("CROCHET_DEBUG", "1")
        with pytest.raises(BlockingInLoopWarning, match=r"a wait for fetch\(\) in"):
            caught(lambda: warn_if_in_loop("fetch"))


class TestPrompts:
    """
    Run what is typed in a loop of theirs.
    """

    @pytest.mark.parametrize(
        ("file", "names", "number"),
        [
            ("/tmp/ipykernel_7/3.py", {"__name__": "__main__"}, 0),
            ("<stdin>", {"__name__": "__main__", "__file__": "/usr/lib/asyncio/__main__.py"}, 0),
            ("/srv/app/main.py", {"__name__": "__main__", "__file__": "/srv/app/main.py"}, 1),
            ("/srv/app/plugin.py", {"__name__": "app.plugin", "__file__": "/srv/app/plugin.py"}, 1),
        ],
    )
    def test_may_wait(self, file: str, names: dict[str, Any], number: int) -> None:
        """
        Unlike a module that happens to be run, or imported, by a loop.
        """
        names["wait"] = warn_if_in_loop
        source = "def call():\n    wait('fetch')\ncall()"
        given = caught(lambda: exec(compile(source, file, "exec"), names))
        assert [(each.filename, each.lineno) for each in given] == [(file, 2)] * number

    def test_may_not_by_what_goes_on_afterwards(self) -> None:
        """
        A task that was started at a prompt is none of it.
        """
        names: dict[str, Any] = {"__name__": "__main__", "wait": warn_if_in_loop}
        source = "async def task():\n    wait('fetch')"
        exec(compile(source, "<stdin>", "exec"), names)

        async def main() -> None:
            await asyncio.create_task(names["task"]())

        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("default")
            asyncio.run(main())
        assert [each.filename for each in given] == ["<stdin>"]

    def test_of_asyncio_for_real(self) -> None:
        """
        ``python -m asyncio``.
        """
        typed = """
            import crochet
            from twisted.internet.defer import Deferred
            crochet.setup()
            crochet.wait_for(0.15)(Deferred)()
            """
        process = subprocess.run(
            [sys.executable, "-m", "asyncio"],
            input="\n".join(map(str.strip, typed.splitlines())),
            capture_output=True,
            text=True,
            timeout=2 * BOUND,
            check=False,
        )
        assert "TimeoutError: Deferred() has not answered" in process.stderr + process.stdout
        assert "BlockingInLoopWarning" not in process.stderr + process.stdout


class Looks:
    """
    Is told of waits that have lasted for a while, and when.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.seen: list[tuple[str, float]] = []

    def __call__(self, name: str) -> None:
        self.seen.append((name, self._clock.now))


class TestWaits:
    """
    Look for a loop once they have lasted for 0.1 s.
    """

    @pytest.fixture
    def clock(self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
        """
        A clock that is moved by waits of at most 0.1 s each.
        """
        clock = FakeClock()
        clock.install(monkeypatch)
        monkeypatch.setattr(timeouts, "LONGEST", 0.1)
        stepped.bridge.new_waiter = lambda: FakeWaiter(clock=clock)
        return clock

    @pytest.fixture
    def looks(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Looks:
        """
        What is told of them.
        """
        looks = Looks(clock)
        monkeypatch.setattr(Diagnosis, "warn_if_in_loop", staticmethod(looks))
        return looks

    def test_once_each(self, stepped: FakeProcess, looks: Looks) -> None:
        """
        In each way of waiting.
        """
        with pytest.raises(TimeoutError, match="has not started in 1 s"):
            stepped.wait_for(1.0)(Deferred)()
        assert looks.seen == [("Deferred", pytest.approx(0.1))]
        result = stepped.run_in_reactor(Deferred)()
        began = looks._clock.now
        with pytest.raises(TimeoutError, match="has not answered in 1 s"):
            result.wait(1.0)
        assert looks.seen[1:] == [("Deferred", pytest.approx(began + 0.1))]
        began = looks._clock.now
        next(result.watch(heartbeat=1.0))
        assert looks.seen[2:] == [("Deferred", pytest.approx(began + 0.1))]
        stepped.reactor.turn()
        result.cancel()
        stepped.reactor.turn()

    def test_not_if_they_are_shorter(self, stepped: FakeProcess, looks: Looks) -> None:
        """
        By an answer or by their timeout.
        """
        with pytest.raises(TimeoutError):
            stepped.wait_for(0.05)(Deferred)()
        result = stepped.run_in_reactor(int)()
        with pytest.raises(TimeoutError):
            result.wait(0.05)
        stepped.reactor.turn()
        assert result.wait(1.0) == 0
        assert looks.seen == []

    def test_end_by_the_error(
        self, stepped: FakeProcess, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        With CROCHET_DEBUG: a ``wait_for`` function's operation never runs.
        """

        def refuse(name: str) -> None:
            raise BlockingInLoopWarning(name)

        monkeypatch.setattr(Diagnosis, "warn_if_in_loop", staticmethod(refuse))
        ran: list[bool] = []
        with pytest.raises(BlockingInLoopWarning):
            stepped.wait_for(1.0)(lambda: ran.append(True))()
        assert stepped.bridge.calls_in_flight() == set()
        stepped.reactor.turn()
        assert ran == []


def test_is_public() -> None:
    """
    For filters of the program's.
    """
    assert issubclass(crochet.BlockingInLoopWarning, RuntimeWarning)
    assert crochet.BlockingInLoopWarning.__module__ == "crochet"


def test_for_real() -> None:
    """
    A coroutine that waits is warned of, and its operation goes on; the loop's thread is the main
    one here, and in a server.
    """
    finished = run_python(
        """
        import asyncio, sys, warnings
        from twisted.internet.defer import Deferred
        import crochet

        crochet.setup()
        deferred = Deferred()
        given = []

        def show(message, *rest, **more):
            # The answer comes when the warning has: this is not a matter of time.
            given.append(type(message).__name__)
            crochet.run_in_reactor(deferred.callback)("page")

        warnings.showwarning = show
        warnings.simplefilter("default")

        @crochet.wait_for(float(sys.argv[1]))
        def fetch():
            return deferred

        async def endpoint():
            return fetch()

        print(asyncio.run(endpoint()), given)
        """
    )
    assert finished.stdout == "page ['BlockingInLoopWarning']\n"
