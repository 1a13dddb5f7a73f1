"""
Everything that is run on a checkout, as sessions of nox: ``nox --list`` shows them.

``make NAME`` is the session or the tag of that name, with a nox of its own in ``.venv``. What a
session needs is made in ``.venv``, too; outside of the checkout only pip and nox keep their caches.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "venv"
nox.options.envdir = ".venv/nox"
nox.options.sessions = ["test", "lint", "docs"]
# A Python that is not there is skipped, and the summary says so. CI asks for the opposite.
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).resolve().parent
HERE = ROOT / ".venv"
DIST = ROOT / "dist"
PROJECT = nox.project.load_toml("pyproject.toml")
VERSIONS = nox.project.python_versions(PROJECT)
(TWISTED,) = re.findall(r"Twisted>=([\d.]+)", " ".join(PROJECT["project"]["dependencies"]))

# What the suite needs. Without one of the groups it would skip what that one is for.
CORE = ("test", "notebook")
ALL = (*CORE, "demo", "examples", "docs")

# The tests that are run, or left out, somewhere: no other file lists any. Folders will do as well.
# AROUND are slow, and hardly depend on the Python that they run on.
AROUND = """
    tests/test_benchmarks.py tests/test_demo.py tests/test_docs.py tests/test_examples.py
    tests/test_hazards.py tests/test_prose.py tests/test_servers.py
    tests/interactive/test_ipython.py tests/testing/test_crochet_pytest.py
"""
# The reactor makes a difference to these.
OF_REACTORS = """
    tests/core/test_bridge.py tests/core/test_call.py tests/core/test_decorators.py
    tests/core/test_result.py tests/core/test_waiting.py tests/coroutines/test_follow.py
    tests/coroutines/test_task.py tests/lifecycle/test_fork.py
    tests/lifecycle/test_program_reactor.py tests/lifecycle/test_reactor_thread.py
    tests/reactor/test_asyncio_loop.py tests/reactor/test_reactor.py tests/reactor/test_wakeup.py
    tests/threads/test_handoff.py
"""
if missing := [name for name in (AROUND + OF_REACTORS).split() if not (ROOT / name).exists()]:
    raise FileNotFoundError(f"noxfile.py names tests that do not exist: {', '.join(missing)}")
LEFT_OUT = [f"--ignore={name}" for name in AROUND.split()]

# The other bridges that the hazards are put to, and that the benchmarks measure.
CROCHET = "crochet==2.1.1"
BRIDGES = ("anyio==4.16.0", "asgiref==3.13.0", "synchronicity==0.12.7")

#: A session in .venv itself, where an editor looks for what is installed.
in_venv = nox.session(venv_backend="none")


def environment(session: nox.Session, folder: Path, needs: dict[str, list[str]]) -> str:
    """
    Return the Python of *folder*, with what pip takes for each of *needs* installed: once under its
    name, and again when pyproject.toml changes.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    project = (ROOT / "pyproject.toml").stat().st_mtime
    stamps = {folder / f"{name}.stamp": part for name, part in needs.items()}
    stale = [stamp for stamp in stamps if not stamp.exists() or stamp.stat().st_mtime < project]
    if stale:
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        if not python.exists():
            session.run(sys.executable, "-m", "venv", folder, external=True)
        if not folder.joinpath("pip.stamp").exists():
            session.run(*pip, "--upgrade", "pip>=25.1", external=True)
            folder.joinpath("pip.stamp").touch()
        session.run(*pip, *(part for stamp in stale for part in stamps[stamp]), external=True)
        for stamp in stale:
            stamp.touch()
    return str(python)


def here(session: nox.Session, *groups: str) -> str:
    """
    Return the Python of .venv, with the checkout and those dependency groups installed.
    """
    needs = {group: ["--group", group] for group in groups}
    return environment(session, HERE, {"checkout": ["--editable", "."], **needs})


def other(session: nox.Session, *requirements: str) -> str:
    """
    Return the Python of an environment in which there is nothing but *requirements*.
    """
    name = "-".join(requirements).replace("==", "-")
    return environment(session, HERE / "others" / name, {"made": [*requirements]})


