"""
What the tests of the log bridge and of its writer have in common.
"""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import textwrap
import threading
import warnings
from types import SimpleNamespace

import pytest
from twisted.logger import LogBeginner, Logger, LogPublisher
from twisted.python.log import LogPublisher as LegacyPublisher

from crochet._logs.observer import LogBridge

BOUND = 60.0  # seconds; whatever takes longer will never come
# What the programs of `run` begin with.
PRELUDE = """
import atexit, logging, os, sys, threading, time, types, warnings
from twisted.logger import Logger, globalLogBeginner, globalLogPublisher
from twisted.python import log as legacy
from crochet._logs.observer import LogBridge

def start_thread(target, name):
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread

def set_up(timeout=5.0):
    bridge.start()
    atexit.register(bridge.finish, timeout)

def log_to_file(**options):
    logging.basicConfig(filename="log", level="DEBUG", format="%(message)s", **options)

log = Logger()
bridge = LogBridge(start_thread)
"""


def start_thread(target, name):
    """
    Start a daemon thread, as the library does.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def call_in_thread(function, *args):
    """
    Call something in a thread of its own, and wait for it.
    """
    thread = threading.Thread(target=function, args=args, name="another")
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive()


def fail():
    """
    Raise an error whose traceback names this function.
    """
    raise ValueError("deliberate")


class Collector(logging.Handler):
    """
    Keeps the records it is handed, and does for each what it is told to.
    """

    def __init__(self, action=None):
        super().__init__()
        self.records = []
        self.action = action

    def emit(self, record):
        self.records.append(record)
        if self.action is not None:
            self.action(record)

    def messages(self):
        return [record.getMessage() for record in self.records]


class Gate:
    """
    An action for a Collector that keeps the writer until the gate is opened.
    """

    def __init__(self):
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, record):
        self.entered.set()
        assert self.opened.wait(BOUND)


class World:
    """
    A bridge between a Twisted publisher and a logger that nobody else uses.
    """

    def __init__(self, action=None, **options):
        self.publisher = LogPublisher()
        self.stderr = io.StringIO()
        self.warnings = SimpleNamespace(showwarning=warnings.showwarning)
        stdio = SimpleNamespace(stdout=None, stderr=None)
        self.beginner = LogBeginner(self.publisher, self.stderr, stdio, self.warnings)
        self.log = Logger(namespace="tests", observer=self.publisher)
        self.legacy = LegacyPublisher(self.publisher, self.publisher, self.beginner)
        self.handler = Collector(action)
        self.logger = logging.Logger("twisted", logging.DEBUG)
        self.logger.addHandler(self.handler)
        options.setdefault("start_thread", start_thread)
        self.bridge = LogBridge(
            publisher=self.publisher, beginner=self.beginner, logger=self.logger, **options
        )

    def written(self):
        """
        Stop the bridge and return the messages that were handled.
        """
        assert self.bridge._writer.flush(BOUND)  # and now there is what handlers have logged
        assert self.bridge.stop(BOUND)
        return self.handler.messages()

    def only_record(self):
        """
        Stop the bridge and return the one record that was handled.
        """
        self.written()
        (record,) = self.handler.records
        return record


@pytest.fixture
def make_world():
    """
    Make worlds, and take care that none leaves a thread behind.
    """
    worlds = []

    def make(*args, **options):
        worlds.append(World(*args, **options))
        return worlds[-1]

    before = set(threading.enumerate())
    yield make
    for world in worlds:
        if isinstance(world.handler.action, Gate):
            world.handler.action.opened.set()
        assert world.bridge.stop(BOUND)
    for thread in set(threading.enumerate()) - before:
        thread.join(BOUND)
        assert not thread.is_alive()


@pytest.fixture
def world(make_world):
    """
    Make a world whose bridge has been started.
    """
    world = make_world()
    world.bridge.start()
    return world


@pytest.fixture
def run(tmp_path):
    """
    Run a program in a process of its own, and return its exit status, stderr and log file.
    """

    def run_program(program, *options):
        path = tmp_path / "program.py"
        path.write_text(PRELUDE + textwrap.dedent(program))
        done = subprocess.run(
            [sys.executable, *options, str(path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        log = tmp_path / "log"
        print(done.stdout, done.stderr)
        lines = log.read_text().splitlines() if log.exists() else []
        return SimpleNamespace(status=done.returncode, err=done.stderr, out=done.stdout, log=lines)

    return run_program
