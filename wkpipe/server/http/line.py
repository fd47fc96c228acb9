"""Line: one connection to a server, and the certificates that it trusts.

A line sends a request as it is: it follows no redirect, keeps no cookie and reads no environment variable. The transport of
httpx does exactly that; its client would do more. Only this module, `network` and `broken` use httpx.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import certifi
import httpx

from wkpipe.errors import UsageError

HEADERS = {"User-Agent": "wkpipe", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "keep-alive"}


class Line:
    """A transport with at most one connection, whose socket it knows. `check` is called with each new one."""

    def __init__(self, trust: ssl.SSLContext, proxy: str | None, check: Callable[[Line, socket.socket], None]) -> None:
        self.transport = httpx.HTTPTransport(
            verify=trust,
            proxy=None if proxy is None else httpx.Proxy(proxy, ssl_context=trust if proxy.startswith("https:") else None),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        )
        self.deadline = math.inf
        self.is_clear = False
        """True if requests are not encrypted, and so may only go to this machine."""
        self._socket: socket.socket | None = None
        self._check = check

    def watch(self, event: str, details: Mapping[str, Any]) -> None:
        """Note the socket of a new connection that httpx reports."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = details["return_value"].get_extra_info("socket")
            if isinstance(found, socket.socket):
                self._socket = found
                self._check(self, found)

    def cut(self) -> None:
        """End the connection; a thread that waits for it wakes up."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # The base class's shutdown: that of TLS would continue unencrypted.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Return the context that checks the certificates of servers: the usual authorities, and those in a file.

    `ssl.create_default_context` would also write the keys of all connections to the file that SSLKEYLOGFILE names.

    Raises:
        UsageError: the file has no certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):  # what Python's default is since then
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cafile=certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ValueError) as error:
            raise UsageError(str(error), where=ca_file, expected="a file with certificates (PEM)") from None
    return context


def is_this_machine(connection: socket.socket) -> bool:
    """True if a connection leads to this machine, whatever name was used."""
    with contextlib.suppress(OSError, ValueError, IndexError, TypeError):
        return ipaddress.ip_address(connection.getpeername()[0]).is_loopback
    return False


def is_address(url: str) -> bool:
    """True if requests can be sent to an address."""
    try:
        return bool(httpx.URL(url).host)
    except (httpx.InvalidURL, UnicodeError):
        return False
