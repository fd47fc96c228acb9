"""What Jobs and pods say about a job. `seen.jsonl` has what a real cluster (1.34) showed when each failure was provoked."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from wkpipe.cluster.backend import Cause, Outlook, Phase
from wkpipe.cluster.kubernetes.reasons import Look, Wait, look

CASES: dict[str, dict[str, Any]] = {
    case["case"]: case for case in map(json.loads, Path(__file__).with_name("seen.jsonl").read_text(encoding="utf-8").splitlines())
}
QUOTA = "exceeded quota: q, requested: requests.memory=200Mi, limited: requests.memory=100Mi"
NO_ACCOUNT = 'error looking up service account wk/nobody: serviceaccount "nobody" not found'


def of(case: str, warning: str = "") -> Look:
    return look(CASES[case]["job"], CASES[case]["pods"], warning)


def test_the_job_is_named_as_it_was_submitted() -> None:
    seen = of("oom").seen
    assert seen.name == CASES["oom"]["job"]["metadata"]["annotations"]["wkpipe/name"]
    assert seen.id == CASES["oom"]["job"]["metadata"]["name"]


@pytest.mark.parametrize(
    "case, cause, state, said",
    [
        ("oom", Cause.MEMORY, "OOMKilled", ""),
        ("oom of a child", Cause.MEMORY, "OOMKilled", ""),
        ("own error", None, "Error 7", ""),
        ("log cannot be opened", None, "Error 1", ""),
        ("deadline", Cause.TIME, "DeadlineExceeded", "active-deadline"),
        ("pod was deleted", Cause.REMOVED, "Deleted", "somebody deleted its pod"),
        ("job was deleted", Cause.CANCELLED, "Deleted", ""),
        ("cancelled", Cause.CANCELLED, "Deleted", ""),
        ("too much on its disk", Cause.ERROR, "Evicted", 'Usage of EmptyDir volume "scratch" exceeds the limit "20Mi"; ask for more'),
        ("cannot start", Cause.NOT_STARTED, "StartError", "no such file or directory"),
    ],
)
def test_why_a_job_ended(case: str, cause: Cause | None, state: str, said: str) -> None:
    seen = of(case).seen
    assert (seen.phase, seen.cause, seen.state) == (Phase.FAILED, cause, state)
    assert said in seen.reason
    assert said or not seen.reason


@pytest.mark.parametrize(
    "case, warning, state, said, outlook, wait",
    [
        ("image cannot be pulled", "", "ErrImagePull", "cannot be pulled: the registry cannot be reached", Outlook.ODD, Wait.IMAGE),
        ("image has no valid name", "", "InvalidImageName", "'UPPER/CASE:1' is not the name of an image", Outlook.NEVER, None),
        ("secret is missing", "", "CreateContainerConfigError", 'secret "nothing" not found', Outlook.ODD, Wait.START),
        ("too large for any node", "", "Unschedulable", "no node takes it: Insufficient memory", Outlook.ODD, Wait.NODE),
        ("no node with this label", "", "Unschedulable", "didn't match Pod's node affinity/selector", Outlook.ODD, Wait.NODE),
        ("quota", QUOTA, "FailedCreate", QUOTA, Outlook.ODD, None),
        ("no service account", NO_ACCOUNT, "FailedCreate", NO_ACCOUNT, Outlook.ODD, Wait.START),
        ("no service account", "", "no pod", "", Outlook.USUAL, None),
        ("suspended", "", "Suspended", "its Job is suspended", Outlook.ODD, None),
        ("evicted", "", "no pod", "Eviction API: evicting", Outlook.USUAL, None),
        ("preempted", "", "no pod", "preempting to accommodate a higher priority pod", Outlook.USUAL, None),
    ],
)
def test_why_a_job_waits(case: str, warning: str, state: str, said: str, outlook: Outlook, wait: Wait | None) -> None:
    found = of(case, warning)
    assert (found.seen.phase, found.seen.state, found.seen.outlook, found.wait) == (Phase.PENDING, state, outlook, wait)
    assert said in found.seen.reason


@pytest.mark.parametrize(
    "case, state, wait",
    [
        ("running", "Running", None),
        ("pod is being deleted", "Terminating", Wait.LOST),
        ("being evicted", "EvictionByEvictionAPI", Wait.LOST),
        ("being preempted", "PreemptionByScheduler", Wait.LOST),
        ("lost node", "DeletionByTaintManager", Wait.LOST),
    ],
)
def test_a_pod_that_is_to_end_still_runs(case: str, state: str, wait: Wait | None) -> None:
    found = of(case)
    assert (found.seen.phase, found.seen.state, found.wait) == (Phase.RUNNING, state, wait)


@pytest.mark.parametrize("case", ["complete", "after an eviction"])
def test_a_job_is_done_whatever_became_of_its_first_pods(case: str) -> None:
    assert of(case).seen.phase is Phase.DONE


def test_the_reason_is_the_same_as_long_as_nothing_changes() -> None:
    """Kubernetes alternates between two reasons for the same image, and counts nodes in the other message."""
    case = copy.deepcopy(CASES["image cannot be pulled"])
    waiting = case["pods"][-1]["status"]["containerStatuses"][0]["state"]["waiting"]
    waiting |= {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "x": {waiting["message"]}'}
    assert look(case["job"], case["pods"]).seen.reason == of("image cannot be pulled").seen.reason
    case = copy.deepcopy(CASES["too large for any node"])
    (scheduled,) = (each for each in case["pods"][-1]["status"]["conditions"] if each["type"] == "PodScheduled")
    scheduled["message"] = scheduled["message"].replace("0/1", "0/17").replace("1 Insufficient", "17 Insufficient")
    assert look(case["job"], case["pods"]).seen.reason == of("too large for any node").seen.reason


@pytest.mark.parametrize(
    "message, said",
    [
        ("failed to authorize: 401 Unauthorized", "the registry refuses access; pull-secrets give it"),
        ("pull access denied, repository does not exist or may require authorization", "refuses access"),
        ("manifest unknown", "there is no such image"),
        ("dial tcp: lookup registry: no such host", "the registry cannot be reached"),
        ("something new", "cannot be pulled"),
    ],
)
def test_why_an_image_cannot_be_pulled(message: str, said: str) -> None:
    case = copy.deepcopy(CASES["image cannot be pulled"])
    case["pods"][-1]["status"]["containerStatuses"][0]["state"]["waiting"]["message"] = message
    assert said in look(case["job"], case["pods"]).seen.reason


def test_a_claim_that_does_not_exist_is_not_waited_for_like_a_node() -> None:
    case = copy.deepcopy(CASES["too large for any node"])
    (scheduled,) = (each for each in case["pods"][-1]["status"]["conditions"] if each["type"] == "PodScheduled")
    scheduled["message"] = '0/1 nodes are available: persistentvolumeclaim "code" not found. preemption: 0/1 nodes are available.'
    assert look(case["job"], case["pods"]).wait is Wait.START


@pytest.mark.parametrize(
    "reason, cause",
    [
        ("PreemptionByScheduler", Cause.PREEMPTED),
        ("EvictionByEvictionAPI", Cause.PREEMPTED),
        ("TerminationByKubelet", Cause.NODE),
        ("DeletionByTaintManager", Cause.NODE),
        ("DeletionByPodGC", Cause.NODE),
    ],
)
def test_disruptions_of_clusters_that_do_not_replace_pods(reason: str, cause: Cause) -> None:
    case = copy.deepcopy(CASES["own error"])
    case["pods"][-1]["status"]["conditions"].append({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"})
    seen = look(case["job"], case["pods"]).seen
    assert (seen.phase, seen.cause, seen.reason) == (Phase.FAILED, cause, "m")


@pytest.mark.parametrize("reason", ["OutOfcpu", "OutOfmemory", "NodeAffinity", "UnexpectedAdmissionError", "Shutdown"])
def test_a_node_that_refuses_a_pod(reason: str) -> None:
    case = copy.deepcopy(CASES["own error"])
    case["pods"][-1]["status"] = {"phase": "Failed", "reason": reason, "message": "no"}
    assert look(case["job"], case["pods"]).seen.cause is Cause.NODE


def test_a_failed_job_without_any_pod() -> None:
    seen = look(CASES["own error"]["job"], []).seen
    assert (seen.phase, seen.cause, seen.reason) == (Phase.FAILED, Cause.REMOVED, "its pod is gone")
