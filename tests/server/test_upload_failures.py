"""The failure cases of uploads; the numbers are those of the table in docs/upload.md."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.server.upload_helpers import (
    FAST,
    IMPATIENT,
    SECRET,
    STEADY,
    Recorder,
    Stage,
    ended,
    interrupted_when,
    program,
    write_chunk_files,
)
from wkpipe import Dataset
from wkpipe.errors import InputRefused, IntegrityError, Interrupted, ServerError, UsageError
from wkpipe.geometry import Mag
from wkpipe.server.upload.uploading import cancel, select_files, status, upload

pytestmark = pytest.mark.sampled(every=3)


@pytest.fixture(autouse=True)
def nothing_shows_the_token(tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check after every case that no file, no output and no log of any library contains the token."""
    caplog.set_level(logging.DEBUG)
    yield
    out, err = capfd.readouterr()
    assert SECRET not in out + err + caplog.text
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


class Watch(Recorder):
    """Collects the ports from which this process is connected to the datastore."""

    def __init__(self, stage: Stage, ports: set[int]) -> None:
        super().__init__()
        self._port, self._ports = int(stage.server.datastore_url.rpartition(":")[2]), ports

    def moved(self, done: int, total: int) -> None:
        connections = psutil.Process().net_connections("tcp4")
        self._ports |= {c.laddr.port for c in connections if c.raddr and c.raddr.port == self._port}


# -- before anything is sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"body": "<html>Welcome</html>", "content_type": "text/html"},
        {"status": 404},
        {"body": '{"webknossos": {}}'},
        {"body": '{"httpApiVersioning": {"currentApiVersion": 12, "oldestSupportedApiVersion": 5}}'},
        {"body": '{"httpApiVersioning": {"currentApiVersion": 40, "oldestSupportedApiVersion": 30}}'},
    ],
)
def test_case_01_a_server_of_no_known_version(stage: Stage, fault: dict[str, object]) -> None:
    stage.fail("buildinfo", **fault)
    stage.refused(ServerError, r"version")
    assert stage.routes() == ["buildinfo"]


def test_case_02_no_datastore_takes_uploads(stage: Stage) -> None:
    stage.server.settings.datastores = "readonly"
    stage.refused(ServerError, "has no datastore that accepts uploads")
    assert stage.count("reserve") == 0


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("route", ["folders", "datastores", "name", "user", "reserve", "chunk", "finish", "dataset"])
def test_case_03_a_wrong_token_anywhere(stage: Stage, route: str, code: int) -> None:
    stage.fail(route, status=code, body=f"Token may be expired: {SECRET}", count=None)
    error = stage.refused(ServerError, rf"{code}.*token", folder="A", jobs=1)
    assert SECRET not in error
    assert stage.count(route) == 1


@pytest.mark.parametrize("name", ["my data", "a/b/c", ".abc", "ab", "abc?d", "abc#d"])
def test_case_04_an_invalid_name(stage: Stage, name: str) -> None:
    stage.refused(InputRefused, "is not possible on a server", name=name)
    assert stage.routes() == []


def test_case_04_a_name_that_the_server_alone_refuses(stage: Stage) -> None:
    stage.fail("name", body='{"isValid": false, "errors": "dataset.name.reserved"}')
    stage.refused(InputRefused, r"does not accept the dataset name .*: dataset\.name\.reserved;")
    assert stage.count("reserve") == 0


def test_case_05_folders(stage: Stage) -> None:
    stage.refused(InputRefused, r"has no folder A/nothing; choose one of .*A/B", folder="A/nothing")
    stage.refused(InputRefused, "may not add datasets to the folder", folder="locked")
    assert stage.count("reserve") == 0
    for folder in ("A/B", f"{stage.root_folder}/A/B", "A/B/"):
        assert stage.folder_of(stage.upload(name="in_folder", folder=folder, again=True).dataset_id) == stage.folders["A/B"]


def test_case_06_quota_exceeded(stage: Stage) -> None:
    stage.fail("reserve", status=403, body='{"messages": [{"error": "Storage quota exceeded"}]}')
    stage.refused(ServerError, "Storage quota exceeded")
    assert stage.count("reserve") == 1
    assert stage.count("chunk") == 0


def test_case_07_the_answer_to_reserve_is_lost(stage: Stage) -> None:
    stage.fail("reserve", close=True, performed=True)
    stage.succeeds()
    assert stage.count("reserve") == 2
    assert stage.rows() == 1


