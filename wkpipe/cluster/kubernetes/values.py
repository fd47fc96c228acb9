"""The values of ``--job-resources`` for Kubernetes: each is checked, and becomes a text; lists and mappings become JSON."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from typing import Any, Final

from wkpipe.cluster.resources import memory_mib

SCRATCH: Final = "/tmp"
"""The directory in a pod where its processes may write beside the volumes."""

CLUSTERS_OWN: Final = "cluster"
"""The value of run-as-user with which the cluster or the image chooses the user."""

_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL_KEY: Final = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?")
_LABEL: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VOLUME: Final = re.compile(r"pvc:(?P<claim>[^:/]+):(?P<path>/[^:]*)(?P<only>:ro)?")
_OWN_LABELS: Final = re.compile(r"(wkpipe|app\.kubernetes\.io|batch\.kubernetes\.io)/")
MOST_ID: Final = 2**31 - 1


def name(value: Any) -> str:
    """Return the name of an object of the cluster."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("expected a name of small letters, digits and dashes")
    return value


def names(value: Any) -> str:
    """Return names, given as a list or with commas, as JSON."""
    return json.dumps([name(part) for part in _listed(value, "expected names like a,b")])


def word(value: Any) -> str:
    """Return a text without spaces, such as the name of an image."""
    if not isinstance(value, str) or not re.fullmatch(r"\S{1,512}", value) or not value.isprintable():
        raise ValueError("expected a text without spaces")
    return value


def pull_policy(value: Any) -> str:
    """Return when images are pulled."""
    known = {text.lower(): text for text in ("Always", "IfNotPresent", "Never")}
    if str(value).lower() not in known:
        raise ValueError(f"expected one of: {', '.join(known.values())}")
    return known[str(value).lower()]


def memory(value: Any) -> int:
    """Return an amount of memory in MiB."""
    if not (found := memory_mib(value)):
        raise ValueError("expected an amount above zero: a pod cannot request all of a node")
    return found


def storage(value: Any) -> str:
    """Return an amount of memory or storage as a quantity."""
    return f"{memory(value)}Mi"


def cpu(value: Any) -> str:
    """Return a number of cores as a quantity: ``2``, ``1.5`` or ``500m``."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.\d{1,3})?|\d+m", text) or not cores(text):
        raise ValueError("expected cores like 2, 1.5 or 500m")
    return text


def cores(quantity: str) -> Fraction:
    """Return the cores that a quantity means."""
    return Fraction(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


def whole_cores(value: Any) -> int:
    """Return the threads for a number of cores."""
    return math.ceil(cores(cpu(value)))


def mib(quantity: str) -> int:
    """Return the whole MiB of a quantity of memory as nodes report it, which is in bytes if it has no unit."""
    digits = quantity.rstrip("KMGTkmi")
    unit = quantity.removeprefix(digits)
    factors = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
    return int(Fraction(digits) * factors.get(unit, Fraction(1, 1000))) >> 20


def volumes(value: Any) -> str:
    """Return volumes like ``pvc:NAME:/path`` or ``pvc:NAME:/path:ro``, given as a list or with commas, as JSON."""
    found: list[dict[str, Any]] = []
    for text in _listed(value, "expected volumes like pvc:NAME:/path"):
        match = _VOLUME.fullmatch(str(text).strip())
        if match is None or not _NAME.fullmatch(match["claim"]):
            raise ValueError("expected volumes like pvc:NAME:/path, or pvc:NAME:/path:ro for one that is only read")
        path = match["path"].rstrip("/")
        if path in ("", SCRATCH) or ".." in path.split("/"):
            raise ValueError(f"expected a path that is neither / nor {SCRATCH}, where each pod has its own scratch space")
        if path in (volume["path"] for volume in found):
            raise ValueError(f"{path} is given twice")
        found.append({"claim": match["claim"], "path": path, "only": match["only"] is not None})
    return json.dumps(found)


def node_labels(value: Any) -> str:
    """Return labels that nodes must have, as JSON."""
    return json.dumps(_mapping(value, _LABEL_KEY, _LABEL))


def labels(value: Any) -> str:
    """Return labels of the Jobs and pods, as JSON."""
    found = _mapping(value, _LABEL_KEY, _LABEL)
    if taken := [key for key in found if _OWN_LABELS.match(key)]:
        raise ValueError(f"{taken[0]} is set by wkpipe itself")
    return json.dumps(found)


def notes(value: Any) -> str:
    """Return annotations of the Jobs and pods, as JSON."""
    return json.dumps(_mapping(value, _LABEL_KEY, re.compile(r"[\s\S]*")))


def variables(value: Any) -> str:
    """Return environment variables, as JSON."""
    found = _mapping(value, _VARIABLE, re.compile(r"[^\0]*"))
    if taken := [key for key in found if key.startswith("WKPIPE_")]:
        raise ValueError(f"{taken[0]} is set by wkpipe itself")
    if "WK_TOKEN" in found:
        raise ValueError("jobs need no token; uploads run where the command runs")
    return json.dumps(found)


def json_list(value: Any) -> str:
    """Return a list of objects, as JSON."""
    found = _json(value)
    if not isinstance(found, list) or not found or not all(isinstance(part, dict) for part in found):
        raise ValueError("expected a JSON list of objects")
    return json.dumps(found)


def json_object(value: Any) -> str:
    """Return an object, as JSON."""
    found = _json(value)
    if not isinstance(found, dict) or not found:
        raise ValueError("expected a JSON object")
    return json.dumps(found)


def user(value: Any) -> str:
    """Return the id of a user who is not root, or the word that leaves it to the cluster."""
    return CLUSTERS_OWN if value == CLUSTERS_OWN else _id(value, f"expected the number of a user who is not root, or {CLUSTERS_OWN}")


def group(value: Any) -> str:
    """Return the id of a group."""
    return _id(value, "expected the number of a group that is not root's")


def groups(value: Any) -> str:
    """Return the ids of groups, given as a list or with commas, as JSON."""
    return json.dumps([int(group(part)) for part in _listed(value, "expected numbers of groups like 1000,2000")])


def minutes_to_wait(value: Any) -> str:
    """Return a number of minutes, 0 for at once."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,6}", str(value)):
        raise ValueError("expected minutes like 30")
    return str(int(value))


def _id(value: Any, expected: str) -> str:
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,9}", str(value)) or int(value) > MOST_ID:
        raise ValueError(expected)
    return str(value)


def _listed(value: Any, expected: str) -> list[Any]:
    found = list(value) if isinstance(value, list) else str(value).split(",")
    found = [part.strip() if isinstance(part, str) else part for part in found]
    if isinstance(value, bool | dict) or value is None or not found or "" in found:
        raise ValueError(expected)
    return found


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"expected JSON: {error}") from None


def _mapping(value: Any, keys: re.Pattern[str], values: re.Pattern[str]) -> dict[str, str]:
    """Return a mapping that is given as a JSON object, or as ``key=value;key=value``."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(";")]
        value = {key.strip(): text.strip() for key, equals, text in pairs if equals} if all(pair[1] for pair in pairs) else None
    if not isinstance(value, dict) or not value:
        raise ValueError('expected a JSON object like {"key": "value"}, or key=value;key=value')
    for key, text in value.items():
        if not keys.fullmatch(key) or not isinstance(text, str | int) or isinstance(text, bool) or not values.fullmatch(str(text)):
            raise ValueError(f"{key!r}: {text!r} is not possible here")
    return {key: str(text) for key, text in value.items()}
