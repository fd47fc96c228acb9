"""Finishing, cancelling and listing uploads."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from tests.server.wk_server.reception import known_upload
from tests.server.wk_server.refusals import Refused
from tests.server.wk_server.state import State, Upload, User
from tests.server.wk_server.wire import Answer

LISTING_DEPTH = 10
LIST_SECONDS = 14 * 24 * 3600


def finish(state: State, user: User, upload_id: str, wait: Callable[[float], object]) -> str:
    """Verify an upload, move it to its place and make its dataset usable; return the dataset's id.

    Up to the check for missing chunks, a failure changes nothing, except for an upload that is too large: that is deleted with its
    dataset. Failures while the files are moved and their properties read also delete it. The record is gone before the properties are.
    """
    with state.lock:
        upload = known_upload(state, user, upload_id)
        directory = upload.directory
        sizes = [path.stat().st_size for path in _files(directory)]
        if not sizes:
            raise Refused(400, "The upload has no files.")
        if upload.total_bytes is not None and sum(sizes) > upload.total_bytes:
            _forget(state, upload, dataset_too=True)
            raise Refused(400, f"More bytes than reserved: {sum(sizes)}, expected at most {upload.total_bytes}. The upload was deleted.")
        _check_complete(upload)
        target = state.dataset_directory(upload.dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _unpack(directory)
            _stripped(directory).rename(target)
        except (Refused, OSError, zipfile.BadZipFile) as error:
            _forget(state, upload, dataset_too=True)
            raise Refused(400, f"The uploaded files could not be moved: {error}") from None
        _forget(state, upload, dataset_too=False)
        try:
            properties = None if upload.needs_conversion else _explored(target)
        except Refused:
            state.datasets.pop(upload.dataset.id, None)
            shutil.rmtree(target, ignore_errors=True)
            raise
    wait(state.settings.post_processing)
    with state.lock:
        upload.dataset.path = target
        if properties is not None:
            _delete_unreferenced(target, _data_source(properties))
            upload.dataset.properties = properties
    return upload.dataset.id


def cancel(state: State, user: User, query: dict[str, list[str]], body: dict[str, Any]) -> Answer:
    """Delete an upload, its record and its dataset; the id is both in the query and in the body."""
    upload_id = body.get("uploadId")
    if not isinstance(upload_id, str) or query.get("uploadId", [upload_id]) != [upload_id]:
        raise Refused(400, "the upload's id is missing, or differs between query and body")
    with state.lock:
        upload = known_upload(state, user, upload_id)
        if not (state.settings.deletion_allowed and user.is_admin):
            raise Refused(403, "You may not delete this dataset.")
        _forget(state, upload, dataset_too=True)
    return Answer()


def unfinished(state: State, user: User, organization: str | None) -> Answer:
    """List a user's own running uploads."""
    if organization is None:
        raise Refused(400, "Missing parameter: organizationName")
    if organization != user.organization or not (user.is_admin or user.is_dataset_manager):
        raise Refused(403, "You may not administrate datasets of this organization.")
    quote = '"' if state.settings.quoted_ids else ""
    with state.lock:
        return Answer.json(
            [
                {
                    "uploadId": f"{quote}{upload.id}{quote}",
                    "datasetName": upload.dataset.name,
                    "folderId": upload.dataset.folder,
                    "created": int(upload.created * 1000),
                    "filePaths": upload.file_paths,
                    "allowedTeams": [],
                }
                for upload in state.uploads.values()
                if upload.dataset.uploader == user.id and upload.created > time.time() - LIST_SECONDS
            ]
        )


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _forget(state: State, upload: Upload, dataset_too: bool) -> None:
    shutil.rmtree(upload.directory, ignore_errors=True)
    state.uploads.pop(upload.id, None)
    if dataset_too:
        state.datasets.pop(upload.dataset.id, None)


