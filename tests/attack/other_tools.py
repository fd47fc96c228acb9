"""Other tools that change a dataset behind wkpipe's back.

`Imitation` changes the files like the reference package, with tensorstore, wkw and plain Python: arrays without wkpipe's
attributes, whole shards replaced, properties rewritten, no ledger. `Original` runs the reference package itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import wkw

from tests.oracle.pyramid import Array, coarser
from tests.oracle.reading import stored_mags
from tests.reference.workshop import SCRIPTS

CHUNK, SHARD = 8, 16


class OtherTool(ABC):
    """The changes of other tools. Voxels are x, y, z and begin at `at` (mag-1 voxels); layers have one channel."""

    @abstractmethod
    def add_layer(self, root: Path, layer: str, data_format: str, dtype: str, size: tuple[int, int, int]) -> None: ...

    @abstractmethod
    def delete_layer(self, root: Path, layer: str) -> None: ...

    @abstractmethod
    def add_mag(self, root: Path, layer: str, mag: int, voxels: Array, chunk: int = CHUNK, shard: int = SHARD) -> None: ...

    @abstractmethod
    def delete_mag(self, root: Path, layer: str, mag: int) -> None: ...

    @abstractmethod
    def write(self, root: Path, layer: str, mag: int, voxels: Array, at: tuple[int, int, int] = (0, 0, 0)) -> None: ...

    @abstractmethod
    def set_box(self, root: Path, layer: str, size: tuple[int, int, int]) -> None: ...

    @abstractmethod
    def make_dataset(self, root: Path) -> None: ...

    @abstractmethod
    def downsample(self, root: Path, layer: str, coarsest: int) -> None: ...

    def make(self, root: Path, layer: str, voxels: Array, data_format: str = "zarr3", shard: int = SHARD) -> Path:
        """Make a dataset with one layer and its mag 1."""
        self.make_dataset(root)
        self.add_layer(root, layer, data_format, str(voxels.dtype), voxels.shape)
        self.add_mag(root, layer, 1, voxels, shard=shard)
        return root


class Imitation(OtherTool):
    """The same changes of the files, in plain Python."""

    def make_dataset(self, root: Path) -> None:
        root.mkdir(parents=True)
        scale = {"factor": [10.0, 10.0, 10.0], "unit": "nanometer"}
        _save(root, {"id": {"name": root.name, "team": ""}, "scale": scale, "dataLayers": [], "version": 1})

    def add_layer(self, root: Path, layer: str, data_format: str, dtype: str, size: tuple[int, int, int]) -> None:
        properties = _properties(root)
        box = {"topLeft": [0, 0, 0], "width": size[0], "height": size[1], "depth": size[2]}
        entry = {"name": layer, "category": "color", "boundingBox": box, "dataFormat": data_format, "mags": [], "numChannels": 1}
        properties["dataLayers"].append(entry | {"elementClass": dtype})
        _save(root, properties)

    def delete_layer(self, root: Path, layer: str) -> None:
        properties = _properties(root)
        properties["dataLayers"] = [entry for entry in properties["dataLayers"] if entry["name"] != layer]
        _save(root, properties)
        shutil.rmtree(root / layer)

    def add_mag(self, root: Path, layer: str, mag: int, voxels: Array, chunk: int = CHUNK, shard: int = SHARD) -> None:
        properties = _properties(root)
        entry = _layer(properties, layer)
        kind, path = entry["dataFormat"], root / layer / str(mag)
        path.parent.mkdir(exist_ok=True)
        step = chunk if kind == "zarr" else shard
        box = entry["boundingBox"]
        shape = [1, *(_whole_shards(n, mag, step) for n in (box["width"], box["height"], box["depth"]))]
        new: dict[str, Any] = {"mag": [mag] * 3, "path": f"./{layer}/{mag}"}
        if kind == "wkw":
            wkw.Dataset.create(
                str(path), wkw.Header(voxels.dtype, 1, block_len=chunk, file_len=shard // chunk, block_type=wkw.Header.BLOCK_TYPE_LZ4HC)
            ).close()
            new["cubeLength"] = shard
        else:
            _create(path, kind, shape, voxels.dtype, chunk, shard)
            new["axisOrder"] = {"c": 0, "x": 1, "y": 2, "z": 3}
        entry["mags"].append(new)
        _save(root, properties)
        if voxels.any():
            self.write(root, layer, mag, voxels)

    def delete_mag(self, root: Path, layer: str, mag: int) -> None:
        properties = _properties(root)
        entry = _layer(properties, layer)
        entry["mags"] = [found for found in entry["mags"] if found["mag"] != [mag] * 3]
        _save(root, properties)
        shutil.rmtree(root / layer / str(mag))

    def write(self, root: Path, layer: str, mag: int, voxels: Array, at: tuple[int, int, int] = (0, 0, 0)) -> None:
        kind, path = _layer(_properties(root), layer)["dataFormat"], root / layer / str(mag)
        corner = [n // mag for n in at]
        if kind == "wkw":
            with wkw.Dataset.open(str(path)) as dataset:
                edge = dataset.header.block_len * dataset.header.file_len
                first = [a // edge * edge for a in corner]
                end = [-(-(a + n) // edge) * edge for a, n in zip(corner, voxels.shape, strict=True)]
                whole = np.asfortranarray(dataset.read(first, [b - a for a, b in zip(first, end, strict=True)]))
                whole[(0, *(slice(a - f, a - f + n) for a, f, n in zip(corner, first, voxels.shape, strict=True)))] = voxels
                dataset.write(first, whole)
            return
        array = _open(path, kind)
        array[(0, *(slice(a, a + n) for a, n in zip(corner, voxels.shape, strict=True)))].write(voxels).result()

    def set_box(self, root: Path, layer: str, size: tuple[int, int, int]) -> None:
        properties = _properties(root)
        entry = _layer(properties, layer)
        entry["boundingBox"] |= dict(zip(("width", "height", "depth"), size, strict=True))
        _save(root, properties)
        for found in entry["mags"] if entry["dataFormat"] != "wkw" else ():
            array = _open(root / found["path"], entry["dataFormat"])
            step = array.chunk_layout.write_chunk.shape[1:]
            end = [_whole_shards(n, m, s) for n, m, s in zip(size, found["mag"], step, strict=True)]
            array.resize(exclusive_max=[1, *end], resize_metadata_only=True).result()

    def downsample(self, root: Path, layer: str, coarsest: int) -> None:
        mags = stored_mags(root, layer)
        finest = max(mag[0] for mag in mags)
        reader = "wkw" if mags[(finest,) * 3].data_format == "wkw" else "tensorstore"
        voxels = mags[(finest,) * 3].read(reader)[0]
        while finest < coarsest:
            end = [-(-n // 2) for n in voxels.shape[1:]]
            voxels = coarser(voxels, (0, 0, 0), (0, 0, 0), end, (2, 2, 2), "median")
            finest *= 2
            self.add_mag(root, layer, finest, voxels[0])


class Original(OtherTool):
    """The reference package, in a process with its own Python."""

    def __init__(self, python: Path, place: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "WK_TOKEN")}
        command = [python, "-W", "ignore", SCRIPTS / "change_dataset.py"]
        self._file = place / "voxels.npy"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, env=environment, **pipes)

    def close(self) -> None:
        self._process.communicate(timeout=500)

    def _do(self, root: Path, name: str, voxels: Array | None = None, **values: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if voxels is not None:
            np.save(self._file, voxels)
        print(json.dumps([str(root), name, values, str(self._file)]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the reference package's process ended: {self._process.wait()}"
        assert json.loads(answer) is None, json.loads(answer)

    def make_dataset(self, root: Path) -> None:
        self._do(root, "make_dataset")

    def add_layer(self, root: Path, layer: str, data_format: str, dtype: str, size: tuple[int, int, int]) -> None:
        self._do(root, "add_layer", layer=layer, data_format=data_format, dtype=dtype, size=size)

    def delete_layer(self, root: Path, layer: str) -> None:
        self._do(root, "delete_layer", layer=layer)

    def add_mag(self, root: Path, layer: str, mag: int, voxels: Array, chunk: int = CHUNK, shard: int = SHARD) -> None:
        self._do(root, "add_mag", voxels, layer=layer, mag=mag, chunk=chunk, shard=shard)

    def delete_mag(self, root: Path, layer: str, mag: int) -> None:
        self._do(root, "delete_mag", layer=layer, mag=mag)

    def write(self, root: Path, layer: str, mag: int, voxels: Array, at: tuple[int, int, int] = (0, 0, 0)) -> None:
        self._do(root, "write", voxels, layer=layer, mag=mag, at=at)

    def set_box(self, root: Path, layer: str, size: tuple[int, int, int]) -> None:
        self._do(root, "set_box", layer=layer, size=size)

    def downsample(self, root: Path, layer: str, coarsest: int) -> None:
        self._do(root, "downsample", layer=layer, coarsest=coarsest)


def _properties(root: Path) -> Any:
    return json.loads((root / "datasource-properties.json").read_text())


def _save(root: Path, properties: Any) -> None:
    """Write the properties, and the group files as the reference package writes them (with the 2 in .zgroup as a string)."""
    (root / "datasource-properties.json").write_text(json.dumps(properties, indent=4))
    for layer in properties["dataLayers"]:
        directory, kind = root / layer["name"], layer["dataFormat"]
        if kind == "wkw" or not directory.is_dir():
            continue
        factor = properties["scale"]["factor"]
        axes = [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space", "unit": "nanometer"} for axis in "xyz")]
        datasets = [
            {
                "path": Path(mag["path"]).name,
                "coordinateTransformations": [{"type": "scale", "scale": [1.0, *(f * m for f, m in zip(factor, mag["mag"], strict=True))]}],
            }
            for mag in layer["mags"]
        ]
        if kind == "zarr3":
            group: dict[str, Any] = {"zarr_format": 3, "node_type": "group"}
            ome = {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
            (directory / "zarr.json").write_text(json.dumps(group | {"attributes": ome}))
            (root / "zarr.json").write_text(json.dumps(group))
        else:
            (directory / ".zattrs").write_text(json.dumps({"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}))
            for place in (root, directory):
                (place / ".zgroup").write_text(json.dumps({"zarr_format": "2"}))


def _whole_shards(length: int, mag: int, shard: int) -> int:
    """Return the length of an axis of a mag's array: the box, rounded up to voxels of the mag and then to whole shards."""
    voxels = -(-length // mag)
    return -(-voxels // shard) * shard


def _layer(properties: Any, layer: str) -> Any:
    (found,) = [entry for entry in properties["dataLayers"] if entry["name"] == layer]
    return found


def _open(path: Path, kind: str) -> Any:
    spec = {"driver": kind, "kvstore": {"driver": "file", "path": f"{path}/"}}
    return tensorstore.open(spec, open=True).result()


def _create(path: Path, kind: str, shape: list[int], dtype: Any, chunk: int, shard: int) -> None:
    spec: dict[str, Any] = {"driver": kind, "kvstore": {"driver": "file", "path": f"{path}/"}}
    if kind == "zarr":
        metadata: dict[str, Any] = {"shape": shape, "chunks": [1, chunk, chunk, chunk], "dtype": np.dtype(dtype).str, "order": "F"}
        spec["metadata"] = metadata | {"compressor": {"id": "zstd", "level": 5}, "fill_value": 0, "dimension_separator": "/"}
    else:
        multi = np.dtype(dtype).itemsize > 1
        codecs: list[Any] = [
            {"name": "transpose", "configuration": {"order": [3, 2, 1, 0]}},
            {"name": "bytes", "configuration": {"endian": "little"}} if multi else {"name": "bytes"},
            {"name": "zstd", "configuration": {"level": 5, "checksum": True}},
        ]
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        if chunk != shard:
            sharding = {"chunk_shape": [1, chunk, chunk, chunk], "codecs": codecs, "index_codecs": index}
            codecs = [{"name": "sharding_indexed", "configuration": sharding}]
        spec["metadata"] = {
            "shape": shape,
            "data_type": np.dtype(dtype).name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, shard, shard, shard]}},
            "chunk_key_encoding": {"name": "default"},
            "codecs": codecs,
            "fill_value": 0,
            "dimension_names": ["c", "x", "y", "z"],
        }
    tensorstore.open(spec, create=True).result()
