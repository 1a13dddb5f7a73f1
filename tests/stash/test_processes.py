"""
A LocalStash of processes that are killed, exit, fork and crash.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from support.programs import run_python
from support.stepping import BOUND

_BEGIN = """
import os, sys
import crochet
from twisted.internet.defer import Deferred

bound, path = float(sys.argv[1]), sys.argv[2]

@crochet.run_in_reactor
def value(value):
    return value

@crochet.run_in_reactor
def never():
    return Deferred()

@crochet.run_in_reactor
def later(seconds, value):
    from twisted.internet import reactor, task
    return task.deferLater(reactor, seconds, lambda: value)

def stash():
    return crochet.LocalStash(path)

"""


@pytest.fixture
def path() -> Iterator[str]:
    """
    A directory for the stash. Its name is short, as those of sockets have to be.
    """
    path = tempfile.mkdtemp(prefix="crochet-")
    yield path
    shutil.rmtree(path)


def run(path: str, code: str) -> str:
    """
    Run a program to its end, and return what it prints.
    """
    return run_python(_BEGIN + textwrap.dedent(code), path).stdout


class Program:
    """
    A program that goes on when it is told to, by a line on its standard input.
    """

    def __init__(self, path: str, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _BEGIN + textwrap.dedent(code), str(BOUND), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def read(self) -> str:
        """
        Return the next line that it prints.
        """
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self, line: str = "") -> None:
        """
        Let it go on, by a line that it reads.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """
        Kill it, as the system does that has no memory left.
        """
        self._process.kill()
        self._process.wait(BOUND)

    def end(self) -> None:
        """
        Let it end, as one does that is recycled.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(BOUND)

    def close(self) -> None:
        """
        See that it has ended.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # which most end by, and then tell what code they have run
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(BOUND)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # it has not read all
                pipe.close()


@pytest.fixture
def owner(path: str) -> Iterator[Program]:
    """
    A program that has stashed something answered and something pending, and waits.
    """
    program = Program(
        path,
        """
        crochet.setup(stash=stash())
        done = value(7)
        done.wait(bound)
        print(done.stash(), never().stash(), flush=True)
        sys.stdin.readline()
        """,
    )
    yield program
    program.close()


def test_a_killed_owner_is_noticed(path: str, owner: Program) -> None:
    """
    By those that wait for it; what it has answered is there, once.
    """
    done, pending = owner.read().split()
    taker = Program(
        path,
        f"""
        crochet.setup(stash="local:" + path)
        waiting = crochet.peek_result("{pending}")
        print(waiting, flush=True)
        try:
            waiting.wait(bound)
        except crochet.ResultLost as error:
            print(error.pid, flush=True)
        sys.stdin.readline()
        print(crochet.retrieve_result("{done}").wait(bound), flush=True)
        for uid in ({done}, {pending}):
            try:
                crochet.retrieve_result(uid).wait(bound)
            except (KeyError, crochet.ResultLost) as error:
                print(type(error).__name__, flush=True)
        print(*(name for name in os.listdir(path) if name.endswith(".sock")), flush=True)
        """,
    )
    try:
        assert taker.read() == "<EventualResult of never(): pending>"
        owner.kill()
        assert taker.read() == str(owner.pid)
        # The system closes the connection first: for a moment the dead one's socket still accepts.
        taker.go_on()
        assert [taker.read() for _ in range(3)] == ["7", "KeyError", "ResultLost"]
        assert taker.read() == ""  # its socket was swept
    finally:
        taker.close()


def test_answers_outlive_an_exit(path: str) -> None:
    """
    With what was pending, if it is given the time; and without, if it is not.
    """
    for drain, outcome in (("bound", "9"), ("0", "ResultLost")):
        done, pending = run(
            path,
            f"""
            crochet.setup(stash=stash(), drain={drain})
            print(value(8).stash(), later({0.2 if drain == "bound" else "bound"}, 9).stash())
            """,
        ).split()
        told = run(
            path,
            f"""
            crochet.setup(stash=stash())
            print(crochet.retrieve_result({done}).wait(bound))
            try:
                print(crochet.retrieve_result({pending}).wait(bound))
            except crochet.ReactorStopped as error:
                print(type(error).__name__)
            """,
        )
        assert told.split() == ["8", outcome]
    assert sorted(os.listdir(path)) == ["results.sqlite"]


