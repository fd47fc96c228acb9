"""The test server's rules up to the chunks: it refuses what a real server refuses, and reports what a client must not do."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.raw_client import BOUNDARY, SOME_ID, TREE, UPLOAD, Client, error_of, form
from tests.server.wk_server import WkServer
from tests.server.wk_server.multipart import Multipart
from tests.server.wk_server.wire import Body, Request, Stream

# -- 1. origins, 2. tokens ------------------------------------------------------------------------------


def test_the_datastore_stands_in_the_list_only_after_one_that_takes_no_uploads(server: WkServer, client: Client) -> None:
    first, second = client.wk("/api/v16/datastores").json()
    assert (first["allowsUpload"], second["allowsUpload"]) == (False, True)
    assert second["url"] == server.datastore_url != server.url
    assert all(url.startswith("http://127.0.0.1:") for url in (server.url, server.datastore_url, server.foreign_url))
    server.check()
    client.http.get(first["url"] + UPLOAD)
    with pytest.raises(AssertionError, match="foreign origin with the token"):
        server.check()


def test_all_but_two_routes_want_a_token(server: WkServer, client: Client) -> None:
    client.reserve()
    client.http.headers.pop("X-Auth-Token")
    assert client.wk("/api/buildinfo").status_code == client.wk("/api/v16/datastores").status_code == 200
    for path in ("user", "folders/tree", "folders/root", "datasets", f"datasets/{SOME_ID}", "datasets/abc/isValidNewName"):
        answer = client.wk(f"/api/v16/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/json"), path
    client.http.headers["X-Auth-Token"] = "wrong"
    refused = [
        client.reserve(), client.chunk("a", b"a"), client.finish(), client.get(UPLOAD), client.get(f"/data/v15/zarr/{SOME_ID}/x"),
        client.post(f"{UPLOAD}/cancelUpload", json={"uploadId": "u1"}), client.get(f"{UPLOAD}/unfinishedUploads"),
    ]  # fmt: skip
    for answer in refused:
        assert answer.status_code == 403
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text.startswith("Token may be expired")
    assert [upload.files for upload in server.state.uploads.values()] == [{}]


def test_a_renewed_token_replaces_the_old_one(server: WkServer, client: Client) -> None:
    server.renew_token()
    assert client.wk("/api/v16/user").status_code == 401
    client.http.headers["X-Auth-Token"] = server.token
    assert client.wk("/api/v16/user").json()["organization"] == "sample_organization"


def test_a_token_in_a_query_wins_and_is_a_problem(server: WkServer, client: Client) -> None:
    assert client.wk("/api/v16/user", params={"token": "wrong"}).status_code == 401
    assert len(server.problems) == 1
    assert client.wk("/api/v16/user", headers={"User-Agent": f"tool {server.token}"}).status_code == 200
    assert len(server.problems) == 2
    assert server.token not in json.dumps(server.report()["requests"][0]["headers"])


def test_a_client_that_follows_a_redirect_is_reported(server: WkServer, client: Client) -> None:
    server.fault("chunk", redirect="")
    client.reserve()
    answer = client.chunk("a", b"a")
    assert (answer.status_code, answer.headers["location"]) == (307, server.foreign_url + UPLOAD)
    server.check()
    client.http.get(answer.headers["location"])
    assert "foreign origin with the token" in server.problems[0]


# -- 3. versions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", [13, 14, 15, 16])
def test_versions_beyond_the_range_are_refused(tmp_path: Path, api: int) -> None:
    with WkServer(tmp_path, current_api=api) as server:
        client = Client(server)
        range_ = client.wk("/api/buildinfo").json()["httpApiVersioning"]
        assert range_ == {"currentApiVersion": api, "oldestSupportedApiVersion": 10}
        for version in range(8, 19):
            expected = 200 if 10 <= version <= api else 400
            assert client.wk(f"/api/v{version}/user").status_code == expected
            assert (client.get(f"/data/v{version}/no/such/route").status_code == 404) == (10 <= version <= min(api, 15))
        assert "10 to" in error_of(client.wk("/api/v9/user"))


def test_routes_of_upload_by_version(tmp_path: Path) -> None:
    legacy = {"uploadId": "u1", "name": "my_data", "organization": "sample_organization", "totalFileCount": 3, "initialTeams": []}
    with WkServer(tmp_path / "new") as server:
        client = Client(server)
        assert client.reserve(path="/data/v16/datasets/upload/dataset/reserveUpload").status_code == 400
        assert client.reserve(path="/data/v13/datasets/upload/dataset/reserveUpload").status_code == 404
        assert client.post("/data/v13/datasets/reserveUpload", json=legacy).status_code == 200
        for path, where in zip(TREE, ("/data/datasets", "/data/v13/datasets", UPLOAD), strict=True):
            assert client.chunk(path, TREE[path], path=where).status_code == 200
            assert client.test(path, path="/data/datasets") == 200
        assert client.post("/data/v13/datasets/cancelUpload", json={"uploadId": "u1"}).status_code == 404
        assert client.post("/data/datasets/cancelUpload", json={"uploadId": "u1"}).status_code == 404
        answer = client.post("/data/v13/datasets/finishUpload", json={"uploadId": "u1"})
        assert list(answer.json()) == ["newDatasetId"]
        assert server.tree(answer.json()["newDatasetId"]) == TREE
    with WkServer(tmp_path / "old", current_api=13, legacy_only=True) as server:
        client = Client(server)
        assert client.reserve(path="/data/v13/datasets/upload/dataset/reserveUpload").status_code == 404
        assert client.reserve(path="/data/v14/datasets/upload/dataset/reserveUpload").status_code == 400
        assert client.post("/data/v13/datasets/reserveUpload", json=legacy).status_code == 200
        assert client.post("/data/datasets/cancelUpload", json={"uploadId": "u1"}).status_code == 200
        assert not server.datasets


# -- 4. reserve ----------------------------------------------------------------------------------------


def test_reserve_answers_nothing_and_makes_a_row_once(server: WkServer, client: Client) -> None:
    folder = server.add_folder("A/B")
    for _ in range(2):
        answer = client.reserve(folderId=folder.id, info={"filePaths": ["a"]})
        assert (answer.status_code, answer.content) == (200, b"")
    (dataset,) = server.datasets
    assert (dataset.folder, dataset.properties, dataset.name) == (folder.id, None, "my_data")
    info = client.wk(f"/api/v16/datasets/{dataset.id}").json()
    assert (info["isActive"], info["dataSource"]["status"]) == (False, "not yet fully uploaded")
    assert client.reserve(files=99).status_code == 200
    assert server.state.uploads["u1"].total_files == 3


@pytest.mark.parametrize(
    "change",
    [
        {"info": {"uploadId": ...}}, {"info": {"uploadId": 7}}, {"info": {"uploadId": "a/b"}}, {"info": {"uploadId": ""}},
        {"info": {"uploadId": ".."}}, {"info": {"totalFileCount": None}}, {"info": {"totalFileCount": "3"}},
        {"info": {"totalFileCount": True}}, {"info": {"totalFileSizeInBytes": "3"}}, {"info": {"filePaths": "a"}},
        {"resumableUploadInfo": ...}, {"datasetName": ...}, {"organizationId": ...}, {"initialTeamIds": ...},
        {"initialTeamIds": None}, {"initialTeamIds": ["team"]}, {"folderId": "A"}, {"folderId": 1}, {"requireUniqueName": "no"},
        {"datasetName": "ab"}, {"datasetName": ".abc"}, {"datasetName": "my data"}, {"datasetName": "my/data"},
        {"layersToLink": [{"datasetId": SOME_ID, "layerName": "color"}]},
    ],
)  # fmt: skip
def test_reserve_refuses_what_the_schema_and_the_rules_forbid(server: WkServer, client: Client, change: dict[str, Any]) -> None:
    if isinstance(info := change.get("info"), dict):
        change = {"info": {key: value for key, value in info.items() if value is not ...}}
        if not change["info"]:
            change = {"resumableUploadInfo": {"totalFileCount": 3}}
    assert client.reserve(**change).status_code == 400
    assert not server.datasets
    assert not server.state.uploads


def test_reserve_wants_json_and_a_json_object(client: Client) -> None:
    path = f"{UPLOAD}/reserveUpload"
    assert client.post(path, content=b"{}").status_code == 415
    assert client.post(path, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert client.post(path, json=[]).status_code == 400


def test_reserve_refuses_by_organization_rights_quota_folder_and_name(server: WkServer, client: Client) -> None:
    locked = server.add_folder("locked", is_editable=False)
    assert client.reserve(organizationId="other").status_code == 403
    assert client.reserve(folderId=SOME_ID).status_code == 404
    assert client.reserve(folderId=locked.id).status_code == 400
    server.settings.quota_bytes = 10
    assert client.reserve(total=11).status_code == 403
    server.settings.quota_bytes = None
    server.settings.restricted_to = "other"
    assert client.reserve().status_code == 400
    server.settings.restricted_to = None
    server.user.is_admin = server.user.is_dataset_manager = False
    assert client.reserve().status_code == 403
    server.user.is_dataset_manager = True
    assert not server.datasets
    assert client.reserve("u1").status_code == client.reserve("u2").status_code == 200
    assert client.reserve("u3", requireUniqueName=True).status_code == 400
    assert len(server.datasets) == 2


def test_names_are_checked_as_the_server_words_it(client: Client) -> None:
    assert client.wk("/api/v16/datasets/good_name-1.0/isValidNewName").json() == {"isValid": True}
    for name in ("ab", ".abc", "a%20b", "%C3%BCber"):
        answer = client.wk(f"/api/v16/datasets/{name}/isValidNewName").json()
        assert answer["isValid"] is False
        assert isinstance(answer["errors"], str)


# -- 5. chunks, 6. tests for them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"resumableChunkSize": None}, {"resumableChunkSize": 2**31}, {"resumableChunkSize": 0}, {"resumableChunkSize": "many"},
        {"resumableTotalChunks": None}, {"resumableTotalChunks": 2**63}, {"resumableChunkNumber": None}, {"resumableChunkNumber": 0},
        {"resumableCurrentChunkSize": None}, {"resumableCurrentChunkSize": 2},
        {"resumableIdentifier": None}, {"resumableIdentifier": ""}, {"resumableIdentifier": "u1"}, {"resumableIdentifier": "u1/"},
        {"resumableIdentifier": "other/file"}, {"resumableIdentifier": "u1/../x"}, {"resumableIdentifier": "u1/a/../../x"},
        {"resumableIdentifier": "u1//../x"}, {"resumableIdentifier": "u1///etc/x"}, {"resumableIdentifier": "u1/."},
        {"content": None}, {"content": b""}, {"content": b"", "resumableCurrentChunkSize": 3}, {"part": "data"},
    ],
)  # fmt: skip
def test_chunks_that_are_refused(server: WkServer, client: Client, change: dict[str, Any]) -> None:
    client.reserve()
    answer = client.chunk("file", change.pop("content", b"abc"), **change)
    assert answer.status_code == 400
    assert not server.state.uploads["u1"].files or not any(file.received for file in server.state.uploads["u1"].files.values())
    assert not [path for path in server.state.directory.rglob("*") if path.is_file()]
    assert client.chunk("file", b"abc").status_code == 200


def test_a_chunk_is_multipart(server: WkServer, client: Client) -> None:
    client.reserve()
    assert client.post(UPLOAD, json={"resumableIdentifier": "u1/a"}).status_code == 400
    assert client.post(UPLOAD, content=b"--x\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"}).status_code == 400
    answer = client.post(UPLOAD, content=iter([b"a"]), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 400, "a transfer coding"


def test_the_first_chunk_freezes_a_file(server: WkServer, client: Client) -> None:
    client.reserve(files=1)
    assert client.chunk("a.bin", b"abcd", 2, count=3, size=4).status_code == 200
    assert (client.test("a.bin", 1), client.test("a.bin", 2), client.test("b.bin", 1)) == (204, 200, 204)
    assert client.chunk("a.bin", b"XXXX", 2, count=3, size=4).status_code == 200, "known: accepted, ignored"
    assert client.chunk("/a.bin", b"z", 3, count=3, size=4).status_code == 200, "one more slash is dropped"
    assert client.chunk("a.bin", b"12", 1, count=1, size=4).status_code == 200, "a short body is accepted"
    assert server.state.uploads["u1"].files["a.bin"].total_chunks == 3
    assert (server.state.upload_directory("u1") / "a.bin").read_bytes() == b"12\0\0abcdz"


def test_tests_for_chunks(server: WkServer, client: Client) -> None:
    client.reserve()
    assert client.test("a", upload_id="other") == 400
    server.add_user("second")
    client.http.headers["X-Auth-Token"] = "second"
    assert client.test("a") == 403
    assert client.chunk("a", b"a").status_code == 403
    assert client.finish().status_code == 403


def test_a_file_where_a_directory_must_be_is_not_written(server: WkServer, client: Client) -> None:
    client.reserve()
    client.chunk("a", b"a")
    assert "could not be written" in error_of(client.chunk("a/b", b"b"))
    assert client.test("a/b") == 204


class Arriving:
    """A connection on which bytes arrive in pieces of one size."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._content, self._piece = content, piece

    def recv_into(self, view: memoryview) -> int:
        piece, self._content = self._content[: self._piece], self._content[self._piece :]
        view[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("piece", [*range(1, 60), 1000])
def test_a_form_that_arrives_in_bits(piece: int) -> None:
    """Boundaries are found wherever the pieces of a body are cut, even if the data look like a boundary."""
    content = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n\r\n--\r" + bytes(100)
    for body in (form({"a": 1, "b": ""}, content) + b"more", form({"a": 1, "b": ""}, content).rstrip() + b"more"):
        size = len(body) - len(b"more")
        connection: Any = Arriving(body, piece)
        headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        found = Multipart(Request("POST", "/", {}, headers, Body(Stream(connection), size), connection, "/"))
        assert found.find_file()
        assert b"".join(map(bytes, found.pieces())) == content
        assert found.fields == {"a": "1", "b": ""}
        assert found.order == ["a", "b", "file"]


def test_of_two_attempts_at_once_the_first_that_is_complete_counts(server: WkServer, client: Client) -> None:
    client.reserve(files=1)
    fields = {"resumableChunkSize": 99, "resumableIdentifier": "u1/a", "resumableTotalChunks": 1, "resumableChunkNumber": 1}
    body = form({**fields, "resumableCurrentChunkSize": 4}, b"slow")
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {server.token}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nConnection: close\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", int(server.datastore_url.rpartition(":")[2]))) as connection:
        connection.sendall(head + body[:-20])
        while not server.most_chunks_in_flight:
            time.sleep(0.01)
        assert client.chunk("a", b"fast").status_code == 200
        connection.sendall(body[-20:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert (server.state.upload_directory("u1") / "a").read_bytes() == b"fast"
    assert server.problems == ["chunk u1/a#1 is sent twice at the same time"]


def test_large_chunks_in_parallel_and_out_of_order(server: WkServer, client: Client) -> None:
    size, content = 3_000_000, os.urandom(20_000_000)
    client.reserve(files=1)
    pieces = [(n + 1, content[n * size : (n + 1) * size]) for n in range(7)]
    threads = [threading.Thread(target=client.chunk, args=("big", piece, number, 7, size)) for number, piece in reversed(pieces)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (server.state.upload_directory("u1") / "big").read_bytes() == content
    assert server.chunk_bytes == len(content)
    assert 1 < server.most_chunks_in_flight <= 7
    server.check()


def test_a_chunk_that_breaks_off_does_not_count(server: WkServer, client: Client) -> None:
    client.reserve(files=1)
    server.fault("chunk", close_at=2_000_000)
    with pytest.raises(httpx.TransportError):
        client.chunk("big", bytes(3_000_000))
    assert client.test("big") == 204
    assert client.chunk("big", bytes(3_000_000)).status_code == 200
    assert client.test("big") == 200
