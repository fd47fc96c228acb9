"""Plan the upload of a finished dataset: where to, under what name, and whether the server has it already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wkpipe.errors import UsageError
from wkpipe.geometry import Mag
from wkpipe.plan.task import UPLOAD, Task
from wkpipe.server.address import server_address
from wkpipe.server.request import Uploaded, UploadRequest
from wkpipe.server.wk_api import check_name
from wkpipe.stored.locations import Locations

if TYPE_CHECKING:  # jobs load this module, and need nothing of the config
    from wkpipe.plan.config import Config

UPLOAD_MB = 200
"""Memory of the upload job: its process, and a few MB for each request."""


def upload_request(config: Config, locations: Locations, name: str) -> UploadRequest | None:
    """Return what is to be uploaded, None where the config asks for no upload; `name` is that of the dataset itself.

    Raises:
        UsageError: the address is none, or none that the token may be sent to.
        InputRefused: no server would take the name.
    """
    if config.webknossos_url is None:
        return None
    if config.proxy is not None and "@" in config.proxy:
        raise UsageError("the proxy's address has a user or a password in it, which would be stored with the run's plan; leave it out")
    name = config.dataset_name or name
    check_name(name)
    return UploadRequest(
        dataset=locations.dataset,
        state=locations.state,
        url=server_address(config.webknossos_url, config.allow_http),
        name=name,
        folder=config.folder,
        datastore=config.datastore,
        layers=tuple(config.upload_layers),
        finest_mag=None if config.upload_finest_mag is None else Mag(config.upload_finest_mag),
        coarsest_mag=None if config.upload_coarsest_mag is None else Mag(config.upload_coarsest_mag),
        chunk_bytes=config.upload_chunk_mib << 20,
        jobs=config.upload_jobs,
        allow_http=config.allow_http,
        ca_file=None if config.ca_file is None else config.ca_file.absolute(),
        proxy=config.proxy,
        again=config.upload_again,
    )


def upload_task(tasks: Sequence[Task]) -> Task:
    """Return the task that uploads what these tasks have made."""
    needed = {name for task in tasks for name in task.inputs}
    return Task(name="upload", rule=UPLOAD, inputs=tuple(task.name for task in tasks if task.name not in needed), mem_mb=UPLOAD_MB)


_PATHS = ("dataset", "state", "ca_file")
_MAGS = ("finest_mag", "coarsest_mag")


def request_to_json(request: UploadRequest) -> dict[str, Any]:
    """Return a request as JSON."""
    return {key: str(value) if value is not None and key in (*_PATHS, *_MAGS) else value for key, value in asdict(request).items()}


def request_from_json(values: Mapping[str, Any]) -> UploadRequest:
    """Return the request that was stored."""
    kinds: dict[str, Any] = dict.fromkeys(_PATHS, Path) | dict.fromkeys(_MAGS, Mag)
    stored: dict[str, Any] = {key: kinds[key](value) if value is not None and key in kinds else value for key, value in values.items()}
    return UploadRequest(**stored)


def uploaded_already(request: UploadRequest) -> Uploaded | None:
    """Return what is on the server of the dataset as it is now; None where it has not been uploaded, or not as it is now.

    Raises:
        InputRefused: it has a file that can not be uploaded.
        IntegrityError: its files are not those in the ledger.
    """
    if request.again:
        return None
    from wkpipe.server.upload import uploaded_before  # who uploads nothing needs none of what this loads

    return uploaded_before(request)
