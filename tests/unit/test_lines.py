"""Lines with a checksum."""

from __future__ import annotations

import json

import google_crc32c
import pytest

from wkpipe.storage.lines import checked_line, content_of_line


@pytest.mark.parametrize("content", [[1, "a b", None], {"a b": [1.5, "ü"]}, [], "text", 12345678])
def test_a_line_holds_what_was_written(content: object) -> None:
    assert content_of_line(checked_line(content)) == content


def test_lines_of_earlier_journals_are_understood() -> None:
    for content in ([3, 1, 2], {"version": 1}):
        text = json.dumps(content, separators=(",", ":")).encode()
        assert content_of_line(b"%s %08x\n" % (text, google_crc32c.value(text))) == content


def test_every_cut_and_every_changed_byte_is_noticed() -> None:
    line = checked_line({"unit": [0, 1, 2], "digest": "abc"})
    for end in range(len(line) - 1):
        with pytest.raises(ValueError):  # noqa: PT011
            content_of_line(line[:end])
    for at in range(len(line) - 1):
        for bit in (1, 4, 32):
            damaged = bytearray(line)
            damaged[at] ^= bit
            if bytes(damaged).lower() == line:  # a hex digit in upper case is the same number
                continue
            with pytest.raises(ValueError):  # noqa: PT011
                content_of_line(bytes(damaged))
