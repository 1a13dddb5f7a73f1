"""
Servers that fork workers from a process in which ``setup()`` was called: gunicorn, uWSGI, Celery.

Each runs as its users run it, in processes of its own, with its application in a directory of the
test's. A Twisted server in another process is what the application asks.
"""

from __future__ import annotations

import http.cookiejar
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import crochet
from support.stepping import BOUND, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

_ORIGIN = """
from twisted.internet import reactor
from twisted.web import resource, server

class Origin(resource.Resource):
    isLeaf = True
    def render_GET(self, request):
        return b"origin"

port = reactor.listenTCP(0, server.Site(Origin()), interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.run()
"""

_FETCH = """
import os
import crochet
from twisted.internet import reactor
from twisted.web.client import Agent, readBody

crochet.setup()

@crochet.wait_for(30)
async def fetch():
    response = await Agent(reactor).request(b"GET", os.environ["ORIGIN"].encode())
    return (await readBody(response)).decode()

assert fetch() == "origin"  # in the parent, before it forks
"""

_SITE = (
    _FETCH
    + """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def view():
    return f"{fetch()} {os.getpid()}"
"""
)

# For uWSGI, which forks without telling Python. A worker hangs in CPython if another thread has the
# interpreter's lock then, or waits for it, so they are asleep when this has been imported.
_SITE_OF_UWSGI = """
import os, sys, threading, time
import crochet
if os.environ["SETUP"] == "early":
    from site_ import app, fetch
else:
    from flask import Flask
    app = Flask(__name__)
    @app.get("/")
    def view():
        import site_
        return site_.view()

def asleep():
    counts = []
    for name in os.listdir("/proc/self/task"):
        if name != str(threading.get_native_id()):
            with open(f"/proc/self/task/{name}/status") as status:
                lines = dict(line.split(":", 1) for line in status if ":" in line)
            counts.append((name, lines["voluntary_ctxt_switches"]))
            if "S" not in lines["State"].split()[0]:
                return None
    return counts

before = None
while before is None or before != asleep():
    before = asleep()
    time.sleep(0.03)
"""

# Asks the site so often, from so many threads; says which workers answered, and what went wrong.
_LOAD = """
import collections, http.client, json, sys, threading
port, requests, threads = map(int, sys.argv[1:])
workers, errors = collections.Counter(), []

def ask():
    for _ in range(requests // threads):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/")
            response = connection.getresponse()
            text = response.read().decode()
            connection.close()
            assert response.status == 200 and text.startswith("origin "), text
            workers[text.split()[1]] += 1
        except Exception as error:
            errors.append(repr(error))

all_threads = [threading.Thread(target=ask) for _ in range(threads)]
for each in all_threads: each.start()
for each in all_threads: each.join()
print(json.dumps([workers, errors]))
"""

_TASKS = (
    _FETCH
    + """
from celery import Celery
here = os.path.dirname(__file__)
app = Celery("tasks", broker="filesystem://", backend="file://" + here + "/results")
app.conf.broker_transport_options = {
    "data_folder_in": here + "/queue", "data_folder_out": here + "/queue",
    "control_folder": here + "/control",
}
app.conf.task_ignore_result = False

@app.task
def fetch_as_task():
    return [fetch(), os.getpid()]
"""
)

# Has tasks done, and says what they returned.
_ASK_CELERY = """
import json, sys
from tasks import fetch_as_task
results = [fetch_as_task.delay() for _ in range(int(sys.argv[1]))]
print(json.dumps([each.get(timeout=30, interval=0.02) for each in results]))
"""


