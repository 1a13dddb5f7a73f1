"""
The clock: it goes on while tests freeze time.
"""

from __future__ import annotations

import textwrap

import pytest

from support.programs import run_python

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

    early = importlib.import_module("crochet._threads.clock")
    thaw = freeze()
    assert time.monotonic() == 1_000_000.0
    del sys.modules["crochet._threads.clock"]
    late = importlib.import_module("crochet._threads.clock")
    assert abs(late.monotonic() - early.monotonic()) < 100
    thaw()
    assert abs(late.monotonic() - time.monotonic()) < 100
    """
    run_python(FREEZING + textwrap.dedent(code))


@pytest.mark.parametrize("reactor", ["default", "asyncio"])
def test_waits_and_texts_go_by_it(reactor: str) -> None:
    """
    While time is frozen and afterwards: no wait lasts for ever or ends early, and no text tells of
    hours that have not passed.
    """
    code = """
    import re
    from twisted.internet.defer import Deferred
    import crochet

    bound = float(sys.argv[1])
    crochet.setup(reactor=sys.argv[2])

    def expect(function, *args):
        try:
            function(*args)
        except crochet.TimeoutError as error:
            assert not re.search(r"(?<![0-9.])[0-9]{3,}(\\.[0-9]+)? s\\b", str(error)), error
        else:
            raise AssertionError("no timeout")

    def check():
        assert crochet.wait_for(bound)(int)() == 0
        expect(crochet.wait_for(0.01)(Deferred))
        expect(pending.wait, 0.01)
        with crochet.deadline(0.01):
            assert 0.0 <= crochet.deadline.remaining() <= 0.01
            expect(pending.wait, bound)
        with crochet.deadline(bound):
            assert bound / 2 < crochet.deadline.remaining() <= bound
        ages = [call.age for call in crochet.status().calls]
        assert len(ages) == 1 and 0.0 <= ages[0] <= 2 * bound, ages

    pending = crochet.run_in_reactor(Deferred)()
    check()
    thaw = freeze()
    check()
    thaw()
    check()
    """
    run_python(FREEZING + textwrap.dedent(code), reactor)
