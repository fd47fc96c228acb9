"""Refusals of requests, and checks of their parts."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.server.wk_server.state import ID
from tests.server.wk_server.wire import Answer, Request

INT32 = 2**31 - 1
INT64 = 2**63 - 1


class Refused(Exception):
    """A request is answered with this error."""

    def __init__(self, status: int, text: str | Answer) -> None:
        super().__init__(status, text)
        self.answer = text if isinstance(text, Answer) else Answer.error(status, text)


def schema_error(field: str, text: str) -> Refused:
    return Refused(400, Answer.json({f"obj.{field}": [{"msg": [text], "args": []}]}, 400))


def json_body(request: Request) -> dict[str, Any]:
    """Return a request's JSON object; it must say that it is JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "expected application/json")
    try:
        value = json.loads(request.content())
    except ValueError:
        raise Refused(400, "Invalid Json") from None
    if not isinstance(value, dict):
        raise schema_error("", "error.expected.jsobject")
    return value


def member(value: dict[str, Any], path: str, kind: type, required: bool = True) -> Any:
    """Return the member at a dotted path of a JSON object if it is of a kind; None if it is missing or null and not required."""
    found: Any = value
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        if required:
            raise schema_error(path, "error.path.missing")
        return None
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise schema_error(path, f"error.expected.{kind.__name__}")
    return found


def ids(value: dict[str, Any], path: str) -> list[str]:
    """Return a required list of ids."""
    found: list[str] = member(value, path, list)
    if not all(isinstance(item, str) and ID.fullmatch(item) for item in found):
        raise schema_error(path, "error.invalid.id")
    return found


def whole(fields: dict[str, str], name: str, most: int) -> int:
    """Return a form's field that must be a whole number of at least 1."""
    text = fields.get(name)
    if text is None:
        raise schema_error(name, "error.required")
    if not re.fullmatch(r"-?\d+", text) or not 0 < int(text) <= most:
        raise schema_error(name, "error.number")
    return int(text)


def name_errors(name: str) -> str | None:
    """Return the error in a dataset's name; None if there is none."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", name):
        return "Dataset name is invalid. Please only use letters, digits, dots, underscores, hyphens."
    if name.startswith("."):
        return "Dataset name must not start with a dot."
    if len(name) < 3:
        return "Dataset name should be at least three characters."
    return None
