"""
The site for a server with many workers: `gunicorn --preload 'demo.wsgi:create()'`.

All that the workers have to have in common comes by the environment.
"""

from __future__ import annotations

import os

from flask import Flask

from crochet import LocalStash, RedisStash, setup

from .app import create_app
from .downloads import Limits
from .jobs import BOUNDED, Jobs
from .origin import HOST, samples_of


def create() -> Flask:
    """
    Return the application.

    `DEMO_STASH` is the directory of a `LocalStash` or the URL of a `RedisStash`, whose key is in
    `CROCHET_STASH_KEY`; `DEMO_ORIGIN` the origin's port; `DEMO_SECRET` what signs cookies.
    """
    place, port = os.environ["DEMO_STASH"], int(os.environ["DEMO_ORIGIN"])
    if "://" in place:
        setup(stash=RedisStash(place, key=os.environ["CROCHET_STASH_KEY"], **BOUNDED), drain=8)
    else:
        setup(stash=LocalStash(place, **BOUNDED), drain=8)
    secret = os.environ["DEMO_SECRET"].encode()
    return create_app(Jobs(Limits(), (HOST, port)), samples_of(f"http://{HOST}:{port}"), secret)