def needs(*modules: str) -> Any:
    """
    Skip a test where modules are missing, and say which.
    """
    missing = [each for each in modules if importlib.util.find_spec(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@contextmanager
def running(*command: str, directory: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """
    Run a program for the length of the block; what it writes to stderr is in ``log``.
    """
    # The package under test, and whatever the tests run with.
    path = [os.fspath(directory), os.path.dirname(os.path.dirname(crochet.__file__)), *sys.path]
    with open(directory / "log", "a") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # with its workers, should it have left any
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=BOUND)


def said(*command: str, directory: Path, **environment: str) -> Any:
    """
    Run a program to its end, and return what it printed.
    """
    with running(*command, directory=directory, **environment) as process:
        stdout, _ = process.communicate(timeout=2 * BOUND)
    assert process.returncode == 0, (directory / "log").read_text()
    return json.loads(stdout)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """
    Where the programs are.
    """
    programs = {"origin": _ORIGIN, "site_": _SITE, "load": _LOAD, "tasks": _TASKS}
    programs["site_of_uwsgi"] = _SITE_OF_UWSGI
    for name, code in {**programs, "ask_celery": _ASK_CELERY}.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def origin(directory: Path) -> Iterator[str]:
    """
    The address of a Twisted server.
    """
    with running(sys.executable, "origin.py", directory=directory) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"


def write_page(directory: Path, page: str, name: str, *changes: tuple[str, str]) -> None:
    """
    Write the code of a how-to page as a module, without its tests.
    """
    text = (Path(__file__).parent.parent / f"docs/howto/{page}.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = "\n".join(each for each in blocks if "def test_" not in each)
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    (directory / f"{name}.py").write_text(code)


def free_port() -> int:
    """
    Return a number that nobody listens at.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """
    Tell whether somebody accepts connections there.
    """
    try:
        socket.create_connection(("127.0.0.1", port), BOUND).close()
    except ConnectionRefusedError:
        return False
    return True


@needs("gunicorn", "flask")
@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_gunicorn_preload(directory: Path, origin: str, worker: str) -> None:
    """
    Four workers of a preloaded application, under load, one killed, all replaced, and ended.
    """
    port = free_port()
    options = f"--preload -w 4 -k {worker} --threads 4 -b 127.0.0.1:{port} --access-logfile log"
    command = [sys.executable, "-m", "gunicorn", *options.split(), "site_:app"]

    def load(requests: int) -> list[int]:
        workers, errors = said(
            sys.executable, "load.py", str(port), str(requests), "8", directory=directory
        )
        assert not errors, (errors[:5], (directory / "log").read_text())
        assert sum(workers.values()) == requests
        return list(map(int, workers))

    def booted() -> int:
        return (directory / "log").read_text().count("Booting worker")

    with running(*command, directory=directory, ORIGIN=origin) as gunicorn:
        wait_until(lambda: booted() == 4 and is_listening(port), "gunicorn has not started")
        workers = load(2000)
        assert gunicorn.pid not in workers
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: booted() == 5, "the worker was not replaced")
        assert workers[0] not in load(80)
        gunicorn.send_signal(signal.SIGHUP)
        wait_until(lambda: booted() == 9, "the workers were not replaced")
        load(80)
        gunicorn.send_signal(signal.SIGTERM)
        assert gunicorn.wait(BOUND) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(gunicorn.pid, 0)
    log = (directory / "log").read_text()
    assert "Traceback" not in log, log


# Visitors of the site in docs/howto/flask.md: each starts reports and collects them.
_VISITORS = """
import http.cookiejar, json, sys, threading, urllib.request
port, reports, visitors = map(int, sys.argv[1:])
site, errors = f"http://127.0.0.1:{port}", []

def visit(visitor):
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(cookies)
    def ask(path, data=None):
        return opener.open(site + path, data, timeout=60).read().decode()
    for number in range(reports):
        try:
            page = ask(f"/report/{visitor}-{number}", b"")
            while page.startswith("Not yet"):
                page = ask("/report")
            assert page == f"All about {visitor}-{number}.", page
            page = ask("/report")
            assert page == "There is no report.", page
        except Exception as error:
            errors.append(repr(error))

threads = [threading.Thread(target=visit, args=(each,)) for each in range(visitors)]
for each in threads: each.start()
for each in threads: each.join()
print(json.dumps(errors))
"""


@needs("gunicorn", "flask")
@pytest.mark.parametrize("preload", ["", "--preload"])
def test_gunicorn_with_a_stash(directory: Path, preload: str) -> None:
    """
    The site of the how-to page in four workers: eight visitors, whose requests land in any of them,
    get what they have started; and what was started before all workers are replaced.
    """
    write_page(directory, "flask", "shop")
    (directory / "visitors.py").write_text(_VISITORS)
    port = free_port()
    options = f"{preload} -w 4 -k gthread --threads 4 -b 127.0.0.1:{port} --access-logfile log"
    command = [sys.executable, "-m", "gunicorn", *options.split(), "shop:app"]

    def booted() -> int:
        return (directory / "log").read_text().count("Booting worker")

    def visit(reports: int) -> None:
        arguments = "visitors.py", str(port), str(reports), "8"
        errors = said(sys.executable, *arguments, directory=directory)
        assert not errors, (errors[:5], (directory / "log").read_text()[-5000:])

    with (
        tempfile.TemporaryDirectory(prefix="crochet-") as place,
        running(*command, directory=directory, TMPDIR=place, XDG_RUNTIME_DIR="") as gunicorn,
    ):
        wait_until(lambda: booted() == 4 and is_listening(port), "gunicorn has not started")
        visit(20)
        jar = http.cookiejar.CookieJar()
        visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        visitor.open(f"http://127.0.0.1:{port}/report/all", b"").close()
        gunicorn.send_signal(signal.SIGHUP)
        wait_until(lambda: booted() == 8, "the workers were not replaced")
        ends = "All about all.", "Not yet. Reload the page."
        text = ends[1]
        while text == ends[1]:
            text = visitor.open(f"http://127.0.0.1:{port}/report").read().decode()
        assert text == ends[0]
        visit(5)
        gunicorn.send_signal(signal.SIGTERM)
        assert gunicorn.wait(BOUND) == 0
        (folder,) = Path(place).glob("crochet-*/shop")
        assert [each.name for each in folder.glob("*.sock")] == []
    log = (directory / "log").read_text()
    assert "Traceback" not in log, log


@pytest.mark.skipif(sys.platform != "linux", reason="the test looks into /proc")
@needs("pyuwsgi", "flask")
@pytest.mark.parametrize(
    ("how", "setup"),
    [
        *[
            (how, setup)
            for how in ("", "--lazy-apps", "--threads 2")
            for setup in ("early", "late")
        ],
        ("--py-call-uwsgi-fork-hooks", "early"),
        ("--py-call-osafterfork", "early"),
    ],
)
def test_uwsgi(directory: Path, origin: str, how: str, setup: str) -> None:
    """
    Forks in C, behind Python's back unless it is told otherwise: workers answer all the same, one
    that was killed is replaced, and all end at once, without a word of ours. With ``setup()`` in
    the parent, or at a worker's first request.
    """
    port = free_port()
    options = f"--master --processes 2 --enable-threads --need-app {how} --http-socket 127.0.0.1"
    command = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()"]
    command += f"{options}:{port} --module site_of_uwsgi:app".split()

    def log() -> str:
        return (directory / "log").read_text()

    def load(requests: int) -> list[int]:
        workers, errors = said(
            sys.executable, "load.py", str(port), str(requests), "4", directory=directory
        )
        assert not errors, (errors[:5], log())
        assert sum(workers.values()) == requests
        return list(map(int, workers))

    def loaded(times: int) -> bool:
        # A worker that is told to end while it loads the application does not.
        return log().count("WSGI app 0 ") == (times if "lazy" in how else 1)

    with running(*command, directory=directory, ORIGIN=origin, SETUP=setup) as uwsgi:
        wait_until(lambda: log().count("spawned uWSGI worker") == 2, "uWSGI has not started")
        wait_until(lambda: loaded(2), "a worker has not started")
        wait_until(lambda: is_listening(port), "uWSGI does not listen")
        workers = load(200)
        assert uwsgi.pid not in workers
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: "Respawned uWSGI worker" in log(), "the worker was not replaced")
        wait_until(lambda: loaded(3), "the worker that replaces it has not started")
        assert workers[0] not in load(80)
        uwsgi.send_signal(signal.SIGINT)
        assert uwsgi.wait(BOUND) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(uwsgi.pid, 0)
    for word in ("Traceback", "Segmentation", "crochet: "):
        assert word not in log(), log()


@needs("celery")
def test_celery_prefork(directory: Path, origin: str) -> None:
    """
    A pool of two forked processes, which end when the worker is told to.
    """
    options = "-A tasks worker -P prefork -c 2 -l INFO --without-gossip --without-mingle"
    command = [sys.executable, "-m", "celery", *options.split(), "--without-heartbeat"]
    with running(*command, directory=directory, ORIGIN=origin) as celery:
        values = said(sys.executable, "ask_celery.py", "100", directory=directory, ORIGIN=origin)
        assert {text for text, _ in values} == {"origin"}
        workers = {pid for _, pid in values}
        assert 1 <= len(workers) <= 2
        assert celery.pid not in workers
        celery.send_signal(signal.SIGTERM)
        assert celery.wait(BOUND) == 0
    log = (directory / "log").read_text()
    assert "Traceback" not in log, log


# What a page's source does that has nothing to tell for a while, and one that says where it is.
_QUIET = """

@iterate_in_reactor(timeout=None)
async def quiet():
    from twisted.internet.defer import Deferred
    try:
        yield "data: 0\\n\\n"
        await Deferred()
    finally:
        print("unsubscribed")
"""
_QUIET_IN = {
    "flask": """
@app.get("/quiet")
def show_quiet():
    beats = quiet().with_heartbeat(0.05, beat=": still here\\n\\n")
    return app.response_class(beats, mimetype="text/event-stream")
""",
    "django": """
urlpatterns.append(path("quiet", lambda request: StreamingHttpResponse(
    quiet().with_heartbeat(0.05, beat=": still here\\n\\n")
)))
async def show_quiet(request):
    return StreamingHttpResponse(quiet().as_async())
urlpatterns.append(path("async-quiet", show_quiet))
""",
    "fastapi": """
@app.get("/quiet")
async def show_quiet():
    return StreamingResponse(quiet().as_async())
""",
}
_GUNICORN = "gunicorn -w 1 -k {worker} --threads 4 -b 127.0.0.1:{port} {app}"
_UVICORN = "uvicorn --port {port} --log-level warning {app}"


@needs("gunicorn", "flask", "django", "uvicorn", "fastapi")
@pytest.mark.parametrize(
    ("page", "command", "app", "prefix"),
    [
        pytest.param("flask", _GUNICORN, "shop:app", "", id="flask-gunicorn"),
        pytest.param("django", _GUNICORN, "shop:wsgi", "", id="django-gunicorn"),
        pytest.param("django", _UVICORN, "shop:asgi", "async-", id="django-uvicorn"),
        pytest.param("fastapi", _UVICORN, "shop:app", "", id="fastapi-uvicorn"),
    ],
)
def test_streams(directory: Path, page: str, command: str, app: str, prefix: str) -> None:
    """
    The site of each how-to page sends items as they come, for the body has no end; a visitor who
    leaves ends it, while it sends and while it has nothing to send.
    """
    write_page(directory, page, "shop")
    with open(directory / "shop.py", "a") as module:
        module.write(_QUIET + _QUIET_IN[page])
    port = free_port()
    words = command.format(port=port, app=app, worker="gthread").split()
    options: dict[str, Any] = {"directory": directory, "XDG_RUNTIME_DIR": ""}
    options["PYTHONUNBUFFERED"] = "1"

    def log() -> str:
        return (directory / "log").read_text()

    with (
        tempfile.TemporaryDirectory(prefix="crochet-") as place,
        running(sys.executable, "-m", *words, **options, TMPDIR=place) as server,
    ):
        assert server.stdout is not None
        wait_until(lambda: is_listening(port), "the server has not started")
        for path in (f"{prefix}ticks/1000000", f"{prefix}quiet"):
            with socket.create_connection(("127.0.0.1", port), BOUND) as visitor:
                visitor.sendall(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                read = b""
                while b"data: 0" not in read:
                    piece = visitor.recv(4096)
                    assert piece, (read, log())
                    read += piece
            while (line := server.stdout.readline()) != "unsubscribed\n":
                assert line == "42\n", log()  # of the page
        server.send_signal(signal.SIGTERM)
        assert server.wait(BOUND) in (0, -signal.SIGTERM)
    assert "Traceback" not in log(), log()


# An operation that never ends by itself, for an endpoint that looks after its client.
_ENDLESS = """

@run_in_reactor
async def endless():
    print("begun")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        print("cancelled")

@app.get("/endless")
async def show_endless(request: Request):
    return await answer_of(endless(), request)
"""


@needs("uvicorn", "fastapi")
def test_a_client_that_goes_away_has_its_operation_cancelled(directory: Path) -> None:
    """
    By what the how-to page on FastAPI shows, which does not do so by itself.
    """
    write_page(directory, "fastapi", "shop")
    with open(directory / "shop.py", "a") as module:
        module.write(_ENDLESS)
    port = free_port()
    words = _UVICORN.format(port=port, app="shop:app").split()
    with running(sys.executable, "-m", *words, directory=directory, PYTHONUNBUFFERED="1") as server:
        assert server.stdout is not None
        wait_until(lambda: is_listening(port), "the server has not started")
        with socket.create_connection(("127.0.0.1", port), BOUND) as visitor:
            visitor.sendall(b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            while server.stdout.readline() != "begun\n":
                pass
        assert server.stdout.readline() == "cancelled\n"
        server.send_signal(signal.SIGTERM)
        assert server.wait(BOUND) in (0, -signal.SIGTERM)
    log = (directory / "log").read_text()
    assert "Traceback" not in log, log


@needs("gunicorn", "django", "celery")
def test_django_finds_what_a_celery_task_has_stashed(directory: Path) -> None:
    """
    The sites of the how-to pages share a stash: of two workers of either, in processes that know
    nothing of each other, one has the result that a task has begun, and a view shows it, once.
    """
    write_page(directory, "django", "shop")
    transport = _TASKS.partition("app.conf.broker_transport_options")[2].partition("@app.task")[0]
    write_page(
        directory,
        "celery",
        "jobs",
        (
            'app = Celery("tasks", broker="memory://", backend="cache+memory://")',
            "import os\nhere = os.path.dirname(__file__)\n"
            'app = Celery("jobs", broker="filesystem://", backend="file://" + here + "/results")\n'
            f"app.conf.broker_transport_options{transport}",
        ),
    )
    (directory / "begin.py").write_text(
        "import json, sys\n"
        "from jobs import start_count\n"
        'begun = [start_count.delay(["tea", "cake"]) for _ in range(int(sys.argv[1]))]\n'
        "print(json.dumps([str(each.get(timeout=30, interval=0.02)) for each in begun]))\n"
    )
    port = free_port()
    serve = f"-m gunicorn -w 2 -k gthread -b 127.0.0.1:{port} shop:wsgi".split()
    options = "--without-gossip --without-mingle --without-heartbeat"
    work = f"-m celery -A jobs worker -P prefork -c 2 {options}".split()
    site = f"http://127.0.0.1:{port}"

    def read(number: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{site}/results/{number}", timeout=BOUND) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def collected(number: str) -> tuple[int, str]:
        answers = [(202, "")]

        def is_there() -> bool:
            answers.append(read(number))
            return answers[-1][0] != 202

        wait_until(is_there, "the result")
        return answers[-1]

    with tempfile.TemporaryDirectory(prefix="crochet-") as place:
        where: dict[str, Any] = {"directory": directory, "TMPDIR": place, "XDG_RUNTIME_DIR": ""}
        with (
            running(sys.executable, *serve, **where) as gunicorn,
            running(sys.executable, *work, **where) as celery,
        ):
            wait_until(lambda: is_listening(port), "gunicorn has not started")
            numbers = said(sys.executable, "begin.py", "20", **where)
            for number in numbers:
                assert collected(number) == (200, "The result is 2.")
                assert read(number) == (404, "")
            log = (directory / "log").read_text()
            assert "Traceback" not in log, log
            for each in (gunicorn, celery):
                each.send_signal(signal.SIGTERM)
                assert each.wait(BOUND) == 0
