"""
The benchmarks work: a tiny run of what this environment has gives a report that holds together.

Nothing here asserts how fast anything is.
"""

from __future__ import annotations

import argparse
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
from time import monotonic
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from benchmarks import conductor, environments, figures, notes, report  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="the conductor waits for pipes, which Windows cannot"
)

# Seconds. A tiny run takes some twenty; its end is a failure.
BOUND = 240

CONTENDERS = ["crochet", "twisted", "asyncio", "reactor-floor"] + (
    ["floor"] if hasattr(os, "eventfd") else []
)

# The same in other forms, which take part in a few measures.
FORMS = ["crochet-asyncio", "crochet-unnoted"] + (
    ["crochet-uvloop"] if importlib.util.find_spec("uvloop") else []
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """
    Run every measure as small as it gets, once for all tests here; give its folder and output.
    """
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--here", "--out", str(folder)]
    command += ["--contenders", ",".join([*CONTENDERS, *FORMS, "crochet-2.1.1"])]
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
    elif isinstance(node, list):
        for child in node:
            yield from summaries(child)


def test_the_report_holds_every_measure_of_every_contender(found: dict[str, Any]) -> None:
    """
    Each measure has the contenders that can take part in it, and the figures it is about.
    """
    assert found["schema"] == "crochet-benchmarks/1"
    figure_of = {
        "burst": "seconds_per_call",
        "threads": "calls_per_second",
    }
    if hasattr(os, "sched_setaffinity"):
        figure_of["threads_pinned"] = "calls_per_second"
    if Path("/proc/self/task").exists():
        figure_of["idle"] = "wakeups"
    for measure, figure in figure_of.items():
        contenders = found["measures"][measure]["contenders"]
        assert sorted(contenders) == sorted(CONTENDERS), measure
        assert all(figure in entry for entry in contenders.values()), measure
    for measure in ("memory", "pending", "waiters", "timeouts", "status", "futures", "import"):
        assert list(found["measures"][measure]["contenders"]) == ["crochet"]
    growth = found["measures"]["pending"]["contenders"]["crochet"]["growth"]
    assert set(growth) == {"submit", "answer", "take", "drop", "cancel", "stop"}


def test_forms_of_a_contender_take_part_where_they_are_named(found: dict[str, Any]) -> None:
    """
    Results are awaited by those who can, coroutines driven by those whose loop is asyncio's.
    """
    on_asyncio = {"asyncio", "crochet-asyncio", "crochet-uvloop"} & {*CONTENDERS, *FORMS}
    expected = {
        "round_trip": {*CONTENDERS, "crochet-unnoted"},
        "await": {"crochet", *on_asyncio},
        "await_gathered": {"crochet", *on_asyncio},
        "stall": {"crochet", *on_asyncio},
        "coroutine": on_asyncio,
        "coroutine_sleep": on_asyncio,
    }
    if hasattr(os, "sched_setaffinity"):
        for measure in set(expected) - {"stall"}:
            expected[f"{measure}_pinned"] = expected[measure]
    for measure, contenders in expected.items():
        entries = found["measures"][measure]["contenders"]
        assert set(entries) == contenders, measure
        figure = "seconds" if measure == "stall" else "seconds_per_call"
        assert all(figure in entry for entry in entries.values()), measure


def test_every_figure_is_a_number_with_its_spread(found: dict[str, Any]) -> None:
    """
    Medians lie within their quantiles, and no figure is missing, negative or infinite.
    """
    seen = 0
    for summary in summaries(found["measures"]):
        seen += 1
        assert all(math.isfinite(sample) and sample >= 0 for sample in summary["samples"])
        assert len(summary["samples"]) == summary["rounds"]
        assert summary["min"] <= summary["p10"] <= summary["p25"] <= summary["median"]
        assert summary["median"] <= summary["p75"] <= summary["p90"]
    assert seen > 20


def test_bars_are_judged_from_the_samples(found: dict[str, Any]) -> None:
    """
    Each bar that needs no crochet 2.1.1 has a verdict, which follows from its median.
    """
    verdicts = {bar["bar"]: bar for bar in found["bars"]}
    assert {
        "round_trip/others",
        "round_trip/notes",
        "await/crochet",
        "await_gathered/crochet-asyncio",
        "stall/seconds",
        "coroutine/crochet-asyncio",
        "coroutine_sleep/crochet-asyncio",
        "memory/bytes",
        "status/seconds",
        "futures/flat",
        "import/seconds",
        "import/reactor",
    } <= set(verdicts)
    assert not any(key.endswith("2.1.1") for key in verdicts)
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
    The peer, crochet 2.1.1, needs an environment of its own, which ``--here`` does not make.
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


def test_the_table_shows_contenders_and_bars(run: tuple[Path, str]) -> None:
    """
    What is printed has a line for each contender and a verdict for each bar.
    """
    printed = run[1]
    assert "crochet (ours)" in printed
    assert "run_coroutine_threadsafe (asyncio)" in printed
    assert "PASS" in printed or "MISS" in printed
    assert "left out: crochet-2.1.1" in printed


def test_the_plot_is_drawn_twice(run: tuple[Path, str]) -> None:
    """
    A run leaves its plot as a PNG and as an SVG.
    """
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("plots need matplotlib, from the dependency group `bench`")
    assert (run[0] / "latest.png").read_bytes().startswith(b"\x89PNG")
    svg = xml.etree.ElementTree.parse(run[0] / "latest.svg")
    assert svg.getroot().tag.endswith("svg")


def test_a_profile_parts_the_way_there_from_the_way_back(tmp_path: Path) -> None:
    """
    ``--profile`` gives both halves of a round trip and a profile of each side.
    """
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--here", "--profile"]
    command += ["--contenders", "crochet,twisted", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    entry = found["measures"]["anatomy"]["contenders"]["crochet"]
    assert entry["there_seconds"]["median"] > 0
    assert entry["back_seconds"]["median"] > 0
    assert "acquire" in found["profile"]["caller"]
    assert "poll" in found["profile"]["loop"]


def test_a_worker_that_fails_ends_the_run_with_its_traceback() -> None:
    """
    A block that raises is no figure: the conductor raises, with the worker's own words.
    """
    interpreter = environments.here(sys.executable)["others"]
    with (
        pytest.raises(conductor.WorkerError, match="unexpected keyword argument 'nonsense'"),
        conductor.Worker("asyncio", interpreter) as worker,
    ):
        worker.run("round_trip", nonsense=1)


def test_a_worker_that_dies_is_noticed() -> None:
    """
    A request the worker does not survive ends the wait for its answer.
    """
    interpreter = environments.here(sys.executable)["others"]
    with (
        pytest.raises(conductor.WorkerError, match="KeyError: 'nonsense'"),
        conductor.Worker("asyncio", interpreter) as worker,
    ):
        worker.run("nonsense")


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


def test_quantiles_are_interpolated() -> None:
    """
    A quantile between two samples lies between them in proportion.
    """
    assert figures.quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert figures.quantile([10.0, 20.0], 0.1) == pytest.approx(11.0)
    assert figures.quantile([7.0], 0.9) == 7.0


def test_the_interval_of_a_median_comes_from_the_ranks() -> None:
    """
    Of ten samples, the second and the ninth enclose the median; of a few, the outermost.
    """
    assert figures.median_interval([float(number) for number in range(1, 11)]) == (2.0, 9.0)
    assert figures.median_interval([3.0, 1.0]) == (1.0, 3.0)


def test_a_ratio_is_taken_within_its_round() -> None:
    """
    A machine that becomes ten times slower half-way changes no ratio.
    """
    slow = figures.ratios([2.0, 2.0, 20.0, 20.0], [1.0, 1.0, 10.0, 10.0])
    assert slow == [2.0] * 4
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        figures.ratios([1.0, 2.0], [1.0])


def test_ours_is_held_against_the_nearest_on_the_same_kind_of_loop() -> None:
    """
    A rival on another loop does not count, however fast; of those that do, the fastest does.
    """

    def entry(sample: float) -> dict[str, Any]:
        return {"is_reference": False, "seconds_per_call": {"samples": [sample]}}

    samples = {"crochet-asyncio": 2.0, "asyncio": 6.0, "asgiref": 4.0, "uvloop": 1.0}
    contenders = {key: entry(sample) for key, sample in samples.items()}
    (verdict,) = figures.verdicts({"coroutine": {"contenders": contenders}})
    assert verdict["bar"] == "coroutine/crochet-asyncio"
    assert verdict["text"] == "coroutine, asgiref / crochet-asyncio"
    assert (verdict["samples"], verdict["verdict"]) == ([2.0], "PASS")


def test_notes_are_cut_out_of_a_function_and_nothing_else() -> None:
    """
    What is left does the same, and writes down nothing of when and where.
    """

    def noting(call: Any) -> str:
        call._call.made = monotonic()
        try:
            frame = sys._getframe()
        except ValueError:
            call.place = None
        else:
            call.place = frame.f_code
        for _ in range(1):
            if call._call.made > call.looked_at:
                call.looked_at = call._call.made
            call.ran = True
        return "done"

    call = argparse.Namespace()
    assert notes.without_notes(noting)(call) == "done"
    assert vars(call) == {"ran": True}


def test_a_function_without_notes_is_an_error() -> None:
    """
    Should Crochet's notes move elsewhere, the contender without them does not pass for one.
    """

    def plain() -> None:
        pass

    with pytest.raises(ValueError, match=r"takes no notes; look at benchmarks/notes\.py"):
        notes.without_notes(plain)


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
    bar = figures.Bar("key", "text", 2.6, at_most, 2.2 if at_most else 2.65)
    judged = bar.verdict([sample])
    assert (judged["verdict"], judged["in_sight_reached"]) == (verdict, in_sight)


def test_a_verdict_within_the_noise_says_so() -> None:
    """
    Where the median's own uncertainty spans the bar, the verdict is marked as close.
    """
    bar = figures.Bar("key", "text", 2.6, True)
    assert bar.verdict([2.5, 2.7])["close"]
    assert not bar.verdict([2.3, 2.4])["close"]


def test_numbers_keep_the_digits_that_matter() -> None:
    """
    Small figures keep two decimals, large ones none.
    """
    assert [report._number(value) for value in (0.0, 1.234, 12.34, 1234.5)] == [
        "0",
        "1.23",
        "12.3",
        "1,234",
    ]