def test_a_parent_that_loads_the_program_opens_nothing(path: str) -> None:
    """
    And its children share the stash.
    """
    told = run(
        path,
        """
        before = set(os.listdir("/proc/self/fd"))
        shared = stash()
        assert set(os.listdir("/proc/self/fd")) == before and os.listdir(path) == []
        crochet.setup(stash=shared)
        assert os.listdir(path) == []
        read, write = os.pipe()
        if not os.fork():
            os.write(write, str(value([1]).stash()).encode())
            os.kill(os.getpid(), 9)
        os.wait()
        uid = int(os.read(read, 100))
        if not os.fork():
            print(crochet.retrieve_result(uid).wait(bound), flush=True)
            os._exit(0)
        os.wait()
        try:
            crochet.retrieve_result(uid)
        except KeyError:
            print("taken")
        """,
    )
    assert told.splitlines() == ["[1]", "taken"]


def test_a_fork_leaves_to_the_parent_what_is_the_parents(path: str) -> None:
    """
    The child has none of its sockets and files, and asks it like any other process.
    """
    told = run(
        path,
        """
        import warnings
        import stat
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads

        def stat_of(descriptor):
            try:
                return os.fstat(descriptor)
            except OSError:
                return None

        # Such as libffi's own, which some keep open.
        before = {n for n in range(3, 100) if stat_of(n)}
        crochet.setup(stash=stash())
        uids = [value(number).stash() for number in range(3)] + [later(0.2, 3).stash()]
        kept = crochet.peek_result(uids[1])
        if not os.fork():
            modes = {n: stat_of(n).st_mode for n in {*range(3, 100)} - before if stat_of(n)}
            sockets = [n for n, mode in modes.items() if stat.S_ISSOCK(mode)]
            files = [n for n, mode in modes.items() if stat.S_ISREG(mode)]
            print(sockets, files, crochet.status().stash.kept, flush=True)
            print(crochet.retrieve_result(uids[0]).wait(bound), flush=True)
            print(crochet.retrieve_result(uids[3]).wait(bound), flush=True)
            print(value(4).stash() > 0, flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert crochet.retrieve_result(uids[1]) is kept
        print(kept.wait(bound), crochet.retrieve_result(uids[2]).wait(bound))
        """,
    )
    assert told.splitlines() == ["[] [] 0", "0", "3", "True", "1 2"]


@pytest.mark.parametrize("end", ["crash", "stop"])
def test_a_reactor_that_ends_is_noticed(path: str, end: str) -> None:
    """
    Though its process goes on; what it has answered is there. After another setup() it is an owner
    again.
    """
    owner = Program(
        path,
        f"""
        crochet.setup(stash=stash())
        print(value(7).stash(), never().stash(), flush=True)
        sys.stdin.readline()
        from twisted.internet import reactor
        reactor.callFromThread(reactor.{end})
        sys.stdin.readline()
        crochet.setup()
        print(value(8).stash(), flush=True)
        sys.stdin.readline()
        """,
    )
    taker = None
    try:
        done, pending = owner.read().split()
        taker = Program(
            path,
            f"""
            crochet.setup(stash=stash())
            waiting = crochet.retrieve_result({pending})
            print("waits", flush=True)
            try:
                waiting.wait(bound)
            except crochet.ResultLost:
                print("lost", flush=True)
            print(crochet.retrieve_result({done}).wait(bound), flush=True)
            print(crochet.retrieve_result(sys.stdin.readline().strip()).wait(bound), flush=True)
            """,
        )
        assert taker.read() == "waits"
        owner.go_on()
        assert [taker.read(), taker.read()] == ["lost", "7"]
        owner.go_on()
        again = owner.read()
        taker.go_on(again)
        assert taker.read() == "8"
    finally:
        owner.close()
        if taker is not None:
            taker.close()


