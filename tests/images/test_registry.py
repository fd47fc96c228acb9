"""The reader of a file is chosen by content, then by name; a reader of another distribution is imported only if it matches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images.reading import read_rows
from wkpipe import images
from wkpipe.images import SourceOptions, inspect_source
from wkpipe.images.registry import BUILT_IN, Magic, Registered, is_image, reader_for

PLANE = np.arange(120, dtype=np.uint8).reshape(10, 12)

READER = """
from wkpipe.images.reader import ImageFile
from wkpipe.images.source import AxisSizes


class Reader:
    name = "{name}"

    def inspect(self, path, how):
        stat = path.stat()
        return [ImageFile(path, stat.st_size, stat.st_mtime_ns, self.name, AxisSizes(1, 1, 1, 4, 5), "uint8", False, (4, 5), 0)]

    def read_into(self, out, file, corner, channels):
        out[...] = {value}


READER = Reader()
"""

# Inspects files; prints the reader of each, then the imported reader modules.
ASK = """
import json, sys
from pathlib import Path
from wkpipe.images import inspect_source
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = inspect_source(Path(name), category="color")[0].files[0].reader
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
found["imported"] = sorted(name for name in sys.modules if name.startswith("plugin_") or name.endswith(("readers.tiff", "readers.pillow")))
print(json.dumps(found))
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that installs a distribution with a reader, as pip would, in a separate directory."""
    site = tmp_path / "site"
    site.mkdir()

    def install(name: str, marks: str, value: int, code: str = READER) -> Path:
        (site / f"plugin_{name}.py").write_text(code.format(name=name, value=value))
        info = site / f"plugin_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[wkpipe.images]\n{name} {marks} = plugin_{name}:READER\n")
        return site

    return install


def ask(site: Path, *files: Path) -> dict[str, str]:
    """Return the reader of each file, in a process that has the plugins of `site`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).parents[2])])}
    done = subprocess.run([sys.executable, "-c", ASK, *map(str, files)], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {Path(name).name: what for name, what in found.items()}


def test_the_longest_magic_bytes_win_and_no_other_plugin_is_imported(tmp_path, plugins):
    plugins("one", ".one 0:4F4E45", 1)
    site = plugins("onetwo", ".onetwo 0:4F4E4554574F", 2)
    files = {"a.one": b"ONE and more", "b.one": b"ONETWO and more", "c.onetwo": b"ONE and more", "d.onetwo": b"neither"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tifffile.imwrite(tmp_path / "e.tif", PLANE)
    assert ask(site, tmp_path / "e.tif") == {"e.tif": "tiff", "imported": ["wkpipe.images.readers.tiff"]}
    assert ask(site, tmp_path / "a.one") == {"a.one": "one", "imported": ["plugin_one"]}
    assert ask(site, tmp_path / "b.one") == {"b.one": "onetwo", "imported": ["plugin_onetwo"]}
    found = ask(site, *(tmp_path / name for name in files))
    assert found == {
        "a.one": "one",
        "b.one": "onetwo",
        "c.onetwo": "one",
        "d.onetwo": "onetwo",
        "imported": ["plugin_one", "plugin_onetwo"],
    }


def test_of_equal_magic_bytes_the_built_in_reader_wins(tmp_path, plugins):
    plugins("same", ".tif .same 0:49492A00", 1)
    plugins("tiff", ".tiffy 0:49492A000800", 3)  # the name of a built-in reader is taken
    site = plugins("longer", ".longer 0:49492A00100000004352", 2)
    tifffile.imwrite(tmp_path / "a.tif", PLANE, byteorder="<")
    tifffile.imwrite(tmp_path / "b.same", PLANE, byteorder="<", bigtiff=True)
    (tmp_path / "c.tif").write_bytes(bytes.fromhex("49492A0010000000") + b"CR")
    found = ask(site, tmp_path / "a.tif", tmp_path / "b.same", tmp_path / "c.tif")
    assert found == {"a.tif": "tiff", "b.same": "tiff", "c.tif": "longer", "imported": ["plugin_longer", "wkpipe.images.readers.tiff"]}


def test_a_reader_that_cannot_be_imported_stops_what_is_for_it_alone(tmp_path, plugins):
    site = plugins("broken", ".broken 0:42524F4B", 1, code="raise RuntimeError('no library {name} {value}')")
    (tmp_path / "a.broken").write_bytes(b"BROK")
    Image.fromarray(PLANE).save(tmp_path / "b.png")
    found = ask(site, tmp_path / "a.broken", tmp_path / "b.png")
    assert found["a.broken"].startswith(
        "InputRefused: the reader broken (plugin_broken:READER) cannot be loaded: no library broken 1; install"
    )
    assert found["b.png"] == "pillow"


def test_content_decides_between_readers_not_whether_a_file_is_an_image(tmp_path):
    Image.fromarray(PLANE).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "1.tif")
    tifffile.imwrite(tmp_path / "a.tif", PLANE + 1)
    (tmp_path / "a.tif").rename(tmp_path / "2.png")
    tifffile.imwrite(tmp_path / "notes.txt", PLANE)
    (stack,) = inspect_source(tmp_path, category="color", options=SourceOptions(family=(".tif", ".png")))
    assert [file.reader for file in stack.files] == ["pillow", "tiff"]
    np.testing.assert_array_equal(read_rows(stack, 0, 0, 2, 0, 10)[..., 0], [PLANE, PLANE + 1])
    assert not is_image(tmp_path / "notes.txt")
    assert reader_for(tmp_path / "notes.txt") is None
    assert reader_for(tmp_path, is_dir=True) is None


def test_what_an_entry_point_says():
    found = Registered.of("zarr .zarr/ .OME.zarr/ .zip 0:504B0304 30:7A", "somewhere:READER")
    assert found.magic == (Magic(0, b"PK\3\4"), Magic(30, b"z"))
    assert found.ending_of(Path("a/B.Zarr"), is_dir=True) == 6
    assert found.ending_of(Path("a/B.ome.zarr"), is_dir=True) == 10
    assert found.ending_of(Path("a/B.zarr"), is_dir=False) == 0
    assert found.ending_of(Path("a/.zip"), is_dir=False) == 0
    assert found.magic_of(b"PK\3\4" + bytes(26) + b"z") == 4
    assert found.magic_of(b"PK") == 0
    for wrong in ("zarr zarr", "zarr 0:", "zarr x:41", "zarr -1:41", "zarr 0:4"):
        with pytest.raises(ValueError, match="not magic bytes: "):
            Registered.of(wrong, "somewhere:READER")


def test_every_built_in_reader_is_there():
    for entry in BUILT_IN:
        assert entry.reader.name == entry.name


def test_all_names_of_the_package_are_found_when_they_are_used() -> None:
    for name in images.__all__:
        assert getattr(images, name) is not None
    with pytest.raises(AttributeError, match=r"module 'wkpipe\.images' has no attribute 'Nothing'"):
        _ = images.Nothing
