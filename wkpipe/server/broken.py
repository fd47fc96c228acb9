"""Broken: what an exception of the network means: try again later, or never."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from wkpipe.errors import ServerError, one_line
from wkpipe.server.policy import TRIED_AGAIN
from wkpipe.server.token import Token

BROKEN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError)
"""What requests raise. ValueError: of TLS, on a connection that was shut down; of names that cannot be ones."""

_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_LOST = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)

_CERTIFICATES = {
    9: "is not valid yet; check the clock of this machine",
    10: "has expired; its administrator has to renew it (or the clock of this machine is wrong)",
    23: "was revoked; ask its administrator",
    62: "is that of another host; check the address",
    64: "is that of another address; give the name of the server",
}
"""Codes of OpenSSL for certificates that no authority would make good."""


class NoAnswer(Exception):
    """An attempt broke off: connection refused or lost, or a time-out. `was_sent`: the server may have got the request."""

    def __init__(self, why: str, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


def meaning_of(error: Exception, origin: str, proxy: str | None, was_reached: bool, token: Token) -> NoAnswer | ServerError:
    """Return what an exception of a request to `origin` means. `was_reached`: there were answers from there before."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return NoAnswer("no answer in time", was_sent=True)
    causes = list(_causes(error))
    if any(isinstance(cause, UnicodeError | httpx.InvalidURL) for cause in causes):
        return ServerError(f"{origin} is not an address that requests can be sent to; check it")
    if not isinstance(error, _NOT_CONNECTED):
        return NoAnswer(_said(error, token, "the connection broke off"), was_sent=True)
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _LOST):
            return ServerError(f"{origin}: {_why_not_encrypted(cause, token)}")
        if isinstance(cause, socket.gaierror) and not was_reached:
            what = "this name" if proxy is None else "the name of the proxy"
            return ServerError(f"{origin}: {_said(cause, token, f'{what} is not known')}; check the address and this machine's network")
    if isinstance(error, httpx.ProxyError) and (status := str(error)[:3]).isdecimal() and int(status) not in TRIED_AGAIN:
        return ServerError(f"{origin}: {_said(error, token, 'the proxy refuses the connection')}; check --proxy, and what it allows")
    way = "no connection" if proxy is None else "no connection through the proxy"
    return NoAnswer(_said(error, token, way), was_sent=False)


def _why_not_encrypted(error: ssl.SSLError, token: Token) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATES.get(error.verify_code)
        if known is not None:
            return f"its certificate {known}"
        what = _said(error, token, "its certificate is not trusted")
        return f"{what}; if it is the right server, give its authority's with --ca-file"
    if error.reason == "WRONG_VERSION_NUMBER":
        return "what answers there is not encrypted; check address and port"
    return f"{_said(error, token, 'no encrypted connection is possible')}; ask its administrator"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # the pool of httpcore raises again `from None`


def _said(error: BaseException, token: Token, otherwise: str) -> str:
    text = one_line(token.cleaned(str(error)), 200)
    return f"{otherwise} ({text})" if text else otherwise
