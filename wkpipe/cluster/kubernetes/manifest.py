"""The Job that runs a task: everything about it that is sent to the cluster.

Its pod passes the strictest of Kubernetes' Pod Security Standards, *restricted*. It gets nothing of the submitter's environment but
wkpipe's own variables, among them the run's secret, and no token of the cluster.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from wkpipe import __version__
from wkpipe.cluster.backend import Refused, Request, Submission
from wkpipe.cluster.kubernetes.names import NAME, job_name, labels
from wkpipe.cluster.kubernetes.options import DEADLINE, KEEP_MINUTES
from wkpipe.cluster.kubernetes.values import CLUSTERS_OWN, SCRATCH, cores
from wkpipe.runs.job_note import JOB_ID_VARIABLE, PROCESS_ID_VARIABLE
from wkpipe.storage.process import ONLY_ONE_VARIABLE

Json = dict[str, Any]

CONTAINER: Final = "step"
IMAGE: Final = f"localhost/wkpipe:{__version__.replace('+', '-')}"
"""The image that `make image` builds: no registry has it, so a node has it or the user names another one."""

OWN_VARIABLES: Final = "WKPIPE_"

CPU_SHARE: Final = 0.9
"""The share of its cores that a pod requests: small system pods run on each node, and a pod of as many cores as the node would never
fit beside them. It may use all of them, because there is no limit unless the user sets one."""

GRACE_SECONDS: Final = 20
"""The time from SIGTERM to SIGKILL; a step ends within a second or two."""

COMMAND: Final = ("/bin/bash", "-c", 'exec >> "$1" 2>&1 || exit 1; exec /bin/bash -c "$2"', "wkpipe")
"""The command of a pod, followed by a log and a script. If the log cannot be opened, the shell prints that into the pod's own log."""


def manifest(job: Submission, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the Job for a submission; `environment` is the submitter's.

    Raises:
        Refused: the submitter is root and names no user; or no volume holds the log.
    """
    options = Options(dict(job.request.options))
    name = job_name(job.name)
    body = job_of(options, name, labels(job.name), {NAME: job.name}, _pod(job, options, name, environment))
    if DEADLINE in options and job.request.minutes:
        body["spec"]["activeDeadlineSeconds"] = 60 * job.request.minutes
    return body


def job_of(
    options: Options, name: str, about: Json, annotations: Json, pod: Json, restarts: int = 0, rules: Sequence[Json] = ()
) -> dict[str, Any]:
    """Return a Job of one pod with the labels `about`; `rules` say which failures of it are final."""
    metadata = {
        "labels": options.json("labels", {}) | about | {"app.kubernetes.io/version": IMAGE.rpartition(":")[2]},
        "annotations": options.json("annotations", {}) | annotations,
    }
    spec = {
        "backoffLimit": restarts,
        "completions": 1,
        "parallelism": 1,
        "ttlSecondsAfterFinished": 60 * int(options.text("keep-minutes", str(KEEP_MINUTES))),
        # A pod that the cluster itself ends is replaced, but only when it has ended.
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}, *rules]},
        "podReplacementPolicy": "Failed",
        "template": {"metadata": metadata, "spec": pod},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata | {"name": name}, "spec": spec}


def check_user(options: Mapping[str, str | None]) -> None:
    """Check that pods can run as the submitter, or as the user that the options name.

    Raises:
        Refused: the submitter is root.
    """
    _user(options.get("run-as-user"), options.get("run-as-group"))


class Options:
    """The options of --job-resources, as `job_resources` returns them."""

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str = "") -> str:
        return self._values.get(key) or default

    def json(self, key: str, default: Any = None) -> Any:
        text = self._values.get(key)
        return default if text is None else json.loads(text)

    def some(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return those fields whose options are given; `fields` names the option of each."""
        return {field: text for field, key in fields.items() if (text := self._values.get(key))}


def _pod(job: Submission, options: Options, name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    if volume_of(job.log, options) is None:
        mounted = ", ".join(volume["path"] for volume in options.json("volume", []))
        said = f"; mounted are {mounted}" if mounted else ""
        raise Refused(f'no volume holds {job.log.parent}{said}: give "volume": "pvc:NAME:/path", where /path is the same as here')
    directory = SCRATCH if volume_of(job.directory, options) is None else str(job.directory)
    command = [*COMMAND, literal(str(job.log)), literal(job.script)]
    variables = [*_variables(name, options, environment), {"name": PROCESS_ID_VARIABLE, "valueFrom": field("metadata.uid")}]
    return pod_of(options, CONTAINER, command, directory, variables, _resources(job.request, options)) | {
        "terminationGracePeriodSeconds": GRACE_SECONDS
    }


def volume_of(path: PurePath, options: Options) -> dict[str, Any] | None:
    """Return the volume that holds a path, the innermost one; None if there is none."""
    volumes: list[dict[str, Any]] = options.json("volume", [])
    return max((each for each in volumes if path.is_relative_to(each["path"])), key=lambda each: len(each["path"]), default=None)


def field(path: str) -> dict[str, Any]:
    """Return the source of a variable that has the value of a field of its pod."""
    return {"fieldRef": {"fieldPath": path}}


def pod_of(
    options: Options, name: str, command: Sequence[str], directory: str, variables: Sequence[Json], resources: Json
) -> dict[str, Any]:
    """Return a pod with one container that passes Pod Security *restricted*; it gets the options' volumes, and no token."""
    volumes: list[dict[str, Any]] = options.json("volume", [])
    claims = {volume["claim"]: f"volume-{index}" for index, volume in enumerate(volumes)}
    limit = options.some({"sizeLimit": "ephemeral-storage"})
    container = {
        "name": name,
        "image": options.text("image", IMAGE),
        "command": list(command),
        "workingDir": directory,
        "env": list(variables),
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            *(
                {"name": claims[volume["claim"]], "mountPath": volume["path"]} | ({"readOnly": True} if volume["only"] else {})
                for volume in volumes
            ),
        ],
    } | options.some({"imagePullPolicy": "pull-policy"})
    if secrets := options.json("env-secret"):
        container["envFrom"] = [{"secretRef": {"name": secret}} for secret in secrets]
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _security(options),
        "containers": [container],
        "volumes": [
            {"name": "scratch", "emptyDir": limit},
            *({"name": volume, "persistentVolumeClaim": {"claimName": claim}} for claim, volume in claims.items()),
        ],
    } | _placement(options)


