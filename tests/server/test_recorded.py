"""Recorded traffic of the reference package's client: the test server answers it in the same way, and wkpipe sends the same.

`data/recorded.jsonl` has the requests of some uploads, one a line, and their answers: facts, without headers that do not matter and
without the files' bytes. The dataset was a layer of eight chunk files of 32³ voxels, with group files, a note and a hidden file.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.raw_client import BOUNDARY, JSON_FILE, form
from tests.server.upload_helpers import FAST, SECRET
from tests.server.wk_server import Entry, WkServer
from tests.server.wk_server.state import Folder
from wkpipe.server.http.token import Token
from wkpipe.server.upload.uploading import UploadRequest, upload

RECORDED_ID = "d" * 24
RECORDED_CHUNK_BYTES = 100 << 20
UPLOADS = {"base": 16, "folder_ok": 16, "api15": 15, "api14": 14, "api13": 13, "multichunk": 16}
READ_FIELDS = ["resumableChunkSize", "resumableIdentifier", "resumableTotalChunks", "resumableChunkNumber", "resumableCurrentChunkSize"]
LEGACY_FIELDS = ["owningOrganization", "name"]

Record = dict[str, Any]
Uploaded = tuple[str, dict[str, str], list[Entry]]
Facts = tuple[str, str, str, tuple[str, ...], bool, str | None]


@functools.cache
def recorded(scenario: str) -> list[Record]:
    lines = (Path(__file__).parent / "data" / "recorded.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["scenario"] == scenario]


def properties(size: int) -> bytes:
    """Return properties of the recorded dataset as a file of `size` bytes."""
    layer = {
        "name": "color",
        "category": "color",
        "boundingBox": {"topLeft": [0, 0, 0], "width": 64, "height": 64, "depth": 64},
        "dataFormat": "zarr3",
        "mags": [{"mag": [1, 1, 1], "path": "./color/1", "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}}],
        "numChannels": 1,
        "elementClass": "uint8",
    }
    scale = {"factor": [11.24, 11.24, 28.0], "unit": "nanometer"}
    return json.dumps({"id": {"name": "tiny", "team": ""}, "scale": scale, "dataLayers": [layer], "version": 1}).encode().ljust(size)


def content(path: str, size: int) -> bytes:
    return properties(size) if path == JSON_FILE else path.encode().ljust(size, b".")[:size]


def path_of(identifier: str) -> str:
    return identifier.partition("/")[2]


def prepared(server: WkServer, scenario: str) -> WkServer:
    """Give the server the folders that the recorded one had."""
    for record in recorded(scenario):
        if record["path"].endswith("/folders/tree"):
            folders = [Folder(each["name"], each["parent"], each["isEditable"], each["id"]) for each in record["answer"]]
            server.state.root = folders[0]
            server.state.folders = {folder.id: folder for folder in folders}
    return server


# -- the test server answers as recorded -------------------------------------------------------------------------------


def replay(http: httpx.Client, server: WkServer, record: Record, dataset_id: str, token: str) -> httpx.Response:
    origin = server.url if record["origin"] == "wk" else server.datastore_url
    headers = {"X-Auth-Token": token} if record["token"] else {}
    body: bytes | None = None
    if "json" in record:
        body = json.dumps(record["json"]).encode()
        headers["Content-Type"] = "application/json"
    if "form" in record:
        body = form(record["form"], content(path_of(record["form"]["resumableIdentifier"]), record["file"]["length"]))
        headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
    url = origin + record["path"].replace(RECORDED_ID, dataset_id)
    return http.request(record["method"], url, params=record["query"], content=body, headers=headers)


def shape(value: Any) -> Any:
    """Return the keys of a JSON value; of a list those of its first element."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else None


@pytest.mark.parametrize("scenario", [*UPLOADS, "zero", "name_space", "badtoken"])
def test_the_server_answers_as_recorded(tmp_path: Path, scenario: str) -> None:
    api = UPLOADS.get(scenario, 16)
    with (
        prepared(WkServer(tmp_path, current_api=api, keep="small"), scenario) as server,
        httpx.Client(trust_env=False, verify=False, timeout=30) as http,
    ):
        dataset_id = RECORDED_ID
        for record in recorded(scenario):
            answer = replay(http, server, record, dataset_id, "wrong" if scenario == "badtoken" else server.token)
            assert answer.status_code == record["status"], (record["method"], record["path"], answer.text)
            if "answer" in record and record["answer"] != "":
                assert shape(answer.json()) == shape(record["answer"])
            if record["path"].endswith("finishUpload") and record["status"] == 200:
                (dataset_id,) = answer.json().values()
        if scenario in UPLOADS:
            (dataset,) = server.datasets
            assert dataset.properties is not None
            reserved = next(record["json"] for record in recorded(scenario) if record["path"].endswith("reserveUpload"))
            assert dataset.folder == reserved["folderId"] or (reserved["folderId"] is None and dataset.folder == server.state.root.id)
            sizes = {
                path_of(r["form"]["resumableIdentifier"]): int(r["form"]["resumableTotalSize"]) for r in recorded(scenario) if "form" in r
            }
            expected = {path: content(path, size) for path, size in sizes.items() if path == JSON_FILE or path.startswith("color/1/")}
            assert server.tree() == expected
        server.check()


# -- wkpipe sends the same ----------------------------------------------------------------------------------------------


def make_recorded_dataset(directory: Path, scenario: str) -> dict[str, str]:
    """Make the recorded dataset, with files of the same sizes; return its paths, each with its recorded path.

    The large file that was recorded beside the layer is inside it here: only then does it belong to the dataset.
    """
    wanted = {}
    for record in recorded(scenario):
        if "form" in record:
            was, size = path_of(record["form"]["resumableIdentifier"]), int(record["form"]["resumableTotalSize"])
            path = "color/1/big.bin" if was == "big.bin" else was
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(content(path, size))
            if path == JSON_FILE or path.startswith("color/1/"):
                wanted[path] = was
    return wanted


