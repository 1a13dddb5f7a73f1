"""
Run hazards: ``python -m tests.hazards [--with PYTHON] [--markdown FILE] [NAME ...]``.

Exits with 1 if there is a breach in the first column, that of the interpreter which runs this.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import _runner


def main() -> int:
    """
    Run the hazards asked for and print a table.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.hazards", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="hazards; all, if none is given")
    parser.add_argument(
        "--with",
        dest="pythons",
        action="append",
        default=[],
        metavar="PYTHON",
        help="another interpreter, with another crochet installed, for one more column",
    )
    parser.add_argument("--bound", type=float, default=60.0, help="seconds for each (%(default)g)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--verbose", action="store_true", help="show the output of breaches")
    arguments = parser.parse_args()
    names = arguments.names or _runner.all_names()
    unknown = sorted(set(names) - set(_runner.all_names()))
    if unknown:
        parser.error(f"there are no hazards {', '.join(unknown)}")
    columns = [(sys.executable, _runner.own_environment())]
    columns += [(python, _runner.foreign_environment()) for python in arguments.pythons]
    titles = [_runner.title(*column) for column in columns]
    rows: dict[str, list[_runner.Verdict]] = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        promised = {
            name: [pool.submit(_runner.run, name, *column, arguments.bound) for column in columns]
            for name in names
        }
        for name, futures in promised.items():
            print(f"{name}\n    {_runner.describe(name)}")
            rows[name] = [future.result() for future in futures]
            for head, verdict in zip(titles, rows[name], strict=True):
                print(f"    {head:16} {verdict}", flush=True)
                if arguments.verbose and not verdict.is_fine:
                    print(verdict.output, flush=True)
    for column, head in enumerate(titles):
        kinds = [verdicts[column].kind for verdicts in rows.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        print(f"{head}: {counts}")
    if arguments.markdown:
        arguments.markdown.write_text(_runner.as_markdown(titles, rows), encoding="utf-8")
    return int(not all(verdicts[0].is_fine for verdicts in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
