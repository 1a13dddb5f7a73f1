"""
``%load_ext crochet``, in real shells and kernels, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import textwrap
from pathlib import Path
from typing import Any, ClassVar

import pytest

from crochet._interactive.ipython import Extension, run_cell
from support.process import FakeProcess
from support.programs import Finished, run_in_loop, run_python
from support.stepping import BOUND, Background
from support.terminals import CTRL_C, CTRL_D, Terminal
from test_docs import blocks_of

pytest.importorskip("IPython", reason="there is nothing to load it into")

_SHELL = """
import os, sys, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["IPYTHONDIR"] = folder.name
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=config, colors="NoColor")

def run(cell, error=None):
    result = shell.run_cell(cell)
    found = result.error_in_exec or result.error_before_exec
    assert (type(found).__name__ if found else None) == error, (cell, found)
    return result.result

"""

_CELLS = '''
run("%load_ext crochet")
run("""
import asyncio, threading, crochet
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
""")
'''


def run(code: str) -> Finished:
    """
    Run a program with an IPython shell in which the extension has been loaded.
    """
    return run_python(_SHELL + _CELLS + textwrap.dedent(code), flags=())


class TestCells:
    """
    In IPython.
    """

    def test_await_all_kinds_of_things(self) -> None:
        """
        In the main thread, from which the reactor's methods can be called.
        """
        run(
            '''
            assert run("await deferLater(reactor, 0.01, lambda: 6 * 7)") == 42
            assert run("await deferToThread(lambda: 6 * 7)") == 42
            assert run("await asyncio.sleep(0.001, 'asyncio')") == "asyncio"
            assert run("await crochet.run_in_reactor(lambda: succeed(3))()") == 3
            run("""
            async def both(n):
                await deferLater(reactor, 0.001)
                await asyncio.sleep(0.001)
                return await deferLater(reactor, 0.001, lambda: n)
            """)
            assert run("await both(1), await both(2)") == (1, 2)
            assert run("[await both(n) for n in range(2)]") == [0, 1]
            assert run("await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))") == [1, 2]
            run("await fail(LookupError())", "LookupError")
            run("await 3", "TypeError")
            run("lock = DeferredLock()")
            assert run("async with lock: seen = lock.locked, threading.current_thread()\\n"
                       "seen == (True, threading.main_thread()) and not lock.locked")
            '''
        )

    def test_await_tasks_that_await_deferreds(self) -> None:
        """
        Those that ``gather()`` makes, and others; afterwards the loop's tasks are its own again.
        """
        run(
            '''
            run("one, two = (deferLater(reactor, 0.001, lambda n=n: n) for n in (1, 2))")
            assert run("await asyncio.gather(one, two)") == [1, 2]
            run("""
            async def three():
                return await deferLater(reactor, 0.001, lambda: 3)
            """)
            assert run("await asyncio.create_task(three())") == 3
            run("%unload_ext crochet")
            run("get_factory = lambda: asyncio.get_running_loop().get_task_factory()")
            assert run("await asyncio.sleep(0, get_factory())") is None
            '''
        )

    def test_that_fail_show_the_program(self) -> None:
        """
        Without frames of ours, and with the places by the names that IPython has for them.
        """
        shown = run(
            '''
            run("""
            @crochet.wait_for(60)
            async def broken(x):
                await deferLater(reactor, 0.001)
                return 1 / x
            broken_later = crochet.run_in_reactor(broken.__wrapped__)
            @crochet.wait_for(0.1)
            async def slow():
                await Deferred()
            """)
            for cell in ("broken(0)", "broken_later(0).wait()", "await broken_later(0)"):
                run(cell, "ZeroDivisionError")
            run("slow()", "TimeoutError")
            run("await fail(LookupError())", "LookupError")
            run("slow = crochet.run_in_reactor(slow.__wrapped__)()")
            run("print(crochet.status()); slow.cancel()")
            '''
        ).stdout
        assert shown.count("ZeroDivisionError: division by zero") == 3
        assert "failed resolving arguments" not in shown
        # The last frame is always shown: of an error that was not raised in code of the program's.
        assert re.findall(r"_(?:core|interactive)/(\w+).py", shown) == ["waiting", "failure"]
        assert re.search(r"waits in Cell In\[\d+\], line \d+ slow\(\)", shown), shown[-2000:]
        assert re.search(r"slow\(\) +Cell In\[\d+\], line 1 ", shown), shown[-2000:]

    def test_can_be_run_again(self) -> None:
        """
        Those that load, set up, define decorated functions, and await.
        """
        run(
            '''
            for n in range(20):
                run("%load_ext crochet")
                run("crochet.setup()")
                run(f"""
                @crochet.wait_for(60)
                def blocking(): return deferLater(reactor, 0.001, lambda: {n})
                background = crochet.run_in_reactor(blocking.__wrapped__)
                """)
                found = run("await background(), blocking(), await blocking.__wrapped__()")
                assert found == (n, n, n)
            '''
        )

    def test_cancel_what_they_await(self) -> None:
        """
        On Ctrl-C, at the prompt. The next cell finds nothing left over.
        """
        run(
            '''
            run("""
            cancelled = []
            deferred = Deferred(lambda _: cancelled.append(threading.current_thread().name))
            import os, signal
            def press(): os.kill(os.getpid(), signal.SIGINT)
            asyncio_end = []
            async def both():
                reactor.callLater(0.01, press)
                try:
                    await deferred
                finally:
                    asyncio_end.append(await asyncio.sleep(0, "cleaned up"))
            """)
            run("await both()", "KeyboardInterrupt")
            assert run("cancelled") == ["crochet-reactor"], run("cancelled")
            assert run("asyncio_end") == ["cleaned up"]
            assert run("await succeed(1)") == 1
            '''
        )

    def test_work_after_a_restart_of_the_reactor(self) -> None:
        """
        By ``shutdown()`` and ``setup()``, and after ``%reset``.
        """
        run(
            """
            run("crochet.shutdown()")
            run("await Deferred()", "ReactorStopped")
            run("crochet.setup()")
            assert run("await deferLater(reactor, 0.001, lambda: 1)") == 1
            run("%reset -f")
            assert run("from twisted.internet.defer import succeed\\nawait succeed(2)") == 2
            """
        )


class TestUnloading:
    """
    ``%unload_ext`` and ``%reload_ext``
    """

    def test_undoes_all(self) -> None:
        """
        The reactor is shut down if it was the extension that started it.
        """
        run(
            """
            import threading
            from IPython.core.interactiveshell import _asyncio_runner
            from twisted.internet import reactor
            assert shell.loop_runner is not _asyncio_runner
            run("%unload_ext crochet")
            assert shell.ast_transformers == [] and shell.loop_runner is _asyncio_runner
            assert "callLater" not in vars(reactor)
            assert not [each for each in threading.enumerate() if "crochet" in each.name]
            run("await Deferred()", "RuntimeError")
            run("crochet.run_in_reactor(succeed)(1)", "ReactorStopped")
            run("%unload_ext crochet")
            run("%load_ext crochet")
            assert run("await deferLater(reactor, 0.001, lambda: 1)") == 1
            """
        )

    def test_leaves_a_reactor_that_was_set_up_before(self) -> None:
        """
        And a runner that has been chosen since, and transformers that are gone.
        """
        run_python(
            _SHELL
            + textwrap.dedent(
                """
                run("import crochet; crochet.setup()")
                run("%load_ext crochet")
                run("%autoawait sync")
                shell.ast_transformers.clear()
                run("%unload_ext crochet")
                from IPython.core.async_helpers import _pseudo_sync_runner
                assert shell.loop_runner is _pseudo_sync_runner
                assert run("crochet.wait_for(60)(lambda: 1)()") == 1
                """
            ),
            flags=(),
        )

    def test_again_keeps_the_one_event_loop(self) -> None:
        """
        Though IPython runs the package's ``__init__`` anew. Older decorated functions still work.
        """
        run(
            """
            run("@crochet.wait_for(60)\\ndef one(): return succeed(1)")
            run("%reload_ext crochet")
            assert run("await deferLater(reactor, 0.001, lambda: 1)") == 1
            assert run("one()") == 1
            run("crochet.shutdown()")
            run("one()", "ReactorStopped")
            """
        )

    def test_leaves_other_runners_alone(self) -> None:
        """
        One that the user has chosen before; cells then await in no task of asyncio.
        """
        run_python(
            _SHELL
            + textwrap.dedent(
                """
                run("%autoawait sync")
                runner = shell.loop_runner
                run("%load_ext crochet")
                assert shell.loop_runner is runner and shell.autoawait
                assert run("from twisted.internet.defer import succeed\\nawait succeed(2)") == 2
                """
            ),
            flags=(),
        )


def test_a_reactor_that_cannot_be_set_up_leaves_everything_as_it_was() -> None:
    """
    Here one that runs already.
    """
    run_python(
        _SHELL
        + textwrap.dedent(
            """
            from twisted.internet import reactor
            def load():
                run("%load_ext crochet", "RuntimeError")
                reactor.stop()
            runner = shell.loop_runner
            reactor.callWhenRunning(load)
            reactor.run()
            assert shell.ast_transformers == [] and shell.loop_runner is runner
            """
        ),
        flags=(),
    )


class _KernelShell:
    """
    As much of a kernel's shell as the extension looks at.
    """

    kernel = None
    autoawait = False
    loop_runner = None

    def __init__(self) -> None:
        self.ast_transformers: list[Any] = []
        self.events = self
        self.callbacks: dict[str, Any] = {}

    def register(self, event: str, function: Any) -> None:
        self.callbacks[event] = function

    def unregister(self, event: str, function: Any) -> None:
        assert self.callbacks.pop(event) == function


class TestExtension:
    """
    ``Extension``, loaded into something that looks like a kernel.
    """

    def test_is_loaded_once(self, running: FakeProcess) -> None:
        """
        However often, and unloaded once; outside of a loop, too.
        """
        shell, extension = _KernelShell(), Extension(running.loop, "crochet", "_extension")
        extension.load(shell)
        extension.load(shell)
        assert len(shell.ast_transformers) == 1
        assert shell.autoawait
        extension.unload(shell)
        extension.unload(shell)
        assert shell.ast_transformers == []
        assert not shell.autoawait
        assert running.wait_for(BOUND)(lambda: 1)() == 1

    def test_has_signals_wake_the_loop(self, running: FakeProcess) -> None:
        """
        Unless they wake something else.
        """

        async def program() -> None:
            shell, extension = _KernelShell(), Extension(running.loop, "crochet", "_extension")
            extension.load(shell)
            ours = signal.set_wakeup_fd(-1)
            assert ours != -1
            extension.unload(shell)
            reader, writer = socket.socketpair()
            with reader, writer:
                writer.setblocking(False)
                signal.set_wakeup_fd(writer.fileno())
                extension.load(shell)
                extension.unload(shell)
                assert signal.set_wakeup_fd(-1) == writer.fileno()

        run_in_loop(program())

    def test_notes_interrupts_while_a_cell_runs(self, running: FakeProcess) -> None:
        """
        And passes them on. Outside of cells, and after one that has replaced it, the handler is
        what it was.
        """
        seen: list[int] = []

        def of_the_kernel(number: int, frame: Any) -> None:
            seen.append(number)

        shell, extension = _KernelShell(), Extension(running.loop, "crochet", "_extension")
        extension.load(shell)
        begin, end = shell.callbacks["pre_execute"], shell.callbacks["post_execute"]
        before = signal.signal(signal.SIGINT, of_the_kernel)
        try:
            begin()
            signal.raise_signal(signal.SIGINT)
            assert (seen, extension._awaiting.is_interrupted) == ([signal.SIGINT], True)
            Background(begin).outcome()  # a subshell's cell
            assert extension._awaiting.is_interrupted
            begin()  # a cell that is run by a cell
            assert not extension._awaiting.is_interrupted
            end()
            assert signal.getsignal(signal.SIGINT) is of_the_kernel
            begin()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            end()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.signal(signal.SIGINT, signal.default_int_handler)
            begin()
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            signal.signal(signal.SIGINT, of_the_kernel)
            begin()
            extension.unload(shell)
            assert signal.getsignal(signal.SIGINT) is of_the_kernel
            assert shell.callbacks == {}
        finally:
            signal.signal(signal.SIGINT, before)


class TestRunCell:
    """
    ``run_cell()``
    """

    def test_raises_what_comes_when_the_cell_is_done(self) -> None:
        """
        There is nothing to cancel any more.
        """

        class Loop:
            task: ClassVar[Any]

            def create_task(self, cell: Any) -> Any:
                cell.close()
                return self.task

            def run_until_complete(self, task: Any) -> Any:
                raise KeyboardInterrupt

        async def cell() -> None:
            raise AssertionError

        async def program() -> None:
            Loop.task = asyncio.get_running_loop().create_future()
            Loop.task.set_result(None)
            with pytest.raises(KeyboardInterrupt):
                run_cell(Loop, cell(), [].append)

        run_in_loop(program())


def test_ctrl_c_at_the_prompt_cancels(tmp_path: Path) -> None:
    """
    IPython's own prompt, at a terminal.
    """
    environment = {"IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path)}
    ipython = ("-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor")
    with Terminal(*ipython, environment=environment, shows_errors=True) as terminal:
        for line in (
            "%load_ext crochet",
            "from twisted.internet.defer import Deferred; cancelled = []",
            "from twisted.internet import reactor",
            "tell = lambda: reactor.callLater(0.01, lambda: print('be' 'gun'))",
            "tell(); await Deferred(cancelled.append)",
        ):
            terminal.expect("In [")
            terminal.type(line + "\r")
        terminal.expect("begun")
        terminal.type(CTRL_C)
        terminal.expect("Traceback")
        terminal.expect("KeyboardInterrupt")
        terminal.expect("In [")
        terminal.type("'cancelled', len(cancelled)\r")
        terminal.expect("('cancelled', 1)")
        terminal.expect("In [")
        terminal.type(CTRL_D)
        terminal.expect("exit")
        terminal.type("y\r")
        assert terminal.end() == (0, "")


_KERNEL = """
import asyncio, os, queue, sys, tempfile, time
BOUND = float(sys.argv[1])
folder = tempfile.TemporaryDirectory()
for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
    os.environ[name] = folder.name
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(startup_timeout=2 * BOUND, kernel_name="python3")