def _variables(name: str, options: Options, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the environment of a step, with wkpipe's own variables of the submitter."""
    own = {key: value for key, value in environment.items() if key.startswith(OWN_VARIABLES) and key != ONLY_ONE_VARIABLE}
    return variables_of(options, own | {JOB_ID_VARIABLE: name})


def variables_of(options: Options, own: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the environment of a container. Arbitrary users have neither a name nor a home, which libraries ask for."""
    here = {"HOME": SCRATCH, "TMPDIR": SCRATCH, "LOGNAME": "wkpipe", "USER": "wkpipe", "PYTHONDONTWRITEBYTECODE": "1"}
    given: dict[str, str] = options.json("env", {})
    return [{"name": key, "value": literal(value)} for key, value in sorted((here | given | dict(own)).items())]


def literal(text: str) -> str:
    """Return how to write a text in a command or a variable: Kubernetes replaces ``$(NAME)`` by a variable, and ``$$`` by one dollar."""
    return text.replace("$", "$$")


def _resources(request: Request, options: Options) -> dict[str, Any]:
    """Return requests and limits. With memory requested as the limit, a pod is among the last that a full node evicts."""
    requests = {"cpu": options.text("cpu", f"{int(1000 * CPU_SHARE * request.cpus)}m")}
    limits = options.some({"cpu": "cpu-limit"})
    if "cpu" in limits and cores(limits["cpu"]) < cores(requests["cpu"]):
        requests["cpu"] = limits["cpu"]
    if request.memory_mib:
        most = max(request.memory_mib, int(options.text("memory-limit", "0Mi").removesuffix("Mi")))
        requests["memory"], limits["memory"] = f"{request.memory_mib}Mi", f"{most}Mi"
    if storage := options.text("ephemeral-storage"):
        requests["ephemeral-storage"] = limits["ephemeral-storage"] = storage
    return {"requests": requests, "limits": limits}


def _security(options: Options) -> dict[str, Any]:
    context: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    context |= _user(options.text("run-as-user"), options.text("run-as-group"))
    if groups := options.json("supplemental-groups"):
        context["supplementalGroups"] = groups
    if group := options.text("fs-group"):
        # Without this policy, each pod would change the group of all files of the volume before it starts.
        context |= {"fsGroup": int(group), "fsGroupChangePolicy": "OnRootMismatch"}
    return context


def _user(user: str | None, group: str | None) -> dict[str, int]:
    """Return who runs the pod: the submitter by default, so that the files belong to the same user as everywhere else."""
    if user == CLUSTERS_OWN:
        return {"runAsGroup": int(group)} if group else {}
    if not user and os.geteuid() == 0:
        raise Refused('this command runs as root, and pods may not: give "run-as-user": "1000", a user who may write the dataset')
    uid = int(user) if user else os.geteuid()
    gid = int(group) if group else (os.getegid() or uid if not user else uid)
    return {"runAsUser": uid, "runAsGroup": gid}


def _placement(options: Options) -> dict[str, Any]:
    """Return on which nodes a pod may run, and as what."""
    texts = {
        "serviceAccountName": "service-account",
        "priorityClassName": "priority-class",
        "runtimeClassName": "runtime-class",
    }
    lists = {"nodeSelector": "node-selector", "tolerations": "tolerations", "affinity": "affinity"}
    secrets = options.json("pull-secrets")
    return (
        options.some(texts)
        | {field: options.json(key) for field, key in lists.items() if key in options}
        | ({"imagePullSecrets": [{"name": secret} for secret in secrets]} if secrets else {})
    )
