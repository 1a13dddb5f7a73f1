"""
``python -m crochet``: a prompt whose ``await`` is the reactor's.
"""

from __future__ import annotations

import sys
from importlib import import_module

from ._interactive.repl import main

if __name__ == "__main__":
    sys.exit(main(import_module(__package__ or "")))
