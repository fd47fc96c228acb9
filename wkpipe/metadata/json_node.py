"""JsonNode: a value of a JSON file that knows its place, so that every error names the file and the key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import DamagedShard, MetadataError, UnreadableInput
from wkpipe.storage.stored_object import StoredObject

MAX_COORDINATE: Final = 2**53 - 1  # the largest integer that every JSON reader keeps exactly
MAX_BYTES: Final = 256 << 20
"""The largest file that is read; no dataset has layers and mags enough for more."""
_MAX_DEPTH: Final = 100
_SHOWN: Final = 60
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Missing:
    """The value of a missing key."""


_MISSING: Final = _Missing()


class JsonNode:
    """A JSON value with its file and its key path, such as ``dataLayers[0].boundingBox.width``.

    The typed accessors return the plain value or raise `MetadataError` with the file, the key path, what was found and
    what was expected. A missing key is a node too: its accessors raise that it is missing.
    """

    __slots__ = ("file", "key_path", "value")

    def __init__(self, value: Any, file: str, key_path: str = "") -> None:
        self.value = value
        self.file = file
        self.key_path = key_path

    @classmethod
    def parse(cls, data: bytes, file: Path | str) -> JsonNode:
        """Parse the content of a JSON file; a byte order mark is allowed.

        Raises:
            MetadataError: not UTF-8, not JSON, or nested too deeply.
        """
        name = str(file).replace("\n", "\\n")
        try:
            value = json.loads(data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            found = f"a byte that is not UTF-8 at offset {error.start}"
            raise MetadataError(where=name, found=found, expected="JSON in UTF-8") from None
        except json.JSONDecodeError as error:
            raise MetadataError(f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}", where=name) from None
        except RecursionError:
            raise MetadataError("not valid JSON: nested too deeply", where=name) from None
        except ValueError:  # Python refuses to convert integers of thousands of digits
            raise MetadataError("not valid JSON: a number with thousands of digits", where=name) from None
        if _deeper_than(value, _MAX_DEPTH):
            raise MetadataError(f"nested deeper than {_MAX_DEPTH} levels", where=name)
        return cls(value, name)

    @classmethod
    def read(cls, file: StoredObject) -> JsonNode | None:
        """Parse a stored JSON file; None if there is none.

        Raises:
            UnreadableInput: it cannot be read, is not a regular file, or is too large.
            MetadataError: see `parse`.
        """
        try:
            data = file.content(MAX_BYTES)
        except DamagedShard as error:
            if isinstance(error.__cause__, OSError):  # the disk's error says everything
                raise UnreadableInput.of(error) from None
            raise UnreadableInput(f"cannot be read: {error.problem}", where=file.path, fix="restore it from a copy") from None
        return None if data is None else cls.parse(data, file.path)

    # -- errors -------------------------------------------------------------------------------------------------

    def error(self, expected: str) -> MetadataError:
        """Return the error that this value is not what is expected here."""
        where = self.key_path or "the top level"
        if self.value is _MISSING:
            return MetadataError(f"{where} is missing", where=self.file, expected=expected)
        return MetadataError(where=f"{self.file}: {where}", found=_shown(self.value), expected=expected)

    # -- structure ----------------------------------------------------------------------------------------------

    def child(self, key: str) -> JsonNode:
        """Return the value of a key; it may be missing."""
        if not isinstance(self.value, dict):
            raise self.error("an object {…}")
        step = f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{_shown(key)}]"
        return JsonNode(self.value.get(key, _MISSING), self.file, (self.key_path + step).removeprefix("."))

    def get(self, key: str) -> JsonNode | None:
        """Return the value of an optional key; None if it is missing or null."""
        node = self.child(key)
        return None if node.value is _MISSING or node.value is None else node

    def items(self, length: int | None = None) -> list[JsonNode]:
        """Return the elements of a list, which must have `length` of them if given."""
        if not isinstance(self.value, list) or (length is not None and len(self.value) != length):
            raise self.error("a list […]" if length is None else f"a list of {length}")
        return [JsonNode(item, self.file, f"{self.key_path}[{i}]") for i, item in enumerate(self.value)]

    def members(self) -> dict[str, JsonNode]:
        """Return the keys and values of an object."""
        if not isinstance(self.value, dict):
            raise self.error("an object {…}")
        return {key: self.child(key) for key in self.value}

    def unknown(self, known: Collection[str], nested: Mapping[str, Collection[str]] | None = None) -> dict[str, Any]:
        """Return the unknown keys and values of an object, so that they can be written back.

        `nested` gives the known keys of inner objects that have no class of their own; their unknown keys are returned
        below the key of the inner object.
        """
        if not isinstance(self.value, dict):
            return {}
        unknown = {key: value for key, value in self.value.items() if key not in known}
        for key, inner_known in (nested or {}).items():
            inner = self.child(key).unknown(inner_known)
            if inner:
                unknown[key] = inner
        return unknown

    # -- typed values -------------------------------------------------------------------------------------------

    def text(self, expected: str = "a text") -> str:
        if not isinstance(self.value, str):
            raise self.error(expected)
        return self.value

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value

    def integer(self, low: int, high: int = MAX_COORDINATE) -> int:
        """Return an integer between `low` and `high`, both inclusive; 24.0 counts as 24."""
        value = self.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(f"an integer from {low} to {high}")
        return value

    def exact_integer(self, low: int, high: int = MAX_COORDINATE) -> int:
        """Return an integer that is written as one: 24.0 would change a hash of the JSON."""
        if type(self.value) is not int:
            raise self.error("an integer")
        return self.integer(low, high)

    def number(self) -> int | float:
        """Return a finite number, as an integer or a float."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self.error("a finite number")
        return value

    def numbers(self, length: int) -> tuple[int | float, ...]:
        """Return a list of `length` finite numbers."""
        return tuple(item.number() for item in self.items(length))


def merged(known: Mapping[str, Any], unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the known keys first, then the unknown ones; the inverse of `JsonNode.unknown`."""
    result = dict(known)
    for key, value in unknown.items():
        if key not in result:
            result[key] = value
        elif isinstance(result[key], dict) and isinstance(value, dict):
            result[key] = merged(result[key], value)
    return result


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer beyond the largest double
        return False


def _deeper_than(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth == 0 or any(_deeper_than(inner, depth - 1) for inner in value.values())
    if isinstance(value, list):
        return depth == 0 or any(_deeper_than(inner, depth - 1) for inner in value)
    return False


def _shown(value: Any) -> str:
    """Describe a JSON value in a few printable ASCII characters."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        scalars = not any(isinstance(item, dict | list) for item in value)
        text = json.dumps(value) if scalars and len(value) <= 8 else ""
        return text if text and len(text) <= _SHOWN else f"a list of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
