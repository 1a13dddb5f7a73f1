"""
What is wrong with an address that somebody typed, and what to do about it.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

MAX_LENGTH = 1_000  # which is also what is told of a download to other processes
# A name or an IPv4 address; or an IPv6 address, whose brackets urlsplit() has taken off.
HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:]+:[0-9a-f:.]*")
# What may stand in a path or a query as it is. % too: what is quoted already stays as it is.
PLAIN = "/?:@!$&'()*+,;=~%[]"


class BadURL(ValueError):
    """
    The text is not an address to download from. Its message is for the visitor.
    """


def check_url(text: str) -> str:
    """
    Return *text* as an absolute http or https URL, in the ASCII form that goes on the wire.

    Raises:
        BadURL: It is not one; the message says what to change.
    """
    text = text.strip()
    if not text:
        raise BadURL("Enter the address of a page, for example https://example.com/.")
    if len(text) > MAX_LENGTH:
        raise BadURL(f"This address is longer than {MAX_LENGTH:,} characters. Use a shorter one.")
    # A line break would be written into the request as it is, and end its first line.
    if any(character.isspace() or not character.isprintable() for character in text):
        raise BadURL(
            "An address has no blanks or invisible characters in it. Remove them, or write %20 "
            "for a blank."
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadURL(
            "This is not a complete address. Check the host and the port, for example "
            "https://example.com:8000/."
        ) from None
    if parts.scheme not in ("http", "https"):
        raise BadURL("Begin the address with http:// or https://; nothing else is downloaded.")
    if "@" in parts.netloc:
        raise BadURL("Remove the user name and password: this page is no place for them.")
    if not parts.hostname:
        raise BadURL("Name a host after the two slashes, for example https://example.com/.")
    if port == 0:
        raise BadURL("A port is a number from 1 to 65535. Correct it, or leave it out.")
    host = _check_host(parts.hostname)
    netloc = host if port is None else f"{host}:{port}"
    path, query = quote(parts.path or "/", safe=PLAIN), quote(parts.query, safe=PLAIN)
    return urlunsplit((parts.scheme, netloc, path, query, ""))


def _check_host(host: str) -> str:
    try:
        # Also refuses what no name has: empty parts, as in "a..b", and parts that are too long.
        wire = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        wire = ""
    if not HOST.fullmatch(wire):
        raise BadURL(f"“{host}” is not the name of a host. Check its spelling.")
    return f"[{wire}]" if ":" in wire else wire
