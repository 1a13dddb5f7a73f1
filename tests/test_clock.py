"""
The clock: it goes on while tests freeze time.
"""

from __future__ import annotations

import textwrap

from fakes import run_python

# What freezegun does: it replaces names at the top level of modules that stand for the function.
FREEZING = textwrap.dedent(
    """
    import sys
    import time

    def freeze():
        real, frozen = time.monotonic, lambda: 1_000_000.0
        places = [
            (module, name)
            for module in list(sys.modules.values())
            if module.__name__ != "threading"
            for name, value in list(vars(module).items())
            if value is real
        ]
        for module, name in places:
            setattr(module, name, frozen)
        return lambda: [setattr(module, name, real) for module, name in places]
    """
)


def test_goes_on_while_time_is_frozen() -> None:
    """
    Whether that came about before or after the clock was imported.
    """
    code = """
    import importlib

    early = importlib.import_module("crochet._clock")
    thaw = freeze()
    assert time.monotonic() == 1_000_000.0
    del sys.modules["crochet._clock"]
    late = importlib.import_module("crochet._clock")
    assert abs(late.monotonic() - early.monotonic()) < 100
    thaw()
    assert abs(late.monotonic() - time.monotonic()) < 100
    """
    run_python(FREEZING + textwrap.dedent(code))
