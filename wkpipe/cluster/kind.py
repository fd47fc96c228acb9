"""A kind of cluster: all that a strategy needs to run jobs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wkpipe.cluster.backend import Backend
from wkpipe.cluster.main_process import MainProcess, MainRun
from wkpipe.cluster.resources import JobResources


@dataclass(frozen=True)
class Cluster:
    """A kind of cluster.

    `key` names its strategy, its profile and the files of its runs. `executor` is Snakemake's name of wkpipe's executor for it;
    `others` are executors of other authors that submit to it. `backend` makes a backend for jobs with some resources. `parsed`
    reads the text of ``--job-resources`` into options and values, `resources` takes these; `profile_resources` takes the resources
    that Snakemake's profiles set for a job.

    `inside` makes a run of wkpipe's main process in the cluster, whose jobs have some resources; None if the cluster cannot do that.

    `python` is the command that starts Python in jobs, None if it is that of the submitting host. If the cluster surely
    `enforces_memory`, jobs never request less than they need. If it `has_time_limit`, jobs always request time.
    """

    key: str
    executor: str
    others: tuple[str, ...]
    backend: Callable[[JobResources], Backend]
    parsed: Callable[[str | None], dict[str, Any]]
    resources: Callable[[Mapping[str, Any]], JobResources]
    profile_resources: Callable[[Mapping[str, Any]], JobResources]
    inside: Callable[[MainProcess, JobResources], MainRun] | None = None
    python: str | None = None
    enforces_memory: bool = False
    has_time_limit: bool = True

    @property
    def resources_key(self) -> str:
        """The key of ``--job-resources`` in profiles."""
        return f"{self.executor}-job-resources"

    @property
    def resources_variable(self) -> str:
        """The environment variable from which Snakemake takes ``--job-resources``."""
        return f"SNAKEMAKE_{self.resources_key}".upper().replace("-", "_")
