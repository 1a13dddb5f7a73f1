"""
The documentation: that its code runs and prints what the pages say, and that its links lead
somewhere.

How pages are written, so that this can be checked:

- All ``python`` blocks of a page run, in order, in one namespace and one new process. Those with
  prompts (``>>>``) are doctests. Functions whose names begin with ``test_`` are called.
- The ``text`` blocks of a page, one after the other, are all that the page prints, the exit of the
  process included; ``...`` stands for anything. Nothing may be written to stderr.
- A block that cannot run is marked in the line before it: ``<!-- not run: the reason -->``.
- A page that needs packages beyond Crochet says so: ``<!-- needs: django celery -->``.
- Commands and configuration stand in blocks of other kinds (``console``, ``ini``, ...).

Pages run without a network: questions to the domain name system go to a server on loopback.
"""

from __future__ import annotations

import asyncio
import doctest
import faulthandler
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote

import pytest

import crochet
from support.chromium import running_chromium

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TEXTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
# How a page says where it is run besides in a plain script.
IN_EVENT_LOOP = "run inside a running event loop, too"
# Seconds that one page may take. Its end is a failure.
BOUND = 120

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<kind>[^\n]*)\n(?P<body>.*?)^(?P=fence)$", re.M | re.S)
NOT_RUN = re.compile(r"<!-- not run:(?P<reason>.*?)-->\n$", re.S)
NEEDS = re.compile(r"<!-- needs: (?P<packages>[\w. -]+?) -->")


class Block(NamedTuple):
    """
    A fenced block of a page.
    """

    kind: str
    body: str
    line: int  # where the body begins
    reason: str | None  # why it is not run, if it is not


def blocks_of(text: str) -> Iterator[Block]:
    """
    Find the fenced blocks of a page.
    """
    for match in FENCE.finditer(text):
        mark = NOT_RUN.search(text, 0, match.start())
        yield Block(
            match["kind"].strip(),
            match["body"],
            text.count("\n", 0, match.start("body")) + 1,
            mark["reason"].strip() if mark and mark.end() == match.start() else None,
        )


def name_of(path: Path) -> str:
    """
    Name a page as a test's parameter.
    """
    return path.relative_to(ROOT).as_posix()


def pages_with_code() -> list[Any]:
    """
    Return each page that has something to run, and where, as parameters of a test.
    """
    pages: list[Any] = []
    for path in TEXTS:
        text = path.read_text()
        if any(block.kind == "python" and block.reason is None for block in blocks_of(text)):
            pages.append(pytest.param(path, "script", id=name_of(path)))
            if IN_EVENT_LOOP in text:
                pages.append(pytest.param(path, "event loop", id=f"{name_of(path)}-event loop"))
    return pages


@pytest.mark.parametrize(("path", "place"), pages_with_code())
def test_the_code_of_a_page_runs_and_prints_what_it_says(path: Path, place: str) -> None:
    """
    All code of a page, run in a new process, prints the page's ``text`` blocks and nothing else.
    """
    text = path.read_text()
    for match in NEEDS.finditer(text):
        for package in match["packages"].split():
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{name_of(path)} needs the package {package}")
    code = f"from test_docs import run; run({str(path)!r}, {place!r})"
    # Its name is short: a page may have sockets there.
    with tempfile.TemporaryDirectory(prefix="crochet-") as folder:
        result = subprocess.run(
            [sys.executable, "-b", "-W", "default", "-c", code],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=BOUND + 30,
            check=False,
            env={**os.environ, "TMPDIR": folder, "XDG_RUNTIME_DIR": ""},
        )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    printed = "".join(block.body for block in blocks_of(text) if block.kind == "text")
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS
    example = doctest.Example("", printed or "\n")
    assert checker.check_output(printed, result.stdout, flags), checker.output_difference(
        example, result.stdout, flags
    )


def run(name: str, place: str) -> None:
    """
    Run the code of a page as the program of this process.
    """
    faulthandler.dump_traceback_later(BOUND, exit=True)
    # Twisted compares paths of sockets with bytes and with text, whichever they are.
    warnings.filterwarnings("ignore", category=BytesWarning, module=r"twisted\.internet\.unix")
    text = Path(name).read_text()
    if "twisted.names" in text:
        answer_dns_queries_on_loopback()
    if place == "event loop":
        asyncio.run(run_inside_a_coroutine(name, text))
    else:
        run_blocks(name, text)


