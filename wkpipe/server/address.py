"""Addresses of servers: what is accepted, so that a token does not go out in the clear or to the wrong place."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from wkpipe.errors import ServerError, UsageError, one_line


def server_address(url: str, allow_http: bool) -> str:
    """Return the origin of a server as a user may give it, without a slash at its end.

    Raises:
        UsageError: it is no address, has a user name in it, or would send the token unencrypted.
    """
    shown = one_line(url, 200).split("@")[-1]
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{shown} is not an address; expected one like https://webknossos.org") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"the address of {shown} has a user name in it; leave it out, the token tells who you are")
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"{shown.split('?')[0]} is not the address of a server; expected one like https://webknossos.org")
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        raise UsageError(f"{shown} is not encrypted: the token could be read on its way; use https:// (or pass --allow-http)")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}{f':{port}' if port is not None else ''}"


def datastore_address(url: object, server: str, allow_http: bool) -> str:
    """Return the address of a datastore as its server tells it, without a slash at its end.

    Raises:
        ServerError: it is no address, or the token would be less safe on its way there than on that to the server.
    """
    shown = one_line(url, 200).split("@")[-1].split("?")[0]
    try:
        parts = urlsplit(str(url))
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None or parts.query or parts.fragment:
        raise ServerError(f"{server} names a datastore at {shown}, which is no address that the token is sent to")
    if parts.scheme == "http" and (server.startswith("https:") or not (allow_http or is_loopback(host))):
        raise ServerError(f"{server} names a datastore at {shown}, which is not encrypted: the token is not sent there")
    return str(url).rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
