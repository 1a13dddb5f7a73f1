"""
Run hazards: ``python -m tests.hazards [--with [BRIDGE=]PYTHON] [--markdown FILE] [NAME ...]``.

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
        dest="others",
        action="append",
        default=[],
        metavar="[BRIDGE=]PYTHON",
        help="one more column: an interpreter with another crochet installed, or with "
        + ", ".join(_runner.BRIDGES[1:]),
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
    try:
        columns = [_runner.own_column(), *map(_runner.foreign_column, arguments.others)]
    except ValueError as error:
        parser.error(str(error))
    titles = [column.title for column in columns]
    rows: dict[str, list[_runner.Verdict]] = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        promised = {
            name: [
                pool.submit(_runner.run, name, column, arguments.bound)
                if column.can_be_asked(name)
                else None
                for column in columns
            ]
            for name in names
        }
        for name, futures in promised.items():
            print(f"{name}\n    {_runner.describe(name)}")
            rows[name] = [future.result() if future else _runner.NOT_ASKED for future in futures]
            for head, verdict in zip(titles, rows[name], strict=True):
                if verdict is not _runner.NOT_ASKED:
                    print(f"    {head:16} {verdict}", flush=True)
                if arguments.verbose and not verdict.is_fine:
                    print(verdict.output, flush=True)
    for column, head in enumerate(titles):
        kinds = [verdicts[column].kind for verdicts in rows.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        print(f"{head}: {counts}")
    if arguments.markdown:
        text = _runner.as_markdown(columns, titles, rows)
        arguments.markdown.write_text(text, encoding="utf-8")
    return int(not all(verdicts[0].is_fine for verdicts in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
