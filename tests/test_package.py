"""
The package as a whole: its names, and what importing it does. (Who imports whom: test_rules.py.)
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import pytest

import crochet
from support.programs import run_python

_SOURCE = Path(crochet.__file__).parent
_PROJECT = Path(__file__).parent.parent


def _functions_imports(path: Path) -> Iterator[str]:
    """
    Yield the names of all modules that the functions of one import.
    """
    package = ["crochet", *path.relative_to(_SOURCE).parent.parts]
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) + 1 - node.level] if node.level else []
                base += node.module.split(".") if node.module else []
                yield from (".".join([*base, alias.name]) for alias in node.names)


class TestNames:
    """
    The public ones.
    """

    expected: ClassVar = {
        "CallInFlight",
        "Channel",
        "BlockingInLoopWarning",
        "DeadlockError",
        "EventualResult",
        "Lag",
        "LocalStash",
        "PickleSerializer",
        "Place",
        "Progress",
        "ReactorBusy",
        "ReactorStopped",
        "RedisStash",
        "RemoteError",
        "ResultLost",
        "Status",
        "Stream",
        "TimeoutError",
        "__version__",
        "as_completed",
        "blocking",
        "context_in_reactor",
        "deadline",
        "dump",
        "gather",
        "iterate_in_reactor",
        "no_setup",
        "peek_result",
        "progress_bar",
        "reactor_only",
        "register",
        "report_progress",
        "retrieve_result",
        "run_in_caller",
        "run_in_reactor",
        "running",
        "setup",
        "shutdown",
        "status",
        "wait_for",
    }

    def test_are_sorted(self) -> None:
        """
        And each is there.
        """
        assert crochet.__all__ == sorted(crochet.__all__)
        assert set(crochet.__all__) == self.expected
        for name in crochet.__all__:
            assert getattr(crochet, name) is not None

    @pytest.mark.parametrize(
        "name", [*sorted(expected - {"__version__"}), "in_reactor", "wait_for_reactor"]
    )
    def test_say_who_may_call_and_whether_it_blocks(self, name: str) -> None:
        """
        In these words; for a class that is not raised, each of its methods does. A record has none.
        """
        value = getattr(crochet, name)
        if isinstance(value, type) and issubclass(value, BaseException):
            assert inspect.getdoc(value)
            return
        functions = [value]
        if name in ("LocalStash", "RedisStash"):
            pass  # it is made; its methods are for setup() and what follows from that
        elif isinstance(value, type):
            functions = [
                getattr(value, method)
                for method, function in vars(value).items()
                if isinstance(function, (FunctionType, staticmethod)) and not method.startswith("_")
            ]
            assert functions or inspect.getdoc(value)
        for function in functions:
            documented = " ".join((inspect.getdoc(function) or "").split())
            assert re.search(r"\bCall (it|the decorated function) from\b", documented), function
            assert re.search(r"\b(Blocks|[Nn]ever blocks)\b", documented), function

    def test_of_2_1_1_are_there_beside_them(self) -> None:
        """
        And what IPython and the pytest plugin look for. They are not for ``import *``, but in
        ``dir()``; and what is no name is none.
        """
        finished = run_python(
            """
            from crochet import *
            import crochet

            assert setup is crochet.setup and "in_reactor" not in globals()
            for name in ("in_reactor", "wait_for_reactor", "EventLoop", "_main", "_eventloop",
                         "load_ipython_extension", "unload_ipython_extension", "_event_loop"):
                assert name in dir(crochet), name
                getattr(crochet, name)
            assert set(crochet.__all__) <= set(dir(crochet))
            assert not hasattr(crochet, "nothing")
            """
        )
        assert finished == (0, "", "")

    def test_of_methods_are_those_that_programs_rely_on(self) -> None:
        """
        And some more.
        """
        public = {name for name in vars(crochet.EventualResult) if not name.startswith("_")}
        assert public == {
            "add_done_callback",
            "as_future",
            "cancel",
            "cancelled",
            "done",
            "exception",
            "original_failure",
            "progress",
            "result",
            "stash",
            "wait",
            "watch",
        }

    def test_are_found_by_inspection(self) -> None:
        """
        Exceptions say that they are the package's, and classes with methods where they are.
        """
        assert crochet.TimeoutError.__module__ == "crochet"
        assert "def wait(" in inspect.getsource(crochet.EventualResult)

    def test_have_docstrings_on_lines_of_their_own(self) -> None:
        """
        All of them that are there, public or not.
        """
        for path in [*_SOURCE.rglob("*.py"), *_SOURCE.rglob("*.pyi")]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    docstring = ast.get_docstring(node, clean=False)
                    assert docstring is None or docstring.startswith("\n"), (path, node)


class TestVersion:
    """
    One version, wherever it is told.
    """

    def test_is_that_of_the_distribution(self) -> None:
        """
        Which pip knows, unless the package is used from its source.
        """
        try:
            installed = version("crochet")
        except PackageNotFoundError:
            pytest.skip("crochet is not installed here")
        assert crochet.__version__ == installed

    def test_is_that_of_the_project(self) -> None:
        """
        Literally.
        """
        text = (_PROJECT / "pyproject.toml").read_text()
        assert f'\nversion = "{crochet.__version__}"\n' in text

    def test_has_its_changes_told(self) -> None:
        """
        As the last one, but for what is still to come.
        """
        text = (_PROJECT / "CHANGELOG.md").read_text()
        versions = re.findall(r"^## \[?([\w.]+)\]?", text, re.MULTILINE)
        assert versions[versions[0] == "Unreleased"] == crochet.__version__


def test_importing_has_no_effect() -> None:
    """
    No reactor, no thread, no descriptor, no hook, no handler of logs, warnings or signals.
    """
    finished = run_python(
        """
        import atexit, gc, logging, os, signal, sys, threading, warnings
        # They have effects of their own. Twisted imports ctypes, whose libffi may keep a file open.
        import ctypes, twisted.internet.defer, twisted.logger

        registered = []
        for name in ("register", "unregister"):
            setattr(atexit, name, lambda *args, name=name: registered.append(name))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork = lambda **hooks: registered.append("fork")
        threading._register_atexit = lambda *args: registered.append("threading")

        def state():
            signals = [signal.getsignal(number) for number in signal.valid_signals()]
            loggers = sorted(logging.root.manager.loggerDict)
            handlers = [list(logging.getLogger(name).handlers) for name in ("", "twisted")]
            observers = list(twisted.logger.globalLogPublisher._observers)
            descriptors = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
            hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook, gc.isenabled())
            return {
                "signals": signals,
                "handlers": handlers,
                "observers": observers,
                "threads": threading.enumerate(),
                "descriptors": len(descriptors),
                "warnings": (warnings.showwarning, list(warnings.filters)),
                "hooks": (hooks, sys.gettrace(), sys.getprofile(), sys.getswitchinterval()),
            }

        before = state()
        modules = set(sys.modules)
        import crochet
        import crochet.mypy

        after = state()
        for what in before:
            if before[what] != after[what]:
                print(what, before[what], after[what])
        if registered:
            print("registered", registered)
        imported = set(sys.modules) - modules
        print(*sorted(name for name in imported if "reactor" in name and "crochet" not in name))
        """
    )
    assert finished == (0, "\n", "")


def test_the_package_imports_little_beyond_twisted() -> None:
    """
    What is dear and seldom needed is imported when it is.
    """
    finished = run_python(
        """
        import sys
        import twisted.internet.defer, twisted.logger

        modules = set(sys.modules)
        import crochet

        dear = {"asyncio", "mypy", "concurrent.futures", "inspect", "ssl", "IPython", "readline"}
        print(*sorted(dear & (set(sys.modules) - modules)))
        """
    )
    assert finished == (0, "\n", "")


class TestLoading:
    """
    What is loaded when.
    """

    def test_the_import_loads_all_of_ours(self) -> None:
        """
        So setup() and calls load nothing, and no thread waits for another that is importing us.
        """
        finished = run_python(
            """
            import sys
            import crochet

            def ours():
                return {name for name in sys.modules if name.split(".")[0] == "crochet"}

            before = ours()
            print("crochet._lifecycle.lifecycle" in before)
            crochet.setup()
            crochet.wait_for(float(sys.argv[1]))(int)()
            with crochet.deadline(1.0):
                crochet.shutdown()
            crochet.dump()
            shared = {"LocalStash", "RedisStash"}  # a program asks for one, or does without
            for name in {*crochet.__all__} - shared:
                getattr(crochet, name)
            print(*ours() - before)
            """
        )
        assert (finished.status, finished.stdout) == (0, "True\n\n")

    @pytest.mark.parametrize("set_up", ["setup()", "setup(reactor='asyncio')", "no_setup()"])
    def test_nothing_is_loaded_after_setup(self, set_up: str) -> None:
        """
        By calls that succeed, fail, time out, are cancelled, stashed or asked about, by signal
        handlers, or by the process's end; nor by the first call in a forked child.

        An import may block, needs a descriptor, and fails at finalization.
        """
        finished = run_python(
            f"""
            import atexit, os, signal, sys, threading, time, warnings
            from twisted.internet.defer import Deferred
            import crochet

            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads

            def report():
                loaded = set(sys.modules) - before
                print(*sorted(loaded - told), end="")
                told.update(loaded)

            told = set()
            atexit.register(report)  # so as to be called after ours
            crochet.{set_up}
            from twisted.internet import reactor  # of a program after no_setup()
            before = set(sys.modules)
            """
            """
            bound = float(sys.argv[1])
            if not reactor.running:
                threading.Thread(target=reactor.run, args=(False,), daemon=True).start()

            def expect(kind, function, *args):
                try:
                    function(*args)
                except kind:
                    return
                raise AssertionError(kind)

            @crochet.wait_for(bound)
            def seven():
                return 7

            @crochet.wait_for(bound)
            async def coroutine():
                done = Deferred()
                reactor.callLater(0, done.callback, 8)
                return await done

            @crochet.wait_for(bound)
            def fails():
                1 / 0

            @crochet.wait_for(bound)
            def visits():
                return crochet.run_in_caller(os.getpid)

            @crochet.wait_for(bound)
            @crochet.reactor_only
            def guarded():
                return 9

            @crochet.run_in_reactor
            def never():
                return Deferred()

            @crochet.run_in_reactor
            def busy():
                time.sleep(0.05)

            assert seven() == 7
            assert coroutine() == 8
            assert visits() == os.getpid()
            assert guarded() == 9
            expect(RuntimeError, guarded.__wrapped__)
            expect(ZeroDivisionError, fails)
            expect(crochet.TimeoutError, never().wait, 0)
            expect(crochet.TimeoutError, crochet.wait_for(0.001)(Deferred))
            busy()
            expect(crochet.TimeoutError, crochet.wait_for(0.001)(Deferred))  # of being queued
            held = never()
            held.cancel()
            expect(Exception, held.wait, bound)
            assert crochet.run_in_reactor(int)().as_future().result(bound) == 0
            assert crochet.retrieve_result(crochet.run_in_reactor(int)().stash()).wait(bound) == 0
            if hasattr(signal, "SIGUSR1"):
                seen = []
                signal.signal(signal.SIGUSR1, lambda *_: seen.append(str(crochet.status())))
                os.kill(os.getpid(), signal.SIGUSR1)
                assert len(seen) == 1
            for call in crochet.status().calls:
                repr(call), call.waits_on
            crochet.dump()
            report()
            if hasattr(os, "fork"):
                pid = os.fork()
                if not pid:
                    try:
                        seven()
                    except crochet.ReactorStopped:
                        pass  # after no_setup() it is the child's program that runs the reactor
                    report()
                    sys.stdout.flush()
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            pending = never()
            """
        )
        assert finished[:2] == (0, "")

    def test_functions_import_what_is_loaded_by_then(self) -> None:
        """
        By setup(), unless they are what a program asks for by name, as its other modules.
        """
        names = {
            name
            for path in _SOURCE.rglob("*.py")
            if path.stem not in {"mypy", "__init__", "prompts", "ipython"}
            for name in _functions_imports(path)
        }
        assert "crochet._coroutines.futures.ResultFuture" in names
        finished = run_python(
            """
            import sys
            import crochet

            crochet.setup()
            for name in sys.argv[2:]:
                if name not in sys.modules and name.rpartition(".")[0] not in sys.modules:
                    print(name)
            """,
            *sorted(names),
        )
        loaded_for_a_name = {
            "crochet._interactive.ipython",
            "crochet._legacy",
            "crochet._eventloop",
            "crochet._stash.local",
            "crochet._stash.redis",
            "redis.cluster",
            "redis.sentinel",
            "scrapy",
            "scrapy.crawler",
        }
        left = {name.rpartition(".")[0] for name in finished.stdout.split()}
        assert left <= loaded_for_a_name

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
    def test_nothing_needs_a_descriptor_after_setup(self) -> None:
        """
        Of what signal handlers and the victims of a leak call.
        """
        run_python(
            """
            import logging, os, resource, sys, time
            from io import StringIO
            from twisted.internet.defer import Deferred
            import crochet

            logging.getLogger("twisted").addHandler(logging.NullHandler())
            bound = float(sys.argv[1])

            def expect(kind, function, *args):
                try:
                    function(*args)
                except kind as error:
                    return str(error)
                raise AssertionError(kind)

            @crochet.run_in_reactor
            def busy():
                time.sleep(0.05)

            @crochet.wait_for(bound)
            def seven():
                return 7

            @crochet.wait_for(bound)
            def waits_here():
                seven()

            @crochet.wait_for(bound)
            def visits():
                return crochet.run_in_caller(os.getpid)

            crochet.setup()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit))
            try:
                while True:
                    os.dup(0)
            except OSError:
                pass
            pending = crochet.run_in_reactor(Deferred)()
            assert seven() == 7
            assert visits() == os.getpid()
            assert "1" in str(crochet.status())
            crochet.dump(StringIO())
            busy()
            assert "busy" in expect(crochet.TimeoutError, crochet.wait_for(0.001)(Deferred))
            expect(crochet.DeadlockError, waits_here)
            expect(ZeroDivisionError, crochet.wait_for(bound)(lambda: 1 / 0))
            expect(crochet.TimeoutError, pending.wait, 0.001)
            assert crochet.run_in_reactor(int)().as_future().result(bound) == 0
            assert crochet.retrieve_result(crochet.run_in_reactor(int)().stash()).wait(bound) == 0
            pending.cancel()
            expect(Exception, pending.wait, bound)
            crochet.shutdown()
            """
        )


class TestMypy:
    """
    ``crochet.mypy``
    """

    def test_loads_as_a_plugin(self) -> None:
        """
        That does nothing.
        """
        plugins: Any = pytest.importorskip("mypy.plugin")
        module = importlib.import_module("crochet.mypy")
        assert module.plugin("1.13.0") is plugins.Plugin
