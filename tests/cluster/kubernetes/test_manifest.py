"""The Job that is sent to a cluster: every field, with no options and with all of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from wkpipe import __version__
from wkpipe.cluster.backend import Refused, Request, Submission
from wkpipe.cluster.kubernetes.manifest import COMMAND, IMAGE, check_user, manifest
from wkpipe.cluster.kubernetes.names import job_name, labels, selector
from wkpipe.cluster.kubernetes.options import job_resources

NAME = "wkpipe-0123456789-abcdef012345-2.00013-Cells Ä-2-2-1"
JOB_NAME = "wkpipe-0123456789-abcdef012345-2-00013-cells-2-2-c8817d97"
RUN = Path("/data/set/.wkpipe/runs/abcdef012345")
ENVIRONMENT = {
    "WKPIPE_RUN": "abcdef012345:00",
    "WK_TOKEN": "secret",
    "PATH": "/bin",
    "WKPIPE_STATE_DIR": "/data/$(x)",
    "WKPIPE_ONLY_ONE": "a/main",
}


def made(given: dict[str, Any], memory: int | None = 100, minutes: int | None = None, cpus: int = 2, run: Path = RUN) -> dict[str, Any]:
    asked = job_resources({"volume": "pvc:shared:/data", "run-as-user": 1000} | given)
    request = Request(cpus=cpus, memory_mib=memory, minutes=minutes, options=tuple(sorted(asked.options.items())))
    return manifest(Submission(NAME, "#!/bin/bash\ntrue\n", run, run / "logs" / "a b.log", request), ENVIRONMENT)


def pod(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"]["template"]["spec"]
    return found


def container(body: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(body)["containers"]
    return dict(found)


def test_every_field_without_options() -> None:
    about = {
        "labels": {
            "app.kubernetes.io/name": "wkpipe",
            "app.kubernetes.io/managed-by": "wkpipe",
            "app.kubernetes.io/version": __version__,
            "wkpipe/dataset": "0123456789",
            "wkpipe/run": "abcdef012345",
            "wkpipe/try": "2",
            "wkpipe/task": "00013-cells-2-2-1-7ebf891d",
        },
        "annotations": {"wkpipe/name": NAME},
    }
    assert made({}) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": about | {"name": JOB_NAME},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": 3600,
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": about,
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 20,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "runAsGroup": 1000,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "step",
                            "image": f"localhost/wkpipe:{__version__}",
                            "command": [*COMMAND, str(RUN / "logs" / "a b.log"), "#!/bin/bash\ntrue\n"],
                            "workingDir": str(RUN),
                            "env": [
                                {"name": "HOME", "value": "/tmp"},
                                {"name": "LOGNAME", "value": "wkpipe"},
                                {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
                                {"name": "TMPDIR", "value": "/tmp"},
                                {"name": "USER", "value": "wkpipe"},
                                {"name": "WKPIPE_JOB_ID", "value": JOB_NAME},
                                {"name": "WKPIPE_RUN", "value": "abcdef012345:00"},
                                {"name": "WKPIPE_STATE_DIR", "value": "/data/$$(x)"},
                                {"name": "WKPIPE_PROCESS_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                            ],
                            "resources": {"requests": {"cpu": "1800m", "memory": "100Mi"}, "limits": {"memory": "100Mi"}},
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                                "runAsNonRoot": True,
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}, {"name": "volume-0", "mountPath": "/data"}],
                        }
                    ],
                    "volumes": [
                        {"name": "scratch", "emptyDir": {}},
                        {"name": "volume-0", "persistentVolumeClaim": {"claimName": "shared"}},
                    ],
                },
            },
        },
    }


def test_every_option_has_its_field() -> None:
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    body = made(
        {
            "cpu": "1.5",
            "cpu-limit": 3,
            "memory-limit": "200M",
            "ephemeral-storage": "2G",
            "image": "registry.example.org:5000/wkpipe:1",
            "pull-policy": "always",
            "pull-secrets": "one,two",
            "service-account": "lab",
            "node-selector": "disk=ssd;pool=a",
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "affinity": json.dumps(affinity),
            "priority-class": "low",
            "labels": {"team": "em"},
            "annotations": {"example.org/note": "two words"},
            "runtime-class": "gvisor",
            "volume": ["pvc:shared:/data", "pvc:images:/images:ro", "pvc:shared:/more/"],
            "run-as-user": "2000",
            "run-as-group": 3000,
            "supplemental-groups": [4000, "5000"],
            "fs-group": 6000,
            "active-deadline": "1:30:00",
            "env": {"PROXY": "http://proxy:3128", "HOME": "/data/home"},
            "env-secret": "bucket,proxy",
            "keep-minutes": 0,
        },
        minutes=90,
    )
    assert body["spec"]["activeDeadlineSeconds"] == 5400
    assert body["spec"]["ttlSecondsAfterFinished"] == 0
    for metadata in (body["metadata"], body["spec"]["template"]["metadata"]):
        assert metadata["labels"]["team"] == "em"
        assert metadata["annotations"] == {"example.org/note": "two words", "wkpipe/name": NAME}
    step = container(body)
    assert step["resources"] == {
        "requests": {"cpu": "1.5", "memory": "100Mi", "ephemeral-storage": "2048Mi"},
        "limits": {"cpu": "3", "memory": "200Mi", "ephemeral-storage": "2048Mi"},
    }
    assert step["image"] == "registry.example.org:5000/wkpipe:1"
    assert step["imagePullPolicy"] == "Always"
    assert step["envFrom"] == [{"secretRef": {"name": "bucket"}}, {"secretRef": {"name": "proxy"}}]
    variables = {each["name"]: each.get("value") for each in step["env"]}
    assert (variables["PROXY"], variables["HOME"]) == ("http://proxy:3128", "/data/home")
    assert step["volumeMounts"][1:] == [
        {"name": "volume-2", "mountPath": "/data"},
        {"name": "volume-1", "mountPath": "/images", "readOnly": True},
        {"name": "volume-2", "mountPath": "/more"},
    ]
    spec = pod(body)
    assert spec["volumes"][0] == {"name": "scratch", "emptyDir": {"sizeLimit": "2048Mi"}}
    assert {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"][1:]} == {
        "volume-2": "shared",
        "volume-1": "images",
    }
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsUser": 2000,
        "runAsGroup": 3000,
        "supplementalGroups": [4000, 5000],
        "fsGroup": 6000,
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert spec["nodeSelector"] == {"disk": "ssd", "pool": "a"}
    assert spec["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert spec["affinity"] == affinity
    texts = (spec["serviceAccountName"], spec["priorityClassName"], spec["runtimeClassName"])
    assert texts == ("lab", "low", "gvisor")


def test_no_dollar_has_a_meaning_for_the_cluster() -> None:
    """It replaces $(NAME) and $$ in commands and variables; a doubled dollar is one."""
    options = job_resources({"volume": "pvc:a:/data", "run-as-user": 1, "env": {"PRICE": "$$5 $(HOME)"}}).options
    submission = Submission(NAME, "echo $$ $(id)", RUN, Path("/data/$(HOME)/log"), Request(options=tuple(options.items())))
    step = container(manifest(submission, {}))
    assert step["command"][-2:] == ["/data/$$(HOME)/log", "echo $$$$ $$(id)"]
    assert {"name": "PRICE", "value": "$$$$5 $$(HOME)"} in step["env"]


def test_no_token_and_nothing_of_the_submitters_environment() -> None:
    text = json.dumps(made({}))
    assert "secret" not in text
    assert "WK_TOKEN" not in text
    assert '"PATH"' not in text


def test_more_memory_than_the_limit_raises_the_limit() -> None:
    assert container(made({"memory-limit": "200M"}, memory=300))["resources"]["limits"] == {"memory": "300Mi"}


def test_no_pod_requests_more_cores_than_its_limit() -> None:
    assert container(made({"cpu-limit": "500m"}))["resources"]["requests"]["cpu"] == "500m"


def test_time_is_limited_only_if_the_user_asks() -> None:
    assert "activeDeadlineSeconds" not in made({}, minutes=10)["spec"]


@pytest.mark.parametrize("volume", ["pvc:shared:/dat", "pvc:shared:/data/set/.wkpipe/runs/other"])
def test_the_log_must_be_on_a_volume(volume: str) -> None:
    with pytest.raises(Refused, match=r"no volume holds /data/set.*pvc:NAME:/path"):
        made({"volume": volume})


def test_a_directory_that_is_on_no_volume_is_not_entered() -> None:
    request = Request(options=tuple(job_resources({"volume": "pvc:a:/data", "run-as-user": 1}).options.items()))
    body = manifest(Submission(NAME, "true", Path("/home/me"), Path("/data/log"), request), {})
    assert container(body)["workingDir"] == "/tmp"


def test_root_must_name_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Refused, match="run-as-user"):
        check_user({})
    check_user({"run-as-user": "1000"})
    check_user({"run-as-user": "cluster"})
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 5678)
    check_user({})
    asked = job_resources({"volume": "pvc:a:/data"})
    body = manifest(Submission(NAME, "true", RUN, RUN / "log", Request(options=tuple(asked.options.items()))), {})
    assert (pod(body)["securityContext"]["runAsUser"], pod(body)["securityContext"]["runAsGroup"]) == (1234, 5678)


def test_the_cluster_may_choose_the_user() -> None:
    assert "runAsUser" not in pod(made({"run-as-user": "cluster"}))["securityContext"]


@pytest.mark.parametrize("task", ["a", "x" * 300, "ÄÖ", "00001-Layer_1-2-2-1", "-", "a.b"])
def test_names_are_unique_and_possible(task: str) -> None:
    name = f"wkpipe-0123456789-abcdef012345-1.{task}"
    made_of_it = job_name(name)
    assert len(made_of_it) <= 57
    assert made_of_it == made_of_it.lower().strip("-")
    assert made_of_it.isascii()
    assert all(len(value) <= 63 and value.isascii() for value in labels(name).values())
    assert len({job_name(f"{name}{end}") for end in ("", ".", "_", "-")}) == 4


@pytest.mark.parametrize(
    "prefix, wanted",
    [
        ("wkpipe-0123456789-", ",wkpipe/dataset=0123456789"),
        ("wkpipe-0123456789-abcdef012345-1.x", ",wkpipe/dataset=0123456789"),
        ("wkpipe-01234", ""),
        ("", ""),
    ],
)
def test_all_jobs_of_a_dataset_are_selected(prefix: str, wanted: str) -> None:
    assert selector(prefix) == f"app.kubernetes.io/managed-by=wkpipe{wanted}"


def test_the_image_is_the_one_of_this_version() -> None:
    assert IMAGE.endswith(f":{__version__.replace('+', '-')}")
