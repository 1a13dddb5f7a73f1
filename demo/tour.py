"""
A scripted visitor: does what a person would do, and says what happened.

It knows the site only by its addresses and talks to it over HTTP, with the standard library.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import (
    HTTPCookieProcessor,
    HTTPRedirectHandler,
    ProxyHandler,
    Request,
    build_opener,
)

PATIENCE = 30.0  # seconds for one answer, and for one job to get where it should


class Surprise(Exception):
    """
    The site did something else than it should.
    """


class Visitor:
    """
    A browser without a window: keeps cookies, follows redirects, fills in the form's token.
    """

    def __init__(self, site: str, origin: str) -> None:
        self.site = site
        self.origin = origin
        # The process that has answered last; and the one that has taken the last form.
        self.worker = self.starter = 0
        # No proxy, whatever the environment says: both servers are on this machine.
        self._opener = build_opener(
            ProxyHandler({}), HTTPCookieProcessor(CookieJar()), _Redirects(self)
        )

    def get(self, path: str) -> tuple[int, str]:
        """
        Return the status and the text of a page.
        """
        return self._open(path, None)

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        """
        Send a form, after opening the page that it is on.
        """
        _, page = self.get("/")
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        expect(token is not None, "the page has no form token")
        return self._open(path, {"csrf": token[1], **fields} if token else fields)

    def start(self, sample: str) -> str:
        """
        Start to download a page of the origin, and return the new job's id.
        """
        status, _ = self.post("/", url=f"{self.origin}/{sample}")
        expect(status == 200, f"starting a download answered {status}")
        return self.jobs()[0]["id"]

    def jobs(self) -> list[dict[str, Any]]:
        """
        Return this visitor's jobs, newest first.
        """
        return json.loads(self.get("/jobs.json")[1])["jobs"]

    def events(self) -> Iterator[dict[str, Any]]:
        """
        Yield jobs as the page's script hears of them, until the server ends the stream.
        """
        with self._opener.open(f"{self.site}/events", timeout=PATIENCE) as stream:
            self.worker = int(stream.headers["X-Worker"])
            for line in stream:
                kind, _, data = line.decode().partition(": ")
                if kind == "data":
                    yield from json.loads(data)["jobs"]

    def watch(
        self,
        job_id: str,
        is_there: Callable[[dict[str, Any]], bool],
        ask: Callable[[], list[dict[str, Any]]] | None = None,
    ) -> dict[str, Any]:
        """
        Look at a job again and again, as a visitor without script does, until it *is_there*; by
        *ask*, if not by `jobs()`.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            job = next(job for job in (ask or self.jobs)() if job["id"] == job_id)
            if is_there(job):
                return job
            if not job["running"] or time.monotonic() > deadline:
                state = f"{job['state']} at {job['received']} bytes"
                raise Surprise(f"the job is {state}: {job['error'] or 'no error'}")
            time.sleep(0.05)

    def watch_end(self, job_id: str, state: str) -> dict[str, Any]:
        """
        Look at a job until it has ended, which must be in *state*.
        """
        return self.watch(job_id, lambda job: job["state"] == state)

    def _open(self, path: str, fields: dict[str, str] | None) -> tuple[int, str]:
        data = None if fields is None else urlencode(fields).encode()
        try:
            answer = self._opener.open(self.site + path, data, timeout=PATIENCE)
        except HTTPError as refusal:
            answer = refusal  # which is an answer, too
        with answer:
            self.worker = int(answer.headers.get("X-Worker", 0))
            return answer.status, answer.read().decode()


class _Redirects(HTTPRedirectHandler):
    """
    Follows redirects, and notes who has sent them.
    """

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        self._visitor.starter = int(headers.get("X-Worker", 0))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def expect(is_so: bool, otherwise: str) -> None:
    """
    Raise `Surprise` with the text *otherwise*, unless it *is_so*.
    """
    if not is_so:
        raise Surprise(otherwise)


def run(site: str, origin: str) -> bool:
    """
    Take every step, print each with what came of it, and say whether all went well.

    **Blocks** for as long as the downloads take, which is a few seconds.
    """
    visitor = Visitor(site, origin)
    outcomes = [take(step, visitor) for step in STEPS]
    return all(outcomes)


def take(step: Callable[..., str], *arguments: object) -> bool:
    """
    Take a step, print it with what came of it, and say whether it went well.
    """
    try:
        outcome, mark = step(*arguments), "ok"
    except (Surprise, OSError) as problem:
        outcome, mark = str(problem), "FAILED"
    print(f"{mark:6} {step.__name__.replace('_', ' ')}: {outcome}", flush=True)
    return mark == "ok"


def open_the_page(visitor: Visitor) -> str:
    status, page = visitor.get("/")
    expect(status == 200, f"it answered {status}")
    expect("Nothing yet" in page, "a new visitor has downloads already")
    return "no downloads yet"