def _check_complete(upload: Upload) -> None:
    failure = "Could not verify that all chunks have been uploaded."
    if len(upload.files) != upload.total_files:
        raise Refused(
            400, f"{failure} <~ Reserved file count does not match file names length. ({len(upload.files)} vs {upload.total_files})"
        )
    for path, file in upload.files.items():
        if len(file.received) != file.total_chunks:
            raise Refused(400, f"{failure} <~ {path}: {len(file.received)} of {file.total_chunks} chunks")


def _unpack(directory: Path) -> None:
    """Replace a single archive at the top by its content."""
    archives = [path for path in directory.iterdir() if path.suffix == ".zip"]
    if len(archives) != 1 or len(list(directory.iterdir())) != 1:
        return
    with zipfile.ZipFile(archives[0]) as archive:
        for name in archive.namelist():
            hidden = any(part.startswith(".") and part not in (".zarray", ".zattrs") for part in PurePosixPath(name).parts)
            if not hidden and not name.endswith("/"):
                archive.extract(name, directory)
    archives[0].unlink()


def _stripped(directory: Path) -> Path:
    """Return the directory below the path that all files share."""
    files = [path.relative_to(directory).parts for path in _files(directory)]
    listed = [parts[:-1] for parts in files if len(parts) <= LISTING_DEPTH]
    for names in zip(*listed, strict=False):
        if len(set(names)) > 1 or names[0] in ("color", "segmentation"):
            break
        directory /= names[0]
    return directory


def _explored(directory: Path) -> dict[str, Any]:
    file = directory / "datasource-properties.json"
    if not file.is_file():
        raise Refused(400, "No datasource-properties.json: this test server does not explore datasets.")
    try:
        properties: dict[str, Any] = json.loads(file.read_bytes())
        paths = _referenced(properties)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(400, f"The properties cannot be read: {error!r}") from None
    for path in paths:
        if path.startswith("/") or "://" in path or os.path.normpath(path).split("/")[0] == "..":
            raise Refused(400, f"The path {path!r} is not inside the dataset.")
    return properties


def _referenced(properties: dict[str, Any]) -> list[str]:
    """Return the paths that belong to the dataset, as they are written."""
    paths = []
    for layer in properties["dataLayers"]:
        paths += [mag.get("path") or f"{layer['name']}/{_mag_name(mag)}" for mag in layer.get("mags", layer.get("wkwResolutions"))]
        attachments = layer.get("attachments") or {}
        for value in attachments.values():
            paths += [one["path"] for one in (value if isinstance(value, list) else [value]) if one]
    return paths


def _mag_name(mag: dict[str, Any]) -> str:
    value = mag.get("mag", mag.get("resolution"))
    return str(value) if isinstance(value, int) else "-".join(map(str, value))


def _data_source(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the properties if they make a usable dataset."""
    try:
        usable = all(
            layer["name"]
            and layer["category"] in ("color", "segmentation")
            and layer["elementClass"]
            and all(layer["boundingBox"][key] for key in ("width", "height", "depth"))
            and len(layer["boundingBox"]["topLeft"]) == 3
            and layer["dataFormat"] in ("zarr3", "zarr", "wkw", "n5", "neuroglancerPrecomputed")
            for layer in properties["dataLayers"]
        )
        scale = properties["scale"]
        usable &= len(scale["factor"] if isinstance(scale, dict) else scale) == 3 and bool(properties["dataLayers"])
    except (KeyError, TypeError):
        usable = False
    if not usable:
        raise Refused(400, "The properties do not make a usable dataset.")
    return properties


def _delete_unreferenced(directory: Path, properties: dict[str, Any]) -> None:
    kept = [PurePosixPath(os.path.normpath(path)) for path in _referenced(properties)]
    for file in _files(directory):
        path = PurePosixPath(file.relative_to(directory).as_posix())
        if str(path) != "datasource-properties.json" and not any(path.is_relative_to(one) for one in kept):
            file.unlink()
    for folder in sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