def test_case_08_reserve_fails_twice(stage: Stage) -> None:
    stage.fail("reserve", status=503, count=2)
    stage.succeeds()
    assert stage.count("reserve") == 3
    assert stage.rows() == 1


# -- chunks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_case_09_and_10_a_chunk_fails_now_and_then(stage: Stage, code: int) -> None:
    stage.fail("chunk", status=code, skip=2, count=3)
    stage.succeeds()


def test_case_09_retry_after_is_kept(stage: Stage) -> None:
    stage.fail("chunk", status=429, headers={"Retry-After": "1"}, skip=1)
    begin = time.monotonic()
    stage.succeeds()
    assert time.monotonic() - begin >= 1


def test_case_10_a_server_that_does_not_recover(stage: Stage) -> None:
    stage.fail("chunk", status=500, count=None, skip=5)
    seen = Recorder()
    stage.refused(ServerError, r"500.*no progress for .*run the same command again", progress=seen)
    assert any("500" in text and "trying again in" in text for text in seen.troubles)
    stage.clear_faults()
    stage.resumes()


@pytest.mark.parametrize("performed", [False, True])
@pytest.mark.parametrize("route", ["chunk"])
def test_case_11_a_connection_breaks(stage: Stage, route: str, performed: bool) -> None:
    stage.fail(route, close=True, performed=performed, skip=1, count=4)
    stage.succeeds()


def test_case_11_a_connection_breaks_within_a_chunk(stage: Stage) -> None:
    stage.fail("chunk", close_at=1500, skip=1, count=3)
    stage.succeeds()


@pytest.mark.parametrize("performed", [False, True])
def test_case_12_a_chunk_stalls(stage: Stage, performed: bool) -> None:
    stage.fail("chunk", stall=200.0, performed=performed, skip=3, count=2)
    stage.succeeds(policy=IMPATIENT)


@pytest.mark.parametrize("code", [400, 404, 405, 409, 415, 501])
def test_case_13_a_chunk_is_refused(stage: Stage, code: int) -> None:
    stage.fail("chunk", status=code, skip=4, count=None)
    stage.refused(ServerError, rf"sending color/.*{code}", jobs=1)
    assert stage.count("chunk") == 5  # no second try
    stage.clear_faults()
    stage.resumes()


def test_case_13_a_chunk_that_is_there_although_it_was_refused(stage: Stage) -> None:
    stage.fail("chunk", status=400, performed=True, skip=2)
    stage.succeeds()


def test_case_14_chunks_are_too_large_for_a_proxy(stage: Stage) -> None:
    big = stage.big_file(5 << 20)
    stage.fail("chunk", where=f"{big}#", status=413, count=2)
    stage.succeeds(chunk_bytes=8 << 20)
    sizes = [int(entry.multipart["resumableChunkSize"]) for entry in stage.entries("chunk") if entry.multipart and big in entry.subject]
    assert sorted(set(sizes)) == [5 << 18, 5 << 19, 8 << 20]


def test_case_14_chunks_are_too_large_after_one_was_taken(stage: Stage) -> None:
    big = stage.big_file(5 << 20)
    stage.fail("chunk", where=f"{big}#3", status=413)
    stage.refused(ServerError, "413.*smaller --chunk-size", chunk_bytes=1 << 20)


@pytest.mark.parametrize("code", [401, 403])
def test_case_15_the_token_expires_meanwhile(stage: Stage, code: int) -> None:
    stage.fail("chunk", status=code, body="Token may be expired", skip=8, count=None)
    stage.refused(ServerError, "token", jobs=2)
    stage.clear_faults()
    stage.resumes(resent=2)


@pytest.mark.parametrize("route", ["buildinfo", "datastores", "reserve", "chunk", "finish"])
def test_case_16_redirects_are_not_followed(stage: Stage, route: str) -> None:
    stage.fail(route, redirect="", count=None)
    stage.refused(ServerError, "a redirect to http://127.0.0.1:.*which is not followed")
    assert stage.count_at("foreign") == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_case_17_and_29_the_process_is_killed(stage: Stage, number: signal.Signals) -> None:
    stage.fail("chunk", delay=0.05, count=11)
    stage.fail("chunk", delay=1.0, count=None)  # so slow that it is still sending
    process = program(stage, "--jobs", "2")
    stage.wait_for("chunk", 12)
    process.send_signal(number)
    code, _, err = ended(process)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert "the same command" in err
        assert "--cancel" in err
    stage.clear_faults()
    stage.resumes(resent=2)