def suite(session: nox.Session, *command: str, twice: bool) -> None:
    """
    Run the tests by *command*, and *twice* what has failed.

    Beside other suites, on two processors, a bound may be missed. What fails twice is wrong; what
    fails once is in the output, and to be looked at.
    """
    try:
        session.run(*command)
    except nox.command.CommandFailed:
        if not twice:
            raise
        session.warn("failed once; the same tests again, one after the other")
        session.run(*command, "-n", "0", "--last-failed", "--last-failed-no-failures", "none")


# -- in .venv ---------------------------------------------------------------------------------

AT_ONCE = ("-n", "auto", "--dist", "worksteal")  # tests/conftest.py says how many


@in_venv
def test(session: nox.Session) -> None:
    """
    Run the whole suite, with the coverage of branches; ``-- --twice`` for a second try.

    With other arguments of pytest's, such as files, there is nothing to be said of coverage.
    """
    python = here(session, *ALL)
    arguments = [argument for argument in session.posargs if argument != "--twice"]
    coverage = (python, "-m", "coverage")
    session.run(*coverage, "erase")
    tests = (*([python] if arguments else [*coverage, "run"]), "-m", "pytest", *AT_ONCE, *arguments)
    suite(session, *tests, twice="--twice" in session.posargs)
    if not arguments:
        session.run(*coverage, "combine", "--quiet")
        session.run(*coverage, "report")


def on_other_reactors(session: nox.Session, *tests: str) -> None:
    """
    Run *tests* on each reactor that is not Twisted's default.
    """
    python = here(session, *CORE)
    for reactor in ("asyncio", "poll", "select"):
        environ = {"CROCHET_TEST_REACTOR": reactor}
        session.run(python, "-m", "pytest", *AT_ONCE, *tests, *session.posargs, env=environ)


@in_venv
def reactors(session: nox.Session) -> None:
    """
    Run the core's whole suite on asyncio's, the poll and the select reactor.
    """
    on_other_reactors(session, *LEFT_OUT)


@nox.session(name="reactor-rooms", venv_backend="none")
def reactor_rooms(session: nox.Session) -> None:
    """
    Run on them what a reactor makes a difference to: a minute.
    """
    on_other_reactors(session, *OF_REACTORS.split())


@in_venv
def docs(session: nox.Session) -> None:
    """
    Build the documentation into docs/_build/html, and read its prose; a warning is an error.
    """
    python = here(session, "docs")
    options = ("-W", "--keep-going", "-E", "-q", "-b", "html", *session.posargs)
    session.run(python, "-m", "sphinx", *options, "docs", "docs/_build/html")
    session.run(python, "tools/prose.py")


@in_venv
def demo(session: nox.Session) -> None:
    """
    Serve the demonstration, a Flask application with an origin server of its own; offline.
    """
    command = (here(session, "demo"), "-m", "demo", *session.posargs)
    session.run(*command, interrupt_timeout=30)  # Ctrl-C ends it, in its own time


@nox.session(name="demo-cluster", venv_backend="none")
def demo_cluster(session: nox.Session) -> None:
    """
    Serve it with many workers, on one machine and as on two, and take its tour; offline.
    """
    command = (here(session, "test", "demo"), "-m", "demo.cluster", *session.posargs)
    session.run(*command, interrupt_timeout=30)


@in_venv
def hazards(session: nox.Session) -> None:
    """
    Try what can go wrong, here and with other bridges, and write the tables of it.
    """
    python = here(session, *CORE)
    columns = {"crochet": other(session, CROCHET), "asyncio.run": python, "asyncio": python}
    columns |= {bridge.partition("==")[0]: other(session, bridge) for bridge in BRIDGES}
    command = [python, "-m", "tests.hazards", "--bound", "60", "--jobs", "4"]
    for name, bridge in columns.items():
        command += ["--with", f"{name}={bridge}"]
    session.run(*command, "--markdown", "docs/explanation/hazards-table.md", *session.posargs)


