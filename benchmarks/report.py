"""
The report as text: a table for each measure, then the bars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

OURS = "crochet"


def lines(report: dict[str, Any]) -> Iterator[str]:
    """
    Yield the lines of *report*.
    """
    python, machine = report["python"], report["machine"]
    yield (
        f"{python.get('implementation', 'Python')} {python.get('version', '')}, "
        f"{machine['processors']} x {machine['processor']}, {machine['system']} "
        f"{machine['release']}, load {machine['load_before']} to {machine.get('load_after')}"
    )
    measures = report["measures"]
    scales = (
        ("round_trip", "seconds_per_call", 1e6, "µs"),
        ("round_trip_pinned", "seconds_per_call", 1e6, "µs"),
        ("await", "seconds_per_call", 1e6, "µs"),
        ("await_pinned", "seconds_per_call", 1e6, "µs"),
        ("await_gathered", "seconds_per_call", 1e6, "µs"),
        ("await_gathered_pinned", "seconds_per_call", 1e6, "µs"),
        ("stall", "seconds", 1e3, "ms"),
        ("coroutine", "seconds_per_call", 1e6, "µs"),
        ("coroutine_pinned", "seconds_per_call", 1e6, "µs"),
        ("coroutine_sleep", "seconds_per_call", 1e6, "µs"),
        ("coroutine_sleep_pinned", "seconds_per_call", 1e6, "µs"),
        ("burst", "seconds_per_call", 1e6, "µs"),
        ("threads", "calls_per_second", 1, "/s"),
        ("threads_pinned", "calls_per_second", 1, "/s"),
        ("memory", "bytes_per_result", 1, "bytes"),
        ("status", "seconds", 1e3, "ms"),
        ("futures", "bytes_later", 1e-6, "MB"),
        ("idle", "wakeups", 1, "wake-ups"),
        ("import", "cpu_seconds", 1e3, "ms"),
    )
    for name, figure, scale, unit in scales:
        if name in measures:
            yield from _measure(measures[name], name, figure, scale, unit)
    for name in ("pending", "waiters", "timeouts"):
        if name in measures:
            yield from _growth(measures[name], name)
    if "anatomy" in measures:
        yield from _anatomy(measures["anatomy"])
    if report["bars"]:
        yield from _bars(report["bars"])
    for key, reason in report["unavailable"].items():
        yield f"left out: {key}: {reason}"
    if "profile" in report:
        yield from _profile(report["profile"])


def _measure(
    measure: dict[str, Any], name: str, figure: str, scale: float, unit: str
) -> Iterator[str]:
    contenders = measure["contenders"]
    ours = contenders.get(OURS, {}).get(figure)
    rows = []
    notes = []
    for entry in contenders.values():
        found = entry.get(figure)
        if found is None:
            notes.append(f"  {entry['title']}: {entry.get('unsupported', 'not measured')}")
            continue
        relative = ""
        if ours is not None and ours["median"]:
            relative = f"{found['median'] / ours['median']:.2f}"
        rows.append(
            (
                entry["title"],
                _number(found["median"] * scale),
                f"{_number(found['p10'] * scale)} to {_number(found['p90'] * scale)}",
                relative,
                str(found["rounds"]),
            )
        )
    yield from _table(
        f"{name}: {measure['what']}",
        ("", f"median, {unit}", "p10 to p90", "of ours", "rounds"),
        rows,
    )
    yield from notes


def _growth(measure: dict[str, Any], name: str) -> Iterator[str]:
    rows = []
    for entry in measure["contenders"].values():
        for step, ratio in entry["growth"].items():
            few, many = (
                entry[key]["median"] * 1e6 for key in entry if key.startswith(f"{step} at ")
            )
            rows.append(
                (entry["title"], step, _number(few), _number(many), f"{ratio['median']:.2f}")
            )
    sizes = next(
        [key.rpartition(" ")[2] for key in entry if " at " in key]
        for entry in measure["contenders"].values()
    )
    yield from _table(
        f"{name}: {measure['what']}",
        ("", "step", f"µs at {sizes[0]}", f"µs at {sizes[-1]}", "growth"),
        rows,
    )


def _anatomy(measure: dict[str, Any]) -> Iterator[str]:
    figures = (
        ("there_seconds", 1e6),
        ("back_seconds", 1e6),
        ("caller_cpu_seconds", 1e6),
        ("loop_cpu_seconds", 1e6),
        ("caller_switches", 1),
        ("loop_switches", 1),
    )
    rows = [
        (
            entry["title"],
            *(
                _number(entry[key]["median"] * scale) if key in entry else "-"
                for key, scale in figures
            ),
        )
        for entry in measure["contenders"].values()
    ]
    yield from _table(
        "anatomy of a round trip: µs there and back, µs of processor and times asleep per side",
        ("", "there", "back", "caller cpu", "loop cpu", "caller slept", "loop slept"),
        rows,
    )


def _bars(bars: list[dict[str, Any]]) -> Iterator[str]:
    rows = []
    for bar in bars:
        scale, unit = (1e3, "ms") if bar["unit"] == "s" else (1, bar["unit"])
        relation = "at most" if bar["at_most"] else "at least"
        rows.append(
            (
                bar["verdict"] + (" (close)" if bar["close"] else ""),
                bar["text"],
                f"{_number(bar['median'] * scale)} {unit}",
                f"{relation} {bar['limit'] * scale:g}",
                f"{_number(bar['p10'] * scale)} to {_number(bar['p90'] * scale)}",
                ""
                if bar["in_sight"] is None
                else f"{bar['in_sight']:g} {'reached' if bar['in_sight_reached'] else 'not yet'}",
            )
        )
    yield from _table(
        "the bars: median of the rounds' ratios",
        ("", "figure", "median", "bar", "p10 to p90", "in sight"),
        rows,
    )


def _profile(profile: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield f"cProfile of {profile['calls']} round trips of ours: counts are exact, times inflated"
    if not profile["sides_parted"]:
        yield "(on this Python each table shows both sides)"
    for side in ("caller", "loop"):
        yield ""
        yield f"-- the {side}'s side --"
        yield from profile[side].splitlines()


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """
    Yield a table with its numbers flush right and everything else flush left.
    """
    rows = list(rows)
    columns = range(len(head))
    widths = [max(len(row[column]) for row in [head, *rows]) for column in columns]
    numeric = [all(_is_number(row[column]) for row in rows) for column in columns]
    yield ""
    yield title
    for row in [head, *rows]:
        cells = [
            row[column].rjust(widths[column])
            if numeric[column]
            else row[column].ljust(widths[column])
            for column in columns
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").isdigit() or cell in ("", "-")


def _number(value: float) -> str:
    """
    Return *value* with three digits that matter, or as a whole number if it is large.
    """
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
