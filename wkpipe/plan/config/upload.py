"""Settings of an upload: the server, the name there, and which part of the dataset."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wkpipe.plan.config.option import Option
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import MagText
from wkpipe.server.upload.limits import DEFAULT_CHUNK_BYTES, DEFAULT_JOBS, DEFAULT_URL, MOST_CHUNK_BYTES, MOST_JOBS


class UploadConfig(ConfigPart):
    """The server to upload the dataset to, and which part of it."""

    webknossos_url: Annotated[str | None, Option(text=f"Address of the WEBKNOSSOS server; default: {DEFAULT_URL}.", variable="WK_URL")] = (
        Field(None, description=f"WEBKNOSSOS server to upload the finished dataset to, like {DEFAULT_URL}; leave it out to upload nothing.")
    )
    dataset_name: str | None = Field(None, description="Name of the dataset on the server; default: its name here.")
    folder: str | None = Field(
        None, description="Folder of the server's dashboard to put the dataset in, like Datasets/mine; default: the root folder."
    )
    datastore: str | None = Field(
        None, description="Name or URL of the server's datastore to upload to; default: the first that accepts uploads."
    )
    upload_layers: Annotated[
        list[str], Option(names=("--layer-name", "--layer"), text="Upload this layer only; may be given several times.")
    ] = Field([], description="Upload: names of the layers to upload; default: all.")
    upload_finest_mag: Annotated[
        MagText | None, Option(names=("--finest-mag",), text="Leave out finer mags than this, like 2 or 2-2-1.")
    ] = Field(None, description="Upload: finest mag to upload; default: the finest there is.")
    upload_coarsest_mag: Annotated[MagText | None, Option(names=("--coarsest-mag",), text="Leave out coarser mags than this.")] = Field(
        None, description="Upload: coarsest mag to upload; default: the coarsest there is."
    )
    upload_jobs: Annotated[int, Option(names=("--jobs",), text="Requests at the same time.")] = Field(
        DEFAULT_JOBS, ge=1, le=MOST_JOBS, description="Upload: requests at the same time."
    )
    upload_chunk_mib: int = Field(
        DEFAULT_CHUNK_BYTES >> 20, ge=1, le=MOST_CHUNK_BYTES >> 20, description="Upload: MiB of a file in one request."
    )
    upload_again: Annotated[bool, Option(names=("--again",), text="Forget an earlier upload, finished or not, and start again.")] = Field(
        False, description="Upload: forget an earlier one, finished or not, and start again."
    )