async def run_inside_a_coroutine(name: str, text: str) -> None:
    """
    Run the code of a page where an asyncio event loop runs, as notebooks do.
    """
    run_blocks(name, text)


def run_blocks(name: str, text: str) -> None:
    """
    Run the blocks of a page, as if they were the ``__main__`` module.
    """
    namespace = vars(sys.modules["__main__"])
    for block in blocks_of(text):
        if block.kind != "python" or block.reason is not None:
            continue
        before = set(namespace)
        if block.body.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(
                block.body, namespace, name, name, block.line - 1
            )
            # The runner works on a copy of its own.
            test.globs = namespace
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            if runner.run(test, clear_globs=False).failed:
                sys.exit(1)
        else:
            # The lines before it are left empty: a traceback then shows the lines of the page.
            exec(compile("\n" * (block.line - 1) + block.body, name, "exec"), namespace)
        for new in [key for key in namespace if key not in before and key.startswith("test_")]:
            namespace[new]()


def answer_dns_queries_on_loopback() -> None:
    """
    Have ``twisted.names`` ask a server of ours, which knows who takes the mail of any domain.
    """
    from twisted.internet import reactor
    from twisted.internet.defer import succeed
    from twisted.names import client, dns, server

    class Zone:
        def query(self, query: dns.Query, timeout: object = None) -> object:
            name = query.name.name
            records = [dns.Record_MX(50, b"mail." + name), dns.Record_MX(70, b"backup." + name)]
            return succeed(([dns.RRHeader(name, r.TYPE, payload=r) for r in records], [], []))

    def listen() -> None:
        protocol = dns.DNSDatagramProtocol(server.DNSServerFactory(clients=[Zone()], verbose=0))
        port = reactor.listenUDP(0, protocol, interface="127.0.0.1").getHost().port
        client.theResolver = client.Resolver(servers=[("127.0.0.1", port)])

    reactor.callWhenRunning(listen)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_a_block_that_does_not_run_says_why(path: Path) -> None:
    """
    A mark without a reason, or one that stands before nothing, is a mistake.
    """
    text = path.read_text()
    reasons = [block.reason for block in blocks_of(text) if block.reason is not None]
    assert all(reasons)
    assert text.count("<!-- not run") == len(reasons)


def anchors_of(path: Path) -> set[str]:
    """
    Return the link targets that a page's headings make.
    """
    text = FENCE.sub("", path.read_text())
    headings = re.findall(r"^#{1,6} +(.*?) *$", text, re.M)
    named = re.findall(r"^\(([\w-]+)\)=$", text, re.M)
    return {*named, *(re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)}


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_within_the_project_lead_somewhere(path: Path) -> None:
    """
    A link to a file finds the file, one to a heading finds the heading.
    """
    text = FENCE.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue  # somewhere else
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors_of(found), f"{target} leads to no heading"


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_files_that_are_named_exist(path: Path) -> None:
    """
    Whoever looks for ``tests/test_bridge.py`` because a page names it will find it.
    """
    text = FENCE.sub("", path.read_text())
    for name in re.findall(r"`((?:src|tests|docs|examples|demo|benchmarks)/[\w./-]*)`", text):
        assert "_build" in name or (ROOT / name).exists(), f"{name} does not exist"


def run_examples() -> None:
    """
    Run the examples of all public docstrings in this process, each with a reactor of its own.
    """
    faulthandler.dump_traceback_later(BOUND, exit=True)
    crochet.setup(reactor="asyncio")
    names = {name: getattr(crochet, name) for name in crochet.__all__}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name, value in names.items():
        namespace = {**names, "asyncio": asyncio, "threading": threading}
        docstring = inspect.getdoc(value) or ""
        test = doctest.DocTestParser().get_doctest(docstring, namespace, name, None, 0)
        crochet.setup()
        runner.run(test)
        crochet.shutdown()
    sys.exit(runner.failures)


# What has none is made by the library, or is raised by it.
WITHOUT_EXAMPLE = {
    *("CallInFlight", "Lag", "Place", "Progress", "Status", "Stream", "__version__"),
    *("LocalStash", "RedisStash", "PickleSerializer"),  # which are handed to setup()
}


