"""
A report as a picture: bars of the medians, without the floors, the best contender first.

``python -m benchmarks.chart REPORT SVG`` draws the README's, ``docs/pictures/round-trip.svg``, of
the ``latest.json`` of a run that had ``round_trip_pinned``. It is plain SVG with a style of its
own, which follows the light or dark mode of the viewer; text stays text.
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.figures import figure_of

WIDTH, ROW, LABELS, FIGURES = 640, 22, 236, 96

STYLE = """
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f; }
.ours text { font-weight: bold; } rect { fill: #8d99ae; } .ours rect { fill: #d1495b; }
.small { font-size: 10.5px; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } rect { fill: #6e7b91; } .ours rect { fill: #e8697a; }
}
"""

#: By measure: what its panel says, and the unit and scale of its figures.
PANELS = {
    "round_trip": ("A blocking call of a function that does nothing", "µs", 1e6),
    "round_trip_pinned": (
        "A blocking call of a function that does nothing: processor time",
        "µs",
        1e6,
    ),
    "burst": ("Submitting a burst, per call", "µs", 1e6),
    "threads": ("Calls of many threads at once", "/ms", 1e-3),
    "memory": ("A pending result", "bytes", 1),
}


def draw(report: dict[str, Any], *names: str) -> str:
    """
    Return the picture of those measures of a report that have a panel; of all by default.
    """
    panels: list[str] = []
    top, told = 0, ""
    for name, taken in report["measures"].items():
        if name in (names or PANELS):
            drawn, top, told = _panel(report, name, taken, top)
            panels += drawn
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}"'
            f' width="{WIDTH}" height="{top}" role="img" aria-label="{escape(told)}">',
            f"<style>{STYLE}</style>",
            *panels,
            "</svg>\n",
        ]
    )


def _panel(
    report: dict[str, Any], name: str, taken: dict[str, Any], top: int
) -> tuple[list[str], int, str]:
    """
    Return the lines of one measure's panel, where it ends, and what it says.
    """
    says, unit, scale = PANELS[name]
    figure = figure_of(taken)
    is_rising = figure == "calls_per_second"
    entries = {
        key: entry
        for key, entry in taken["contenders"].items()
        if figure in entry and not entry["is_reference"]
    }
    if not entries:
        return [], top, ""
    medians = {key: entry[figure]["median"] * scale for key, entry in entries.items()}
    keys = sorted(medians, key=medians.__getitem__, reverse=is_rising)
    longest = max(medians.values()) or 1.0
    better = "longer" if is_rising else "shorter"
    lines = [f'<text x="4" y="{top + 16}">{says}, {better} is better</text>']
    for number, key in enumerate(keys):
        y = top + 34 + number * ROW
        bar = medians[key] / longest * (WIDTH - LABELS - FIGURES)
        kind = ' class="ours"' if key == "crochet" else ""
        lines.append(
            f'<g{kind}><text x="{LABELS - 8}" y="{y + 11}" text-anchor="end">'
            f"{escape(entries[key]['title'])}</text>"
            f'<rect x="{LABELS}" y="{y}" width="{bar:.0f}" height="15" rx="2"/>'
            f'<text x="{LABELS + bar + 6:.0f}" y="{y + 11}">{medians[key]:,.0f} {unit}</text></g>'
        )
    end = top + 34 + len(keys) * ROW + 20
    rounds = len(entries[keys[0]][figure]["samples"])
    found = report["versions"].values()
    versions = {f"Twisted {each['Twisted']}" for each in found if "Twisted" in each}
    where = ", ".join([report["python"], *sorted(versions), report["machine"]["system"]])
    how = "interleaved rounds" + " on one processor" * name.endswith("_pinned")
    lines.append(
        f'<text class="small" x="4" y="{end - 6}">'
        f"{escape(f'Median of {rounds} {how}. {where}')}</text>"
    )
    told = ", ".join(f"{entries[key]['title']} {medians[key]:.0f} {unit}" for key in keys)
    return lines, end, told


if __name__ == "__main__":
    source, target = sys.argv[1:]
    picture = draw(json.loads(Path(source).read_text()), "round_trip_pinned")
    Path(target).write_text(picture, encoding="utf-8")