def facts(method: str, origin: str, path: str, query: Any, token: bool, content_type: str | None) -> Facts:
    """Return the parts of a request that the server needs to find its route; ids are kept."""
    return method, origin, re.sub(r"[0-9a-f]{24}", "<id>", path), tuple(sorted(query)), token, content_type


def recorded_facts(record: Record) -> Facts:
    return facts(record["method"], record["origin"], record["path"], record["query"], record["token"], record["content_type"])


def sent_facts(entry: Entry) -> Facts:
    content_type = entry.headers.get("content-type", "").partition(";")[0] or None
    return facts(entry.method, entry.origin, entry.path, entry.query, "x-auth-token" in entry.headers, content_type)


@pytest.fixture(params=UPLOADS, scope="module")
def uploaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Uploaded:
    """Upload the recorded dataset with wkpipe to a server like the recorded one; return scenario, the dataset's paths, log."""
    scenario: str = request.param
    directory = tmp_path_factory.mktemp(scenario)
    wanted = make_recorded_dataset(directory / "tiny", scenario)
    legacy = UPLOADS[scenario] == 13
    with prepared(
        WkServer(directory / "server", SECRET, current_api=UPLOADS[scenario], legacy_only=legacy, keep="small"), scenario
    ) as server:
        folder = f"{server.state.root.name}/A/B" if scenario == "folder_ok" else None
        state = directory / "state"
        request_ = UploadRequest(directory / "tiny", state, server.url, "tiny", folder, chunk_bytes=RECORDED_CHUNK_BYTES)
        upload(request_, Token(SECRET), policy=FAST)
        server.check()
        return scenario, wanted, server.log


def test_wkpipe_asks_for_the_same_in_the_same_order(uploaded: Uploaded) -> None:
    """The requests are the same, except for a look at the user's datasets, which gives the new one's id early.

    The last requests of the recorded client (for the properties, for the dataset again) are not needed.
    """
    scenario, _, log = uploaded
    sent = dict.fromkeys(sent_facts(entry) for entry in log if entry.route != "datasets")
    was = dict.fromkeys(recorded_facts(record) for record in recorded(scenario) if "/zarr/" not in record["path"])
    assert list(sent) == list(was)


def test_wkpipe_reserves_the_same(uploaded: Uploaded) -> None:
    scenario, wanted, log = uploaded
    was = next(record["json"] for record in recorded(scenario) if record["path"].endswith("reserveUpload"))
    (sent,) = [copy.deepcopy(entry.json) for entry in log if entry.route == "reserve"]
    sizes = {path_of(r["form"]["resumableIdentifier"]): int(r["form"]["resumableTotalSize"]) for r in recorded(scenario) if "form" in r}
    inner = sent.get("resumableUploadInfo", sent)
    inner_was = was.get("resumableUploadInfo", was)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d__[0-9a-f-]{36}", inner_was["uploadId"])
    assert re.fullmatch(r"[A-Za-z0-9_-]{36,}", inner["uploadId"])
    assert inner["totalFileCount"] == len(wanted)
    assert inner["totalFileSizeInBytes"] == sum(sizes[path] for path in wanted.values())
    # The recorded client left these two out: a list for the browser, and a default.
    assert sorted(inner.pop("filePaths")) == sorted(wanted)
    assert sent.pop("requireUniqueName", False) is False
    for key in ("uploadId", "totalFileCount", "totalFileSizeInBytes"):
        inner[key] = inner_was[key]
    assert sent == was


def test_wkpipe_sends_the_same_chunks(uploaded: Uploaded) -> None:
    """All parts of a chunk that the server reads are the same, for every file of the dataset, text by text."""
    scenario, wanted, log = uploaded
    legacy = UPLOADS[scenario] == 13
    fields = [*READ_FIELDS, *(LEGACY_FIELDS if legacy else [])]
    (upload_id,) = [entry.json.get("resumableUploadInfo", entry.json)["uploadId"] for entry in log if entry.route == "reserve"]

    def expected(record: Record) -> Record:
        path = path_of(record["form"]["resumableIdentifier"])
        found = {field: record["form"][field] for field in fields}
        now = {was: path for path, was in wanted.items()}
        return found | {"resumableIdentifier": f"{upload_id}/{now[path]}", "file": record["file"]["length"]}

    was = [expected(r) for r in recorded(scenario) if "form" in r and path_of(r["form"]["resumableIdentifier"]) in wanted.values()]
    forms = [entry.multipart for entry in log if entry.route == "chunk"]
    sent = [{field: one[field] for field in fields} | {"file": one["file"]["length"]} for one in forms if one is not None]

    def key(one: Record) -> str:
        return f"{one['resumableIdentifier']} {one['resumableChunkNumber']}"

    assert sorted(sent, key=key) == sorted(was, key=key)
    assert {one["file"]["content_type"] for one in forms if one is not None} == {"application/octet-stream"}
    assert all("content-length" in entry.headers and "transfer-encoding" not in entry.headers for entry in log if entry.method == "POST")


def test_wkpipe_finishes_alike(uploaded: Uploaded) -> None:
    scenario, _, log = uploaded
    was = next(record for record in recorded(scenario) if record["path"].endswith("finishUpload"))
    (sent,) = [entry for entry in log if entry.route == "finish"]
    assert (sent.json is None) == ("json" not in was)
    assert list(sent.json or {}) == list(was.get("json", {}))
    assert list(sent.query) == list(was["query"])
    assert log.index(sent) > max(log.index(entry) for entry in log if entry.route == "chunk")