def test_case_18_the_server_restarts(stage: Stage) -> None:
    stage.fail("chunk", delay=0.05, count=None)
    process = program(stage)
    stage.wait_for("chunk", 8)
    stage.restart()
    code, _, err = ended(process)
    assert code == 0, err
    assert stage.rows() == 1


# -- the dataset ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["rewritten", "truncated", "deleted", "touched"])
def test_case_19_a_file_changes_meanwhile(stage: Stage, how: str) -> None:
    victim = stage.files()[-2]  # the last data file

    def change() -> None:
        if how == "deleted":
            victim.unlink()
        elif how == "touched":
            os.utime(victim)
        else:
            victim.write_bytes(victim.read_bytes()[: 10 if how == "truncated" else None])

    seen = Recorder(after=3000, then=change)
    stage.refused(IntegrityError, "has changed since its upload began", progress=seen, jobs=1)
    assert stage.count("finish") == 0


def test_case_19_a_file_that_was_sent_changes(stage: Stage) -> None:
    victim = stage.files()[0]
    seen = Recorder(after=stage.size() - 100, then=lambda: os.utime(victim))
    stage.refused(IntegrityError, f"{victim.name} has changed", progress=seen, jobs=1)
    assert stage.count("finish") == 0
    stage.refused(InputRefused, r"with other files \(.*has changed\); pass --again")
    stage.succeeds(again=True)


@pytest.mark.parametrize("part", [{}, {"finest_mag": Mag(2)}])
@pytest.mark.parametrize("after", [3000, -100], ids=["while data are sent", "when all is sent"])
def test_case_19_the_properties_change(stage: Stage, part: dict[str, Any], after: int) -> None:
    """The properties of a part differ from those on the disk; a change of the latter counts too."""
    file = stage.dataset / "datasource-properties.json"
    size = select_files(stage.request(**part)).size
    seen = Recorder(after=after % size, then=lambda: file.write_bytes(file.read_bytes().replace(b'"team": ""', b'"team": "x"')))
    stage.refused(IntegrityError, "datasource-properties.json has changed since its upload began", progress=seen, jobs=1, **part)
    assert stage.count("finish") == 0
    if after > 0:
        assert not [entry for entry in stage.entries("chunk") if "datasource-properties.json" in entry.subject], "it is not sent then"
    assert stage.succeeds(again=True, **part)


def test_case_19_a_downsample_meanwhile(stage: Stage) -> None:
    before = {path.relative_to(stage.dataset).as_posix() for path in stage.files()}
    seen = Recorder(after=3000, then=lambda: Dataset.open(stage.dataset).get_layer("color").downsample(coarsest_mag=Mag(16)))
    stage.refused(IntegrityError, "datasource-properties.json has changed since its upload began", progress=seen, jobs=1)
    assert stage.count("finish") == 0
    assert stage.succeeds(again=True) > before


def test_case_19_properties_that_are_touched_are_the_same(stage: Stage) -> None:
    stage.succeeds(progress=Recorder(after=3000, then=lambda: os.utime(stage.dataset / "datasource-properties.json")), jobs=1)


def test_case_20_an_empty_file(stage: Stage) -> None:
    (stage.dataset / "color/1/empty").touch()
    seen = Recorder()
    stage.succeeds(progress=seen)
    assert any("empty" in text and "color/1/empty" in text for text in seen.notices)


def test_case_21_links_pipes_and_odd_names(stage: Stage) -> None:
    os.mkfifo(stage.dataset / "color/1/fifo")
    (stage.dataset / "color/1/ä ö.txt").write_text("sent")
    assert "color/1/ä ö.txt" in stage.succeeds()
    (stage.dataset / "color/1/link").symlink_to("/etc/hostname")
    stage.refused(InputRefused, "leads out of the dataset", name="other")
    (stage.dataset / "color/1/link").unlink()
    (stage.dataset / "color/1/a\nb").write_text("x")
    stage.refused(InputRefused, "this name cannot be sent", name="other")


# -- finish ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_case_22_finish_fails_before_it_begins(stage: Stage, code: int) -> None:
    stage.fail("finish", status=code)
    stage.succeeds()
    assert stage.count("finish") == 2
    assert stage.count("test") > 0  # asked before it was repeated


