"""
How the ways in may be called.
"""

from __future__ import annotations

import inspect

import pytest

from crochet import _ways_in
from crochet._api import Entrance
from crochet._lifecycle.lifecycle import EventLoop


@pytest.mark.parametrize("name", ["setup", "shutdown", "running"])
def test_types_are_those_of_what_is_called(name: str) -> None:
    """
    The public name's type, the entrance and the event loop behind it take the same.
    """
    told = inspect.signature(vars(_ways_in)[name.title()].__call__)
    for implementation in (Entrance, EventLoop):
        taken = inspect.signature(vars(implementation)[name])
        assert list(taken.parameters.values()) == list(told.parameters.values())
