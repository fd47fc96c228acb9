"""What is wanted of an upload: the part of the finished dataset, the server, and the name there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wkpipe.errors import UsageError
from wkpipe.geometry import Mag
from wkpipe.server.http.address import server_address
from wkpipe.server.upload.limits import DEFAULT_URL
from wkpipe.server.upload.request import UploadRequest
from wkpipe.server.wk_api import check_name
from wkpipe.stored.locations import Locations

if TYPE_CHECKING:  # jobs load this module, but do not need the config
    from wkpipe.plan.config import Config


def upload_request(config: Config, url: str, locations: Locations, name: str) -> UploadRequest:
    """Return what to upload to a server; `name` is the name of the dataset itself.

    Raises:
        UsageError: the address is not valid, or the token may not be sent to it.
        InputRefused: no server would take the name.
    """
    if config.proxy is not None and "@" in config.proxy:
        raise UsageError("the proxy address contains a user or a password, which would be stored with the run's plan", fix="leave it out")
    name = config.dataset_name or name
    check_name(name)
    request = request_of(config, locations.dataset, locations.state, config.upload_chunk_mib << 20)
    ca_file = None if config.ca_file is None else config.ca_file.absolute()
    return replace(request, url=server_address(url, config.allow_http), name=name, ca_file=ca_file)


def request_of(config: Config, dataset: Path, state: Path, chunk_bytes: int) -> UploadRequest:
    """Return what the config asks to upload of a dataset; nothing is checked yet."""
    return UploadRequest(
        dataset=dataset,
        state=state,
        url=DEFAULT_URL if config.webknossos_url is None else config.webknossos_url,
        name=config.dataset_name,
        folder=config.folder,
        datastore=config.datastore,
        layers=tuple(config.upload_layers),
        finest_mag=None if config.upload_finest_mag is None else Mag(config.upload_finest_mag),
        coarsest_mag=None if config.upload_coarsest_mag is None else Mag(config.upload_coarsest_mag),
        chunk_bytes=chunk_bytes,
        jobs=config.upload_jobs,
        allow_http=config.allow_http,
        ca_file=config.ca_file,
        proxy=config.proxy,
        again=config.upload_again,
    )


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
