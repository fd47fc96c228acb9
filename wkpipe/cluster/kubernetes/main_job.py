"""The Job that runs wkpipe's main process in the cluster.

A pod that is killed is replaced, and resumes. A pod that ends with an exit code of wkpipe is not: its command is done, or has failed for
good. Its command is an annotation, so that the same command finds its run.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any, Final

from wkpipe import __version__
from wkpipe.cluster.kubernetes.manifest import Options, field, job_of, literal, pod_of, variables_of, volume_of
from wkpipe.cluster.kubernetes.names import APPLICATION
from wkpipe.cluster.kubernetes.values import SCRATCH
from wkpipe.cluster.main_process import MainProcess
from wkpipe.errors import UsageError
from wkpipe.runs.job_note import VERSION_VARIABLE
from wkpipe.storage.process import ONLY_ONE_VARIABLE

Json = dict[str, Any]

MAIN: Final = "wkpipe/main"
"""The label of the Job and its pods: the name of the Job."""

COMMAND: Final = "wkpipe/command"
SUBMISSION: Final = "wkpipe/submission"

ACCOUNT: Final = "wkpipe"
"""The service account of rbac.yaml."""

CONTAINER: Final = "main"
MEMORY: Final = "1024Mi"
"""wkpipe and Snakemake together take 200 MB, the plan of 1 PB 700 MB."""

CPU: Final = "500m"
GRACE_SECONDS: Final = 120
"""The time from SIGTERM to SIGKILL: the main process cancels its jobs and waits for their end."""

FINAL_CODES: Final = (1, 2, 3, 4, 5, 75)
"""The exit codes with which a command has failed: another pod would not do better."""

RESTARTS: Final = 6


def main_job(main: MainProcess, options: Options) -> Json:
    """Return the Job of a main process.

    Raises:
        UsageError: one of its paths is not on a volume, or only on one that cannot be written.
        Refused: the submitter is root and names no user.
    """
    _check_paths(main, options)
    name = _name(main, options)
    about = APPLICATION | {"app.kubernetes.io/component": "main", MAIN: name}
    annotations = {COMMAND: json.dumps(main.arguments), SUBMISSION: uuid.uuid4().hex}
    final = {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(FINAL_CODES)}}
    return job_of(options, name, about, annotations, _pod(main, options, name), RESTARTS, [final])


def _pod(main: MainProcess, options: Options, name: str) -> Json:
    # The namespace and the name of the Job: the next pod knows that the last one has ended, and takes over its lease at once.
    variables: list[Json] = [
        {"name": "WKPIPE_NAMESPACE", "valueFrom": field("metadata.namespace")},
        {"name": ONLY_ONE_VARIABLE, "value": f"$(WKPIPE_NAMESPACE)/{name}"},
        *variables_of(options, dict(main.variables) | {VERSION_VARIABLE: __version__}),
    ]
    memory = options.text("main-mem", MEMORY)
    resources = {"requests": {"memory": memory, "cpu": options.text("main-cpu", CPU)}, "limits": {"memory": memory}}
    command = ["python3", "-P", "-m", "wkpipe", *map(literal, main.arguments)]
    return pod_of(options, CONTAINER, command, SCRATCH, variables, resources) | {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": True,
        "serviceAccountName": options.text("main-service-account", ACCOUNT),
    }


def _name(main: MainProcess, options: Options) -> str:
    """Return the name of the Job: one for each dataset, by its volume and its path there."""
    volume = volume_of(main.target, options)
    place = ["" if volume is None else volume["claim"], str(main.target.relative_to("/" if volume is None else volume["path"]))]
    digest = hashlib.sha256(json.dumps(place).encode()).hexdigest()[:10]
    return f"wkpipe-main-{digest}{'-plan' if main.is_dry else ''}"


def _check_paths(main: MainProcess, options: Options) -> None:
    mounted = ", ".join(volume["path"] for volume in options.json("volume", []))
    if not mounted:
        raise UsageError(
            "no volume is given, and with --in-cluster all paths are paths on volumes",
            where="--job-resources",
            fix='add "volume": "pvc:NAME:/path"',
        )
    for option, path in (*main.read.items(), *main.written.items()):
        if not path.is_absolute() or ".." in path.parts or (volume := volume_of(path, options)) is None:
            raise UsageError(
                f"{path} is not on a volume; with --in-cluster, mounted are {mounted}", where=option, fix="give the path as pods see it"
            )
        if volume["only"] and option in main.written:
            raise UsageError(f"{path} is on the volume {volume['claim']}, which is only read", where=option, fix="leave out its :ro")
