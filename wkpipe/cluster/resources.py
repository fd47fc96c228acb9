"""The resources that a user requests for each cluster job: ``--job-resources`` as JSON or ``key=value,…``.

Amounts mean the same on every cluster. Each backend reads its own keys with the functions here; what only it knows stays one of its
options.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wkpipe.errors import UsageError, one_line

MEMORY_MARGIN: Final = 1.2
"""Requested memory over predicted memory: the model is exact within 15 %."""

WORKER_MIB: Final = 16
"""Requested in addition for each thread: a cluster may count shared pages once for each process."""

SNAKEMAKE_MIB: Final = 200
"""Memory of Snakemake itself in a job that starts it (measured: 160 to 176)."""

BYTES_PER_MIB: Final = 1 << 20
_UNITS: Final = {"": BYTES_PER_MIB, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class JobResources:
    """The resources of each job; None if the plan's prediction applies.

    Memory is in MiB (0: all of a node), `minutes` is the time limit. `options` are other options of the cluster with their values,
    None for those without; `extra` are arguments that are passed on unchanged.
    """

    memory_mib: int | None = None
    memory_per_cpu_mib: int | None = None
    minutes: int | None = None
    cpus: int | None = None
    options: Mapping[str, str | None] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    def memory_of(self, cpus: int) -> int | None:
        """Return the memory (MiB) of a job with this many cores; None if none is requested, or all of the node."""
        if self.memory_per_cpu_mib is not None:
            return self.memory_per_cpu_mib * cpus
        return self.memory_mib or None


def needed_mib(mem_mb: int, threads: int) -> int:
    """Return the memory (MiB) to request for a task with this predicted memory (MB)."""
    return math.ceil(mem_mb * 1e6 * MEMORY_MARGIN / BYTES_PER_MIB) + WORKER_MIB * threads


def predicted_mb(mib: int, threads: int) -> int:
    """Return the predicted memory (MB) that a request (MiB) is enough for."""
    return int((mib - WORKER_MIB * threads) * BYTES_PER_MIB / MEMORY_MARGIN / 1e6)


def parse_job_resources(text: str | None, flags: Collection[str]) -> dict[str, Any]:
    """Return the options and values in a text: JSON, or ``key=value,…`` with a bare key for one of `flags`.

    Raises:
        UsageError: it is neither.
    """
    text = (text or "").strip()
    if not text:
        return {}
    if text.startswith("{"):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UsageError(f'{one_line(text, 80)} is not valid JSON like {{"mem": "4G"}}: {error}', where="--job-resources") from None
        return {option_name(key): value for key, value in values.items()}
    # A value may contain commas (exclude=n1,n2): a new option begins where a known flag or `key=` follows.
    starts = "|".join(re.escape(name) for name in sorted(flags))
    parts = re.split(rf",(?=\s*(?:[A-Za-z][\w-]*=|(?:{starts})(?:,|$)))", text)
    values = {}
    for part in parts:
        key, equals, value = part.strip().partition("=")
        if not equals and key not in flags:
            raise UsageError(
                f"{one_line(part, 80)!r} is not valid",
                where="--job-resources",
                expected="JSON, or key=value,… like mem=4G,time=2:00:00",
            )
        values[option_name(key)] = value if equals else True
    return values


def option_name(key: str) -> str:
    """Return an option as clusters spell it: words joined by dashes, without leading dashes."""
    return key.strip().removeprefix("--").replace("_", "-")


def memory_mib(value: Any) -> int:
    """Return an amount of memory (K, M, G, T; M if there is no unit) in MiB, rounded up.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", str(value).strip(), re.IGNORECASE)
    if found is None or isinstance(value, bool):
        raise ValueError("expected an amount of memory like 4000, 500M or 4G")
    return math.ceil(float(found[1]) * _UNITS[found[2].upper()] / BYTES_PER_MIB)


def minutes(value: Any) -> int:
    """Return a time limit (m, m:s, h:m:s, d-h, d-h:m, d-h:m:s) in minutes, rounded up.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(?:(\d+)-(\d+)(?::(\d+)(?::(\d+))?)?|(?:(\d+):)?(\d+):(\d+)|(\d+))", str(value).strip())
    if found is None or isinstance(value, bool):
        raise ValueError("expected a time like 90 (minutes), 1:30:00 or 1-12")
    days, day_hours, day_minutes, day_seconds, hours, mins, secs, only = (int(part or 0) for part in found.groups())
    seconds = days * 86400 + (day_hours + hours) * 3600 + (day_minutes + mins + only) * 60 + day_seconds + secs
    if not seconds:
        raise ValueError("expected a time above zero")
    return math.ceil(seconds / 60)


def positive_count(value: Any) -> int:
    """Return a positive number.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,4}", str(value)):
        raise ValueError("expected a positive number")
    return int(value)


def check_keys(given: Collection[str], known: Collection[str], owned: Collection[str]) -> None:
    """Refuse keys that wkpipe sets itself, and unknown keys.

    Raises:
        UsageError: there are any; it names them.
    """
    if taken := sorted(set(owned) & set(given)):
        raise UsageError(f"{', '.join(taken)} is set by wkpipe itself", where="--job-resources", fix="leave it out")
    if unknown := sorted(set(given) - set(known)):
        raise UsageError(f"{', '.join(unknown)} is not known", where="--job-resources", fix=f"choose one of: {', '.join(sorted(known))}")


def read_value(given: Mapping[str, Any], key: str, parse: Callable[[Any], Any]) -> Any:
    """Return the value of a key; None if it is not given.

    Raises:
        UsageError: `parse` does not accept it.
    """
    if key not in given:
        return None
    try:
        return parse(given[key])
    except ValueError as error:
        raise UsageError(f"{key} {one_line(repr(given[key]), 80)} is not valid: {error}", where="--job-resources") from None


def text_value(key: str, value: Any) -> str:
    """Return the value of a key that takes a text or a number.

    Raises:
        UsageError: it is neither.
    """
    text = str(value)
    if isinstance(value, bool | dict | list) or value is None or not text or not text.isprintable():
        raise UsageError(f"{key} {one_line(repr(value), 80)} is not valid", where="--job-resources", expected="a text or a number")
    return text


def flag_value(key: str, value: Any) -> bool:
    """Return the value of a key that takes no value, or true or false.

    Raises:
        UsageError: it is something else.
    """
    if str(value).lower() not in ("true", "false"):
        raise UsageError(f"{key} {one_line(repr(value), 80)} is not valid", where="--job-resources", expected="true or false")
    return str(value).lower() == "true"
