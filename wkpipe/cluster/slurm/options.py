"""The options of sbatch: those that users may set, their names in Snakemake's profiles, and the arguments made from them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from wkpipe.cluster.backend import Request, Submission
from wkpipe.cluster.resources import (
    JobResources,
    check_keys,
    flag_value,
    memory_mib,
    minutes,
    option_name,
    parse_job_resources,
    positive_count,
    read_value,
    text_value,
)
from wkpipe.errors import UsageError, one_line

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
_KNOWN: Final = frozenset({"mem", "mem-per-cpu", "time", "cpus-per-task", "extra"}) | VALUES | FLAGS

_RESOURCE_NAMES: Final = {
    "partition": ("slurm_partition", "partition"),
    "account": ("slurm_account", "account"),
    "qos": ("slurm_qos", "qos"),
    "constraint": ("constraint",),
    "gres": ("gres",),
    "exclude": ("exclude",),
    "nodelist": ("nodelist",),
    "reservation": ("reservation",),
    "cpus-per-task": ("cpus_per_task",),
    "extra": ("slurm_extra",),
}
"""Names of Snakemake's resources, as profiles for Slurm use them in default-resources and set-resources."""


def parsed(text: str | None) -> dict[str, Any]:
    """Return options and values of a text for ``--job-resources``.

    Raises:
        UsageError: it is neither JSON nor ``key=value,…``.
    """
    return parse_job_resources(text, FLAGS)


def job_resources(values: Mapping[str, Any]) -> JobResources:
    """Return the resources that options and values (as `parsed` returns them) request.

    Raises:
        UsageError: an option is not known, or its value is not valid.
    """
    given = {option_name(key): value for key, value in values.items()}
    check_keys(given, _KNOWN, OWNED)
    if {"mem", "mem-per-cpu"} <= given.keys():
        raise UsageError("mem and mem-per-cpu exclude each other", where="--job-resources", fix="give one of them")
    return JobResources(
        memory_mib=read_value(given, "mem", memory_mib),
        memory_per_cpu_mib=read_value(given, "mem-per-cpu", memory_mib),
        minutes=read_value(given, "time", minutes),
        cpus=read_value(given, "cpus-per-task", positive_count),
        options={key: text_value(key, given[key]) for key in VALUES & given.keys()}
        | {key: None for key in FLAGS & given.keys() if flag_value(key, given[key])},
        extra=read_value(given, "extra", _arguments) or (),
    )


def profile_resources(given: Mapping[str, Any]) -> JobResources:
    """Return the resources that a profile requests through Snakemake's resources.

    Raises:
        UsageError: a value is not valid.
    """
    named = {option: given[name] for option, names in _RESOURCE_NAMES.items() for name in names if given.get(name) not in (None, "")}
    return job_resources(named)


def arguments(job: Submission) -> list[str]:
    """Return sbatch's arguments for a job."""
    log = os.path.relpath(job.log, job.directory).replace("%", "%%")
    about = (f"--job-name={job.name}", f"--chdir={job.directory}", f"--output={log}", "--open-mode=append", "--export=ALL")
    return [*about, *_request(job.request)]


def _request(request: Request) -> list[str]:
    options = dict(request.options)
    memory = [] if request.memory_mib is None else [f"--mem={request.memory_mib}M" if request.memory_mib else "--mem=0"]
    limit = [] if request.minutes is None else [f"--time={request.minutes}"]
    others = [f"--{key}" if value is None else f"--{key}={value}" for key, value in sorted(options.items())]
    requeue = [] if {"requeue", "no-requeue"} & options.keys() else ["--requeue"]
    return ["--ntasks=1", f"--cpus-per-task={request.cpus}", *memory, *limit, *others, *requeue, *request.extra]


def _arguments(value: Any) -> tuple[str, ...]:
    arguments = tuple(str(part) for part in value) if isinstance(value, list) else tuple(shlex.split(str(value)))
    for argument in arguments:
        found = re.fullmatch(r"--([a-z][\w-]*)(=.*)?", argument)
        if found is None:
            raise ValueError(f"{one_line(argument, 40)!r} is not of the form --option=value or --option")
        # sbatch accepts a prefix of an option's name as the name.
        if any(option.startswith(found[1]) for option in OWNED):
            raise ValueError(f"--{found[1]} is set by wkpipe itself")
        if any(option.startswith(found[1]) for option in _KNOWN):
            raise ValueError(f"{found[1]} has a key of its own")
    return arguments
