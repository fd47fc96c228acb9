"""Broken: decide what an exception of the network means: try again, or give up."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from wkpipe.errors import ServerError, one_line
from wkpipe.server.http.policy import TRIED_AGAIN
from wkpipe.server.http.token import Token

BROKEN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError)
"""The exceptions of requests. ValueError: raised by TLS on a connection that was shut down, and for invalid host names."""

_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_LOST = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)

_CERTIFICATES = {
    9: ("is not valid yet", "check the clock of this machine"),
    10: ("has expired", "ask its administrator to renew it (or correct the clock of this machine)"),
    23: ("was revoked", "ask its administrator"),
    62: ("is that of another host", "check the address"),
    64: ("is that of another address", "give the name of the server"),
}
"""OpenSSL's codes for certificates that no additional authority would make valid: the error, and its fix."""


class NoAnswer(Exception):
    """An attempt failed: connection refused or lost, or a time-out. `was_sent`: the server may have received the request."""

    def __init__(self, why: str, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


def meaning_of(error: Exception, origin: str, proxy: str | None, was_reached: bool, token: Token) -> NoAnswer | ServerError:
    """Return the error for an exception of a request to `origin`. `was_reached`: it has answered before."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return NoAnswer("no answer in time", was_sent=True)
    causes = list(_causes(error))
    if any(isinstance(cause, UnicodeError | httpx.InvalidURL) for cause in causes):
        return ServerError(f"{origin} is not an address that requests can be sent to", fix="check the address")
    if not isinstance(error, _NOT_CONNECTED):
        return NoAnswer(_said(error, token, "the connection broke off"), was_sent=True)
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _LOST):
            return _not_encrypted(cause, token).within(origin)
        if isinstance(cause, socket.gaierror) and not was_reached:
            what = "this name cannot be resolved" if proxy is None else "the name of the proxy cannot be resolved"
            return ServerError(_said(cause, token, what), where=origin, fix="check the address and this machine's network")
    if isinstance(error, httpx.ProxyError) and (status := str(error)[:3]).isdecimal() and int(status) not in TRIED_AGAIN:
        return ServerError(_said(error, token, "the proxy refuses the connection"), where=origin, fix="check --proxy and the proxy's rules")
    way = "no connection" if proxy is None else "no connection through the proxy"
    return NoAnswer(_said(error, token, way), was_sent=False)


def _not_encrypted(error: ssl.SSLError, token: Token) -> ServerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _CERTIFICATES:
            what, fix = _CERTIFICATES[error.verify_code]
            return ServerError(f"its certificate {what}", fix=fix)
        what = _said(error, token, "its certificate is not trusted")
        return ServerError(what, fix="if it is the right server, give the certificate of its authority with --ca-file")
    if error.reason == "WRONG_VERSION_NUMBER":
        return ServerError("its answer is not encrypted", fix="check address and port")
    return ServerError(_said(error, token, "no encrypted connection is possible"), fix="ask its administrator")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # the pool of httpcore raises `from None`


def _said(error: BaseException, token: Token, otherwise: str) -> str:
    text = one_line(token.cleaned(str(error)), 200)
    return f"{otherwise} ({text})" if text else otherwise
