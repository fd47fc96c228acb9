"""The dataset to download, as its server describes it while the run is planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wkpipe.plan.config import Config
from wkpipe.server.download.remote import DatasetAddress, FoundDataset, find_dataset
from wkpipe.server.upload.limits import DEFAULT_URL

if TYPE_CHECKING:
    from wkpipe.server.http.token import Token


def only_here(strategy: str) -> str:
    """Return why a strategy that runs jobs on other hosts cannot download."""
    return (
        f"a download runs on this machine only, where its jobs get the token from memory: with {strategy} the token would be "
        "on a disk or in the jobs' environment; use --distribution-strategy multiprocessing (or the profile multiprocessing)"
    )


def dataset_to_download(config: Config, token: Callable[[], Token]) -> FoundDataset | None:
    """Ask the server of a config for the dataset to download; None if the config wants no download.

    Raises:
        WkpipeError: see `find_dataset`.
    """
    if config.download_url is None:
        return None
    return found_dataset(config.download_url, DEFAULT_URL, token(), config)


def found_dataset(place: str, server: str, token: Token, config: Config) -> FoundDataset:
    """Ask a server for the dataset at a place: the address of its page, or its name on `server`.

    Raises:
        WkpipeError: see `find_dataset`.
    """
    address = DatasetAddress.parse(place, server, config.allow_http)
    return find_dataset(address, token, config.allow_http, config.ca_file, config.proxy)
