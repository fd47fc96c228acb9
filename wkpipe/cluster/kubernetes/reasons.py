"""What a Job and its pods say about a job: its phase, why it waits, and why it ended. By reasons, not by exit codes.

Only the reason of a container says that one of its processes was killed for memory: the exit code is that of the main process. A pod that
the cluster itself ends (eviction, preemption, drain, lost node) has the condition `DisruptionTarget`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wkpipe.cluster.backend import Cause, Outlook, Phase, Seen
from wkpipe.cluster.kubernetes.names import NAME
from wkpipe.errors import one_line

Json = dict[str, Any]


class Wait(enum.Enum):
    """Why a pod does not go on: the option that limits for how long that may be."""

    NODE = "node-minutes"
    IMAGE = "image-minutes"
    START = "start-minutes"
    LOST = "lost-minutes"


@dataclass(frozen=True)
class Look:
    """A job as the cluster shows it; `wait` says which limit of time holds for its state, None if there is none."""

    seen: Seen
    wait: Wait | None = None


_DISRUPTIONS: Final = {
    "PreemptionByScheduler": Cause.PREEMPTED,
    "EvictionByEvictionAPI": Cause.PREEMPTED,
    "TerminationByKubelet": Cause.NODE,
    "DeletionByTaintManager": Cause.NODE,
    "DeletionByPodGC": Cause.NODE,
}

_LOST: Final = frozenset({"NodeLost", "NodeAffinity", "NodeShutdown", "Shutdown", "Terminated", "UnexpectedAdmissionError", "Preempting"})
"""Reasons of pods that a node has refused or lost, beside those that begin with `OutOf`."""

_NOT_STARTED: Final = frozenset({"StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError"})
_IMAGE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError"})
_CONFIG: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError"})

_PULL_CAUSES: Final = (
    (re.compile(r"unauthorized|forbidden|denied|\b401\b|\b403\b", re.IGNORECASE), "the registry refuses access; pull-secrets give it"),
    (re.compile(r"not found|\b404\b|manifest unknown|NeverPull", re.IGNORECASE), "there is no such image"),
    (re.compile(r"lookup|dial|timeout|refused|unreachable|i/o|TLS", re.IGNORECASE), "the registry cannot be reached"),
)


def look(job: Json, pods: Sequence[Json], warning: str = "") -> Look:
    """Return what a Job, its pods (the newest last, also deleted ones) and the warning about it say.

    Pods that are gone have ``"gone": True``.
    """
    conditions = _conditions(job)
    metadata = job["metadata"]
    about = (metadata["name"], metadata.get("annotations", {}).get(NAME, metadata["name"]))
    if "Complete" in conditions or "SuccessCriteriaMet" in conditions:
        return Look(Seen(*about, Phase.DONE, "Complete"))
    if (failed := conditions.get("Failed") or conditions.get("FailureTarget")) is not None:
        state, cause, said = _end(failed.get("reason", ""), pods)
        return Look(Seen(*about, Phase.FAILED, state, cause, said))
    if job.get("gone"):
        return Look(Seen(*about, Phase.FAILED, "Deleted", Cause.CANCELLED))
    if "deletionTimestamp" in metadata:
        return Look(Seen(*about, Phase.RUNNING if pods else Phase.PENDING, "Deleting"))
    if "Suspended" in conditions:
        return Look(Seen(*about, Phase.PENDING, "Suspended", None, "its Job is suspended", Outlook.ODD))
    if not (current := [pod for pod in pods if not pod.get("gone")]):
        return _without_pod(about, pods, warning)
    return _with_pod(about, current[-1], warning)


def _without_pod(about: tuple[str, str], gone: Sequence[Json], warning: str) -> Look:
    if warning:
        wait = None if "exceeded quota" in warning else Wait.START
        return Look(Seen(*about, Phase.PENDING, "FailedCreate", None, warning, Outlook.ODD), wait)
    reason = _end("", gone)[2] if gone else ""
    return Look(Seen(*about, Phase.PENDING, "no pod", None, reason))


def _with_pod(about: tuple[str, str], pod: Json, warning: str) -> Look:
    phase, disruption = pod["status"].get("phase", ""), _conditions(pod).get("DisruptionTarget")
    if "deletionTimestamp" in pod["metadata"] and phase in ("Pending", "Running", "Unknown"):
        reason = f"its node {pod['spec'].get('nodeName', '')} does not answer"
        return Look(Seen(*about, Phase.RUNNING, (disruption or {}).get("reason", "Terminating"), None, reason), Wait.LOST)
    if phase == "Pending":
        return _pending(about, pod, warning)
    return Look(Seen(*about, Phase.RUNNING, phase))


def _pending(about: tuple[str, str], pod: Json, warning: str) -> Look:
    scheduled = _conditions(pod, "False").get("PodScheduled", {})
    if why := scheduled.get("reason", ""):
        text = f"no node takes it: {_without_numbers(str(scheduled.get('message', why)))}"
        wait = None if why != "Unschedulable" else Wait.START if "persistentvolumeclaim" in text else Wait.NODE
        return Look(Seen(*about, Phase.PENDING, why, None, text, Outlook.ODD), wait)
    state = _container(pod).get("state", {}).get("waiting", {})
    reason, message, image = state.get("reason", ""), state.get("message", ""), _container(pod).get("image", "")
    if reason == "InvalidImageName":
        return Look(Seen(*about, Phase.PENDING, reason, None, f"{image!r} is not the name of an image", Outlook.NEVER))
    if reason in _IMAGE:
        why = next((text for pattern, text in _PULL_CAUSES if pattern.search(f"{reason} {message}")), "")
        text = f"its image {image} cannot be pulled{': ' + why if why else ''}"
        return Look(Seen(*about, Phase.PENDING, reason, None, text, Outlook.ODD), Wait.IMAGE)
    if reason in _CONFIG:
        return Look(Seen(*about, Phase.PENDING, reason, None, one_line(message, 300), Outlook.ODD), Wait.START)
    if warning:
        return Look(Seen(*about, Phase.PENDING, reason, None, warning, Outlook.ODD), Wait.START)
    return Look(Seen(*about, Phase.PENDING, reason or "Pending"))


def _end(reason: str, pods: Sequence[Json]) -> tuple[str, Cause | None, str]:
    """Return the state, the cause and a text of a failed Job, by its last pod."""
    if reason == "DeadlineExceeded":
        return reason, Cause.TIME, "it reached its active-deadline"
    if not pods:
        return reason or "no pod", Cause.REMOVED, "its pod is gone"
    pod = pods[-1]
    ended = _container(pod).get("state", {}).get("terminated", {})
    why = ended.get("reason", "")
    if why == "OOMKilled":
        return why, Cause.MEMORY, ""
    if (found := _end_of_pod(pod)) is not None:
        return found
    if why == "ContainerStatusUnknown":
        return why, Cause.NODE, ""
    if why in _NOT_STARTED:
        return why, Cause.NOT_STARTED, one_line(ended.get("message", ""), 300)
    if "deletionTimestamp" in pod["metadata"]:
        return "Deleted", Cause.REMOVED, "somebody deleted its pod"
    return f"{why or reason} {ended['exitCode']}" if "exitCode" in ended else why or reason, None, ""


def _end_of_pod(pod: Json) -> tuple[str, Cause | None, str] | None:
    """Return state, cause and text of a pod that the cluster has ended; None if it has not."""
    reason, said = pod["status"].get("reason", ""), one_line(pod["status"].get("message", ""), 300).rstrip(" .")
    if (disruption := _conditions(pod).get("DisruptionTarget")) is not None:
        why = disruption.get("reason", "")
        return why, _DISRUPTIONS.get(why, Cause.PREEMPTED), one_line(disruption.get("message", ""), 300)
    if reason == "Evicted":  # for its own storage, because other evictions are disruptions
        return reason, Cause.ERROR, f"{said}; ask for more ephemeral-storage"
    if reason == "DeadlineExceeded":
        return reason, Cause.TIME, said
    return (reason, Cause.NODE, said) if reason in _LOST or reason.startswith("OutOf") else None


def _container(pod: Json) -> Json:
    """Return the status of the container of a pod, which has only one."""
    found: Json = next(iter(pod["status"].get("containerStatuses") or []), {})
    return found


def _conditions(thing: Json, status: str = "True") -> dict[str, Json]:
    """Return the conditions that hold, by their types; with another `status`, those that do not."""
    found = thing.get("status", {}).get("conditions") or []
    return {condition["type"]: condition for condition in found if condition.get("status") == status}


def _without_numbers(message: str) -> str:
    """Return a message of the scheduler without numbers of nodes, which change all the time."""
    text = re.split(r"\.? (?:no new claims|preemption:)", message)[0].strip().rstrip(".")
    return one_line(re.sub(r"^\d+/\d+ nodes are available: ", "", re.sub(r"(?<![\w/.])\d+ (?=[A-Z]|node)", "", text)), 300)
