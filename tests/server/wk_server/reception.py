"""Reserving an upload and receiving its chunks."""

from __future__ import annotations

import os
import threading
from pathlib import Path, PurePosixPath
from typing import Any

from tests.server.wk_server.multipart import Multipart
from tests.server.wk_server.refusals import INT32, INT64, Refused, ids, member, name_errors, whole
from tests.server.wk_server.state import ID, Dataset, State, Upload, UploadedFile, User
from tests.server.wk_server.wire import Answer, Request

SMALL_BYTES = 1 << 20


def reserve(state: State, user: User, body: dict[str, Any], legacy: bool) -> Answer:
    """Make the dataset's row and the upload's record; a known id changes nothing."""
    prefix, name_key, organization_key, teams_key = (
        ("", "name", "organization", "initialTeams")
        if legacy
        else ("resumableUploadInfo.", "datasetName", "organizationId", "initialTeamIds")
    )
    upload_id: str = member(body, f"{prefix}uploadId", str)
    total_files: int = member(body, f"{prefix}totalFileCount", int)
    total_bytes: int | None = member(body, f"{prefix}totalFileSizeInBytes", int, required=False)
    file_paths: list[str] = member(body, f"{prefix}filePaths", list, required=False) or []
    name: str = member(body, name_key, str)
    organization: str = member(body, organization_key, str)
    ids(body, teams_key)
    links: list[Any] = member(body, "layersToLink", list, required=False) or []
    folder_id: str | None = member(body, "folderId", str, required=False)
    unique: bool = member(body, "requireUniqueName", bool, required=False) or False
    converts: bool = member(body, "needsConversion", bool, required=False) or False
    if folder_id is not None and not ID.fullmatch(folder_id):
        raise Refused(400, "The passed id is invalid: folderId")
    if not upload_id or "/" in upload_id or upload_id in (".", ".."):
        raise Refused(400, f"invalid upload id {upload_id!r}")
    with state.lock:
        _check_may_upload(user)
        if upload_id in state.uploads:
            return Answer()
        if state.settings.quota_bytes is not None and (total_bytes or 0) > state.settings.quota_bytes:
            raise Refused(403, "The organization's storage quota is exceeded.")
        if organization != user.organization:
            raise Refused(403, "You are not a member of this organization.")
        if state.settings.restricted_to not in (None, organization):
            raise Refused(400, "The datastore is restricted to another organization.")
        if error := name_errors(name):
            raise Refused(400, error)
        if unique and any(d.name == name and d.organization == organization for d in state.datasets.values()):
            raise Refused(400, "This dataset name is already taken.")
        if links:
            raise Refused(400, "Layers to link were not found.")
        folder = state.folders.get(folder_id or state.root.id)
        if folder is None:
            raise Refused(404, "Folder could not be found.")
        if not folder.is_editable:
            raise Refused(400, "No write access on the folder.")
        dataset = Dataset(name, organization, folder.id, user.id)
        state.datasets[dataset.id] = dataset
        directory = state.upload_directory(upload_id)
        state.uploads[upload_id] = Upload(upload_id, dataset, total_files, total_bytes, file_paths, directory, converts)
    return Answer()


def _check_may_upload(user: User) -> None:
    if not (user.is_admin or user.is_dataset_manager):
        raise Refused(403, "You may not administrate datasets of this organization.")


def known_upload(state: State, user: User, upload_id: str, unknown: str = "Could not find running upload.") -> Upload:
    """Return a running upload that the user may write to."""
    upload = state.uploads.get(upload_id)
    if upload is None:
        raise Refused(400, unknown)
    if upload.dataset.uploader != user.id:
        raise Refused(403, "You have no write access to this dataset.")
    return upload


def split_identifier(identifier: str) -> tuple[str, str]:
    """Return upload id and path within the upload."""
    upload_id, _, path = identifier.partition("/")
    return upload_id, path.removeprefix("/")


def _target(upload: Upload, path: str) -> Path:
    """Return the path to store a file at, which must be inside the upload's directory."""
    parts = PurePosixPath(path)
    normal = os.path.normpath(path)
    if not path or "\0" in path or parts.is_absolute() or normal.split("/")[0] in ("..", "."):
        raise Refused(400, f"invalid file path {path!r}")
    return upload.directory / normal


