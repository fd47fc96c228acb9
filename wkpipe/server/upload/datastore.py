"""Requests to a datastore: reserve, chunks, finish, cancel; in the present form and in that of old servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wkpipe.server.http.answer import Answer
from wkpipe.server.http.connection import Connection
from wkpipe.server.upload.journal import Head
from wkpipe.server.upload.source_file import SourceFile
from wkpipe.server.versions import Versions

MOST_PATH_BYTES = 1 << 20
"""A reservation lists its paths only up to this length: the list only serves to resume the upload in a browser."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of a file: its number (from 1), how many there are, the nominal size of the file's chunks, and its own size."""

    file: int
    path: str
    number: int
    count: int
    nominal: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.nominal


class ChunkForm:
    """The multipart form of a chunk; `read` yields the chunk's bytes while it is sent."""

    def __init__(self, head: Head, is_legacy: bool, chunk: Chunk, file_size: int, files: int, read: Callable[[], Iterator[bytes]]) -> None:
        boundary = uuid.uuid4().hex
        path = chunk.path
        fields = {
            "resumableChunkSize": chunk.nominal,
            "resumableTotalSize": file_size,
            "resumableType": "application/json" if path.endswith(".json") else "",
            "resumableIdentifier": f"{head.upload_id}/{path}",
            "resumableFilename": path.rpartition("/")[2],
            "resumableRelativePath": path,
            "resumableTotalChunks": chunk.count,
            "resumableChunkNumber": chunk.number,
            "resumableCurrentChunkSize": chunk.size,
            **({"owningOrganization": head.organization, "name": head.name} if is_legacy else {}),
            "totalFileCount": files,
        }
        parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
        disposition = 'Content-Disposition: form-data; name="file"; filename="upload"\r\nContent-Type: application/octet-stream'
        self._start = ("".join(parts) + f"--{boundary}\r\n{disposition}\r\n\r\n").encode()
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self._read = read
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.size = len(self._start) + chunk.size + len(self._end)

    def pieces(self) -> Iterator[bytes]:
        pieces = self._read()
        # Together with the form's beginning: small files are one packet.
        yield self._start + next(pieces)
        yield from pieces
        yield self._end


class Datastore:
    """One upload on a datastore. The methods `ask_…` try again; the others make one attempt (they raise `NoAnswer`)."""

    def __init__(self, connection: Connection, versions: Versions, head: Head) -> None:
        self.connection = connection
        self.versions = versions
        self.head = head

    def ask_reserve(self, files: tuple[SourceFile, ...]) -> Answer:
        """Announce the upload; repeating it with the same id changes nothing."""
        head = self.head
        paths = [file.path for file in files]
        info: dict[str, Any] = {"uploadId": head.upload_id, "totalFileCount": len(files)}
        if sum(map(len, paths)) <= MOST_PATH_BYTES:
            info["filePaths"] = paths
        info["totalFileSizeInBytes"] = sum(file.size for file in files)
        if self.versions.is_legacy:
            body = {**info, "name": head.name, "organization": head.organization, "initialTeams": []}
        else:
            body = {
                "resumableUploadInfo": info,
                "datasetName": head.name,
                "organizationId": head.organization,
                "initialTeamIds": [],
                "requireUniqueName": False,
            }
        body |= {"layersToLink": [], "folderId": head.folder_id}
        return self.connection.ask("reserving the upload", "POST", self.versions.upload("reserveUpload"), json_body=body)

    def send(self, chunk: Chunk, file_size: int, files: int, read: Callable[[], Iterator[bytes]]) -> Answer:
        """Send a chunk."""
        form = ChunkForm(self.head, self.versions.is_legacy, chunk, file_size, files, read)
        return self.connection.attempt("POST", self.versions.chunk, body=form)

    def ask_has(self, path: str, number: int) -> bool | None:
        """Return True if the server has a chunk, None if it does not know the upload (any more).

        Raises:
            ServerError: the server does not say.
        """
        query = {"resumableIdentifier": f"{self.head.upload_id}/{path}", "resumableChunkNumber": str(number)}
        answer = self.connection.ask("asking for a chunk", "GET", self.versions.chunk, query=query)
        known = {200: True, 204: False, 400: None}
        if answer.status not in known:
            raise self.connection.refusal("asking for a chunk", answer)
        return known[answer.status]

    def finish(self, seconds: float) -> Answer:
        """Ask the server to make a dataset of the files, which may take hours."""
        path, upload_id = self.versions.upload("finishUpload"), self.head.upload_id
        if self.versions.is_legacy:
            return self.connection.attempt("POST", path, json_body={"uploadId": upload_id}, seconds=seconds)
        return self.connection.attempt("POST", path, query={"uploadId": upload_id}, seconds=seconds)

    def ask_cancel(self) -> Answer:
        """Ask the server to delete everything that it has of the upload."""
        upload_id = self.head.upload_id
        query = None if self.versions.is_legacy else {"uploadId": upload_id}
        return self.connection.ask(
            "cancelling the upload", "POST", self.versions.upload("cancelUpload"), query=query, json_body={"uploadId": upload_id}
        )
