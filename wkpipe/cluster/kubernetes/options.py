"""The keys of ``--job-resources`` for Kubernetes, and what is used if they are not given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from wkpipe.cluster.kubernetes import values
from wkpipe.cluster.resources import JobResources, check_keys, minutes, option_name, parse_job_resources, read_value

ALIASES: Final = {
    "memory": "mem",
    "cpus": "cpu",
    "volumes": "volume",
    "image-pull-policy": "pull-policy",
    "image-pull-secrets": "pull-secrets",
    "priority-class-name": "priority-class",
    "runtime-class-name": "runtime-class",
}
"""Other names of keys, as manifests of Kubernetes or other clusters have them."""

OWNED: Final = frozenset({"name", "command", "args", "working-dir", "parallelism", "completions", "backoff-limit", "restart-policy"})
"""What a Job has beside, and wkpipe sets itself."""

VALUES: Final[dict[str, Callable[[Any], str]]] = {
    "cpu": values.cpu,
    "cpu-limit": values.cpu,
    "memory-limit": values.storage,
    "ephemeral-storage": values.storage,
    "namespace": values.name,
    "context": values.word,
    "image": values.word,
    "pull-policy": values.pull_policy,
    "pull-secrets": values.names,
    "service-account": values.name,
    "node-selector": values.node_labels,
    "tolerations": values.json_list,
    "affinity": values.json_object,
    "priority-class": values.name,
    "labels": values.labels,
    "annotations": values.notes,
    "runtime-class": values.name,
    "volume": values.volumes,
    "run-as-user": values.user,
    "run-as-group": values.group,
    "supplemental-groups": values.groups,
    "fs-group": values.group,
    "env": values.variables,
    "env-secret": values.names,
    "main-mem": values.storage,
    "main-cpu": values.cpu,
    "main-service-account": values.name,
    "keep-minutes": values.minutes_to_wait,
    "image-minutes": values.minutes_to_wait,
    "node-minutes": values.minutes_to_wait,
    "start-minutes": values.minutes_to_wait,
    "lost-minutes": values.minutes_to_wait,
}
"""How the value of a key is read."""

DEADLINE: Final = "active-deadline"
_KNOWN: Final = frozenset({"mem", DEADLINE, *VALUES})

KEEP_MINUTES: Final = 60
"""How long the cluster keeps a Job that has ended, with its pod and log."""


def parsed(text: str | None) -> dict[str, Any]:
    """Return options and values of a text for ``--job-resources``; a later source overrules them key by key.

    Raises:
        UsageError: it is neither JSON nor ``key=value,…``.
    """
    return {ALIASES.get(key, key): value for key, value in parse_job_resources(text, ()).items()}


def job_resources(given: Mapping[str, Any]) -> JobResources:
    """Return the resources that options and values (as `parsed` returns them) request.

    Raises:
        UsageError: an option is not known, or its value is not valid.
    """
    named = {ALIASES.get(key, key): value for key, value in ((option_name(key), value) for key, value in given.items())}
    check_keys(named, _KNOWN, OWNED)
    options: dict[str, str | None] = {key: read_value(named, key, read) for key, read in VALUES.items() if key in named}
    if DEADLINE in named:
        options[DEADLINE] = None
    return JobResources(
        memory_mib=read_value(named, "mem", values.memory),
        minutes=read_value(named, DEADLINE, minutes),
        cpus=read_value(named, "cpu", values.whole_cores),
        options=options,
    )


def profile_resources(given: Mapping[str, Any]) -> JobResources:  # noqa: ARG001
    """Return the resources that a profile requests through Snakemake's resources: none beside ``--job-resources``."""
    return JobResources()
