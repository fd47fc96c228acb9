"""The values of --job-resources, and their meaning."""

from __future__ import annotations

import pytest

from wkpipe.cluster.resources import JobResources, memory_mib, minutes, needed_mib, predicted_mb
from wkpipe.cluster.slurm.options import job_resources, parsed
from wkpipe.errors import UsageError


@pytest.mark.parametrize(
    "text,mib",
    [
        ("10M", 10),
        ("4G", 4096),
        ("4g", 4096),
        ("1.5G", 1536),
        ("512", 512),
        (2000, 2000),
        ("1K", 1),
        ("2T", 2 << 20),
        ("4GB", 4096),
        ("0", 0),
    ],
)
def test_memory_is_in_units_of_slurm(text: str | int, mib: int) -> None:
    assert memory_mib(text) == mib


@pytest.mark.parametrize("text", ["", "4X", "-1G", "G", "1 2", True, None])
def test_what_is_no_memory_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="memory"):
        memory_mib(text)


@pytest.mark.parametrize(
    "text,wanted",
    [
        (90, 90),
        ("90", 90),
        ("0:30", 1),
        ("2:00", 2),
        ("1:00:00", 60),
        ("1:00:01", 61),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("2-00:00:01", 2881),
    ],
)
def test_time_is_in_the_forms_of_slurm(text: str | int, wanted: int) -> None:
    assert minutes(text) == wanted


@pytest.mark.parametrize("text", ["", "1h", "1:2:3:4", "0", "0:00", "-5", True, "infinite"])
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="time"):
        minutes(text)


def test_json_and_pairs_mean_the_same() -> None:
    pairs = parsed("mem=4G,time=1:30:00,partition=gpu,exclude=n1,n[3-5],exclusive,cpus_per_task=8,gres=gpu:1")
    json = parsed(
        '{"mem": "4G", '
        '"time": "1:30:00", "partition": "gpu", "exclude": "n1,n[3-5]", "exclusive": true, "cpus-per-task": 8, "gres": "gpu:1"}'
    )
    expected = JobResources(
        memory_mib=4096, minutes=90, cpus=8, options={"partition": "gpu", "exclude": "n1,n[3-5]", "gres": "gpu:1", "exclusive": None}
    )
    assert job_resources(pairs) == job_resources(json) == expected


def test_nothing_asks_for_nothing() -> None:
    assert job_resources(parsed(None)) == job_resources(parsed(" ")) == JobResources()


def test_extra_arguments_stay_apart() -> None:
    assert job_resources({"extra": "--hint=nomultithread --core-spec='2'"}).extra == ("--hint=nomultithread", "--core-spec=2")
    assert job_resources({"extra": ["--hint=a b"]}).extra == ("--hint=a b",)


@pytest.mark.parametrize(
    "text,said",
    [
        ("memory=4G", "memory is not known; choose one of: account, "),
        ("mem=4G,partiton=x", "partiton is not known"),
        ('{"output": "x"}', "output is set by wkpipe"),
        ("mem=lots", "mem 'lots' is not valid: expected an amount of memory"),
        ("time=soon", "time 'soon' is not valid"),
        ("cpus-per-task=0", "cpus-per-task '0' is not valid"),
        ("mem=1G,mem-per-cpu=1G", "exclude each other"),
        ('{"mem": "1G"', "not valid JSON"),
        ("[1]", "expected JSON, or key=value"),
        ("4G", "expected JSON, or key=value"),
        ('{"partition": ["a"]}', "partition ['a'] is not valid"),
        ('{"partition": "a\\nb"}', "is not valid"),
        ("extra=--output=x", "--output is set by wkpipe itself"),
        ("extra=--mem=5", "mem has a key of its own"),
        ("extra=--outp=x", "--outp is set by wkpipe itself"),
        ("extra=--part=x", "part has a key of its own"),
        ("extra=-J name", "'-J' is not of the form --option=value"),
        ("extra=--hint nomultithread", "'nomultithread' is not of the form"),
        ('{"extra": ["--hint=a\\nb"]}', "is not of the form"),
        ("exclusive=maybe", "expected true or false"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        job_resources(parsed(text))
    assert said in str(caught.value)


def test_memory_for_each_core() -> None:
    assert job_resources({"mem-per-cpu": "1G"}).memory_of(4) == 4096
    assert job_resources({"mem": "0"}).memory_of(4) is None


@pytest.mark.parametrize("mem_mb", [60, 100, 333, 5000])
def test_a_request_is_enough_for_the_prediction_it_is_made_of(mem_mb: int) -> None:
    request = needed_mib(mem_mb, 4)
    assert request * (1 << 20) > 1.15 * mem_mb * 1e6
    assert mem_mb <= predicted_mb(request, 4) <= mem_mb + 1