def enter_a_bad_address(visitor: Visitor) -> str:
    status, page = visitor.post("/", url="example.com")
    problem = re.search(r'role="alert">([^<]+)<', page)
    if status != 400 or problem is None:
        raise Surprise(f"it answered {status}")
    return problem[1]


def download_a_fast_page(visitor: Visitor) -> str:
    job = visitor.watch_end(visitor.start("fast"), "done")
    return f"done, {job['received']} bytes, “{job['title']}”"


def watch_a_slow_page(visitor: Visitor) -> str:
    job_id = visitor.start("slow")
    seen = [job for job in visitor.events() if job["id"] == job_id]
    sizes = [job["received"] for job in seen]
    expect(sizes == sorted(sizes), f"the sizes that were streamed are {sizes}")
    expect(seen[-1]["state"] == "done", f"the last state that was streamed is {seen[-1]['state']}")
    expect(any("s left" in job["card"] for job in seen), "no event tells the time that is left")
    return f"{len(sizes)} events, {sizes[0]:,} bytes, then {sizes[1]:,}, done at {sizes[-1]:,}"


def open_and_save_a_page(visitor: Visitor) -> str:
    job_id = visitor.start("markup")
    visitor.watch_end(job_id, "done")
    status, content = visitor.get(f"/jobs/{job_id}/content")
    expect((status, content[:9]) == (200, "<!doctype"), f"{status}, {content[:9]!r}")
    expect(visitor.get(f"/jobs/{job_id}/content?save=1")[1] == content, "saved, it is another")
    return f"{len(content)} characters"


def download_a_failing_page(visitor: Visitor) -> str:
    return _describe_failure(visitor.watch_end(visitor.start("failing"), "failed"))


def lose_the_connection(visitor: Visitor) -> str:
    return _describe_failure(visitor.watch_end(visitor.start("dropping"), "failed"))


def reach_for_the_private_network(visitor: Visitor) -> str:
    # The site itself is on a private address, and not the origin.
    status, _ = visitor.post("/", url=visitor.site)
    expect(status == 200, f"it answered {status}")
    return _describe_failure(visitor.watch_end(visitor.jobs()[0]["id"], "failed"))


def cancel_an_endless_page(visitor: Visitor) -> str:
    job_id = visitor.start("endless")
    visitor.watch(job_id, lambda job: job["received"] > 0)
    visitor.post(f"/jobs/{job_id}/cancel")
    job = visitor.watch_end(job_id, "cancelled")
    return f"cancelled at {job['received']:,} bytes"


def download_several_at_once(visitor: Visitor) -> str:
    job_ids = [visitor.start(sample) for sample in ("silent", "endless", "slow")]
    running = sum(job["running"] for job in visitor.jobs())
    expect(running == 3, f"{running} of 3 are running")
    for job_id in job_ids:
        visitor.post(f"/jobs/{job_id}/cancel")
    for job_id in job_ids:
        visitor.watch_end(job_id, "cancelled")
    return "3 were running, all are cancelled"


def be_somebody_else(visitor: Visitor) -> str:
    job_id = visitor.start("endless")
    other = Visitor(visitor.site, visitor.origin)
    expect(other.jobs() == [], "another visitor sees this visitor's downloads")
    answers = [other.get(f"/jobs/{job_id}")[0], other.post(f"/jobs/{job_id}/cancel")[0]]
    expect(answers == [404, 404], f"another visitor's look and cancel answered {answers}")
    expect(visitor.get(f"/jobs/{job_id}")[0] == 200, "the visitor's own look is refused")
    visitor.post(f"/jobs/{job_id}/cancel")
    visitor.watch_end(job_id, "cancelled")
    return "sees nothing, and is refused with 404"


def post_without_the_token(visitor: Visitor) -> str:
    status, _ = visitor.post("/", url=f"{visitor.origin}/fast", csrf="forged")
    expect(status == 400, f"it answered {status}")
    return "refused with 400"


def clear_what_has_ended(visitor: Visitor) -> str:
    visitor.post("/jobs/clear")
    left = len(visitor.jobs())
    expect(left == 0, f"{left} downloads are left")
    return "none is left"


def _describe_failure(job: dict[str, Any]) -> str:
    expect("Traceback" in job["traceback"], "there is no traceback")
    return f"failed, {job['error']} (traceback of {len(job['traceback'].splitlines())} lines)"


STEPS = (
    open_the_page,
    enter_a_bad_address,
    download_a_fast_page,
    watch_a_slow_page,
    open_and_save_a_page,
    download_a_failing_page,
    lose_the_connection,
    reach_for_the_private_network,
    cancel_an_endless_page,
    download_several_at_once,
    be_somebody_else,
    post_without_the_token,
    clear_what_has_ended,
)
