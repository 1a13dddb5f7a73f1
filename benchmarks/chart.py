"""
The round trip beside the peers, as a picture: ``python -m benchmarks.chart REPORT SVG``.

It is the README's, ``docs/pictures/round-trip.svg``. REPORT is the ``latest.json`` of a run that
had ``round_trip_pinned``. The picture is plain SVG with a style of its own, which follows the light
or dark mode of the viewer; text stays text.
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

WIDTH, ROW, LABELS, FIGURES = 640, 22, 236, 64

STYLE = """
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f; }
.ours text { font-weight: bold; } rect { fill: #8d99ae; } .ours rect { fill: #d1495b; }
.small { font-size: 10.5px; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } rect { fill: #6e7b91; } .ours rect { fill: #e8697a; }
}
"""


def draw(report: dict[str, Any]) -> str:
    """
    Return the picture of a report, the fastest first, without the floors.
    """
    entries = report["measures"]["round_trip_pinned"]["contenders"]
    medians = {
        key: entry["seconds_per_call"]["median"] * 1e6
        for key, entry in entries.items()
        if not entry["is_reference"]
    }
    keys = sorted(medians, key=medians.__getitem__)
    scale = (WIDTH - LABELS - FIGURES) / medians[keys[-1]]
    rows = []
    for number, key in enumerate(keys):
        top = 34 + number * ROW
        bar = medians[key] * scale
        kind = ' class="ours"' if key == "crochet" else ""
        rows.append(
            f'<g{kind}><text x="{LABELS - 8}" y="{top + 11}" text-anchor="end">'
            f"{escape(entries[key]['title'])}</text>"
            f'<rect x="{LABELS}" y="{top}" width="{bar:.0f}" height="15" rx="2"/>'
            f'<text x="{LABELS + bar + 6:.0f}" y="{top + 11}">{medians[key]:.0f} µs</text></g>'
        )
    height = 34 + len(keys) * ROW + 20
    versions = report["versions"]["crochet"]
    where = f"{report['python']}, Twisted {versions['Twisted']}, {report['machine']['system']}"
    samples = entries["crochet"]["seconds_per_call"]["samples"]
    told = ", ".join(f"{entries[key]['title']} {medians[key]:.0f} µs" for key in keys)
    head = "A blocking call of a function that does nothing: processor time, shorter is better"
    foot = f"Median of {len(samples)} interleaved rounds on one processor. {where}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img" aria-label="{escape(told)}">',
            f"<style>{STYLE}</style>",
            f'<text x="4" y="16">{head}</text>',
            *rows,
            f'<text class="small" x="4" y="{height - 6}">{escape(foot)}</text>',
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    source, target = sys.argv[1:]
    Path(target).write_text(draw(json.loads(Path(source).read_text())), encoding="utf-8")
