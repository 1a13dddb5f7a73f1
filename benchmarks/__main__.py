"""
The command line: ``python -m benchmarks``, from the root of the checkout.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import environments, measures, plot, report
from benchmarks.conductor import WorkerError
from benchmarks.contenders import CONTENDERS


def names(known: dict[str, object]) -> object:
    """
    Return a parser of comma-separated names out of *known*.
    """

    def parse(text: str) -> list[str]:
        asked = [name.strip() for name in text.split(",")]
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"no {', '.join(unknown)}; there are {', '.join(known)}"
            )
        # In the order of the tables, whatever order they were asked for in.
        return [name for name in known if name in asked]

    return parse


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """
    Return the options given in *arguments*.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Crochet beside its peers, interleaved in one run.",
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="fewer rounds: a tendency")
    sizes.add_argument("--tiny", action="store_true", help="hardly anything: does it work?")
    parser.add_argument(
        "--only",
        type=names(dict(measures.MEASURES)),  # type: ignore[arg-type]
        default=list(measures.MEASURES),
        metavar="MEASURE,...",
        help=f"of {', '.join(measures.MEASURES)}",
    )
    parser.add_argument(
        "--contenders",
        type=names(dict(CONTENDERS)),  # type: ignore[arg-type]
        default=list(CONTENDERS),
        metavar="NAME,...",
        help=f"of {', '.join(CONTENDERS)}",
    )
    parser.add_argument("--rounds", type=int, help="the same number of rounds for every measure")
    parser.add_argument("--seed", type=int, default=1, help="of the order within each round")
    parser.add_argument("--no-gc", action="store_true", help="switch garbage collection off")
    parser.add_argument("--python", default=sys.executable, help="the Python to measure on")
    parser.add_argument(
        "--here",
        action="store_true",
        help="prepare no environment: measure what that Python can import, without crochet 2.1.1",
    )
    parser.add_argument("--afresh", action="store_true", help="make the environments anew")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="instead: where does a round trip's time go, there and back and on which side?",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=environments.CHECKOUT / "benchmarks" / "results",
        help="the folder for latest.json, latest.png and latest.svg",
    )
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def say(line: str) -> None:
    """
    Tell on standard error what is going on.
    """
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """
    Measure as *arguments* say; return the process's exit status.
    """
    options = parsed(arguments)
    plan = measures.Plan()
    if options.quick:
        plan = measures.Plan.quick()
    if options.tiny:
        plan = measures.Plan.tiny()
    if options.rounds is not None:
        plan = plan.with_rounds(options.rounds)
    plan.seed, plan.gc = options.seed, not options.no_gc
    try:
        interpreters = (
            environments.here(options.python)
            if options.here
            else environments.prepared(options.python, say, afresh=options.afresh)
        )
        run = measures.Run(plan, interpreters, say)
        if options.profile:
            found = run.anatomy(options.contenders)
        else:
            found = run.measure(options.only, options.contenders)
    except (environments.SetupError, WorkerError) as error:
        say(f"error: {error}")
        return 1
    for line in report.lines(found):
        print(line)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / ("profile" if options.profile else "latest")
    written = [stem.with_suffix(".json")]
    written[0].write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not options.profile:
        try:
            written += plot.draw(found, stem)
        except ImportError as error:
            say(f"no plot: {error}")
    say("written: " + ", ".join(path.name for path in written))
    # A bar that is missed is a finding and not a failure: a shared machine may be too busy
    # for any verdict. Whoever gates on it reads the report.
    return 0


if __name__ == "__main__":
    sys.exit(main())
