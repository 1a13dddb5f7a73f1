"""
The demo's command: start both servers, take the tour, then serve whoever comes.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import tempfile
from threading import Thread

from werkzeug.serving import make_server

from crochet import LocalStash, setup, shutdown

from . import tour
from .app import create_app
from .downloads import Limits
from .jobs import BOUNDED, Jobs
from .origin import HOST, samples_of, start_origin


def main() -> int:
    """
    Run the demo. **Blocks** until the tour is over or Ctrl-C is pressed.

    Returns:
        The exit status: 0, or 1 if a step of the tour failed.
    """
    options = _parse_options()
    try:
        with tempfile.TemporaryDirectory(prefix="crochet-") as folder:
            try:
                return _run(options, folder)
            finally:
                shutdown()  # before the folder is gone
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Downloads in the background of a Flask site. Takes a tour of itself; then, "
        "in a terminal, serves until Ctrl-C.",
    )
    parser.add_argument("--port", type=int, default=0, help="the site's port (default: a free one)")
    parser.add_argument(
        "--serve", action="store_true", help="skip the tour and serve, also without a terminal"
    )
    parser.add_argument(
        "--max-size",
        type=int,
        default=Limits().size,
        metavar="BYTES",
        help="what one download may take (default: %(default)s)",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=Limits().seconds,
        metavar="SECONDS",
        help="how long one download may take (default: %(default)g)",
    )
    return parser.parse_args()


def _run(options: argparse.Namespace, folder: str) -> int:
    # The reactor starts in a thread of its own; this thread, and Flask's, stay free to block. For
    # one process there need be no stash that others share; but this one has a bound.
    setup(stash=None if sys.platform == "win32" else LocalStash(folder, **BOUNDED))
    origin_port = start_origin()
    origin = f"http://{HOST}:{origin_port}"
    jobs = Jobs(Limits(options.max_size, options.max_seconds), (HOST, origin_port))
    # A new key each time, for the downloads do not outlive the process either.
    app = create_app(jobs, samples_of(origin), secrets.token_bytes(32))

    # Werkzeug would print a line for each request, between those of the tour.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server(HOST, options.port, app, threaded=True)
    # A daemon, so that even a second Ctrl-C, one that hits the clean-up, ends the process.
    thread = Thread(target=server.serve_forever, name="flask", daemon=True)
    thread.start()
    try:
        site = f"http://{HOST}:{server.port}"
        print(f"The site is at {site}/ and downloads from {origin}/", flush=True)
        all_went_well = options.serve or tour.run(site, origin)
        if options.serve or sys.stdin.isatty():
            print(f"Open {site}/ in a browser. Press Ctrl-C to stop.", flush=True)
            while thread.is_alive():
                thread.join(timeout=1.0)  # on Windows, Ctrl-C does not interrupt a join()
        return 0 if all_went_well else 1
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
