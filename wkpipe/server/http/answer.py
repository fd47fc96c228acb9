"""Answer: a server's answer: data as they came, and texts that are cleaned when they are shown."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from wkpipe.errors import one_line
from wkpipe.server.http.hiding import MOST_CHARACTERS
from wkpipe.server.http.token import Token

MOST_TEXT = 600
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^<>]*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """An answer: status, body as it came, the value of Retry-After, the origin that Location points to (cleaned).

    `is_raw`: the body is data, not a text; `missing` is then the server's list of boxes for which it has no voxels. `is_cut`: the
    body is the beginning of a longer one. `is_coded`: it has a Content-Encoding, although none was requested. `token` is never
    shown.
    """

    status: int
    token: Token
    body: bytes = field(default=b"", repr=False)
    retry_after: str | None = None
    location: str | None = None
    is_raw: bool = False
    missing: str | None = None
    is_cut: bool = False
    is_coded: bool = False

    @property
    def is_ok(self) -> bool:
        return self.status in (200, 201)

    def json(self) -> Any:
        """Return the body parsed as JSON in UTF-8; None if it is not JSON."""
        try:
            return self.token.with_echoes(json.loads(self.body.decode("utf-8-sig")))
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        """Return the server's message, in one line."""
        if 300 <= self.status < 400:
            return f"{self.status}, a redirect to {self.location or 'nowhere'}, which is not followed"
        text = self._text()
        return f"{self.status}: {text}" if text else f"{self.status}"

    def _text(self) -> str:
        if self.is_coded:
            return f"{len(self.body)} bytes in a Content-Encoding that was not requested"
        start, is_cut = self.body[:MOST_CHARACTERS], self.is_cut or len(self.body) > MOST_CHARACTERS
        if b"\0" in start:  # UTF-16 or UTF-32, which spell the token in their own way
            return f"{len(self.body)} bytes that are not a text in UTF-8"
        reason = _reason(self.json())
        text = self.token.cleaned(reason) if reason else self.token.cleaned(_MARKUP.sub(" ", start.decode(errors="replace")), is_cut)
        return one_line(" ".join(text.split()), MOST_TEXT)


def _reason(content: Any) -> str:
    """Return the reason in an error's JSON: the texts of its messages, or else all of it."""
    if isinstance(content, dict) and isinstance(content.get("messages"), list):
        parts = [str(part.get("error") or part.get("warning") or "") for part in content["messages"] if isinstance(part, dict)]
        return "; ".join(part for part in parts if part)
    return json.dumps(content) if isinstance(content, dict | list) and content else ""


def place_of(location: str, url: str, token: Token) -> str:
    """Return the origin that a Location header points to, relative to `url`, cleaned to be shown."""
    location = token.cleaned(location)
    try:
        parts = urlsplit(urljoin(url, location))
        if not parts.hostname or parts.scheme not in ("http", "https"):
            return "an address that is not valid"
        is_relative = not urlsplit(location).netloc
        return "itself" if is_relative else one_line(f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}", 200)
    except ValueError:
        return "an address that is not valid"
