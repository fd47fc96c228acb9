"""The library uploads and downloads what the commands do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.server.upload_helpers import SECRET, Stage
from wkpipe import BoundingBox, Dataset
from wkpipe.dataset.border import NotOffered
from wkpipe.errors import ServerError


@pytest.fixture
def home(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("WK_TOKEN", SECRET)
    monkeypatch.setenv("WK_URL", stage.url)
    monkeypatch.chdir(tmp_path)
    return stage


def test_a_dataset_that_was_uploaded_is_downloaded_again(home: Stage, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "data")
    remote = dataset.upload("mine")
    assert (remote.name, remote.voxel_size) == ("mine", dataset.voxel_size)
    assert remote.url == f"{home.url}/datasets/{remote.dataset_id}"
    assert dataset.upload("mine").url == remote.url, "it was there"
    name = next(iter(dataset.layers))
    source = dataset.get_layer(name)
    back = Dataset.download(remote.url, path=tmp_path / "back")
    assert list(back.layers) == list(dataset.layers)
    assert np.array_equal(back.get_layer(name).get_finest_mag().read(), source.get_finest_mag().read())

    box = BoundingBox(source.bounding_box.topleft_xyz, (32, 32, 1))
    part = Dataset.open_remote("mine").download(bbox=box, layers=name, mags=[source.get_finest_mag().mag])
    assert (part.path, list(part.layers), list(part.get_layer(name).mags)) == (tmp_path / "mine", [name], [source.get_finest_mag().mag])
    assert part.get_layer(name).bounding_box == box


def test_the_rest_of_a_remote_dataset_is_beyond_the_border(home: Stage, tmp_path: Path) -> None:
    remote = Dataset.open(tmp_path / "data").upload()
    with pytest.raises(NotOffered, match="a dataset on a server has no folder in wkpipe; download it"):
        _ = remote.folder
    with pytest.raises(NotOffered, match="has no sharing_token"):
        Dataset.open_remote(remote.url, sharing_token="a")
    with pytest.raises(ServerError):
        Dataset.open_remote("no_such_name")
    assert not (tmp_path / "no_such_name").exists()