def test_shutdown_leaves_nothing_open(path: str) -> None:
    """
    And setup() makes use of the stash again.
    """
    told = run(
        path,
        """
        import threading
        from twisted.internet import tcp
        tcp._reservedFD.reserve()
        crochet.setup(stash=stash())
        crochet.shutdown()
        crochet.setup()
        before = set(os.listdir("/proc/self/fd"))
        uid = value(7).stash()
        crochet.shutdown()
        print(len(set(os.listdir("/proc/self/fd")) - before), threading.active_count())
        print(os.listdir(path))
        print(crochet.retrieve_result(uid).wait(bound))
        crochet.setup()
        other = crochet.retrieve_result(value(8).stash())
        print(other.wait(bound))
        """,
    )
    assert told.splitlines() == ["0 1", "['results.sqlite']", "7", "8"]


def test_a_damaged_file_is_an_error_that_says_so(path: str) -> None:
    """
    Of stash() and of look-ups; calls go on.
    """
    Path(path, "results.sqlite").write_bytes(b"not a database" * 1000)
    os.chmod(Path(path, "results.sqlite"), 0o600)
    told = run(
        path,
        """
        crochet.setup(stash=stash())
        result = value(7)
        for attempt in (result.stash, lambda: crochet.retrieve_result(5)):
            try:
                attempt()
            except OSError as error:
                print("results.sqlite cannot be read or" in str(error), "delete" in str(error))
        print(result.wait(bound))
        """,
    )
    assert told.splitlines() == ["True True", "True True", "7"]