@nox.session(name="python3.14", venv_backend="none")
def python314(session: nox.Session) -> None:
    """
    Run the core's suite on a CPython 3.14 of Debian's, as root: minutes, and half a gigabyte.
    """
    session.run("tools/python3.14.sh", *(session.posargs or [*AT_ONCE, *LEFT_OUT]))


# -- in environments of their own -------------------------------------------------------------


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """
    Run ruff, mypy and pyright, and look at the types that the installed package gives.
    """
    tools = Path(here(session, *ALL, "lint")).parent
    environ = {"PYRIGHT_PYTHON_CACHE_DIR": str(HERE / "pyright")}

    def run(tool: str, *arguments: str) -> None:
        session.run(str(tools / tool), *arguments, external=True, env=environ)

    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")
    for version in (VERSIONS[0], VERSIONS[-1]):
        run("mypy", "--python-version", version)
        run("pyright", "--pythonversion", version)
    # It takes the first Python on PATH, which is this session's.
    session.install(".")
    run("pyright", "--verifytypes", "crochet", "--ignoreexternal")


@nox.session(reuse_venv=True)
def package(session: nox.Session) -> None:
    """
    Build the source distribution, the wheel out of that, and check both.
    """
    install(session, "--group", "package")
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(DIST))
    built = [str(path) for path in DIST.iterdir()]
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", str(DIST))


@nox.session(reuse_venv=True)
def bench(session: nox.Session) -> None:
    """
    Measure Crochet beside the other bridges; ``-- --quick`` for a tendency.
    """
    peers = (bridge.partition("==")[0] for bridge in BRIDGES)
    install(
        session,
        f"Twisted>={TWISTED}",
        *peers,
        "culsans==0.11.0",
        "uvloop; platform_system != 'Windows'",
    )
    told = session.run("python", "-c", "import twisted; print(twisted.__version__)", silent=True)
    peer = other(session, CROCHET, f"Twisted=={str(told).strip()}")
    session.run("python", "-m", "benchmarks", "--peer", peer, *session.posargs)


def install(session: nox.Session, *needs: str) -> None:
    """
    Install *needs* in the session's own environment.
    """
    session.install("--upgrade", "pip>=25.1")  # the first that knows --group
    session.install(*needs)


# -- on the wheel, with every Python that is found ----------------------------------------------


