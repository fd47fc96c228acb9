"""Requests compared with the recorded traffic of the reference client: all parts that a server reads are the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.material import DATA
from tests.server.upload_helpers import Stage

READ_OF_A_CHUNK = [
    "resumableChunkSize",
    "resumableIdentifier",
    "resumableTotalChunks",
    "resumableChunkNumber",
    "resumableCurrentChunkSize",
    "file",
]
"""The fields of a chunk's form that a server reads; it ignores the others."""


SCENARIOS = {"base": "base", "legacy": "api13"}
"""The recorded scenarios by the generation of the server; the old one supports API 13."""


def recorded(scenario: str) -> list[dict[str, Any]]:
    lines = (DATA / "upload-recorded.jsonl").read_text().splitlines()
    return [request for request in map(json.loads, lines) if request["scenario"] == scenario]


def shape(path: str) -> str:
    """Return a path without names and ids."""
    return re.sub(r"/datasets/(?!upload)[^/]+/isValidNewName", "/datasets/NAME/isValidNewName", re.sub(r"[0-9a-f]{24}", "ID", path))


def kinds(value: Any) -> Any:
    """Return the types in a JSON value, by key."""
    return {key: kinds(each) for key, each in value.items()} if isinstance(value, dict) else type(value).__name__


@pytest.fixture(params=SCENARIOS)
def both(request: pytest.FixtureRequest) -> tuple[list[dict[str, Any]], Stage]:
    """Return the recorded requests, and a stage with wkpipe's requests to a server of the same generation."""
    stage: Stage = request.getfixturevalue("stage" if request.param == "base" else "legacy_stage")
    stage.succeeds(name="tiny")
    return recorded(SCENARIOS[request.param]), stage


def test_the_order_of_routes_is_the_same(both: tuple[list[dict[str, Any]], Stage]) -> None:
    theirs, stage = both
    ours = [(entry.method, shape(entry.path)) for entry in stage.server.log if entry.route not in ("datasets", "test")]
    upto = [(request["method"], shape(request["path"])) for request in theirs]
    upto = upto[: next(i for i, (_, path) in enumerate(upto) if "finishUpload" in path) + 1]
    assert list(dict.fromkeys(ours))[: len(dict.fromkeys(upto))] == list(dict.fromkeys(upto))
    assert ours[-1] in [(request["method"], shape(request["path"])) for request in theirs]


def test_reserve_says_the_same_and_more(both: tuple[list[dict[str, Any]], Stage]) -> None:
    theirs, stage = both
    (entry,) = stage.entries("reserve")
    (request,) = [each for each in theirs if each["path"].endswith("reserveUpload")]
    ours, expected = kinds(entry.json), kinds(request["json"])
    for key, kind in expected.items():
        assert (ours[key] if not isinstance(kind, dict) else {name: ours[key][name] for name in kind}) == kind
    more = set(ours) - set(expected) | set(ours.get("resumableUploadInfo", {})) - set(expected.get("resumableUploadInfo", {}))
    assert more <= {"filePaths", "requireUniqueName"}
    (upload_id,) = [value for value in [entry.json.get("uploadId"), entry.json.get("resumableUploadInfo", {}).get("uploadId")] if value]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d__[0-9a-f-]{36}", upload_id)


def test_chunks_have_the_same_form(both: tuple[list[dict[str, Any]], Stage]) -> None:
    theirs, stage = both
    request = next(
        each for each in theirs if "multipart" in each and each["multipart"]["resumableRelativePath"] == "datasource-properties.json"
    )
    (entry,) = [
        each
        for each in stage.entries("chunk")
        if "datasource-properties.json" in each.subject and each.multipart["resumableChunkNumber"] == "1"
    ]
    assert entry.order == request["multipart_field_order"]
    assert set(READ_OF_A_CHUNK) <= set(entry.order)
    same = ["resumableType", "resumableFilename", "resumableRelativePath"]
    assert {name: entry.multipart[name] for name in same} == {name: request["multipart"][name] for name in same}
    assert {name: entry.multipart["file"][name] for name in ("filename", "content_type")} == {
        name: request["multipart"]["file"][name] for name in ("filename", "content_type")
    }
    identifier = request["multipart"]["resumableIdentifier"]
    assert identifier.partition("/")[2] == entry.multipart["resumableIdentifier"].partition("/")[2]
    assert "content-length" in entry.headers


def test_finish_is_asked_the_same_way(both: tuple[list[dict[str, Any]], Stage]) -> None:
    theirs, stage = both
    (entry,) = stage.entries("finish")
    request = next(each for each in theirs if each["path"].endswith("finishUpload"))
    assert sorted(entry.query) == sorted(request["query"])
    # Old servers read only the id; the reference may send more.
    assert set(entry.json or ()) <= set(request.get("json") or ())