def test_a_locked_file_is_an_error_that_says_so(path: str) -> None:
    """
    Of stash(); and an answer that could not be stored comes when it can be.
    """
    owner = Program(
        path,
        """
        from crochet._stash import rows, shared
        rows.BUSY = shared._RETRY = 0.05
        pending = Deferred()

        @crochet.run_in_reactor
        def large():
            return pending

        crochet.setup(stash=stash())
        print(large().stash(), flush=True)
        sys.stdin.readline()
        try:
            value(7).stash()
        except OSError as error:
            print("database is locked" in str(error), flush=True)
        from twisted.internet import reactor
        reactor.callFromThread(pending.callback, "x" * 100_000)
        sys.stdin.readline()
        print(value(7).wait(bound), flush=True)
        """,
    )
    taker = Program(
        path,
        """
        crochet.setup(stash=stash())
        waiting = crochet.retrieve_result(sys.stdin.readline().strip())
        print("waits", flush=True)
        print(len(waiting.wait(bound)), flush=True)
        """,
    )
    try:
        taker.go_on(owner.read())
        assert taker.read() == "waits"
        with closing(sqlite3.connect(Path(path, "results.sqlite"), isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            owner.go_on()
            assert owner.read() == "True"
            owner.go_on()
            assert owner.read() == "7"
        assert taker.read() == "100000"
    finally:
        owner.close()
        taker.close()


def test_of_many_processes_one_takes(path: str) -> None:
    """
    Pending results and answers, with all at them at once.
    """
    owner = Program(
        path,
        """
        crochet.setup(stash=stash())
        uids = [value(number).stash() for number in range(25)]
        print(*uids, *(later(0.5, number).stash() for number in range(25)), flush=True)
        sys.stdin.readline()
        """,
    )
    takers = [
        Program(
            path,
            """
            crochet.setup(stash=stash())
            taken = []
            print(flush=True)
            for uid in sys.stdin.readline().split():
                try:
                    taken.append(crochet.retrieve_result(uid))
                except KeyError:
                    pass
            print(*(result.wait(bound) for result in taken), flush=True)
            """,
        )
        for _ in range(4)
    ]
    try:
        for taker in takers:
            taker.read()
        uids = owner.read()
        for taker in takers:
            taker.go_on(uids)
        values = sorted(int(value) for taker in takers for value in taker.read().split())
        assert values == sorted([*range(25), *range(25)])
    finally:
        for program in (owner, *takers):
            program.close()


def test_sockets_of_the_dead_are_swept(path: str) -> None:
    """
    By the next that listens there, if they are not of one that is just about to; and what those
    have not answered is known to be lost.
    """
    dead = Program(
        path,
        """
        crochet.setup(stash=stash())
        print(never().stash(), flush=True)
        sys.stdin.readline()
        """,
    )
    pending = dead.read()
    dead.kill()
    dead.close()
    (old,) = Path(path).glob("*.sock")
    os.utime(old, (1, 1))
    young = old.with_name("0123456789abcdef.sock")
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(young))  # and does not listen yet
    told = run(
        path,
        f"""
        crochet.setup(stash=stash())
        value(7).stash()
        crochet.retrieve_result(value(8).stash())  # behind the sweeping
        print(crochet.peek_result({pending}).done(), {old.name!r} in os.listdir(path))
        """,
    )
    assert told.split() == ["True", "False"]
    assert young.exists()


@pytest.mark.parametrize("wrong", ["mode", "link", "file"])
def test_a_directory_that_others_could_write_to_is_refused(path: str, wrong: str) -> None:
    """
    Or that is a link, or nothing of the kind.
    """
    where = Path(path, "stash")
    if wrong == "mode":
        where.mkdir(0o700)
        where.chmod(0o750)
    elif wrong == "link":
        os.symlink(tempfile.mkdtemp(dir=path), where)
    else:
        where.write_text("")
    told = run(
        str(where),
        """
        crochet.setup(stash=stash())
        try:
            value(7).stash()
        except PermissionError as error:
            print("mode 0700" in str(error), path in str(error))
        """,
    )
    assert told.split() == ["True", "True"]


def test_a_file_that_is_a_link_is_not_followed(path: str) -> None:
    """
    However it came there.
    """
    target = Path(path, "target")
    os.symlink(target, Path(path, "results.sqlite"))
    told = run(
        path,
        """
        crochet.setup(stash=stash())
        try:
            value(7).stash()
        except OSError as error:
            print(type(error).__name__)
        """,
    )
    assert told.split() == ["OSError"]
    assert not target.exists()


def test_another_stash_is_refused(path: str) -> None:
    """
    By the names of both; the same one is not. What was stashed before is found.
    """
    told = run(
        path,
        """
        crochet.setup()
        before = value(7).stash()
        crochet.setup(stash=stash())
        crochet.setup(stash="local:" + path)
        crochet.setup()
        print(crochet.peek_result(before).wait(bound), crochet.retrieve_result(before).wait(bound))
        for other in (crochet.LocalStash(path + "x"), "elsewhere:x"):
            try:
                crochet.setup(stash=other)
            except (RuntimeError, ValueError) as error:
                print(error)
        print(crochet.status().stash.kind, "stash (local): 0 kept" in str(crochet.status()))
        """,
    )
    found, refused, unknown, status = told.splitlines()
    assert (found, status) == ("7 7", "local True")
    assert f"LocalStash('{path}x')" in refused
    assert f"LocalStash('{path}')" in refused
    assert "knows no stash 'elsewhere'" in unknown


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root's rights")
def test_other_users_are_refused(path: str, owner: Program) -> None:
    """
    Should one have got into the directory: it is told nothing, and nothing that it sends is read.
    """
    owner.read()
    told = run(
        path,
        """
        import socket
        (name,) = (name for name in os.listdir(path) if name.endswith(".sock"))
        os.chmod(path, 0o777)
        os.chmod(os.path.join(path, name), 0o777)
        os.setuid(12345)
        other = socket.socket(socket.AF_UNIX)
        other.settimeout(bound)
        other.connect(os.path.join(path, name))
        try:
            other.sendall(b"\\0\\0\\0\\x09W" + bytes(8))
            print(other.recv(100))
        except (ConnectionError, BrokenPipeError):
            print(b"")
        """,
    )
    assert told.strip() == "b''"
    os.chmod(path, 0o700)