traceback = []

def run(cell, error=None, at=None, do=None):
    "Run a cell; return what it printed and its value. Do something when it has printed *at*."
    request, printed = client.execute(cell), ""
    failed = None
    while True:
        message = client.get_iopub_msg(timeout=BOUND)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and content["name"] == "stdout":
            printed += content["text"]
            if at is not None and at in printed:
                do()
                at = None
        elif kind == "execute_result":
            printed += content["data"]["text/plain"]
        elif kind == "error":
            failed = content["ename"]
            traceback[:] = content["traceback"]
        elif kind == "status" and content["execution_state"] == "idle":
            assert failed == error, (failed, content, printed, cell)
            return printed

try:
    run("%load_ext crochet")
    run(\"\"\"
import asyncio, os, threading, crochet
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import deferLater
\"\"\")
"""


def run_kernel(code: str) -> None:
    """
    Run a program with a kernel in which the extension has been loaded.
    """
    pytest.importorskip("ipykernel", reason="there is no kernel")
    pytest.importorskip("jupyter_client", reason="nothing talks to a kernel")
    ending = """
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""
    run_python(_KERNEL + textwrap.indent(textwrap.dedent(code), "    ") + ending, flags=())


class TestKernel:
    """
    In a Jupyter kernel.
    """

    def test_leaves_its_loop_free(self) -> None:
        """
        Another task of that fires what the cell awaits. The cell is in the main thread throughout.
        """
        run_kernel(
            '''
            for _ in range(3):
                printed = run("""
            deferred = Deferred()
            async def other():
                await asyncio.sleep(0)
                reactor.callFromThread(deferred.callback, "fired by another task")
            task = asyncio.create_task(other())
            print(await deferred, threading.current_thread() is threading.main_thread())
            """)
                assert printed == "fired by another task True\\n", printed
            '''
        )

    def test_awaits_all_kinds_of_things(self) -> None:
        """
        In any mix, beside blocking calls.
        """
        run_kernel(
            '''
            run("""
            @crochet.wait_for(60)
            async def blocking(n):
                return await deferLater(reactor, 0.001, lambda: n)
            async def both(n):
                await asyncio.sleep(0.001)
                return await deferLater(reactor, 0.001, lambda: n)
            """)
            run("background = crochet.run_in_reactor(blocking.__wrapped__)")
            assert run("blocking(1), await both(2), await background(3)") == "(1, 2, 3)"
            assert run("await asyncio.sleep(0.001, 4)") == "4"
            assert run("blocking(5)") == "5"
            run("1 / await succeed(0)", "ZeroDivisionError")
            '''
        )

    def test_shows_the_progress_of_what_it_awaits(self) -> None:
        """
        In the cell itself, before what that prints next.
        """
        run_kernel(
            '''
            run("""
            import sys
            @crochet.run_in_reactor
            async def job():
                for number in 1, 2, 3:
                    crochet.report_progress(number, 3)
                    await deferLater(reactor, 0.15)
                return "done"
            """)
            printed = run("""
            with crochet.progress_bar(sys.stdout):
                print(await job())
            """)
            *lines, last = printed.splitlines()
            assert lines[-1].startswith("job() 3 of 3 (100%)"), printed
            assert last == "done"
            '''
        )

    def test_interrupting_cancels(self) -> None:
        """
        A cell that awaits, and one that blocks. The kernel goes on.
        """
        run_kernel(
            '''
            run("""
            cancelled = []
            def hang():
                print("waiting", flush=True)
                return Deferred(lambda _: cancelled.append(threading.current_thread().name))
            """)
            run("await hang()", "KeyboardInterrupt", at="waiting", do=manager.interrupt_kernel)
            assert len("".join(traceback).splitlines()) < 9, traceback
            assert run("cancelled") == "['crochet-reactor']"
            run("await crochet.run_in_reactor(hang)()", "KeyboardInterrupt",
                at="waiting", do=manager.interrupt_kernel)
            assert run("len(cancelled)") == "2"
            run("asyncio.get_running_loop().call_later(0.01, asyncio.current_task().cancel)\\n"
                "await Deferred()", "CancelledError")
            if hasattr(asyncio, "timeout"):
                run("async with asyncio.timeout(0.01): await Deferred()", "TimeoutError")
            run("crochet.wait_for(60)(hang)()", "KeyboardInterrupt",
                at="waiting", do=manager.interrupt_kernel)
            assert run("len(cancelled), await succeed(1)") == "(3, 1)"
            run("import signal; woken = signal.set_wakeup_fd(-1); signal.set_wakeup_fd(woken)")
            run("%unload_ext crochet")
            assert run("woken != -1, signal.set_wakeup_fd(-1)") == "(True, -1)"
            '''
        )

    def test_can_be_restarted(self) -> None:
        """
        With an operation under way; and then everything is new.
        """
        run_kernel(
            """
            run("pending = crochet.run_in_reactor(Deferred)()")
            manager.restart_kernel()
            client.wait_for_ready(timeout=2 * BOUND)
            run("%load_ext crochet")
            assert run("from twisted.internet.defer import succeed\\nawait succeed(1)") == "1"
            run("%unload_ext crochet")
            """
        )


def test_the_cells_of_the_how_to_page_run() -> None:
    """
    One after the other, in a shell.
    """
    page = (Path(__file__).parents[2] / "docs/howto/notebooks.md").read_text()
    cells = [block.body for block in blocks_of(page) if "IPython" in (block.reason or "")]
    assert len(cells) == 2
    program = _SHELL + "".join(f"run({cell!r})\n" for cell in cells)
    assert run_python(program, flags=()).stdout == "a Deferred\n49\n"


def test_importing_the_package_does_not_import_ipython() -> None:
    """
    That is left to loading.
    """
    run_python(
        """
        import sys
        import crochet
        assert callable(crochet.load_ipython_extension)
        ours = {f"crochet._interactive.{name}" for name in ("await_in_task", "cells")}
        assert not {"IPython", *ours} & set(sys.modules)
        """
    )
