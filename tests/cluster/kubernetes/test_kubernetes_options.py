"""The keys of --job-resources for Kubernetes, and the values that they take."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from wkpipe.cluster.kubernetes.options import VALUES, job_resources, parsed
from wkpipe.cluster.kubernetes.values import cores, mib
from wkpipe.errors import UsageError


def test_json_and_pairs_mean_the_same() -> None:
    as_json = parsed('{"mem": "2G", "volume": ["pvc:a:/data", "pvc:b:/images:ro"], "cpus": 1.5, "node_selector": {"disk": "ssd"}}')
    as_pairs = parsed("mem=2G,volume=pvc:a:/data,pvc:b:/images:ro,cpus=1.5,node-selector=disk=ssd")
    assert job_resources(as_json) == job_resources(as_pairs)
    found = job_resources(as_json)
    assert (found.memory_mib, found.cpus, found.minutes) == (2048, 2, None)
    assert json.loads(found.options["volume"] or "") == [
        {"claim": "a", "path": "/data", "only": False},
        {"claim": "b", "path": "/images", "only": True},
    ]


def test_other_names_of_a_key_are_that_key() -> None:
    """So that an option overrules the profile, however the two are spelled."""
    assert parsed("cpus=2,memory=1G,volumes=pvc:a:/a") == {"cpu": "2", "mem": "1G", "volume": "pvc:a:/a"}


@pytest.mark.parametrize("text", [None, "", "  "])
def test_nothing_is_no_option(text: str | None) -> None:
    found = job_resources(parsed(text))
    assert (found.memory_mib, found.cpus, found.minutes, dict(found.options)) == (None, None, None, {})


def test_an_unknown_key_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match=r"partition is not known.*choose one of: .*active-deadline.*mem, .*volume"):
        job_resources(parsed("partition=long"))


def test_what_wkpipe_sets_is_refused() -> None:
    with pytest.raises(UsageError, match="backoff-limit is set by wkpipe itself"):
        job_resources({"backoff-limit": 3})


def test_all_keys_can_be_given() -> None:
    """None is a leftover: each value is read."""
    given = {
        "cpu-limit": "2",
        "context": "lab",
        "namespace": "em-lab",
        "run-as-user": "cluster",
        "labels": "a=b",
        "lost-minutes": 3,
        "node-minutes": "0",
    }
    assert job_resources(given).options.keys() == given.keys()
    assert given.keys() <= VALUES.keys()


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("mem", "4X", "an amount of memory"),
        ("mem", "0", "cannot request all of a node"),
        ("cpu", "0", "expected cores like"),
        ("cpu", "many", "expected cores like"),
        ("cpu", True, "expected cores like"),
        ("cpu-limit", "-1", "expected cores like"),
        ("memory-limit", "lots", "an amount of memory"),
        ("ephemeral-storage", "0", "above zero"),
        ("namespace", "Lab", "small letters"),
        ("namespace", 5, "small letters"),
        ("image", "two words", "without spaces"),
        ("image", "", "without spaces"),
        ("pull-policy", "sometimes", "Always, IfNotPresent, Never"),
        ("pull-secrets", "a,,b", "names like a,b"),
        ("pull-secrets", {}, "names like a,b"),
        ("node-selector", "ssd", "JSON object"),
        ("node-selector", "a b=c", "not possible"),
        ("tolerations", "spot", "expected JSON"),
        ("tolerations", {"key": "spot"}, "JSON list"),
        ("tolerations", [], "JSON list"),
        ("affinity", [], "JSON object"),
        ("labels", {"wkpipe/run": "x"}, "set by wkpipe itself"),
        ("labels", {"a": "two words"}, "not possible"),
        ("labels", {"a": True}, "not possible"),
        ("annotations", "note", "JSON object"),
        ("volume", "shared:/data", "pvc:NAME:/path"),
        ("volume", "pvc:shared:data", "pvc:NAME:/path"),
        ("volume", "pvc:Shared:/data", "pvc:NAME:/path"),
        ("volume", "pvc:shared:/", "scratch space"),
        ("volume", "pvc:shared:/tmp/", "scratch space"),
        ("volume", "pvc:shared:/a/../b", "neither"),
        ("volume", "pvc:a:/data,pvc:b:/data", "given twice"),
        ("volume", None, "volumes like"),
        ("run-as-user", 0, "not root"),
        ("run-as-user", "ada", "not root"),
        ("run-as-group", "0", "group"),
        ("supplemental-groups", "1,x", "group"),
        ("fs-group", -1, "group"),
        ("active-deadline", "soon", "a time like"),
        ("env", "A", "JSON object"),
        ("env", {"WKPIPE_RUN": "x"}, "set by wkpipe itself"),
        ("env", {"WK_TOKEN": "x"}, "no token"),
        ("env", {"A-B": "x"}, "not possible"),
        ("env-secret", "A_B", "small letters"),
        ("keep-minutes", "1.5", "minutes like 30"),
        ("image-minutes", True, "minutes like 30"),
    ],
)
def test_a_wrong_value_is_one_clear_line(key: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refusal:
        job_resources({key: value})
    assert key in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("quantity, wanted", [("2", 2), ("1.5", Fraction(3, 2)), ("1930m", Fraction(193, 100))])
def test_cores(quantity: str, wanted: Fraction) -> None:
    assert cores(quantity) == wanted


@pytest.mark.parametrize(
    "quantity, wanted",
    [("24666960Ki", 24088), ("1Gi", 1024), ("1073741824", 1024), ("1G", 953), ("1073741824000m", 1024), ("0", 0)],
)
def test_memory_of_nodes(quantity: str, wanted: int) -> None:
    assert mib(quantity) == wanted
