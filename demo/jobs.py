"""
The visitors' downloads, as the web side sees them.

What must always hold:

1. All that is known of a download is in its `EventualResult`, which Crochet keeps in its stash; and
   a visitor's session has the numbers of theirs. No process keeps anything else, so every
   request may land in any worker, if they share the stash.
2. A download that is running is forgotten by nobody, however many others there are.

Why numbers may be in a cookie: they are signed with it, so a visitor reaches only those that were
put there; and `peek_result()` looks without taking, so requests may come side by side.

Threads: any web thread calls anything here. Nothing waits for a download, but `watch()`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from twisted.internet.defer import CancelledError

import crochet
from crochet import EventualResult, Progress, ResultLost, peek_result, retrieve_result

from .downloads import ALLOWED, KEPT, Limits, Page, download

MAX_RUNNING = 5  # of one visitor
MAX_RUNNING_HERE = 100  # in one process, for a visitor can be any number of visitors
MAX_KEPT = 50  # of one visitor: their numbers have to fit into a cookie

# Of the stash: how many results are kept, of which a download that is done takes two, and what may
# be brought to life in another process.
BOUNDED: dict[str, Any] = {"max_results": 200, "evict": True, "allow": ALLOWED}

# Seconds between two looks at downloads that are watched, at most, and at one that says nothing.
INTERVAL = 0.2
HEARTBEAT = 0.5

# Seconds after which a watcher has to ask again: a worker that is to end waits for it.
LONGEST = 10.0


class TooMany(Exception):
    """
    As many downloads are running as one visitor may have, or all of them.
    """


@dataclass
class Job:
    """
    One download of one visitor, as it is now.
    """

    id: str
    url: str
    state: str = "running"  # in the end "done", "failed", "cancelled" or "lost"
    progress: Progress = field(default_factory=Progress)
    page: Page | None = None  # when done
    error: str = ""  # when failed or lost
    traceback: str = ""  # when failed

    @property
    def is_running(self) -> bool:
        """
        Say whether it has not ended.
        """
        return self.state == "running"


class Jobs:
    """
    Starts downloads, and finds those that were started, here or in another process.
    """

    def __init__(self, limits: Limits, origin: tuple[str, int]) -> None:
        self._limits = limits
        self._origin = origin

    def start(self, url: str, ids: list[str]) -> list[str]:
        """
        Start to download *url* for a visitor, and return the numbers of their downloads.

        Raises:
            TooMany: `MAX_RUNNING` downloads of this visitor are running, or so many of all.
        """
        own = find(ids)
        if sum(job.is_running for job in own) >= MAX_RUNNING:
            raise TooMany(
                f"{MAX_RUNNING} downloads are running. Wait for one to end, or cancel one."
            )
        if crochet.status().stash.owned >= MAX_RUNNING_HERE:
            raise TooMany("This site has as many downloads running as it can. Try again later.")
        for job in [job for job in own if not job.is_running][MAX_KEPT - MAX_RUNNING :]:
            own.remove(job)
            forget(job)
        result = download(url, self._limits, self._origin)
        # Its visitor is shown how it ends, or does not care: an error is none for the log.
        result.add_done_callback(EventualResult.original_failure)
        next(result.watch(heartbeat=5.0))  # it has begun, and said so: that is stashed with it
        return [str(result.stash(KEPT)), *(job.id for job in own)]


def find(ids: Iterable[str]) -> list[Job]:
    """
    Return downloads as they are now; those that are not there any more are left out.
    """
    return [look(each, result) for each, result in _results(ids)]


def look(job_id: str, result: EventualResult[Page]) -> Job:
    """
    Return a download as it is now.
    """
    is_done = result.done()  # before its progress is read
    progress = result.progress or Progress()
    job = Job(job_id, progress.message or "", progress=progress)
    failure = result.original_failure() if is_done else None
    if failure is None:
        if is_done:
            job.state, job.page = "done", result.wait()
    elif failure.check(CancelledError):
        job.state = "cancelled"
    else:
        error = failure.value
        job.state = "lost" if isinstance(error, ResultLost) else "failed"
        job.error = f"{type(error).__name__}: {error}"
        if job.state == "failed":
            # As the reactor thread saw it, in whichever process that was. Shown because this is a
            # demo: a real site would log it, and show the visitor the error's text at most.
            cause = error.__cause__ if error.__traceback__ is None else None
            job.traceback = str(cause).strip('"\n') if cause else failure.getTraceback()
    return job


def watch(ids: Iterable[str]) -> Iterator[list[Job]]:
    """
    Yield downloads as they are now; then, again and again, those of them that have changed.

    Ends when none is running any more, or after `LONGEST` seconds. **Blocks** meanwhile.
    """
    end = time.monotonic() + LONGEST
    results = dict(_results(ids))
    jobs = {each: look(each, result) for each, result in results.items()}
    yield list(jobs.values())
    while running := [each for each in results if jobs[each].is_running]:
        for _ in results[running[0]].watch(INTERVAL, heartbeat=HEARTBEAT):
            now = {each: look(each, results[each]) for each in running}
            changed = [job for each, job in now.items() if job != jobs[each]]
            jobs |= now
            if changed:
                yield changed
            if time.monotonic() > end:
                return
        jobs[running[0]] = look(running[0], results[running[0]])
        yield [jobs[running[0]]]


def cancel(job_id: str) -> None:
    """
    Ask for a download to end, and wait for a moment until it has; one that has stays as it is.
    """
    result = peek_result(job_id)
    result.cancel()  # in whichever process it runs
    with suppress(Exception):  # look() shows what came of it
        result.wait(timeout=2.0)


def forget(job: Job) -> None:
    """
    Have a download that has ended not be kept any more.
    """
    for each in (job.id, *([job.page.content] if job.page else [])):
        with suppress(KeyError):  # another request was quicker
            retrieve_result(each).original_failure()


def content_of(job: Job) -> bytes | None:
    """
    Return what a download that is done has found, or None if it is not kept any more.
    """
    if job.page is None:
        return None
    try:
        return cast("bytes", peek_result(job.page.content).wait(timeout=5.0))
    except KeyError:
        return None


def _results(ids: Iterable[str]) -> Iterator[tuple[str, EventualResult[Page]]]:
    for each in ids:
        with suppress(KeyError):
            # The stash keeps results of any function; this one is download()'s.
            yield each, cast("EventualResult[Page]", peek_result(each))
