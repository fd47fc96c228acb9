"""The strategy without a cluster: what is missing is one line; memory is enforced, and time is not limited."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wkpipe.cluster.backend import Away, Refused
from wkpipe.cluster.executor import ClusterExecutorSettings
from wkpipe.cluster.kubernetes.backend import Kubernetes
from wkpipe.cluster.kubernetes.cluster import KUBERNETES
from wkpipe.cluster.kubernetes.options import job_resources
from wkpipe.cluster.records import TaskRecords
from wkpipe.cluster.resources import JobResources, needed_mib
from wkpipe.cluster.sizing import cluster_job
from wkpipe.errors import TryAgain, UsageError
from wkpipe.plan.cost.resources import Sizing
from wkpipe.run.snakemake_settings import ExecutorChoice
from wkpipe.run.strategy import Strategy

ASKED = '{"mem": "2G", "volume": "pvc:shared:/data", "run-as-user": 1000}'


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A configuration for a port where nothing listens."""
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
        "clusters: [{name: here, cluster: {server: 'https://127.0.0.1:9'}}]\nusers: [{name: me, user: {token: x}}]\n"
        "contexts: [{name: here, context: {cluster: here, user: me, namespace: lab}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    return config


def test_without_the_client_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(UsageError, match=r"strategy kubernetes cannot be used here: .*pip install 'wkpipe\[kubernetes\]'"):
        Strategy.chosen("kubernetes", job_resources=ASKED)


def test_without_a_configuration_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match=r"strategy kubernetes cannot be used here: .*set KUBECONFIG"):
        Strategy.chosen("kubernetes", job_resources=ASKED)


def test_an_unknown_context_is_one_line(no_cluster: Path) -> None:
    with pytest.raises(Refused, match="there"):
        Kubernetes(job_resources({"context": "there", "run-as-user": 1})).limits(JobResources())


def test_a_cluster_that_does_not_answer_may_answer_later(no_cluster: Path) -> None:
    with pytest.raises(TryAgain, match=r"Kubernetes does not answer: .*nothing was submitted"):
        Strategy.chosen("kubernetes", job_resources=ASKED)
    backend = Kubernetes(job_resources({"run-as-user": 1}))
    with pytest.raises(Away):
        backend.jobs("wkpipe-a-b-")
    with pytest.raises(Away):
        backend.cancel(["x"])
    assert backend.used(["x"]) == {}
    assert backend.calls == {"list jobs": 2, "delete job": 2}


def test_a_plan_can_be_shown_without_the_cluster(no_cluster: Path) -> None:
    strategy = Strategy.chosen("kubernetes", 20, ASKED, may_run=False)
    assert (strategy.jobs, strategy.is_cluster) == (20, True)
    choice = ExecutorChoice.of("wkpipe-kubernetes", ClusterExecutorSettings(job_resources=ASKED))
    assert choice.is_own
    assert choice.cluster is KUBERNETES
    assert strategy.sizing.cores == 20
    assert Sizing.of(choice.slots(_Nodes(20))) == strategy.sizing


@pytest.mark.parametrize("asked, memory", [(None, needed_mib(100, 2)), ("10M", needed_mib(100, 2)), ("2G", 2048)])
def test_memory_is_at_least_what_is_needed(asked: str | None, memory: int) -> None:
    resources = job_resources({"mem": asked} if asked else {})
    records = TaskRecords(Path("run"), "a", Path("marker"))
    job = cluster_job("a", "true", Path("log"), records, {"mem_mb": 100, "runtime": 10}, 2, resources, KUBERNETES)
    assert (job.request.memory_mib, job.request.minutes, job.request.cpus) == (memory, None, 2)
    assert job.amounts == f"{memory} MiB"


def test_a_deadline_is_a_limit_of_time() -> None:
    records = TaskRecords(Path("run"), "a", Path("marker"))
    job = cluster_job("a", "true", Path("log"), records, {"runtime": 10}, 1, job_resources({"active-deadline": 30}), KUBERNETES)
    assert job.request.minutes == 30
    assert job.amounts.endswith(" and 30 minutes")


class _Nodes:
    """Snakemake's settings for resources, as far as they are read."""

    cores = None

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
