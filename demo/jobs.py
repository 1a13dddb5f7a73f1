"""
The visitors' downloads, as the web side sees them.

What must always hold:

1. A visitor reaches only jobs of their own. Every look-up takes the visitor, and a job of
   somebody else's is as unknown as one that never was.
2. A job that is running is forgotten by nobody, however many others there are.
3. A job that is running has its `EventualResult` in Crochet's stash, under `Job.uid`. A job
   that has ended has its outcome in its own fields, and nothing in the stash.

Why the stash: a request ends long before its download does, and the next request may run in any
thread. Between two requests a job is plain data (texts, numbers, and the stash's uid), which
could just as well live in the session or in a database. The live operation is Crochet's to keep.

Why the uid is not in the session cookie, although it could be: each `stash()` is good for one
retrieval, so each look leaves a new uid. A browser sends requests side by side (two tabs; a
poll and a click), all with the same cookie, and all but the first would hold a used uid. Here
the lock makes look-and-stash-again one step.

Threads: any web thread calls any method, and gets copies of jobs, which do not change while a
page is made of them; only their `Progress` moves on. Nothing that is called while `_jobs_lock`
is held waits for the reactor: `wait(timeout=0)` only asks whether there is an answer.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import cast

import crochet

from .downloads import Limits, Page, Progress, download

MAX_RUNNING = 5  # of one visitor
MAX_KEPT = 50  # of one visitor
MAX_KEPT_OF_ALL = 500


class TooMany(Exception):
    """
    As many downloads are running as one visitor may have, or all of them.
    """


@dataclass
class Job:
    """
    One download of one visitor: plain data.
    """

    id: str
    visitor: str
    url: str
    progress: Progress = field(default_factory=Progress)
    state: str = "running"  # then perhaps "cancelling"; in the end "done", "failed", "cancelled"
    uid: int | None = None  # in the stash while running, and None after
    page: Page | None = None  # when done
    error: str = ""  # when failed
    traceback: str = ""

    @property
    def is_running(self) -> bool:
        """
        Say whether the job was still running when it was last looked at.
        """
        return self.uid is not None


class Jobs:
    """
    Everybody's downloads. All methods may be called from any thread but the reactor's.
    """

    def __init__(self, limits: Limits, origin: tuple[str, int]) -> None:
        self._limits = limits
        self._origin = origin
        self._jobs: dict[str, Job] = {}  # oldest first; guarded by _jobs_lock
        self._jobs_lock = Lock()

    def start(self, visitor: str, url: str) -> Job:
        """
        Start to download *url* for *visitor*. Never blocks.

        Raises:
            TooMany: `MAX_RUNNING` downloads of this visitor are running, or so many of all visitors
                that nothing can be forgotten for another one.
        """
        with self._jobs_lock:
            own = self._looked_at(visitor)
            if sum(job.is_running for job in own) >= MAX_RUNNING:
                raise TooMany(
                    f"{MAX_RUNNING} downloads are running. Wait for one to end, or cancel one."
                )
            self._make_room(own)
            job = Job(secrets.token_urlsafe(8), visitor, url)
            job.uid = download(url, job.progress, self._limits, self._origin).stash()
            self._jobs[job.id] = job
            return replace(job)

    def _make_room(self, own: list[Job]) -> None:
        """
        Forget a job for one more of the visitor who has those in *own*, if need be.

        Never one that is running: there is no end to the visitors that one person can be.
        """
        if len(own) >= MAX_KEPT:
            candidates = own
        elif len(self._jobs) >= MAX_KEPT_OF_ALL:
            for job in self._jobs.values():
                self._look(job)
            candidates = list(self._jobs.values())
        else:
            return
        ended = [job for job in candidates if not job.is_running]
        if not ended:
            raise TooMany("This site has as many downloads running as it can. Try again later.")
        # The oldest of whoever has the most, so that one with many costs nobody else anything.
        kept = Counter(job.visitor for job in ended)
        del self._jobs[max(ended, key=lambda job: kept[job.visitor]).id]

    def of(self, visitor: str) -> list[Job]:
        """
        Return the visitor's jobs as they are now, newest first. Never blocks.
        """
        with self._jobs_lock:
            return [replace(job) for job in reversed(self._looked_at(visitor))]

    def find(self, visitor: str, job_id: str) -> Job | None:
        """
        Return one job as it is now, or None if this visitor has no such job. Never blocks.
        """
        return next((job for job in self.of(visitor) if job.id == job_id), None)

    def cancel(self, visitor: str, job_id: str) -> bool:
        """
        Ask for a job to end; one that has ended stays as it is. Never blocks.

        Returns:
            Whether this visitor has such a job.
        """
        with self._jobs_lock:
            job = self._jobs.get(job_id)
            if job is None or job.visitor != visitor:
                return False
            if job.uid is not None:
                result = crochet.retrieve_result(job.uid)
                # Only asks: the reactor thread does it, and a later look sees the outcome.
                result.cancel()
                job.uid = result.stash()
                job.state = "cancelling"
            return True

    def clear(self, visitor: str) -> None:
        """
        Forget the visitor's jobs that have ended. Never blocks.
        """
        with self._jobs_lock:
            for job in self._looked_at(visitor):
                if not job.is_running:
                    del self._jobs[job.id]

    def _looked_at(self, visitor: str) -> list[Job]:
        jobs = [job for job in self._jobs.values() if job.visitor == visitor]
        for job in jobs:
            self._look(job)
        return jobs

    def _look(self, job: Job) -> None:
        if job.uid is None:
            return
        # The stash keeps results of any function; this one is download()'s.
        result = cast("crochet.EventualResult[Page]", crochet.retrieve_result(job.uid))
        try:
            job.page = result.wait(timeout=0)
            job.state = "done"
        except crochet.TimeoutError:
            # Not yet. The retrieval took the result out of the stash: put it back for the next.
            job.uid = result.stash()
            return
        except Exception as error:  # whatever it is, the visitor is told
            _record_failure(job, result, error)
        job.uid = None


def _record_failure(job: Job, result: crochet.EventualResult[Page], error: Exception) -> None:
    if job.state == "cancelling":
        job.state = "cancelled"
        return
    job.state = "failed"
    job.error = _describe(error)
    # The traceback as the reactor thread saw it. Shown because this is a demo: a real site would
    # log it, and show the visitor the error's text at most.
    failure = result.original_failure()
    job.traceback = failure.getTraceback() if failure is not None else ""


def _describe(error: Exception) -> str:
    # What goes wrong on the wire arrives inside an error of Agent's, as a list of reasons.
    reasons = getattr(error, "reasons", None)
    if reasons:
        return _describe(reasons[0].value)
    return f"{type(error).__name__}: {error}"
