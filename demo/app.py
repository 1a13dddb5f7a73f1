"""
The web site: blocking Flask views that know nothing of Twisted.

Who is who: a visitor is a random text in Flask's session, a cookie that Flask signs, so that
nobody can make themselves another visitor. Every view asks for jobs *of this visitor*, and a job
of somebody else's answers 404, just like one that never was.

Every page works without JavaScript: forms post, the answer is a redirect, a reload shows news.
With it, `static/jobs.js` asks for `/jobs.json` while something is running.
"""

from __future__ import annotations

import secrets
from typing import Any, NoReturn

from flask import Flask, Response, abort, redirect, render_template, request, session, url_for
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.wrappers import Response as AnyResponse

from .jobs import Job, Jobs, TooMany
from .urls import MAX_LENGTH, BadURL, check_url


def create_app(jobs: Jobs, samples: list[tuple[str, str]]) -> Flask:
    """
    Return the site as a WSGI application.

    Args:
        jobs: Everybody's downloads.
        samples: Links to try, as pairs of label and URL.
    """
    app = Flask(__name__)
    app.config.update(
        # A new key each time, for the jobs do not outlive the process either.
        SECRET_KEY=secrets.token_bytes(32),
        # Cookies are shared by all ports of a host: a name of our own.
        SESSION_COOKIE_NAME="crochet_demo",
        SESSION_COOKIE_SAMESITE="Lax",
        # Else a site anywhere could point its own name at 127.0.0.1 and read these pages.
        TRUSTED_HOSTS=["127.0.0.1", "localhost"],
        MAX_CONTENT_LENGTH=16_384,
    )

    @app.before_request
    def know_the_visitor() -> None:
        # A form of ours carries the token that is in the session. Another site can make a
        # visitor's browser post to this one, but cannot read the token.
        if request.method == "POST":
            expected, sent = session.get("csrf", ""), request.form.get("csrf", "")
            if not expected or not secrets.compare_digest(expected.encode(), sent.encode()):
                abort(400, "This form is out of date. Go back to the downloads and try again.")
        if "visitor" not in session:
            session["visitor"] = secrets.token_urlsafe(16)
            session["csrf"] = secrets.token_urlsafe(16)

    @app.get("/")
    def index() -> str:
        return show_downloads()

    @app.post("/")
    def start() -> AnyResponse | tuple[str, int]:
        url = request.form.get("url", "")
        try:
            jobs.start(session["visitor"], check_url(url))
        except BadURL as problem:
            return show_downloads(url, str(problem)), 400
        except TooMany as problem:
            return show_downloads(url, str(problem)), 429
        # A redirect, so that reloading the page does not start the download again.
        return redirect(url_for("index"), 303)

    def show_downloads(url: str = "", problem: str = "") -> str:
        return render_template(
            "downloads.html",
            jobs=jobs.of(session["visitor"]),
            samples=samples,
            url=url,
            problem=problem,
            max_length=MAX_LENGTH,
        )

    @app.get("/jobs/<job_id>")
    def job(job_id: str) -> str:
        found = jobs.find(session["visitor"], job_id)
        return render_template("download.html", job=found) if found else refuse()

    @app.post("/jobs/<job_id>/cancel")
    def cancel(job_id: str) -> AnyResponse:
        if not jobs.cancel(session["visitor"], job_id):
            refuse()
        return redirect(url_for("index"), 303)

    @app.post("/jobs/clear")
    def clear() -> AnyResponse:
        jobs.clear(session["visitor"])
        return redirect(url_for("index"), 303)

    @app.get("/jobs.json")
    def jobs_as_json() -> dict[str, Any]:
        return {"jobs": [as_json(job) for job in jobs.of(session["visitor"])]}

    def refuse() -> NoReturn:
        abort(404, "You have no such download. Perhaps it was cleared, or is not yours.")

    def as_json(job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "url": job.url,
            "state": job.state,
            "running": job.is_running,
            "received": job.progress.received,
            "total": job.progress.total,
            "title": job.page.title if job.page else None,
            "error": job.error,
            "traceback": job.traceback,
            # The script shows this, so that a card is written (and escaped) in one place only.
            "card": render_template("card.html", job=job),
        }

    @app.errorhandler(HTTPException)
    def show_error(error: HTTPException) -> HTTPException | tuple[str, int]:
        if isinstance(error, SecurityError):
            return error  # called by a name that is not ours, this site can name no page of its own
        return render_template("error.html", error=error), error.code or 500

    @app.after_request
    def add_headers(response: Response) -> Response:
        # What visitors download is never shown as it came, only counted; but should markup ever
        # slip through, the browser is told to run and load nothing that is not this site's.
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    return app
