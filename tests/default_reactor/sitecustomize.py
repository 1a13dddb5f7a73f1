"""
Makes the reactor that CROCHET_TEST_REACTOR names the default one of every Python started with this
folder in PYTHONPATH.

conftest.py puts it there, for the programs that tests start. Nothing is imported before the program
does: what is changed is what Twisted's ``twisted.internet.default`` holds once that is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any


class _Loader(importlib.abc.Loader):
    """
    Loads that module as another loader does, and then gives it another ``install()``.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        name = os.environ["CROCHET_TEST_REACTOR"]
        if name == "asyncio":
            module.install = _install_asyncio
        else:
            module.install = importlib.import_module(f"twisted.internet.{name}reactor").install


def _install_asyncio() -> None:
    from asyncio import new_event_loop

    from twisted.internet.asyncioreactor import install

    install(new_event_loop())


_install_asyncio.__module__ = "twisted.internet.asyncioreactor"  # by which it is known


class _Finder(importlib.abc.MetaPathFinder):
    """
    Finds that one module.
    """

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != "twisted.internet.default":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


if os.environ.get("CROCHET_TEST_REACTOR"):
    sys.meta_path.insert(0, _Finder())
