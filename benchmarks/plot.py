"""
The report as a picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

OURS_COLOUR = "#d1495b"
PEER_COLOUR = "#8d99ae"
REFERENCE_COLOUR = "#dfe3ea"
INK = "#2b2d42"

PANELS = (
    ("round_trip", "seconds_per_call", 1e6, "Round trip of a no-op, µs", "shorter is better"),
    (
        "burst",
        "seconds_per_call",
        1e6,
        "Submitting a burst, µs per call",
        "shorter is better",
    ),
    ("threads", "calls_per_second", 1e-3, "Many threads, 1,000 calls a second", "longer is better"),
    ("memory", "bytes_per_result", 1, "A pending result, bytes", "shorter is better"),
)


def draw(report: dict[str, Any], stem: Path) -> list[Path]:
    """
    Draw *report* into ``stem.png`` and ``stem.svg``; return their paths.

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

    panels = [panel for panel in PANELS if panel[0] in report["measures"]]
    if not panels:
        return []
    heights = [len(_bars(report, name, figure)) + 1.6 for name, figure, *_ in panels]
    style: Any = {"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "ytick.color": INK}
    with pyplot.rc_context(style):
        chart, axes = pyplot.subplots(
            len(panels),
            1,
            figsize=(7.5, 0.27 * sum(heights) + 0.7),
            height_ratios=heights,
            layout="constrained",
            squeeze=False,
        )
        for (name, figure, scale, title, better), axis in zip(panels, axes[:, 0], strict=True):
            _panel(axis, _bars(report, name, figure), scale, title, better)
        python = report["python"]
        chart.supxlabel(
            f"median and 10th to 90th percentile of interleaved rounds  ·  "
            f"{python['implementation']} {python['version']}, {report['machine']['system']}",
            fontsize=7.5,
        )
        written = []
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            path = stem.with_suffix(suffix)
            chart.savefig(path, dpi=160, metadata=metadata)
            written.append(path)
        pyplot.close(chart)
    return written


def _bars(report: dict[str, Any], name: str, figure: str) -> list[tuple[str, dict[str, Any]]]:
    """
    Return the contenders that have *figure*, by key.
    """
    contenders = report["measures"][name]["contenders"]
    return [
        (key, {**entry, "figure": entry[figure]})
        for key, entry in contenders.items()
        if figure in entry
    ]


def _panel(
    axis: Any, bars: list[tuple[str, dict[str, Any]]], scale: float, title: str, better: str
) -> None:
    """
    Draw one measure as horizontal bars.
    """
    best_first = sorted(
        bars, key=lambda bar: bar[1]["figure"]["median"], reverse=better.startswith("longer")
    )
    titles = [entry["title"] for _, entry in best_first]
    medians = [entry["figure"]["median"] * scale for _, entry in best_first]
    whiskers = [
        [
            max(median - entry["figure"]["p10"] * scale, 0)
            for (_, entry), median in zip(best_first, medians, strict=True)
        ],
        [
            max(entry["figure"]["p90"] * scale - median, 0)
            for (_, entry), median in zip(best_first, medians, strict=True)
        ],
    ]
    colours = [
        OURS_COLOUR
        if key == "crochet"
        else REFERENCE_COLOUR
        if entry["is_reference"]
        else PEER_COLOUR
        for key, entry in best_first
    ]
    places = range(len(best_first))
    axis.barh(places, medians, color=colours, height=0.72)
    axis.errorbar(medians, places, xerr=whiskers, fmt="none", ecolor=INK, elinewidth=0.9)
    axis.set_yticks(places, titles)
    for label, (key, _) in zip(axis.get_yticklabels(), best_first, strict=True):
        label.set_fontweight("bold" if key == "crochet" else "normal")
    axis.invert_yaxis()
    furthest = max(median + above for median, above in zip(medians, whiskers[1], strict=True))
    for place, median, above in zip(places, medians, whiskers[1], strict=True):
        text = f"{median:,.0f}" if median >= 100 else f"{median:.1f}"
        axis.text(median + above + furthest * 0.012, place, text, va="center", fontsize=8)
    axis.set_xlim(0, furthest * 1.09)
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axis.set_title(better, loc="right", fontsize=8, color=PEER_COLOUR)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=7.5, colors=PEER_COLOUR)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(REFERENCE_COLOUR)
