"""
The command line: ``python -m benchmarks``, from the root of the checkout.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from benchmarks import chart, report
from benchmarks.conductor import CHECKOUT, Run, WorkerError
from benchmarks.contenders import CONTENDERS
from benchmarks.registry import MEASURES


def main() -> int:
    """
    Measure as the arguments say; return the process's exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    option("--quick", dest="plan", action="store_const", const="quick", help="fewer rounds")
    option("--tiny", dest="plan", action="store_const", const="tiny", help="does it work?")
    every = ", ".join(MEASURES)
    option("--only", nargs="+", choices=MEASURES, metavar="NAME", help=f"of {every}")
    every = ", ".join(CONTENDERS)
    option("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", help=f"of {every}")
    option("--rounds", type=int, help="the same number of rounds for every measure")
    option("--seed", type=int, default=1, help="of the order within each round")
    option("--no-gc", action="store_true", help="switch garbage collection off")
    option("--peer", metavar="PYTHON", help="one that has crochet 2.1.1")
    option("--before", type=Path, metavar="CHECKOUT", help="measure ours out of that one, too")
    folder = CHECKOUT / "benchmarks" / "results"
    option("--out", type=Path, default=folder, help="for latest.json and latest.svg")
    options = parser.parse_args()

    sources = {key: CHECKOUT / "src" for key in CONTENDERS if key.startswith("crochet")}
    interpreters = {key: (sys.executable, sources.get(key)) for key in CONTENDERS}
    del interpreters["crochet-2.1.1"], interpreters["crochet-before"]
    if options.peer:
        interpreters["crochet-2.1.1"] = (options.peer, None)
    if options.before:
        interpreters["crochet-before"] = (sys.executable, options.before.resolve() / "src")
    # In the order of the tables, whatever order they were asked for in.
    asked = options.contenders or (*interpreters, "crochet-2.1.1")
    keys = [key for key in CONTENDERS if key in asked]
    names = [name for name in MEASURES if name in (options.only or set(MEASURES) - {"anatomy"})]
    say = partial(print, file=sys.stderr, flush=True)
    plan, rounds, gc = options.plan or "full", options.rounds, not options.no_gc
    try:
        found = Run(interpreters, say, plan, rounds, options.seed, gc).measure(names, keys)
    except WorkerError as error:
        say(f"error: {error}")
        return 1
    print(*report.lines(found), sep="\n")
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / "latest"
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".svg").write_text(chart.draw(found), encoding="utf-8")
    # A bar that is missed is a finding and not a failure: a shared machine may be too busy
    # for any verdict. Whoever gates on it reads the report.
    return 0


if __name__ == "__main__":
    sys.exit(main())
