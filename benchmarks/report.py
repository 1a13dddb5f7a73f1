"""
The report as text: a table for each measure, then the bars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.figures import figure_of

#: In what figures are shown that are in seconds, or in bytes, if they are at least so much.
UNITS = {
    "seconds": ((1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "µs")),
    "bytes": ((1e5, 1e-6, "MB"), (0, 1, "bytes")),
}


def lines(report: dict[str, Any]) -> Iterator[str]:
    """
    Yield the lines of *report*.
    """
    machine = report["machine"]
    yield (
        f"{report['python']}, {machine['processors']} x {machine['processor']}, "
        f"{machine['system']} {machine['release']}, "
        f"load {machine['load_before']:.2f} to {machine['load_after']:.2f}"
    )
    for name, taken in report["measures"].items():
        yield from _measure(name, taken)
    if report["bars"]:
        yield from _bars(report["bars"])
    for key, reason in report["unavailable"].items():
        yield f"left out: {key}: {reason}"


def _measure(name: str, taken: dict[str, Any]) -> Iterator[str]:
    """
    Yield a row for each contender; of a measure of many parts, for each of those.
    """
    contenders, first = taken["contenders"], figure_of(taken)
    has_parts = name == "anatomy" or first.endswith(" at n")
    rows, notes = [], []
    for entry in contenders.values():
        notes += [f"  {entry['title']}: {entry['unsupported']}"] if "unsupported" in entry else []
        for key, found in entry.items():
            if isinstance(found, dict) and (has_parts or key == first):
                kind = "seconds" if "seconds" in key or key.endswith(" n") else ""
                ours = contenders.get("crochet", {}).get(key, {}).get("median")
                row = (
                    f"{entry['title']}: {key}" if has_parts else entry["title"],
                    *_spread(found, "bytes" if "bytes" in key else kind),
                    f"{found['median'] / ours:.2f}" if ours else "",
                    str(found["rounds"]),
                )
                rows.append(row)
    head = ("", "median", "p10 to p90", "of ours", "rounds")
    yield from _table(f"{name}: {taken['what']}", head, rows)
    yield from notes


def _bars(bars: list[dict[str, Any]]) -> Iterator[str]:
    rows = []
    for bar in bars:
        kind = {"s": "seconds", "bytes": "bytes"}.get(bar["unit"], "")
        middle, spread = _spread(bar, kind)
        sight = "reached" if bar["in_sight_reached"] else "not yet"
        row = (
            bar["verdict"] + (" (close)" if bar["close"] else ""),
            bar["text"],
            middle if kind else f"{middle} {bar['unit']}",
            f"at {'most' if bar['at_most'] else 'least'} {bar['limit']:g} {bar['unit']}",
            spread,
            "" if bar["in_sight"] is None else f"{bar['in_sight']:g} {sight}",
        )
        rows.append(row)
    head = ("", "figure", "median", "bar", "p10 to p90", "in sight")
    yield from _table("the bars: median of the rounds' ratios", head, rows)


def _spread(found: dict[str, Any], kind: str) -> tuple[str, str]:
    """
    Return the median and the spread of *found*, in the unit that fits the median.
    """
    steps = UNITS.get(kind, ((0, 1, ""),))
    scale, unit = next((scale, unit) for least, scale, unit in steps if found["median"] >= least)
    middle, low, high = (_number(found[part] * scale) for part in ("median", "p10", "p90"))
    return f"{middle} {unit}".rstrip(), f"{low} to {high}"


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    yield f"\n{title}"
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield ("  " + "  ".join(cells)).rstrip()


def _number(value: float) -> str:
    """
    Return *value* with three digits that matter, or as a whole number if it is large.
    """
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