@pytest.mark.parametrize(
    "fault",
    [
        {"close": True},
        {"status": 504},
        {"status": 502},
        {"stall": 200.0},
    ],
)
def test_case_23_finish_is_done_and_its_answer_is_lost(stage: Stage, fault: dict[str, object]) -> None:
    stage.fail("finish", performed=True, **fault)
    stage.succeeds(policy=IMPATIENT)
    assert stage.count("finish") == 1


def test_case_23_where_the_id_is_not_known_beforehand(stage: Stage) -> None:
    stage.fail("datasets", status=404, skip=1, count=1)  # the question after reserve
    stage.fail("finish", performed=True, close=True)
    stage.succeeds()


def test_case_23_in_another_process(stage: Stage) -> None:
    stage.fail("finish", performed=True, stall=200.0)
    process = program(stage, finish=200)
    stage.wait_for("finish", 1)
    stage.wait_until_finished()
    process.kill()
    ended(process)
    assert status(stage.request()).state == "finishing"  # type: ignore[union-attr]
    stage.succeeds()
    assert stage.count("finish") == 1


def test_case_24_chunks_are_missing_at_the_end(stage: Stage) -> None:
    lost: list[str] = []
    seen = Recorder(at="the server makes a dataset", then=lambda: lost.extend(stage.lose_chunks(2)))
    stage.succeeds(progress=seen)
    assert stage.count("finish") == 2
    assert len(lost) == 2
    for subject in lost:
        assert len([entry for entry in stage.entries("chunk") if entry.subject == subject]) == 2


def test_case_25_the_server_can_not_read_the_dataset(stage: Stage) -> None:
    file = stage.dataset / "datasource-properties.json"
    sound = file.read_bytes()
    broken = json.loads(sound)
    broken["dataLayers"][0]["boundingBox"]["width"] = 0
    file.write_text(json.dumps(broken))
    stage.refused(ServerError, "do not make a usable dataset.*cannot be resumed.*--again")
    assert stage.count("finish") == 1
    stage.refused(ServerError, "the last try failed")
    assert stage.count("finish") == 1
    assert status(stage.request()).state == "failed"  # type: ignore[union-attr]
    file.write_bytes(sound)
    stage.refused(InputRefused, "with other files")
    stage.succeeds(again=True)


def test_case_25_a_refusal_that_changes_nothing_is_not_repeated(stage: Stage) -> None:
    stage.fail("finish", status=400, body='{"messages": [{"error": "no room"}]}', count=None)
    stage.refused(ServerError, "no room.*cannot be resumed")
    assert stage.count("finish") == 1


def test_case_26_finish_takes_long(stage: Stage) -> None:
    stage.fail("finish", delay=2.0)
    seen = Recorder()
    stage.succeeds(progress=seen)
    assert stage.count("finish") == 1
    assert any("makes a dataset" in text and re.search(r" [1-9]\d* s\b", text) for text in seen.texts)


@pytest.mark.parametrize(
    "fault",
    [
        {"body": "<html>OK</html>", "content_type": "text/html"},
        {"truncate": True},
        {"cut": True},
        {"body": "{}"},
        {"body": '{"datasetId": "../../evil"}'},
    ],
)
def test_case_27_finish_answers_garbage(stage: Stage, fault: dict[str, object]) -> None:
    stage.fail("finish", **fault)
    stage.succeeds()
    assert stage.count("finish") == 1


def test_case_27_finish_answers_as_older_servers_do(legacy_stage: Stage) -> None:
    legacy_stage.succeeds()
    (finish,) = legacy_stage.entries("finish")
    assert finish.path == "/data/v13/datasets/finishUpload"
    assert {entry.path for entry in legacy_stage.entries("chunk")} == {"/data/datasets"}


def test_case_28_the_dataset_is_not_usable_afterwards(stage: Stage) -> None:
    stage.fail("dataset", body='{"dataSource": {"status": "Cannot be read"}}', count=None)
    stage.refused(ServerError, "is not usable: Cannot be read")
    stage.clear_faults()
    stage.succeeds()
    assert stage.count("finish") == 1


# -- stopped, given up, many ----------------------------------------------------------------------------------------


def test_case_29_a_library_call_is_interrupted(stage: Stage) -> None:
    stage.fail("chunk", stall=200.0, skip=6, count=None)
    with pytest.raises(Interrupted), interrupted_when(lambda: stage.count("chunk") > 6):
        upload(stage.request(), stage.token, None, replace(STEADY, idle=200.0))
    stage.clear_faults()
    stage.resumes(resent=5)


