"""
One download, with Twisted: the code that runs in the reactor thread.

Only `download()` is called from other threads. `@run_in_reactor` makes that safe: the call
returns an `EventualResult` at once, and the body runs in the reactor thread. How far it is, is told
by `report_progress()`; whoever has the result sees it, in this process or in another.

Three things end a download that would go on for ever: its visitor cancels it, it grows beyond
`Limits.size` (or what comes around it does, see bounds.py), or it takes longer than
`Limits.seconds`. A server that fetches what strangers ask for needs all three.
"""

from __future__ import annotations

import html
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from crochet import Channel, report_progress, run_in_reactor

from .addresses import ForbiddenAddress, guarded_agent
from .bounds import Intake

# A title stands near the top of a page.
HEAD_SIZE = 65_536

# Seconds that a download is kept for its visitor, from its start on.
KEPT = 1800.0


class Limits(NamedTuple):
    """
    What one download may take: bytes of content, and seconds from start to end.
    """

    size: int = 4_000_000
    seconds: float = 60.0


@dataclass
class Page:
    """
    What a finished download found: its size in bytes, its title if it has one, and the number
    under which its content is stashed.

    The content is by itself, so that a look at many downloads need not carry it along.
    """

    size: int
    title: str | None
    content: int


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


class Unreachable(Exception):
    """
    There was no answer, for whatever reason.
    """


# What a stash that processes share may bring to life in another one.
ALLOWED = (Page, BadStatus, ForbiddenAddress, Incomplete, TooLarge, TooSlow, Unreachable)


@run_in_reactor
def download(url: str, limits: Limits, origin: tuple[str, int]) -> Deferred[Page]:
    """
    Start to download *url*, and answer with the `Page`.

    The caller gets an `EventualResult` at once. Cancelling it cancels the Deferred returned
    here, which cancels whatever the coroutine is waiting for, which closes the connection.

    Args:
        url: An address that passed `urls.check_url()`.
        limits: What the download may take.
        origin: The one private address, as host and port, that may be reached.
    """
    # Importing the reactor installs it, so it is imported where it is needed and not above.
    from twisted.internet import reactor

    fetching = Deferred.fromCoroutine(fetch_in_reactor(url, limits.size, origin))
    return fetching.addTimeout(limits.seconds, reactor, _raise_too_slow)


async def fetch_in_reactor(url: str, max_size: int, origin: tuple[str, int]) -> Page:
    """
    Request *url*, read all of it, and say what was found.
    """
    report_progress(0, None, url)
    intake = Intake(max_size)
    response = await _request(guarded_agent(origin, intake), url, intake)
    intake.begin_body()  # in this very moment: the rest of what came with the head is content
    total = None if response.length is UNKNOWN_LENGTH else response.length
    content = bytearray()
    body = Channel[bytes]()
    async with aclosing(body):  # which hangs up, should this end early
        response.deliverBody(body.as_protocol())
        try:
            async for data in body:
                content += data
                report_progress(len(content), total, url)
                if len(content) > max_size:
                    raise TooLarge(f"The page is larger than {max_size:,} bytes.")
        except (CancelledError, TooLarge):
            raise
        except Exception as error:  # of the connection, of many kinds
            _refuse(intake, error)
            raise Incomplete(f"The server hung up after {len(content):,} bytes.") from error
    _refuse(intake)
    # An error's body is read as well: a response nobody reads keeps its connection open.
    if response.code != 200:
        raise BadStatus(_describe_status(response))
    return Page(len(content), _find_title(content[:HEAD_SIZE]), keep(bytes(content)).stash(KEPT))


@run_in_reactor
def keep(content: bytes) -> bytes:
    """
    Give back *content*: as a result, which can be stashed.
    """
    return content


async def _request(agent: Agent, url: str, intake: Intake) -> IResponse:
    try:
        return await agent.request(
            b"GET", url.encode("ascii"), Headers({"User-Agent": ["Crochet demo"]})
        )
    except (CancelledError, ForbiddenAddress):
        raise
    except Exception as error:
        _refuse(intake, error)
        reason = error.reasons[0].value if isinstance(error, ResponseFailed) else error
        # Agent tells of a cancellation in its own ways. Said plainly, Crochet knows that somebody
        # asked for it, and logs no error when nobody is left to collect the result.
        if isinstance(reason, (CancelledError, ConnectingCancelledError)):
            raise CancelledError from error
        # In words: what goes wrong on the wire comes as an object that no other process can have.
        raise Unreachable(f"{type(reason).__name__}: {reason}") from error


def _refuse(intake: Intake, error: Exception | None = None) -> None:
    if intake.problem:
        raise TooLarge(intake.problem) from error


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