def test_the_examples_of_docstrings_run() -> None:
    """
    Each public function has one, and those with prompts show what happens.
    """
    for name in crochet.__all__:
        value = getattr(crochet, name)
        if name in WITHOUT_EXAMPLE or (isinstance(value, type) and issubclass(value, Exception)):
            continue
        assert re.search(r"^Example:\n|::\n\n", inspect.getdoc(value) or "", re.M), name
    result = subprocess.run(
        [sys.executable, "-c", "from test_docs import run_examples; run_examples()"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=BOUND + 30,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_signatures_that_the_reference_spells_out_are_those_of_the_functions() -> None:
    """
    With simpler types, but the same parameters and defaults.
    """
    reference = (DOCS / "reference" / "api.md").read_text()
    told = re.findall(r"^\.\. autofunction:: crochet\.(\w+)(\(.*\) -> .*)$", reference, re.M)
    assert told
    for name, signature in told:
        code = f"from __future__ import annotations\nfrom math import inf\ndef f{signature}: ..."
        namespace: dict[str, Any] = {}
        exec(code, namespace)
        there = inspect.signature(namespace["f"]).parameters.values()
        here = inspect.signature(getattr(crochet, name)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in there] == [
            (p.name, p.kind, p.default) for p in here
        ], name


def test_the_start_page_names_every_how_to() -> None:
    """
    In its table, where a reader looks for what they want to do.
    """
    start = (DOCS / "index.md").read_text()
    for path in (DOCS / "howto").glob("*.md"):
        assert re.search(rf"^\| .* \| .*\(howto/{path.name}\)", start, re.M), path.name


def test_the_numbers_of_tests_are_there() -> None:
    """
    Those that the page on testing names, which may become more.
    """
    text = (DOCS / "explanation" / "how-it-is-tested.md").read_text()

    def told(what: str) -> int:
        (number,) = re.findall(rf"^\| {what}[^|]*\| ([\d,]+) ", text, re.M)
        return int(number.replace(",", ""))

    hazards = ROOT / "tests" / "hazards"
    assert len([*hazards.glob("[a-z]*.py")]) >= told("hazards")
    assert len([*hazards.glob("any_*.py")]) >= told("of these")
    assert len(pages_with_code()) >= told("pages")


def test_the_comparison_in_the_readme_is_what_was_measured() -> None:
    """
    Each cell is that of the hazards' table, in a word.
    """
    table = (DOCS / "explanation" / "hazards-table.md").read_text()
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| \[[^|]*\]\((?:\S*/)?tests/hazards/(\w+)\.py\) \|(.*)\|$", readme, re.M)
    assert len(rows) >= 8
    for name, cells in rows:
        (measured,) = re.findall(rf"^\| .*\(`{name}`\) \|(.*)\|$", table, re.M)
        kinds = [cell.strip().partition(":")[0] for cell in re.split(r"(?<!\\)\|", measured)]
        told = {"yes": "ok", "hangs": "hang", "n/a": "n/a"}
        assert [told.get(cell.strip(), "breach") for cell in cells.split("|")] == kinds, name
    total = re.findall(r"^\| ok, of those that apply \|(.*)\|$", table, re.M)[0]
    assert f"as far as they apply |{total}|" in readme


def test_every_public_name_is_in_the_reference() -> None:
    """
    What is exported is documented.
    """
    reference = (DOCS / "reference" / "api.md").read_text()
    missing = [name for name in crochet.__all__ if not re.search(rf"\b{name}\b", reference)]
    assert missing == []


def test_the_tour_shows_each_folder() -> None:
    """
    A folder that is not in it, or no more in the source, misleads a newcomer.
    """
    tour = (DOCS / "internals.md").read_text()
    source = ROOT / "src" / "crochet"
    folders = {path.parent.name for path in source.glob("*/__init__.py")}
    assert set(re.findall(r"(?<![\w/])(_?[a-z]+)/ ", tour)) & {*folders} == folders
    for name in re.findall(r"`((?:_?\w+/)+\w+\.py)`", tour):
        assert any((root / name).exists() for root in (ROOT, source)), f"there is no {name}"


def test_the_changelog_knows_this_version() -> None:
    """
    A release without an entry of its own would not be noticed otherwise.
    """
    assert f"## [{crochet.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The folder of the built site. Sphinx finds every page, every link and every documented object.
    """
    needed = ("sphinx", "furo", "myst_parser", "sphinx_copybutton", "sphinx_inline_tabs")
    for package in needed:
        pytest.importorskip(package, reason="building the site needs it")
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "doctrees")]
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        timeout=5 * BOUND,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """
    The browser that looks at it.
    """
    with running_chromium(tmp_path_factory.mktemp("chromium"), BOUND) as chrome:
        yield chrome


def test_the_links_of_the_site_lead_somewhere(site: Path) -> None:
    """
    Each from a page to another, or to a place on one.
    """
    texts = {path.resolve(): path.read_text() for path in site.rglob("*.html")}
    places = {path: {*re.findall(r' id="([^"]+)"', text), ""} for path, text in texts.items()}
    for path, text in texts.items():
        for target in re.findall(r'<a\b[^>]* href="([^":]+)"', text):
            name, _, place = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if file.suffix == ".html":
                assert file in places, f"{path.name}: {target}"
                assert unquote(place) in places[file], f"{path.name}: {target}"
            else:
                assert file.exists(), f"{path.name}: {target}"


# What a reader may type, and the page that is found first: one that answers, and for a name the
# reference of that name.
SEARCHES = {
    "cancel download": "howto/deadlines.html",
    "cancel": "howto/deadlines.html",
    "timeout": "howto/deadlines.html",
    "progress": "howto/progress.html",
    "stream": "howto/streams.html",
    "streams": "howto/streams.html",
    "workers": "howto/production.html",
    "gunicorn": "howto/production.html",
    "hang": "howto/debugging.html",
    "hangs": "howto/debugging.html",
    "deadlock": "explanation/deadlocks.html",
    "futures": "howto/asyncio.html",
    "exit": "explanation/exit.html",
    "install": "installation.html",
    "django": "howto/django.html",
    "celery": "howto/celery.html",
    "jupyter": "howto/notebooks.html",
    "pytest": "howto/pytest.html",
    "wait_for": "reference/api.html#crochet.wait_for",
    "EventualResult": "reference/api.html#crochet.EventualResult",
    "gather": "reference/api.html#crochet.gather",
}


@pytest.mark.parametrize("words", SEARCHES)
def test_the_search_finds_the_page_that_answers_first(site: Path, browser: Any, words: str) -> None:
    """
    By the site's own search, in a browser.
    """
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(f"{(site / 'search.html').as_uri()}?q={quote_plus(words)}")
    first = "return document.querySelector('#search-results li a')?.getAttribute('href')"
    found = WebDriverWait(browser, BOUND).until(lambda _: browser.execute_script(first))
    assert re.sub(r"\?[^#]*", "", found) == SEARCHES[words]


# What is wrong on a page, as a script of the browser's sees it: wider than the screen; markup that
# is shown as it was written; a section, or a word that is to be explained, with nothing behind it.
LOOK = r"""
    const article = document.querySelector("article"), wrong = [];
    for (const part of [article.closest(".content"), document.documentElement])
      if (part.scrollWidth > part.clientWidth) wrong.push(`${part.scrollWidth} pixels wide`);
    for (const part of article.querySelectorAll("section"))
      if (part.children.length < 2) wrong.push(`empty: ${part.textContent}`);
    for (const name of article.querySelectorAll("dl.field-list > dt"))
      if (name.textContent.startsWith("Type")) wrong.push(`field: ${name.parentNode.textContent}`);
    const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode;
      if (!text.parentElement.closest("pre, code, .sig, script, style"))
        if (/`|:::|\*\*\w|\]\(|\{(doc|ref)\}|^\s*:\w+:|<!--/.test(text.data))
          wrong.push(`markup: ${text.data}`);
    }
    return wrong;
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_and_shows_no_markup(site: Path, browser: Any, width: int) -> None:
    """
    On a desk and on a phone.
    """
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wrong = {}
        for page in sorted(site.rglob("*.html")):
            if page.name not in ("genindex.html", "search.html"):
                browser.get(page.as_uri())
                wrong[page.relative_to(site).as_posix()] = browser.execute_script(LOOK)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert len(wrong) > 50
    assert {page: faults for page, faults in wrong.items() if faults} == {}
