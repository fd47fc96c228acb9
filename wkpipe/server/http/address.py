"""Check addresses of servers, so that a token is not sent unencrypted or to the wrong place."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from wkpipe.errors import ServerError, UsageError, one_line


def server_address(url: str, allow_http: bool) -> str:
    """Return the origin of a server's address that a user gave, without a slash at its end.

    Raises:
        UsageError: it is not an address, contains a user name, or would send the token unencrypted.
    """
    shown = one_line(url, 200).split("@")[-1]
    try:
        parts = _split(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{shown} is not an address", expected="one like https://webknossos.org") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"the address of {shown} contains a user name", fix="leave it out: the token identifies you")
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"{shown.split('?')[0]} is not the address of a server", expected="one like https://webknossos.org")
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        raise UsageError(f"{shown} is not encrypted: others could read the token", fix="use https:// (or pass --allow-http)")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}{f':{port}' if port is not None else ''}"


def datastore_address(url: object, server: str, allow_http: bool, shown_as: Callable[[object, int], str] = one_line) -> str:
    """Return the address of a datastore as its server names it, without a slash at its end.

    `shown_as` cleans and cuts it for errors.

    Raises:
        ServerError: it is not an address, or the token would be less safe on the way there than on the way to the server.
    """
    shown = shown_as(url, 200).split("@")[-1].split("?")[0]
    try:
        parts = _split(str(url))
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None or parts.query or parts.fragment:
        raise ServerError(f"{server} names a datastore at {shown}, which is not an address that the token is sent to")
    if parts.scheme == "http" and (server.startswith("https:") or not (allow_http or is_loopback(host))):
        raise ServerError(f"{server} names a datastore at {shown}, which is not encrypted: the token is not sent there")
    return str(url).rstrip("/")


def _split(url: str) -> SplitResult:
    """Split an address.

    Raises:
        ValueError: it is not an address, or it is ambiguous: `urlsplit` drops line ends, and others read \\ as a slash.
    """
    if not url.isprintable() or any(c.isspace() or c == "\\" for c in url):
        raise ValueError(url)
    parts = urlsplit(url)
    if parts.port == 0:
        raise ValueError(url)
    return parts


def is_loopback(host: str) -> bool:
    """True if a host is this machine. Names below localhost count only if they resolve to it: many resolvers ask a name server."""
    if host == "localhost":
        return True
    if host.endswith(".localhost"):
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return False
        return bool(found) and all(_is_loopback(str(place[0])) for *_, place in found)
    return _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
