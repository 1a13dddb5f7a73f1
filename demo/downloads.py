"""
One download, with Twisted: the code that runs in the reactor thread.

Only `download()` is called from other threads. `@run_in_reactor` makes that safe: the call
returns an `EventualResult` at once, and the body runs in the reactor thread.

Three things end a download that would go on for ever: its visitor cancels it, it grows beyond
`Limits.size` (or what comes around it does, see bounds.py), or it takes longer than
`Limits.seconds`. A server that fetches what strangers ask for needs all three.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from crochet import run_in_reactor

from .addresses import guarded_agent
from .bounds import Intake

if TYPE_CHECKING:
    from twisted.python.failure import Failure

# A title stands near the top of a page. What comes after these bytes is counted and dropped, so
# that a download of any size needs little memory.
HEAD_SIZE = 65_536


class Limits(NamedTuple):
    """
    What one download may take: bytes of content, and seconds from start to end.
    """

    size: int = 20_000_000
    seconds: float = 60.0


@dataclass
class Progress:
    """
    How far a download is: the one object that both sides hold.

    It needs no lock. Only the reactor thread writes, each field is replaced whole, and a
    reader that is a moment late shows a number that is a moment old.
    """

    received: int = 0
    total: int | None = None


class Page(NamedTuple):
    """
    What a finished download found: its size in bytes, and its title if it has one.
    """

    size: int
    title: str | None


class BadStatus(Exception):
    """
    The server answered, but not with the page.
    """


class Incomplete(Exception):
    """
    The connection was lost before the page was complete.
    """


class TooLarge(Exception):
    """
    The content is larger than a download may be.
    """


class TooSlow(Exception):
    """
    The download took longer than a download may take.
    """


@run_in_reactor
def download(
    url: str, progress: Progress, limits: Limits, origin: tuple[str, int]
) -> Deferred[Page]:
    """
    Start to download *url*, and answer with the `Page`.

    The caller gets an `EventualResult` at once. Cancelling it cancels the Deferred returned
    here, which cancels whatever the coroutine is waiting for, which closes the connection.

    Args:
        url: An address that passed `urls.check_url()`.
        progress: Filled while the content comes in.
        limits: What the download may take.
        origin: The one private address, as host and port, that may be reached.
    """
    # Importing the reactor installs it, so it is imported where it is needed and not above.
    from twisted.internet import reactor

    fetching = Deferred.fromCoroutine(fetch_in_reactor(url, progress, limits.size, origin))
    return fetching.addTimeout(limits.seconds, reactor, _raise_too_slow)


async def fetch_in_reactor(
    url: str, progress: Progress, max_size: int, origin: tuple[str, int]
) -> Page:
    """
    Request *url*, read all of it, and say what was found.
    """
    intake = Intake(max_size)
    try:
        response = await guarded_agent(origin, intake).request(
            b"GET", url.encode("ascii"), Headers({"User-Agent": ["Crochet demo"]})
        )
    except (ConnectingCancelledError, ResponseFailed) as error:
        if intake.problem:
            raise TooLarge(intake.problem) from error
        # Agent tells of a cancellation in its own ways. Said plainly, Crochet knows that somebody
        # asked for it, and logs no error when nobody is left to collect the result.
        if isinstance(error, ResponseFailed) and not error.reasons[0].check(CancelledError):
            raise
        raise CancelledError from error
    intake.begin_body()  # in this very moment: the rest of what came with the head is content
    if response.length is not UNKNOWN_LENGTH:
        progress.total = response.length
    body = _Body(progress, max_size, intake)
    response.deliverBody(body)
    # An error's body is read as well: a response nobody reads keeps its connection open.
    await body.finished
    if response.code != 200:
        raise BadStatus(_describe_status(response))
    return Page(progress.received, _find_title(body.head))


class _Body(Protocol):
    """
    Receives a response's content: counts it, and keeps its head.
    """

    def __init__(self, progress: Progress, max_size: int, intake: Intake) -> None:
        self.head = b""
        # The function is called on cancellation. Without it the server would go on sending.
        self.finished: Deferred[None] = Deferred(lambda _: self.transport.loseConnection())
        self._progress = progress
        self._max_size = max_size
        self._intake = intake

    def dataReceived(self, data: bytes) -> None:
        if self.finished.called:
            return  # what was under way when we hung up
        self._progress.received += len(data)
        self.head += data[: HEAD_SIZE - len(self.head)]
        if self._progress.received > self._max_size:
            self.transport.loseConnection()
            self.finished.errback(TooLarge(f"The page is larger than {self._max_size:,} bytes."))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.finished.called:
            return  # we hung up ourselves, and have said why
        # A server that tells no length may end its page only by hanging up. That is
        # PotentialDataLoss, and for such a server it is the usual end.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.finished.callback(None)
        elif self._intake.problem:
            self.finished.errback(TooLarge(self._intake.problem))
        else:
            received = self._progress.received
            self.finished.errback(Incomplete(f"The server hung up after {received:,} bytes."))


def _raise_too_slow(_result: object, seconds: float) -> NoReturn:
    raise TooSlow(f"The download was not complete after {seconds:g} seconds.")


def _describe_status(response: IResponse) -> str:
    phrase = response.phrase.decode("ascii", "replace")
    text = f"The server answered {response.code} {phrase}, not a page."
    location = response.headers.getRawHeaders("Location")
    # Redirects are not followed, so that a visitor always knows what was downloaded.
    return f"{text} It points to {location[0]}: enter that instead." if location else text


def _find_title(head: bytes) -> str | None:
    # Not a regular expression: this text comes from a stranger, who could make one take
    # minutes, and meanwhile no other visitor's download would move. find() only goes forward.
    lowered = head.lower()
    opening = lowered.find(b"<title")
    start = lowered.find(b">", opening) + 1
    end = lowered.find(b"</title", start)
    if opening < 0 or start < 1 or end < 0:
        return None
    title = " ".join(html.unescape(head[start:end].decode("utf-8", "replace")).split())
    return title[:200] or None
