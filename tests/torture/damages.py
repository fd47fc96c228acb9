"""Damages: what disks, cables, people and other programs do to the files of a dataset, class by class and format by format.

A damage changes one or two files below a dataset. The same `Random` gives the same damage.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import google_crc32c

from tests.torture.fuzz_mutators import a_value
from tests.verify.helpers import data_files

SHARDED = ("zarr3", "zarr3-raw")
WKW = ("wkw", "wkw-raw")
ZARR = (*SHARDED, "zarr", "zarr-raw")
ALL = (*ZARR, *WKW)
EMPTY = b"\xff" * 16
WKW_HEADER = 16


class UnfitError(Exception):
    """This damage is not possible in this file, or would not change it: another one is drawn."""


@dataclass
class Damage:
    """A damage that was done: the changed files, and a text for failures."""

    kind: str
    files: list[Path]
    text: str = ""
    is_silent: bool = False

    def replace(self, file: Path, content: bytes) -> None:
        """Write other bytes; a silent damage keeps the old time, like a failing disk."""
        status = file.stat()
        if content == file.read_bytes():
            raise UnfitError
        file.write_bytes(content)
        if self.is_silent:
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


Inflict = Callable[[Path, Random, Damage], None]


@dataclass(frozen=True)
class DamageClass:
    """A class of damages. `place` is data, metadata or state; `formats` are the datasets that can have it."""

    name: str
    place: str
    formats: tuple[str, ...]
    inflict: Inflict

    def draw(self, root: Path, random: Random) -> Damage:
        """Damage a dataset once.

        Raises:
            UnfitError: it is not possible; the dataset is as it was.
        """
        damage = Damage(self.name, [], is_silent=random.random() < 0.5)
        self.inflict(root, random, damage)
        return damage


CLASSES: dict[str, DamageClass] = {}


def damages(place: str, *formats: str) -> Callable[[Inflict], Inflict]:
    """Register a function as a class of damages by its name."""

    def add(function: Inflict) -> Inflict:
        name = function.__name__.replace("_", "-")
        CLASSES[name] = DamageClass(name, place, formats, function)
        return function

    return add


# -- any file with voxels -----------------------------------------------------------------------------------------------


def a_file(root: Path, random: Random, damage: Damage) -> Path:
    file = random.choice(data_files(root))
    damage.files.append(file)
    return file


@damages("data", *ALL)
def flipped_bits(root: Path, random: Random, damage: Damage) -> None:
    file = a_file(root, random, damage)
    content = bytearray(file.read_bytes())
    for _ in range(random.choice([1, 1, 2, 9])):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    damage.replace(file, bytes(content))


@damages("data", *ALL)
def truncated(root: Path, random: Random, damage: Damage) -> None:
    file = a_file(root, random, damage)
    content = file.read_bytes()
    damage.replace(file, content[: random.choice([0, len(content) - 1, random.randrange(len(content))])])


@damages("data", *ALL)
def zeroed_block(root: Path, random: Random, damage: Damage) -> None:
    """Zero a block, as if the disk never wrote it."""
    file = a_file(root, random, damage)
    content = bytearray(file.read_bytes())
    length = random.choice([16, 512, 4096])
    at = random.randrange(len(content)) // length * length
    content[at : at + length] = bytes(len(content[at : at + length]))
    damage.replace(file, bytes(content))


@damages("data", *ALL)
def all_zeros(root: Path, random: Random, damage: Damage) -> None:
    """Zero a file that was allocated and never written, as some file systems leave it after a crash."""
    file = a_file(root, random, damage)
    damage.replace(file, bytes(file.stat().st_size))


@damages("data", *ALL)
def grown(root: Path, random: Random, damage: Damage) -> None:
    file = a_file(root, random, damage)
    content = file.read_bytes()
    damage.replace(file, content + random.choice([b"\0", b"\n", content[:100], random.randbytes(64)]))


@damages("data", *ALL)
def removed(root: Path, random: Random, damage: Damage) -> None:
    a_file(root, random, damage).unlink()


@damages("data", *ALL)
def repeated_bytes(root: Path, random: Random, damage: Damage) -> None:
    """Put a part of the file in the place of another part; the length stays."""
    file = a_file(root, random, damage)
    content = bytearray(file.read_bytes())
    length = min(random.choice([8, 64, 512]), len(content) // 2)
    source, target = (random.randrange(len(content) - length) for _ in range(2))
    content[target : target + length] = content[source : source + length]
    damage.replace(file, bytes(content))


@damages("data", *ALL)
def exchanged_files(root: Path, random: Random, damage: Damage) -> None:
    """Exchange two files of a mag with their times."""
    first, second = two_files(root, random)
    damage.files += [first, second]
    first.rename(first.with_name("between"))
    second.rename(first)
    first.with_name("between").rename(second)


@damages("data", *ALL)
def file_in_the_place_of_another(root: Path, random: Random, damage: Damage) -> None:
    """Replace a file by another one of the same mag: it decodes, but has the voxels of another place."""
    first, second = two_files(root, random)
    damage.files.append(first)
    damage.replace(first, second.read_bytes())


def two_files(root: Path, random: Random) -> tuple[Path, Path]:
    first = random.choice(data_files(root))
    mag = first.relative_to(root).parts[:2]
    others = [file for file in data_files(root) if file.relative_to(root).parts[:2] == mag and file.read_bytes() != first.read_bytes()]
    if not others:
        raise UnfitError
    return first, random.choice(others)


# -- shards of Zarr 3 ---------------------------------------------------------------------------------------------------


@dataclass
class Shard:
    """A Zarr 3 shard: the bytes of its chunks and its index (offset and size of each, at the end, with a checksum)."""

    body: bytes
    entries: list[bytes]

    @classmethod
    def read(cls, content: bytes) -> Shard:
        for count in (8, 64, 512):
            index, crc = content[-16 * count - 4 : -4], content[-4:]
            if len(index) == 16 * count and struct.pack("<I", google_crc32c.value(index)) == crc:
                return cls(content[: -16 * count - 4], [index[16 * i : 16 * i + 16] for i in range(count)])
        raise UnfitError

    def to_bytes(self) -> bytes:
        """Return the shard with a right checksum."""
        index = b"".join(self.entries)
        return self.body + index + struct.pack("<I", google_crc32c.value(index))

    @property
    def used(self) -> list[int]:
        return [i for i, entry in enumerate(self.entries) if entry != EMPTY]

    def chunk(self, i: int) -> bytes:
        offset, size = struct.unpack("<QQ", self.entries[i])
        return self.body[offset : offset + size]


def a_shard(root: Path, random: Random, damage: Damage) -> tuple[Path, Shard]:
    file = a_file(root, random, damage)
    return file, Shard.read(file.read_bytes())


@damages("data", *SHARDED)
def index_flipped(root: Path, random: Random, damage: Damage) -> None:
    file, shard = a_shard(root, random, damage)
    content = bytearray(file.read_bytes())
    content[random.randrange(len(shard.body), len(content))] ^= 1 << random.randrange(8)
    damage.replace(file, bytes(content))


@damages("data", *SHARDED)
def index_exchanged_with_right_checksum(root: Path, random: Random, damage: Damage) -> None:
    """Exchange two chunks in the index."""
    file, shard = a_shard(root, random, damage)
    first = random.choice(shard.used)
    second = random.choice([i for i in range(len(shard.entries)) if shard.entries[i] != shard.entries[first]])
    shard.entries[first], shard.entries[second] = shard.entries[second], shard.entries[first]
    damage.replace(file, shard.to_bytes())


@damages("data", *SHARDED)
def index_rotated_with_right_checksum(root: Path, random: Random, damage: Damage) -> None:
    """Move every chunk one place further in the index."""
    file, shard = a_shard(root, random, damage)
    shard.entries = shard.entries[-1:] + shard.entries[:-1]
    damage.replace(file, shard.to_bytes())


@damages("data", *SHARDED)
def chunk_dropped_with_right_checksum(root: Path, random: Random, damage: Damage) -> None:
    """Mark a chunk as empty in the index."""
    file, shard = a_shard(root, random, damage)
    shard.entries[random.choice(shard.used)] = EMPTY
    damage.replace(file, shard.to_bytes())


@damages("data", *SHARDED)
def chunk_doubled_with_right_checksum(root: Path, random: Random, damage: Damage) -> None:
    """Let two places of the index have the same chunk."""
    file, shard = a_shard(root, random, damage)
    source = random.choice(shard.used)
    target = random.choice([i for i in range(len(shard.entries)) if shard.entries[i] != shard.entries[source]])
    shard.entries[target] = shard.entries[source]
    damage.replace(file, shard.to_bytes())


@damages("data", *SHARDED)
def index_points_elsewhere_with_right_checksum(root: Path, random: Random, damage: Damage) -> None:
    file, shard = a_shard(root, random, damage)
    at = random.choice(shard.used)
    offset, size = struct.unpack("<QQ", shard.entries[at])
    offset, size = random.choice([(offset + 1, size), (offset, size - 1), (offset, 0), (len(shard.body), size), (2**63, size), (0, 2**40)])
    shard.entries[at] = struct.pack("<QQ", offset, size)
    damage.replace(file, shard.to_bytes())


@damages("data", *SHARDED)
def chunks_moved_in_the_file(root: Path, random: Random, damage: Damage) -> None:
    """Exchange the bytes of two chunks but not the index: sums over all bytes in any order stay the same."""
    file, shard = a_shard(root, random, damage)
    pairs = [(a, b) for a in shard.used for b in shard.used if a < b and len(shard.chunk(a)) == len(shard.chunk(b))]
    pairs = [(a, b) for a, b in pairs if shard.chunk(a) != shard.chunk(b)]
    if not pairs:
        raise UnfitError
    a, b = random.choice(pairs)
    body = bytearray(shard.body)
    for entry, other in ((a, b), (b, a)):
        offset, size = struct.unpack("<QQ", shard.entries[entry])
        body[offset : offset + size] = shard.chunk(other)
    shard.body = bytes(body)
    damage.replace(file, shard.to_bytes())


# -- WKW files ----------------------------------------------------------------------------------------------------------


@damages("data", *WKW)
def wkw_header_of_a_file(root: Path, random: Random, damage: Damage) -> None:
    file = a_file(root, random, damage)
    content = bytearray(file.read_bytes())
    content[random.randrange(WKW_HEADER)] ^= 1 << random.randrange(8)
    damage.replace(file, bytes(content))


@dataclass
class WkwFile:
    """A compressed WKW file: header, table of the ends of blocks, blocks in Morton order."""

    header: bytes
    blocks: list[bytes]

    @classmethod
    def read(cls, content: bytes) -> WkwFile:
        (first,) = struct.unpack_from("<Q", content, 8)
        ends = struct.unpack_from(f"<{(first - WKW_HEADER) // 8}Q", content, WKW_HEADER)
        if first == WKW_HEADER:
            raise UnfitError  # not compressed
        return cls(content[:WKW_HEADER], [content[a:b] for a, b in zip((first, *ends), ends, strict=False)])

    def to_bytes(self) -> bytes:
        ends, at = [], WKW_HEADER + 8 * len(self.blocks)
        for block in self.blocks:
            at += len(block)
            ends.append(at)
        return self.header + struct.pack(f"<{len(ends)}Q", *ends) + b"".join(self.blocks)


@damages("data", "wkw")
def wkw_jump_table(root: Path, random: Random, damage: Damage) -> None:
    file = a_file(root, random, damage)
    content = bytearray(file.read_bytes())
    at = WKW_HEADER + 8 * random.randrange(len(WkwFile.read(bytes(content)).blocks))
    (end,) = struct.unpack_from("<Q", content, at)
    struct.pack_into("<Q", content, at, random.choice([end + 1, end - 1, 0, end + 4096, 2**63, len(content), len(content) + 1]))
    damage.replace(file, bytes(content))


@damages("data", "wkw")
def wkw_blocks_exchanged(root: Path, random: Random, damage: Damage) -> None:
    """Exchange two blocks, with a right table."""
    file = a_file(root, random, damage)
    wkw_file = WkwFile.read(file.read_bytes())
    first = random.randrange(len(wkw_file.blocks))
    second = random.choice([i for i in range(len(wkw_file.blocks)) if wkw_file.blocks[i] != wkw_file.blocks[first]])
    wkw_file.blocks[first], wkw_file.blocks[second] = wkw_file.blocks[second], wkw_file.blocks[first]
    damage.replace(file, wkw_file.to_bytes())


@damages("data", "wkw-raw")
def raw_blocks_exchanged(root: Path, random: Random, damage: Damage) -> None:
    file = a_file(root, random, damage)
    content = bytearray(file.read_bytes())
    edge = 16**3
    first, second = random.sample(range((len(content) - WKW_HEADER) // edge), 2)
    a, b = (slice(WKW_HEADER + i * edge, WKW_HEADER + (i + 1) * edge) for i in (first, second))
    content[a], content[b] = content[b], content[a]
    damage.replace(file, bytes(content))


# -- metadata -----------------------------------------------------------------------------------------------------------


def change_json(file: Path, random: Random, damage: Damage, keys: tuple[str, ...]) -> None:
    """Change the value of one of the keys, at any depth, to something close or hostile; or remove the key."""
    damage.files.append(file)
    content = json.loads(file.read_bytes())
    found = [(node, key) for node, key in _places(content) if key in keys]
    if not found:
        raise UnfitError
    node, key = random.choice(found)
    before = json.dumps(content)
    damage.text = f"{key}: {json.dumps(node[key])[:100]}"
    way = random.random()
    if way < 0.15:
        del node[key]
    elif way < 0.6 and isinstance(node[key], list) and node[key] and all(type(item) is int for item in node[key]):
        at = random.randrange(len(node[key]))
        node[key][at] = random.choice([node[key][at] * 2, max(1, node[key][at] // 2), node[key][at] + 1, max(0, node[key][at] - 1), 0])
    else:
        node[key] = a_value(random, node[key])
    damage.text += f" -> {json.dumps(node.get(key, 'gone'))[:100]}"
    if json.dumps(content) == before:
        raise UnfitError
    damage.replace(file, json.dumps(content).encode(errors="surrogatepass"))


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(value, dict):
            yield value, key
        yield from _places(inner)


def array_metadata(root: Path, random: Random) -> Path:
    files = [*root.glob("*/*/zarr.json"), *root.glob("*/*/.zarray"), *root.glob("*/*/header.wkw")]
    return random.choice(sorted(files))


@damages("metadata", *ZARR)
def key_of_the_array(root: Path, random: Random, damage: Damage) -> None:
    keys = ("shape", "chunk_shape", "chunks", "data_type", "dtype", "codecs", "order", "name", "endian", "fill_value", "compressor", "id")
    more = ("zarr_format", "node_type", "separator", "dimension_separator", "index_codecs", "chunk_grid", "chunk_key_encoding")
    change_json(array_metadata(root, random), random, damage, keys + more)


@damages("metadata", *WKW)
def header_of_the_array(root: Path, random: Random, damage: Damage) -> None:
    file = array_metadata(root, random)
    damage.files.append(file)
    content = bytearray(file.read_bytes())
    at = random.randrange(len(content))
    content[at] = random.choice([content[at] ^ (1 << random.randrange(8)), 0, 255])
    damage.text = f"byte {at}"
    damage.replace(file, bytes(content))


@damages("metadata", *ALL)
def metadata_file_hurt(root: Path, random: Random, damage: Damage) -> None:
    """Remove a metadata file, cut it, zero it, or replace it by that of another mag."""
    file = random.choice([array_metadata(root, random), root / "datasource-properties.json"])
    damage.files.append(file)
    content = file.read_bytes()
    way = damage.text = random.choice(["gone", "short", "zeros", "other"])
    if way == "gone":
        file.unlink()
        return
    others = [path for path in sorted(root.glob(f"*/*/{file.name}")) if path.read_bytes() != content]
    other = random.choice(others).read_bytes() if others else b"{}"
    damage.replace(file, {"short": content[: random.randrange(len(content))], "zeros": bytes(len(content)), "other": other}[way])


@damages("metadata", *ALL)
def key_of_the_properties(root: Path, random: Random, damage: Damage) -> None:
    keys = ("mag", "path", "topLeft", "width", "height", "depth", "dataFormat", "elementClass", "numChannels", "axisOrder", "mags")
    change_json(root / "datasource-properties.json", random, damage, (*keys, "x", "y", "z", "c", "dataLayers", "name"))


# -- the state ----------------------------------------------------------------------------------------------------------


def segments(root: Path) -> list[Path]:
    return sorted((root / ".wkpipe").glob("ledger/*/*/*.segment"))


@damages("state", *ALL)
def ledger_bytes(root: Path, random: Random, damage: Damage) -> None:
    file = random.choice(segments(root))
    damage.files.append(file)
    content = bytearray(file.read_bytes())
    at = random.randrange(len(content))
    if random.random() < 0.5:
        content[at] ^= 1 << random.randrange(7)
    else:
        del content[at : at + random.choice([1, 20, len(content)])]
    damage.replace(file, bytes(content))


@damages("state", *ALL)
def ledger_line_lost(root: Path, random: Random, damage: Damage) -> None:
    file = random.choice(segments(root))
    damage.files.append(file)
    lines = file.read_bytes().splitlines(keepends=True)
    del lines[random.randrange(len(lines))]
    damage.replace(file, b"".join(lines))


@damages("state", *ALL)
def recipe(root: Path, random: Random, damage: Damage) -> None:
    file = random.choice(sorted((root / ".wkpipe").glob("ledger/*/*/recipe.json")))
    damage.files.append(file)
    if random.random() < 0.2:
        file.unlink()
        return
    change_json(file, random, damage, tuple(json.loads(file.read_bytes())))
    damage.files.pop()
