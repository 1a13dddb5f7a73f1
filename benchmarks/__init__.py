"""
Measure Crochet beside its peers, interleaved in one run: ``python -m benchmarks``.

``README.md`` in this folder says what each figure isolates and how to read it.
"""