def interpreter(version: str) -> str | None:
    """
    Return a working interpreter of that version, or None. nox would not find pyenv's.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates: Iterable[str | Path] = (
        sys.executable if sys.version_info[:2] == tuple(map(int, version.split("."))) else "",
        shutil.which(f"python{version}") or "",
        *sorted(pyenv.glob(f"{version}.*/bin/python")),
    )
    for candidate in filter(None, candidates):
        # One of pyenv's shims may be there and lead nowhere: ask it.
        command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.stdout.strip() == version:
            return str(candidate)
    return None


PYTHONS = {version: interpreter(version) for version in VERSIONS}
LOWEST = next(filter(None, PYTHONS.values()), sys.executable)


def on_wheel(name: str, python: str, *pins: str, runs_in: Iterable[str]) -> None:
    """
    Define the sessions ``core-NAME`` and ``wheel-NAME``: the suite, on the built wheel.

    The first leaves out what is around the library, which the gate runs on one Python only. The
    tags in *runs_in*, "core" and "matrix", run all their sessions.
    """
    for kind, tag, groups, left_out in (
        ("core", "core", CORE, LEFT_OUT),
        ("wheel", "matrix", ALL, []),
    ):
        tags = [tag] if tag in runs_in else []

        @nox.session(
            name=f"{kind}-{name}",
            python=python,
            tags=tags,
            requires=["package"],
            allow_parallel=True,
            download_python="never",
        )
        def run(
            session: nox.Session,
            groups: tuple[str, ...] = groups,
            left_out: list[str] = left_out,
        ) -> None:
            (wheel,) = DIST.glob("*.whl")
            needs = [part for group in groups for part in ("--group", group)]
            install(session, str(wheel), *pins, *needs)
            cache = f"cache_dir={session.create_tmp()}/pytest"
            # Two suites of two tests at once keep two processors busy.
            options = ("-q", "-n", "2", "--dist", "worksteal", "-o", cache)
            suite(
                session, "python", "-m", "pytest", *options, *left_out, *session.posargs, twice=True
            )


for version, python in PYTHONS.items():
    # The Python that runs this is left to the session `test`. The lowest has the lowest Twisted in
    # `core`, and both in `matrix`.
    runs_in = {"matrix", "core"} - ({"core"} if python == LOWEST else set())
    on_wheel(version, python or version, runs_in=runs_in if python != sys.executable else ())
on_wheel("lowest", LOWEST, f"Twisted=={TWISTED}", runs_in=("core", "matrix"))


# -- public programs that depend on crochet, or load it, with this checkout in its place --------

PROGRAMS = ROOT / "tools" / "downstream"
# Neither the settings of ours that stand in a folder above, nor a cache among them.
ALONE = ("-c", os.devnull, "-p", "no:cacheprovider", "-q")


@nox.session(python=LOWEST, tags=["downstream"], allow_parallel=True, download_python="never")
@nox.parametrize(
    "packages",
    [
        # It has a pluggy of its time, for a younger one takes what that does not.
        nox.param(("pytest==6.2.5", "pluggy==0.13.1"), id="oldest"),
        nox.param(("pytest",), id="newest"),
    ],
)
def pytests(session: nox.Session, packages: tuple[str, ...]) -> None:
    """
    Run a suite that does not use the plugin, and one that does, with two pytests.
    """
    install(session, ".", *packages)
    for name in ("test_unused.py", "test_used.py"):
        options = (*ALONE, "--rootdir", str(PROGRAMS), "--strict-markers", "-W", "error")
        session.run("python", "-m", "pytest", *options, str(PROGRAMS / name))


@nox.session(name="fedora-messaging", tags=["downstream"], allow_parallel=True)
def fedora_messaging(session: nox.Session) -> None:
    """
    Run its unit suite, out of its source distribution.

    It uses no_setup() beside a reactor that runs already, run_in_reactor, and results waited for by
    a blocking command.
    """
    # What its metadata asks for. They are named here because that metadata has a requirement which
    # only a pip older than 24.1 can read, and that one is not to choose all the others.
    needs = "blinker click jsonschema pika pyopenssl requests service-identity tomli treq"
    install(session, ".", *needs.split(), "mock", "pytest", "pytest-mock", "pytest-twisted")
    session.install("pip<24.1")
    folder = Path(session.create_tmp()).resolve()
    download = ("download", "--no-deps", "--no-binary", ":all:", "-d", str(folder))
    # It stumbles over that requirement here, too, but not before the archive is there.
    pip = ("python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    session.run(*pip, *download, "fedora-messaging==3.9.1", success_codes=[0, 1, 2])
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (checkout,) = (path for path in folder.iterdir() if path.is_dir())
    session.install("--no-deps", str(checkout))
    options = (*ALONE, "--rootdir", str(checkout), "--reactor=asyncio", "-W", "ignore")
    with session.chdir(checkout):
        session.run("python", "-m", "pytest", *options, "tests/unit")


@nox.session(tags=["downstream"], allow_parallel=True)
def scrapy(session: nox.Session) -> None:
    """
    Run the example's crawl from a plain script.
    """
    install(session, ".", "scrapy")
    session.run("python", "examples/scrapy_crawl.py")


@nox.session(name="autobahn-sync", tags=["downstream"], allow_parallel=True)
def autobahn_sync(session: nox.Session) -> None:
    """
    Run a session with a small router in the same reactor.

    Its thread for callbacks is no daemon, and is told to end by what it gives to register(); so
    what is seen is that this ends.
    """
    install(session, ".", "autobahn-sync")
    session.run("python", str(PROGRAMS / "autobahn_session.py"))