def test_case_30_cancelling(stage: Stage) -> None:
    stage.fail("chunk", status=400, skip=6, count=None)
    stage.refused(ServerError, "400")
    stage.clear_faults()
    stage.fail("cancel", status=403, body='{"messages": [{"error": "Not allowed to delete"}]}')
    with pytest.raises(ServerError, match="Not allowed to delete"):
        cancel(stage.request(), stage.token, FAST)
    assert status(stage.request()).state == "sending"  # type: ignore[union-attr]
    cancel(stage.request(), stage.token, FAST)
    assert status(stage.request()) is None
    assert stage.rows() == 0
    with pytest.raises(InputRefused, match="there is no upload"):
        cancel(stage.request(), stage.token, FAST)
    stage.succeeds()


def test_case_31_many_small_files(stage: Stage) -> None:
    write_chunk_files(stage.dataset / "color/1/more", 2000)
    ports: set[int] = set()
    stage.succeeds(progress=Watch(stage, ports), jobs=5)
    assert 1 <= len(ports) <= 7  # each is kept and used again
    assert stage.server.most_chunks_in_flight <= 5


def test_case_32_chunks_of_a_file_in_parallel(stage: Stage) -> None:
    big = stage.big_file(3 << 20)
    stage.fail("chunk", where=f"{big}#2", delay=0.3)
    stage.succeeds(chunk_bytes=100_000, jobs=5)
    order = [entry.subject.rpartition("#")[2] for entry in stage.entries("chunk") if big in entry.subject]
    assert len(order) == 32
    assert stage.server.most_chunks_in_flight > 1


# -- beyond the list ------------------------------------------------------------------------------------------------


def test_uploaded_already(stage: Stage) -> None:
    first = stage.upload()
    count = len(stage.routes())
    again = stage.upload()
    assert again.was_there
    assert (again.dataset_id, again.url) == (first.dataset_id, first.url)
    assert stage.routes()[count:] == ["buildinfo", "dataset", "dataset"]
    third = stage.upload(again=True)
    assert third.dataset_id != first.dataset_id
    assert not third.was_there


def test_uploads_of_two_names_do_not_mix(stage: Stage) -> None:
    stage.fail("chunk", status=400, skip=6, count=None)
    stage.refused(ServerError, "400", name="one")
    stage.clear_faults()
    stage.succeeds(name="two")
    stage.resumes(name="one")


def test_two_processes_at_one_upload(stage: Stage) -> None:
    stage.fail("chunk", delay=1.0, count=None)
    process = program(stage, without_progress=60.0)
    stage.wait_for("chunk", 3)
    second = program(stage)
    code, out, err = ended(second)
    assert code == 75, out + err
    assert re.search(r"process \d+ .*is working on this upload", err)
    stage.clear_faults()
    code, out, err = ended(process)
    assert code == 0, err


def test_an_upload_that_was_cancelled_elsewhere_begins_anew(stage: Stage) -> None:
    stage.fail("chunk", status=400, skip=6, count=None)
    stage.refused(ServerError, "400")
    stage.clear_faults()
    stage.forget_uploads()
    seen = Recorder()
    stage.succeeds(progress=seen)
    assert any("uploading again" in text for text in seen.notices)


def test_a_datastore_that_is_not_the_servers(stage: Stage) -> None:
    stage.refused(ServerError, "has no datastore elsewhere", datastore="elsewhere")
    with pytest.raises(UsageError):
        upload(stage.request(url="http://example.org"), stage.token)
    assert stage.count("reserve") == 0


def test_the_dataset_is_not_written_to(stage: Stage, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in stage.dataset.rglob("*") if ".wkpipe" not in path.parts}
    stage.upload(state=tmp_path / "state")
    assert {path: path.stat().st_mtime_ns for path in stage.dataset.rglob("*") if ".wkpipe" not in path.parts} == before
    assert (tmp_path / "state/uploads").is_dir()
    shutil.rmtree(tmp_path / "state")


def test_the_command(stage: Stage) -> None:
    process = program(stage)
    code, out, err = ended(process)
    assert code == 0, err
    assert f"{stage.url}/datasets/" in out
    assert " bytes" not in err
    shown = subprocess.run(stage.command("--status"), capture_output=True, text=True, check=True)
    assert "done" in shown.stdout
    dry = subprocess.run(stage.command("--dry-run"), capture_output=True, text=True, check=True)
    assert "datasource-properties.json" in dry.stdout
    assert f"{stage.size():,}" in dry.stdout
