"""
The web site: blocking Flask views that know nothing of Twisted.

Who is who: a visitor's downloads are those whose numbers are in Flask's session, a cookie that
Flask signs, so that nobody can put another number there. A download that is not in it answers 404,
just like one that never was.

Every page works without JavaScript: forms post, the answer is a redirect, a reload shows news.
With it, `static/jobs.js` listens to the events that `/events` streams, while something is running.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any, NoReturn

from flask import (
    Flask,
    Response,
    abort,
    redirect,
    render_template,
    request,
    session,
    stream_with_context,
    url_for,
)
from markupsafe import Markup
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.wrappers import Response as AnyResponse

from . import downloads, jobs
from .jobs import Job, Jobs, TooMany
from .urls import MAX_LENGTH, BadURL, check_url

# What a panel does, by the code that does it. `app` adds its views.
CODE = {
    "start": Jobs.start,
    "download": downloads.fetch_in_reactor,
    "look": jobs.look,
    "watch": jobs.watch,
}


def create_app(everybodys: Jobs, samples: list[tuple[str, str]], secret: bytes) -> Flask:
    """
    Return the site as a WSGI application.

    Args:
        everybodys: Starts downloads.
        samples: Links to try, as pairs of label and URL.
        secret: Signs the cookies: the same in all processes that serve the site.
    """
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=secret,
        # Cookies are shared by all ports of a host: a name of our own.
        SESSION_COOKIE_NAME="crochet_demo",
        SESSION_COOKIE_SAMESITE="Lax",
        # Else a site anywhere could point its own name at 127.0.0.1 and read these pages.
        TRUSTED_HOSTS=["127.0.0.1", "localhost"],
        MAX_CONTENT_LENGTH=16_384,
    )

    @app.template_filter()
    def breakable(address: str) -> Markup:
        # Between words first: after what ends a part of it.
        return Markup("<wbr>").join(re.split(r"(?<=[/?&=.:_-])(?=[^/])", address))

    @app.before_request
    def know_the_visitor() -> None:
        # A form of ours carries the token that is in the session. Another site can make a
        # visitor's browser post to this one, but cannot read the token.
        if request.method == "POST":
            expected, sent = session.get("csrf", ""), request.form.get("csrf", "")
            if not expected or not secrets.compare_digest(expected.encode(), sent.encode()):
                abort(400, "This form is out of date. Go back to the downloads and try again.")
        if "jobs" not in session:
            session["jobs"] = []
            session["csrf"] = secrets.token_urlsafe(16)

    @app.get("/")
    def index() -> str:
        return show_downloads()

    @app.post("/")
    def start() -> AnyResponse | tuple[str, int]:
        url = request.form.get("url", "")
        try:
            session["jobs"] = everybodys.start(check_url(url), session["jobs"])
        except BadURL as problem:
            return show_downloads(url, str(problem)), 400
        except TooMany as problem:
            return show_downloads(url, str(problem)), 429
        # A redirect, so that reloading the page does not start the download again.
        return redirect(url_for("index"), 303)

    def show_downloads(url: str = "", problem: str = "") -> str:
        return render_template(
            "downloads.html",
            jobs=jobs.find(session["jobs"]),
            samples=samples,
            url=url,
            problem=problem,
            max_length=MAX_LENGTH,
        )

    def own(job_id: str) -> Job:
        """
        Return one of the visitor's downloads, or answer 404.
        """
        found = jobs.find(each for each in session["jobs"] if each == job_id)
        return found[0] if found else refuse()

    @app.get("/jobs/<job_id>")
    def job(job_id: str) -> str:
        return render_template("download.html", job=own(job_id))

    @app.post("/jobs/<job_id>/cancel")
    def cancel(job_id: str) -> AnyResponse:
        jobs.cancel(own(job_id).id)
        return redirect(url_for("index"), 303)

    @app.get("/jobs/<job_id>/content")
    def content(job_id: str) -> Response:
        # As text, or to be saved, but never as a page of this site's.
        response = Response(jobs.content_of(own(job_id)) or refuse(), mimetype="text/plain")
        if "save" in request.args:
            response.headers["Content-Disposition"] = 'attachment; filename="page.html"'
        return response

    @app.post("/jobs/clear")
    def clear() -> AnyResponse:
        found = jobs.find(session["jobs"])
        session["jobs"] = [job.id for job in found if job.is_running]
        for job in found:
            if not job.is_running:
                jobs.forget(job)
        return redirect(url_for("index"), 303)

    @app.get("/jobs.json")
    def jobs_as_json() -> dict[str, Any]:
        return as_json(jobs.find(session["jobs"]))

    @app.get("/events")
    def events() -> Response:
        # To write a card takes the request, its token above all.
        streamed = stream_with_context(map(as_event, jobs.watch(session["jobs"])))
        return Response(streamed, mimetype="text/event-stream")

    def as_event(found: list[Job]) -> str:
        return f"retry: 300\ndata: {json.dumps(as_json(found))}\n\n"

    def refuse() -> NoReturn:
        abort(404, "You have no such download. Perhaps it was cleared, or is not yours.")

    def as_json(found: list[Job]) -> dict[str, Any]:
        return {"jobs": [job_as_json(job) for job in found]}

    def job_as_json(job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "url": job.url,
            "state": job.state,
            "running": job.is_running,
            "received": job.progress.done,
            "total": job.progress.total,
            "title": job.page.title if job.page else None,
            "error": job.error,
            "traceback": job.traceback,
            # The script shows this, so that a card is written (and escaped) in one place only.
            "card": render_template("card.html", job=job),
        }

    @app.get("/code/<name>")
    def code(name: str) -> str:
        function = {**CODE, **app.view_functions}.get(name) or refuse()
        lines, first = inspect.getsourcelines(function)
        path = Path(inspect.getsourcefile(function) or "")
        return render_template(
            "code.html", name=name, code=inspect.cleandoc("".join(lines)), first=first, path=path
        )

    @app.errorhandler(OSError)
    def show_that_the_stash_is_away(error: OSError) -> tuple[str, int]:
        app.logger.error("%s", error)
        problem = {
            "name": "Out of reach",
            "description": "This site does not find its results just now. Try again in a moment.",
        }
        return render_template("error.html", error=problem), 503

    @app.errorhandler(HTTPException)
    def show_error(error: HTTPException) -> HTTPException | tuple[str, int]:
        if isinstance(error, SecurityError):
            return error  # called by a name that is not ours, this site can name no page of its own
        return render_template("error.html", error=error), error.code or 500

    @app.after_request
    def add_headers(response: Response) -> Response:
        # What visitors download is shown as text, if at all; but should markup ever slip through,
        # the browser is told to run and load nothing that is not this site's.
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Worker"] = str(os.getpid())  # for the tour of many workers
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    return app
