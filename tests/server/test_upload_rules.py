"""Rules of the protocol and of waiting that the failure cases alone do not test."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.server.upload_helpers import FAST, STEADY, Recorder, Stage
from wkpipe.errors import InputRefused, ServerError
from wkpipe.server.http import connection
from wkpipe.server.http.connection import Patience
from wkpipe.server.http.network import Network
from wkpipe.server.http.policy import Policy
from wkpipe.server.upload import datastore
from wkpipe.server.upload.uploading import cancel


def test_finish_waits_for_what_the_server_may_still_be_writing(stage: Stage) -> None:
    stage.fail("chunk", where="datasource-properties.json", close=True, performed=True)
    stage.succeeds(policy=replace(STEADY, settle=0.8))
    broken = [entry for entry in stage.entries("chunk") if entry.fault]
    (finish,) = stage.entries("finish")
    assert finish.seconds - broken[-1].seconds >= 0.8


def test_the_properties_are_sent_when_all_else_is_there(stage: Stage) -> None:
    stage.fail("chunk", delay=0.2, count=3)
    stage.succeeds(jobs=8)
    chunks = stage.entries("chunk")
    of_properties = ["/datasource-properties.json#" in chunk.subject for chunk in chunks]
    assert of_properties == sorted(of_properties)
    assert chunks[of_properties.index(True)].in_flight == 1


def test_a_large_request_may_take_longer() -> None:
    policy = Policy()
    assert policy.total(1000) == policy.least_total
    assert policy.total(100 << 20) == (100 << 20) / policy.least_rate > policy.least_total


def test_a_folder_that_two_spellings_mean_is_refused(stage: Stage) -> None:
    stage.server.add_folder(f"{stage.root_folder}/A")
    stage.refused(InputRefused, "give the whole path with the name of the root", folder=f"{stage.root_folder}/A")


def test_uploads_to_other_folders_are_other_uploads(stage: Stage) -> None:
    first, second = stage.upload(folder="A"), stage.upload(folder="A/B")
    assert stage.folder_of(first.dataset_id) == stage.folders["A"]
    assert stage.folder_of(second.dataset_id) == stage.folders["A/B"]


def test_what_the_server_has_forgotten_can_be_cancelled(stage: Stage) -> None:
    stage.fail("chunk", skip=3, count=None, status=404)
    stage.refused(ServerError, "injected 404")
    stage.clear_faults()
    stage.forget_uploads()
    assert cancel(stage.request(), stage.token, FAST).state == "sending"
    with pytest.raises(InputRefused, match="there is no upload"):
        cancel(stage.request(), stage.token, FAST)


def test_finish_is_not_asked_for_again_while_the_server_may_be_at_it(stage: Stage) -> None:
    stage.fail("finish", status=503)
    stage.succeeds(policy=replace(STEADY, verify_stuck=0.8))
    first, second = stage.entries("finish")
    assert second.seconds - first.seconds >= 0.8


def test_a_run_asks_twice_to_finish_at_most(stage: Stage) -> None:
    stage.fail("finish", status=503, count=None)
    stage.refused(ServerError, "run the same command again later")
    assert stage.count("finish") == 2
    stage.clear_faults()
    stage.resumes()


def test_of_several_new_datasets_none_is_taken_for_the_uploaded_one(stage: Stage) -> None:
    stage.fail("datasets", skip=1, status=404)  # so that the new dataset's id is not known
    stage.fail("finish", close=True, performed=True)
    another = Recorder(at="the server makes", then=lambda: stage.server.add_dataset(stage.dataset, "my_data"))
    stage.refused(ServerError, "does not report the outcome of the upload", progress=another)
    assert stage.count("finish") == 1


def test_progress_gives_new_patience(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Network(stage.token, Policy(first_pause=0.001, without_progress=30)) as network:
        patience = Patience(network)
        for _ in range(4):
            patience.wait(ServerError("it fails"))
            now[0] += 15
            patience.progressed()
        patience.wait(ServerError("it fails"))
        now[0] += 31
        with pytest.raises(ServerError, match="no progress for"):
            patience.wait(ServerError("it fails"))


def test_a_large_chunk_that_may_have_arrived_is_asked_for_before_it_is_sent_again(stage: Stage) -> None:
    name = stage.big_file(300_000)
    stage.fail("chunk", where=f"{name}#2", close=True, performed=True)
    stage.succeeds(chunk_bytes=100_000)
    assert len([entry for entry in stage.entries("chunk") if entry.subject.endswith(f"{name}#2")]) == 1
    assert stage.count("test") == 1


def test_a_reservation_with_too_many_paths_goes_without_them(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datastore, "MOST_PATH_BYTES", 10)
    stage.succeeds()
    (reservation,) = stage.entries("reserve")
    assert "filePaths" not in reservation.json["resumableUploadInfo"]


def test_a_dataset_that_was_deleted_on_the_server_is_uploaded_anew(stage: Stage) -> None:
    first = stage.upload()
    assert stage.upload().was_there
    del stage.server.state.datasets[first.dataset_id]
    seen = Recorder()
    stage.succeeds(progress=seen)
    assert any("is gone from the server: uploading again" in notice for notice in seen.notices)
