"""What a user asks for each cluster job: ``--job-resources`` as JSON or ``key=value,…``, in the words of sbatch's options.

The values mean the same on every cluster; what only Slurm has stays an option of sbatch.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wkpipe.errors import UsageError, one_line

MEMORY_MARGIN: Final = 1.2
"""Memory that is requested over the predicted: the model holds within 15 %."""

WORKER_MIB: Final = 16
"""Requested for each thread besides: Slurm may count pages that processes share once for each."""

SNAKEMAKE_MIB: Final = 200
"""What Snakemake itself takes in a job that starts it (measured: 160 to 176)."""

BYTES_PER_MIB: Final = 1 << 20
_UNITS: Final = {"": BYTES_PER_MIB, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

OWNED: Final = frozenset(
    {"job-name", "output", "error", "input", "chdir", "workdir", "export", "export-file", "comment", "parsable", "array", "wait"}
    | {"wrap", "test-only", "dependency", "open-mode", "ntasks", "nodes"}
)
"""Options of sbatch that wkpipe sets itself."""

VALUES: Final = frozenset(
    {"partition", "account", "qos", "constraint", "gres", "gpus", "exclude", "nodelist", "reservation", "licenses", "nice", "begin"}
    | {"deadline", "tmp", "mail-type", "mail-user", "cluster-constraint", "prefer", "switches", "wckey", "priority"}
)
FLAGS: Final = frozenset({"exclusive", "requeue", "no-requeue", "spread-job"})
KNOWN: Final = frozenset({"mem", "mem-per-cpu", "time", "cpus-per-task", "extra"}) | VALUES | FLAGS


@dataclass(frozen=True)
class JobResources:
    """What each job is to have; None: what the plan predicts.

    Memory is in MiB (0: all of a node), `minutes` is the time limit. `options` are other long options of sbatch with their
    values, None for those without; `extra` are arguments that are handed on as they are.
    """

    memory_mib: int | None = None
    memory_per_cpu_mib: int | None = None
    minutes: int | None = None
    cpus: int | None = None
    options: Mapping[str, str | None] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> JobResources:
        """Make it of options and values, as `parse_job_resources` gives them.

        Raises:
            UsageError: an option is not known, or its value not valid; names it.
        """
        given = {_option(key): value for key, value in values.items()}
        if taken := sorted(OWNED & given.keys()):
            raise UsageError(f"--job-resources: {', '.join(taken)} is set by wkpipe itself; leave it out")
        if unknown := sorted(given.keys() - KNOWN):
            raise UsageError(f"--job-resources: {', '.join(unknown)} is not known; known are: {', '.join(sorted(KNOWN))}")
        if {"mem", "mem-per-cpu"} <= given.keys():
            raise UsageError("--job-resources: mem and mem-per-cpu exclude each other; give one of them")
        return cls(
            memory_mib=_read(given, "mem", memory_mib),
            memory_per_cpu_mib=_read(given, "mem-per-cpu", memory_mib),
            minutes=_read(given, "time", minutes),
            cpus=_read(given, "cpus-per-task", _count),
            options={key: _text(key, given[key]) for key in VALUES & given.keys()}
            | {key: None for key in FLAGS & given.keys() if _flag(key, given[key])},
            extra=_read(given, "extra", _arguments) or (),
        )

    def memory_of(self, cpus: int) -> int | None:
        """Return the memory (MiB) of a job with so many cores; None where nothing is asked for, or all of the node."""
        if self.memory_per_cpu_mib is not None:
            return self.memory_per_cpu_mib * cpus
        return self.memory_mib or None


def needed_mib(mem_mb: int, threads: int) -> int:
    """Return the memory (MiB) to request for a task of so much predicted memory (MB)."""
    return math.ceil(mem_mb * 1e6 * MEMORY_MARGIN / BYTES_PER_MIB) + WORKER_MIB * threads


def predicted_mb(mib: int, threads: int) -> int:
    """Return which predicted memory (MB) a request (MiB) is enough for."""
    return int((mib - WORKER_MIB * threads) * BYTES_PER_MIB / MEMORY_MARGIN / 1e6)


def parse_job_resources(text: str | None) -> dict[str, Any]:
    """Return options and values of a text: JSON, or ``key=value,…`` with a bare key for an option without value.

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
            raise UsageError(f'--job-resources: {one_line(text, 80)} is not valid JSON like {{"mem": "4G"}}: {error}') from None
        return {_option(key): value for key, value in values.items()}
    # A value may hold commas (exclude=n1,n2): a new option begins where a known flag or `key=` follows.
    starts = "|".join(re.escape(name) for name in sorted(FLAGS))
    parts = re.split(rf",(?=\s*(?:[A-Za-z][\w-]*=|(?:{starts})(?:,|$)))", text)
    values = {}
    for part in parts:
        key, equals, value = part.strip().partition("=")
        if not equals and key not in FLAGS:
            raise UsageError(
                f"--job-resources: {one_line(part, 80)!r} is not valid; expected JSON, or key=value,… like mem=4G,time=2:00:00"
            )
        values[_option(key)] = value if equals else True
    return values


def _option(key: str) -> str:
    """Return an option as sbatch spells it, without dashes before it."""
    return key.strip().removeprefix("--").replace("_", "-")


def memory_mib(value: Any) -> int:
    """Return an amount of memory as Slurm reads it (K, M, G, T; M where there is none), in MiB, rounded up.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
    if found is None or isinstance(value, bool):
        raise ValueError("expected an amount of memory like 4000, 500M or 4G")
    return math.ceil(float(found[1]) * _UNITS[found[2].upper()] / BYTES_PER_MIB)


def minutes(value: Any) -> int:
    """Return a time limit as Slurm writes it (m, m:s, h:m:s, d-h, d-h:m, d-h:m:s), in minutes, rounded up.

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


def _count(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,4}", str(value)):
        raise ValueError("expected a positive number")
    return int(value)


def _arguments(value: Any) -> tuple[str, ...]:
    arguments = tuple(str(part) for part in value) if isinstance(value, list) else tuple(shlex.split(str(value)))
    for argument in arguments:
        found = re.fullmatch(r"--([a-z][\w-]*)(=.*)?", argument)
        if found is None:
            raise ValueError(f"{one_line(argument, 40)!r} is not of the form --option=value or --option")
        # sbatch takes the beginning of a name for the name.
        if any(option.startswith(found[1]) for option in OWNED):
            raise ValueError(f"--{found[1]} is set by wkpipe itself")
        if any(option.startswith(found[1]) for option in KNOWN):
            raise ValueError(f"{found[1]} has a key of its own")
    return arguments


def _read(given: Mapping[str, Any], key: str, parse: Callable[[Any], Any]) -> Any:
    if key not in given:
        return None
    try:
        return parse(given[key])
    except ValueError as error:
        raise UsageError(f"--job-resources: {key} {one_line(repr(given[key]), 80)} is not valid: {error}") from None


def _text(key: str, value: Any) -> str:
    text = str(value)
    if isinstance(value, bool | dict | list) or value is None or not text or not text.isprintable():
        raise UsageError(f"--job-resources: {key} {one_line(repr(value), 80)} is not valid: expected a text or a number")
    return text


def _flag(key: str, value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise UsageError(f"--job-resources: {key} {one_line(repr(value), 80)} is not valid: expected true or false")
    return str(value).lower() == "true"
