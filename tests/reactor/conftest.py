"""
What the tests of the reactor have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.reactor import FakeReactor, close_reactor, new_real_reactor


@pytest.fixture(params=[FakeReactor, new_real_reactor], ids=["fake", "real"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A reactor that has not run.
    """
    reactor = request.param()
    yield reactor
    close_reactor(reactor)
