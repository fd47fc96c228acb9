"""The Job of a main process: what is the same as for all pods, what is its own, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from wkpipe import __version__
from wkpipe.cli.app import run_app
from wkpipe.cluster.kubernetes.main_job import main_job
from wkpipe.cluster.kubernetes.manifest import Options
from wkpipe.cluster.kubernetes.options import job_resources
from wkpipe.cluster.main_process import MainProcess
from wkpipe.errors import Interrupted, UsageError, WkpipeError

TARGET = Path("/data/set")


def made(given: dict[str, Any], target: Path = TARGET, source: Path = Path("/data/in"), is_dry: bool = False) -> dict[str, Any]:
    main = MainProcess(("convert", "a b"), target, {"SOURCE": source}, {"TARGET": target}, {"WKPIPE_DEBUG": "1"}, is_dry)
    return main_job(main, _options(given))


def _options(given: Mapping[str, Any] = MappingProxyType({})) -> Options:
    return Options(job_resources({"volume": "pvc:shared:/data", "run-as-user": 1000, **given}).options)


def pod(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"]["template"]["spec"]
    return found


def test_its_command_variables_and_rights() -> None:
    body = made({})
    (container,) = pod(body)["containers"]
    assert container["command"] == ["python3", "-P", "-m", "wkpipe", "convert", "a b"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    own = {key: value for key, value in values.items() if key.startswith("WKPIPE_")}
    name = body["metadata"]["name"]
    assert own == {
        "WKPIPE_DEBUG": "1",
        "WKPIPE_NAMESPACE": None,
        "WKPIPE_ONLY_ONE": f"$(WKPIPE_NAMESPACE)/{name}",
        "WKPIPE_VERSION": __version__,
    }
    assert pod(body)["serviceAccountName"] == "wkpipe"
    assert pod(body)["automountServiceAccountToken"] is True
    assert container["resources"] == {"requests": {"memory": "1024Mi", "cpu": "500m"}, "limits": {"memory": "1024Mi"}}
    assert json.loads(body["metadata"]["annotations"]["wkpipe/command"]) == ["convert", "a b"]
    assert "wkpipe/dataset" not in body["metadata"]["labels"], "runs take it for one of their jobs"


def test_no_dollar_of_its_arguments_has_a_meaning_for_the_cluster() -> None:
    (container,) = pod(main_job(MainProcess(("convert", "--name", "$(HOME) $$"), TARGET, {}, {}, {}), _options()))["containers"]
    assert container["command"][-1] == "$$(HOME) $$$$"


def test_its_options() -> None:
    body = made({"main-mem": "3G", "main-cpu": 2, "main-service-account": "other", "service-account": "of-jobs", "node-selector": "a=b"})
    (container,) = pod(body)["containers"]
    assert container["resources"] == {"requests": {"memory": "3072Mi", "cpu": "2"}, "limits": {"memory": "3072Mi"}}
    assert pod(body)["serviceAccountName"] == "other"
    assert pod(body)["nodeSelector"] == {"a": "b"}


def test_a_dataset_has_one_name_wherever_it_is_mounted() -> None:
    name = made({})["metadata"]["name"]
    assert made({"volume": "pvc:shared:/elsewhere"}, Path("/elsewhere/set"), Path("/elsewhere/in"))["metadata"]["name"] == name
    others = [made({"volume": "pvc:other:/data"}), made({}, Path("/data/set2")), made({}, is_dry=True)]
    assert name not in [other["metadata"]["name"] for other in others]


@pytest.mark.parametrize(
    "given, target, source, said",
    [
        ({}, "/elsewhere/set", "/data/in", "TARGET: /elsewhere/set is not on a volume; with --in-cluster, mounted are /data"),
        ({}, "set", "/data/in", "TARGET: set is not on a volume"),
        ({}, "/data/set", "in", "SOURCE: in is not on a volume"),
        ({}, "/data/../etc", "/data/in", "TARGET: /data/../etc is not on a volume"),
        ({"volume": "pvc:shared:/data:ro"}, "/data/set", "/data/in", "TARGET: /data/set is on the volume shared, which is only read"),
    ],
)
def test_paths_are_on_volumes(given: dict[str, Any], target: str, source: str, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        made(given, Path(target), Path(source))
    assert str(refusal.value).startswith(said)


def test_a_source_may_be_on_a_volume_that_is_only_read() -> None:
    assert made({"volume": ["pvc:raw:/raw:ro", "pvc:shared:/data"]}, source=Path("/raw/in"))


def test_without_a_volume() -> None:
    main = MainProcess(("downsample",), TARGET, {}, {"TARGET": TARGET}, {})
    with pytest.raises(UsageError, match="no volume is given"):
        main_job(main, Options(job_resources({"run-as-user": 1}).options))


def test_the_variable_for_the_state_becomes_an_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WKPIPE_STATE_DIR", "/elsewhere")
    monkeypatch.setenv("KUBECONFIG", "/dev/null")  # the refusal comes first
    resources = json.dumps({"volume": "pvc:shared:/data", "run-as-user": 1000})
    command = ["downsample", "/data/set", "--in-cluster", "--distribution-strategy", "kubernetes", "--job-resources", resources]
    assert run_app(command) == 2
    assert "--state-dir: /elsewhere is not on a volume" in capsys.readouterr().err


def test_failed_commands_are_final_and_killed_pods_are_not() -> None:
    spec = made({})["spec"]
    disrupted, failed = spec["podFailurePolicy"]["rules"]
    assert (disrupted["action"], disrupted["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget", "status": "True"}])
    assert (failed["action"], failed["onExitCodes"]["containerName"]) == ("FailJob", pod(made({}))["containers"][0]["name"])
    errors = {kind.exit_code for kind in (WkpipeError, *WkpipeError.__subclasses__()) if kind is not Interrupted}
    assert errors == set(failed["onExitCodes"]["values"])
    assert spec["backoffLimit"] > 0