def is_there(state: State, user: User, request: Request) -> Answer:
    """Answer a test for a chunk: 200 present, 204 absent."""
    query = {name: values[0] for name, values in request.query.items()}
    upload_id, path = split_identifier(query.get("resumableIdentifier", ""))
    number = whole(query, "resumableChunkNumber", INT32)
    with state.lock:
        file = known_upload(state, user, upload_id).files.get(path)
        return Answer() if file is not None and number in file.received else Answer(204)


def receive(state: State, user: User, form: Multipart) -> Answer:
    """Accept one chunk; a known number is read and ignored.

    The number is recorded when all of its bytes have arrived, because the real server first collects a request. Large chunks are written
    to their place while they arrive: bytes of a failed attempt may be there, and count only as the file's size.
    """
    if form.file is None:
        raise Refused(400, "zip.file.notFound")
    fields = form.fields
    chunk_bytes = whole(fields, "resumableChunkSize", INT32)
    total_chunks = whole(fields, "resumableTotalChunks", INT64)
    number = whole(fields, "resumableChunkNumber", INT32)
    current_bytes = whole(fields, "resumableCurrentChunkSize", INT32)
    upload_id, path = split_identifier(fields.get("resumableIdentifier", ""))
    with state.lock:
        upload = known_upload(state, user, upload_id)
        target = _target(upload, path)
        known = path in upload.files and number in upload.files[path].received
    sink = Sink(None if known else target, (number - 1) * chunk_bytes, current_bytes, state.settings.keep == "small")
    with sink:
        for piece in form.pieces():
            sink.write(piece)
        if sink.length == 0:  # the web framework drops empty parts before the server sees them
            raise Refused(400, "zip.file.notFound")
        with state.lock:
            known_upload(state, user, upload_id)
            file = upload.files.setdefault(path, UploadedFile(total_chunks))
            if number in file.received:
                return Answer()
            if sink.length > current_bytes:
                raise Refused(400, f"chunk {number} has {sink.length} bytes, expected at most {current_bytes}")
            file.received.add(number)
        try:
            sink.close()
        except Refused:
            with state.lock:
                file.received.discard(number)
            raise
    return Answer()


class Sink:
    """Takes a chunk's bytes: small chunks into memory until they are complete, larger ones to their place in the file."""

    _making = threading.Lock()

    def __init__(self, target: Path | None, offset: int, most: int, keep_small_only: bool) -> None:
        self._target, self._offset, self._most, self._holes = target, offset, most, keep_small_only
        self._memory: bytearray | None = bytearray()
        self._descriptor: int | None = None
        self.length = 0

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, piece: memoryview) -> None:
        self.length += len(piece)
        if self._target is None or self.length > self._most:
            return
        if self._memory is not None and self.length <= SMALL_BYTES:
            self._memory += piece
            return
        if self._memory is not None:
            earlier, self._memory = memoryview(self._memory), None
            self._put(earlier, 0)
        self._put(piece, self.length - len(piece))

    def close(self) -> None:
        """Make sure that all bytes are in the file."""
        if self._target is None:
            return
        if self._memory is not None:
            self._put(memoryview(self._memory), 0)
        elif self._holes and os.fstat(self._open()).st_size < self._offset + self.length:
            with self._making:
                os.ftruncate(self._open(), max(os.fstat(self._open()).st_size, self._offset + self.length))

    def _open(self) -> int:
        if self._descriptor is None:
            assert self._target is not None
            try:
                self._target.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._target, os.O_WRONLY | os.O_CREAT, 0o644)
            except OSError as error:
                raise Refused(400, f"the chunk could not be written: {error.strerror}") from None
        return self._descriptor

    def _put(self, piece: memoryview, at: int) -> None:
        if self._holes and self._memory is None:
            self._open()
            return
        while piece:
            count = os.pwrite(self._open(), piece, self._offset + at)
            piece, at = piece[count:], at + count
