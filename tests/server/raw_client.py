"""A client that sends any request, right or wrong; and a tree that makes a dataset."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.server.wk_server import WkServer

UPLOAD = "/data/v15/datasets/upload/dataset"
SOME_ID = "0123456789abcdef01234567"
BOUNDARY = "----boundary"
PROPERTIES = {
    "id": {"name": "some_data", "team": ""},
    "scale": {"factor": [4, 4, 30], "unit": "nanometer"},
    "dataLayers": [
        {
            "name": "color",
            "category": "color",
            "boundingBox": {"topLeft": [0, 0, 0], "width": 4, "height": 4, "depth": 4},
            "elementClass": "uint8",
            "dataFormat": "zarr3",
            "mags": [{"mag": [1, 1, 1], "path": "./color/1"}],
        }
    ],
}
JSON_FILE = "datasource-properties.json"
TREE = {JSON_FILE: json.dumps(PROPERTIES).encode(), "color/1/zarr.json": b"{}", "color/1/c/0/0/0/0": bytes(range(256))}


def form(fields: dict[str, Any], content: bytes | None, part: str = "file") -> bytes:
    """Return a multipart body; fields that are None are left out."""
    texts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items() if v is not None
    ]
    if content is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part}"; filename="upload"\r\n'
        texts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
    return b"".join([*texts, f"--{BOUNDARY}--\r\n".encode()])


class Client:
    """Sends any request, right or wrong."""

    def __init__(self, server: WkServer) -> None:
        self.server = server
        self.http = httpx.Client(headers={"X-Auth-Token": server.token}, timeout=120, trust_env=False, verify=False)

    def wk(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(self.server.url + path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.http.post(self.server.datastore_url + path, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(self.server.datastore_url + path, **more)

    def reserve(
        self, upload_id: str = "u1", files: int = 3, total: int | None = None, path: str = f"{UPLOAD}/reserveUpload", **more: Any
    ) -> httpx.Response:
        body = {
            "resumableUploadInfo": {"uploadId": upload_id, "totalFileCount": files, "totalFileSizeInBytes": total, **more.pop("info", {})},
            "datasetName": "my_data",
            "organizationId": "sample_organization",
            "initialTeamIds": [],
            "layersToLink": [],
            "folderId": None,
            **more,
        }
        return self.post(path, json={key: value for key, value in body.items() if value is not ...})

    def chunk(
        self, file: str, content: bytes | None, number: int = 1, count: int = 1, size: int = 1 << 20, upload_id: str = "u1",
        path: str = UPLOAD, part: str = "file", **changed: Any,
    ) -> httpx.Response:  # fmt: skip
        fields = {
            "resumableChunkSize": size,
            "resumableIdentifier": f"{upload_id}/{file}",
            "resumableTotalChunks": count,
            "resumableChunkNumber": number,
            "resumableCurrentChunkSize": len(content or b""),
        } | changed
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.post(path, content=form(fields, content, part), headers=headers)

    def test(self, file: str, number: int = 1, upload_id: str = "u1", path: str = UPLOAD) -> int:
        return self.get(path, params={"resumableIdentifier": f"{upload_id}/{file}", "resumableChunkNumber": number}).status_code

    def finish(self, upload_id: str = "u1") -> httpx.Response:
        return self.post(f"{UPLOAD}/finishUpload", params={"uploadId": upload_id})

    def upload(self, tree: dict[str, bytes], **more: Any) -> httpx.Response:
        assert self.reserve(files=len(tree), **more).status_code == 200
        for path, content in tree.items():
            assert self.chunk(path, content).status_code == 200
        return self.finish()


def error_of(answer: httpx.Response) -> str:
    text: str = answer.json()["messages"][0]["error"]
    return text
