"""
The public functions: what tools are told of them. What each does is tested with what it is made of.
"""

from __future__ import annotations

import importlib
import inspect
import pydoc
from types import FunctionType
from typing import Any

import pytest

import crochet
from crochet._lifecycle.lifecycle import SetupOptions
from crochet._stash.numbers import ttl_seconds
from crochet._threads import timeouts
from support.programs import run_python

# How each is called. Of decorated functions, test_decorators.py tells.
SIGNATURES = {
    "as_completed": "(results, timeout=None)",
    "blocking": "(target, *, timeout, as_=None, timeouts=None, wrap=())",
    "context_in_reactor": "(timeout, *, grace=1.0)",
    "dump": "(file=None)",
    "gather": "(*results, timeout=None, return_exceptions=False)",
    "in_reactor": "(function)",
    "iterate_in_reactor": "(timeout, *, buffersize=0, grace=1.0)",
    "load_ipython_extension": "(ip)",
    "no_setup": "()",
    "peek_result": "(result_id)",
    "progress_bar": "(file=None)",
    "reactor_only": "(function, /)",
    "register": "(function, /, *args, **kwargs)",
    "report_progress": "(done, total=None, message=None)",
    "retrieve_result": "(result_id)",
    "run_in_caller": "(function, /, *args, **kwargs)",
    "run_in_reactor": "(function)",
    "running": "(*, timeout=10.0, **options)",
    "setup": "(*, logging=True, stall_warning=1.0, exit_patience=5.0, max_queued=inf, "
    "reactor=None, loop_factory=None, stash=None, drain=0.0)",
    "shutdown": "(timeout=10.0)",
    "status": "()",
    "unload_ipython_extension": "(ip)",
    "wait_for": "(timeout, *, grace=1.0, on_late=None)",
    "wait_for_reactor": "(function)",
}


def _signature(function: Any) -> inspect.Signature:
    signature = inspect.signature(function)
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)


def test_the_functions_are_all_told() -> None:
    """
    A new one of ``__all__`` has to be given its signature here.
    """
    functions = {name for name in crochet.__all__ if not _is_class(getattr(crochet, name))}
    assert functions - {"__version__"} <= set(SIGNATURES)


def _is_class(value: object) -> bool:
    return isinstance(value, type)


@pytest.mark.parametrize("name", SIGNATURES)
def test_is_a_function_with_its_signature(name: str) -> None:
    """
    It is a ``def`` of that name, found by jump-to-definition, with a docstring for ``help()``.
    """
    function = getattr(crochet, name)
    assert type(function) is FunctionType
    assert f"def {name}(" in inspect.getsource(function)
    assert function.__name__ == function.__qualname__ == name
    assert str(_signature(function)) == SIGNATURES[name]
    text = pydoc.plain(pydoc.render_doc(function))
    assert f"\n{name}(" in text
    assert inspect.getdoc(function) in inspect.cleandoc(text).replace("\n    ", "\n")


def test_classes_have_their_signature() -> None:
    """
    Those of ``__all__`` that a program makes itself.
    """
    assert str(_signature(crochet.deadline)) == "(timeout)"


def test_options_are_those_of_setup() -> None:
    """
    What type checkers let running() be given is what setup() takes.
    """
    told = inspect.get_annotations(SetupOptions)
    taken = inspect.signature(crochet.setup).parameters
    assert list(told) == list(taken)
    for name, parameter in taken.items():
        assert told[name].__forward_arg__ == parameter.annotation


def test_running_takes_what_setup_takes() -> None:
    """
    Any of its options, and no others.
    """
    finished = run_python(
        """
        import crochet

        for options in {"stall_warning": 0}, {"stalls": 0}:
            try:
                with crochet.running(**options):
                    print("runs")
            except (TypeError, ValueError) as error:
                print(type(error).__name__, error)
        with crochet.running(exit_patience=3.0, reactor="select", logging=False):
            print(crochet._event_loop._exit_patience, crochet.status().reactor)
            print(crochet._event_loop._has_logs)
        """
    )
    assert finished.stdout.splitlines() == [
        "ValueError stall_warning cannot be 0 s: give a number of seconds above zero, or None for "
        "no warnings",
        "TypeError setup() got an unexpected keyword argument 'stalls'",
        "3.0 select",
        "False",
    ]


def test_a_reload_keeps_the_one_lifecycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As ``%reload_ext crochet`` does: the names are those functions, and the reactor still runs.
    """
    for name in vars(crochet).copy():  # which the reload may replace
        monkeypatch.setattr(crochet, name, getattr(crochet, name))
    before = {name: getattr(crochet, name) for name in [*SIGNATURES, "_event_loop", "_extension"]}
    importlib.reload(crochet)
    assert {name: getattr(crochet, name) for name in before} == before


def test_a_generator_function_is_warned_of_where_it_is_decorated() -> None:
    """
    In the program's file, though the decorator is behind another function.
    """

    def generate() -> Any:
        yield

    with pytest.warns(DeprecationWarning, match="generator function") as caught:
        crochet.run_in_reactor(generate)
    with pytest.warns(DeprecationWarning, match="generator function") as more:
        crochet.run_in_reactor(staticmethod(generate))
    assert [warning.filename for warning in [*caught, *more]] == [__file__, __file__]


def test_shutdown_before_setup_has_nothing_to_do() -> None:
    """
    But to look at what it was given; and nothing is started.
    """
    finished = run_python(
        """
        import threading
        import crochet

        crochet.shutdown(1.0)
        try:
            crochet.shutdown("soon")
        except TypeError as error:
            print(error)
        print(crochet.status().state, threading.active_count())
        """
    )
    text = "a timeout is a number of seconds, or None for no limit, not str 'soon'"
    assert finished == (0, f"{text}\nnot set up 1\n", "")


SOON: Any = "soon"


@pytest.mark.parametrize(
    ("give", "name"),
    [
        (lambda: crochet.wait_for(timeout=SOON), "a timeout"),
        (lambda: crochet.wait_for(timeout=1, grace=SOON), "a grace"),
        (lambda: crochet.iterate_in_reactor(timeout=1, grace=SOON), "a grace"),
        (lambda: crochet.context_in_reactor(timeout=1, grace=SOON), "a grace"),
        (lambda: crochet.gather(timeout=SOON), "a timeout"),
        (lambda: timeouts.stall_seconds(SOON), "stall_warning"),
        (lambda: timeouts.exit_seconds(SOON), "exit_patience"),
        (lambda: timeouts.exit_seconds(SOON, "drain"), "drain"),
        (lambda: ttl_seconds(SOON), "a ttl"),
    ],
)
def test_the_text_names_which_time_is_none(give: Any, name: str) -> None:
    """
    Where a function takes several.
    """
    with pytest.raises(TypeError, match=f"^{name} is a number of seconds.* not str 'soon'"):
        give()


def test_the_text_names_which_time_of_a_watch_is_none() -> None:
    """
    Of a result as of a stream.
    """
    finished = run_python(
        """
        import crochet

        crochet.setup()
        result = crochet.run_in_reactor(int)()
        for arguments in ({"interval": "soon"}, {"interval": 1, "heartbeat": "soon"}):
            try:
                result.watch(**arguments)
            except TypeError as error:
                print(error)
        """
    )
    text = "is a number of seconds, or None for no limit, not str 'soon'"
    assert finished == (0, f"an interval {text}\na heartbeat {text}\n", "")
