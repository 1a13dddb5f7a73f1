"""
The report as a picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import figure_of

OURS_COLOUR, PEER_COLOUR, REFERENCE_COLOUR, INK = "#d1495b", "#8d99ae", "#dfe3ea", "#2b2d42"

#: By measure: the title of its panel, and the scale of that.
PANELS = {
    "round_trip": ("Round trip of a no-op, µs", 1e6),
    "burst": ("Submitting a burst, µs per call", 1e6),
    "threads": ("Many threads, 1,000 calls a second", 1e-3),
    "memory": ("A pending result, bytes", 1),
}


def draw(report: dict[str, Any], stem: Path) -> None:
    """
    Draw *report* into ``stem.png`` and ``stem.svg``.

    Each bar is a median over the rounds, each whisker reaches from the 10th to the 90th
    percentile.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("agg")
    # The same report gives the same file, byte for byte.
    matplotlib.rcParams["svg.hashsalt"] = "crochet"
    from matplotlib import pyplot

    taken = {name: report["measures"][name] for name in PANELS if name in report["measures"]}
    if not taken:
        return
    heights = [len(measure["contenders"]) + 1.6 for measure in taken.values()]
    size = (7.5, 0.27 * sum(heights) + 0.7)
    style: Any = {"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "ytick.color": INK}
    with pyplot.rc_context(style):
        chart, axes = pyplot.subplots(
            len(taken), figsize=size, height_ratios=heights, layout="constrained", squeeze=False
        )
        for name, axis in zip(taken, axes[:, 0], strict=True):
            _panel(axis, *PANELS[name], figure_of(taken[name]), taken[name]["contenders"])
        what = "median and 10th to 90th percentile of interleaved rounds"
        where = f"{report['python']}, {report['machine']['system']}"
        chart.supxlabel(f"{what}  ·  {where}", fontsize=7.5)
        chart.savefig(stem.with_suffix(".png"), dpi=160, metadata={"Software": None})
        chart.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        pyplot.close(chart)


def _panel(axis: Any, title: str, scale: float, figure: str, entries: dict[str, Any]) -> None:
    """
    Draw one measure as horizontal bars, the best contender first.
    """
    rises = figure == "calls_per_second"
    keys = [key for key in entries if figure in entries[key]]
    keys.sort(key=lambda key: entries[key][figure]["median"], reverse=rises)
    parts = ("median", "p10", "p90")
    middle, low, high = ([entries[key][figure][part] * scale for key in keys] for part in parts)
    rest = {key: REFERENCE_COLOUR if entries[key]["is_reference"] else PEER_COLOUR for key in keys}
    colours = {**rest, "crochet": OURS_COLOUR}
    places = range(len(keys))
    axis.barh(places, middle, color=[colours[key] for key in keys], height=0.72)
    below = [max(m - end, 0) for m, end in zip(middle, low, strict=True)]
    above = [max(end - m, 0) for m, end in zip(middle, high, strict=True)]
    axis.errorbar(middle, places, xerr=(below, above), fmt="none", ecolor=INK, elinewidth=0.9)
    axis.set_yticks(places, [entries[key]["title"] for key in keys])
    axis.invert_yaxis()
    furthest = max(high)
    for place, label in enumerate(axis.get_yticklabels()):
        label.set_fontweight("bold" if keys[place] == "crochet" else "normal")
        text = f"{middle[place]:,.0f}" if middle[place] >= 100 else f"{middle[place]:.1f}"
        axis.text(high[place] + furthest * 0.012, place, text, va="center", fontsize=8)
    axis.set_xlim(0, furthest * 1.09)
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    better = f"{'longer' if rises else 'shorter'} is better"
    axis.set_title(better, loc="right", fontsize=8, color=PEER_COLOUR)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=7.5, colors=PEER_COLOUR)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(REFERENCE_COLOUR)
