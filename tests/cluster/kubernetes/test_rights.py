"""rbac.yaml gives the rights for the calls that the code makes, and no other; the tests on a real cluster run with these."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.workflow.workflow_helpers import REPOSITORY
from wkpipe.cluster.kubernetes import api
from wkpipe.cluster.kubernetes.inventory import KINDS

VERBS = {"create": {"create"}, "read": {"get"}, "delete": {"delete"}, "list": {"list"}}
CALL = re.compile(r"client\.(?:core|batch)\.(?P<verb>[a-z]+)_(?:namespaced_)?(?P<kind>\w+)")


def called() -> set[tuple[str, str]]:
    """Return resources and verbs of all calls in the code."""
    calls = CALL.findall(Path(api.__file__).read_text())
    found = {
        (kind.replace("pod_log", "pods/log") + ("" if kind == "pod_log" else "s"), each) for verb, kind in calls for each in VERBS[verb]
    }
    return found | {(kind, "watch") for kind in KINDS}


def test_every_right_is_used_and_every_call_has_its_right() -> None:
    bodies = list(yaml.safe_load_all((REPOSITORY / "profiles" / "kubernetes" / "rbac.yaml").read_text()))
    (role,) = [body for body in bodies if body["kind"] == "Role"]
    given = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    optional = {("nodes", "list")}  # a right in the whole cluster, without which wkpipe runs, too
    assert given == called() - optional
    assert not any(resource == "secrets" for resource, _ in given)
    (account,) = [body for body in bodies if body["kind"] == "ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
