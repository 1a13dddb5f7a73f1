"""
Measure Crochet beside its peers, interleaved in one run: ``python -m benchmarks``.

``README.md`` in this folder says what each figure isolates and how to read it.
"""

# What defines the measures, in the order in which they are taken.
from benchmarks import hand_overs, streams, objects, fresh  # noqa: F401, I001
