"""Multipart bodies, read as a stream: text fields into memory, the file's bytes piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message

from tests.server.wk_server.wire import BadRequest, Body, Request

MOST_TEXT = 1 << 16


class Multipart:
    """A form with at most one file. Text fields before the file are known after `find_file`, those after it at the end of `pieces`."""

    def __init__(self, request: Request) -> None:
        self._body: Body = request.body
        message = Message()
        message["content-type"] = request.headers.get("content-type", "")
        boundary = message.get_param("boundary")
        if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
            raise BadRequest("expected multipart/form-data with a boundary")
        self._mark = b"\r\n--" + boundary.encode("latin-1")
        self.fields: dict[str, str] = {}
        self.order: list[str] = []
        self.file: dict[str, str | int] | None = None  # of the part that is the file: filename, content_type, length
        self._ended = False
        b"".join(map(bytes, self._body.until(self._mark[2:])))

    def find_file(self) -> bool:
        """Read text fields up to the part `file`; return True if there is one."""
        while self._next_part():
            name, filename, content_type = self._part_head()
            self.order.append(name)
            if filename is not None:
                if name != "file" or self.file is not None:
                    raise BadRequest(f"a file in the part {name!r}; expected one file, in the part 'file'")
                self.file = {"filename": filename, "content_type": content_type, "length": 0}
                return True
            self.fields[name] = self._text(self._mark).decode()
        return False

    def pieces(self) -> Iterator[memoryview]:
        """Yield the file's bytes, then read the fields that follow."""
        assert self.file is not None
        length = 0
        for piece in self._body.until(self._mark):
            length += len(piece)
            self.file["length"] = length
            yield piece
        if self.find_file():
            raise BadRequest("two files in one form")

    def _next_part(self) -> bool:
        """Read on after a boundary; return True if a part follows."""
        if self._ended:
            return False
        follows = b"".join(map(bytes, self._body.pieces(2)))
        if follows == b"--":
            self._ended = True
            self._body.drain()
        elif follows != b"\r\n":
            raise BadRequest("a boundary is followed by neither a part nor the end")
        return not self._ended

    def _part_head(self) -> tuple[str, str | None, str]:
        head = self._text(b"\r\n\r\n").decode()
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))}
        disposition = headers.get("content-disposition", "")
        values = dict(re.findall(r';\s*(name|filename)="([^"]*)"', disposition))
        if not disposition.startswith("form-data") or "name" not in values:
            raise BadRequest(f"a part without a name: {disposition!r}")
        return values["name"], values.get("filename"), headers.get("content-type", "text/plain")

    def _text(self, mark: bytes) -> bytes:
        text = b""
        for piece in self._body.until(mark):
            text += piece
            if len(text) > MOST_TEXT:
                raise BadRequest("a text field is too long")
        return text
