"""Mutators: make a broken file from a sound one, by the rules of its format. The same `Random` gives the same bytes."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from random import Random
from typing import Any

import google_crc32c

HUGE = int("9" * 400)
HUGE_FLOAT = 2**1000
SCALARS: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 5, 7, 16, 31, 32, 255, 256, 2**15, 2**16, 2**24, 2**30, 2**31 - 1, 2**31, 2**32, 2**48, 2**53),
    *(2**53 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**100, -(2**63), HUGE, 0.0, -0.0, 0.5, 1.0, 1e-320, 1e300, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "0", "1", "-1", "1e999", "0x7ff8000000000000", "NaN", "Infinity", "\0", "a\0b"),
    *("\n", "a\nb", "\x1b[31m", "\ud800", "\udcff", "é", "e\u0301", "\u202e", "\U0001f600", "x" * 300, "y" * 70000, "/", "//", ".", ".."),
    *("../x", "../../outside", "./../outside", "/", "/etc", "/proc/self", "/dev/zero", "outside", "a/b", "a\\b", "~", "$HOME", "{}", "%s"),
    *("https://example.org/x", "s3://bucket/x", "://", "file:///etc", "2-2-1", "2-2", "3", "1-1-1-1", "-2", "0-0-0", "bigint", "affine"),
    *("color", "segmentation", "wkw", "zarr", "zarr3", "n5", "neuroglancerPrecomputed", "uint8", "uint24", "uint64", "int8", "float"),
    *("double", "float16", "complex64", "bool", "<u2", ">u2", "|u1", "|O", "<M8[ns]", "|V4", "nm", "nanometer", "parsec", "bytes", "zstd"),
    *("gzip", "blosc", "crc32c", "transpose", "sharding_indexed", "regular", "default", "v2", "array", "group", "start", "end", "little"),
    *([], {}, [[]], [0], [0, 0, 0], [1, 1, 1], [-1, -1, -1], [2**40] * 3, [2**62] * 4, [1, 2], ["1", "1", "1"], [None] * 3, [0] * 5000),
    *([2, 2, 1], [3, 3, 3], [1, 1, 1, 1, 1, 1, 1, 1], {"": 0}, {"name": "zstd"}, {"name": "bytes", "configuration": {"endian": "big"}}),
]
"""Values that have broken readers before: limits of number types, paths, names of formats and types, odd shapes."""


def nested(depth: int) -> Any:
    """Return nested lists and objects."""
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def a_value(random: Random, like: Any = None) -> Any:
    """Return a hostile value, often one close to `like`."""
    if isinstance(like, int) and not isinstance(like, bool) and abs(like) < HUGE_FLOAT and random.random() < 0.5:
        return random.choice(
            [like + 1, like - 1, -like, like * 2, like * 3, like << 20, like << 40, like / 2, str(like), [like], float(like)]
        )
    if isinstance(like, str) and random.random() < 0.4:
        return random.choice([like + "x", like[:-1], like.upper(), like + "\n", "../" + like, "/" + like, like + "/..", like * 200, [like]])
    if isinstance(like, list) and like and random.random() < 0.5:
        return random.choice(
            [like[:-1], [*like, like[-1]], like * 2, like[::-1], like * 300, [like], like[0], [a_value(random)] * len(like)]
        )
    if random.random() < 0.03:
        return nested(random.choice([50, 99, 101, 300]))
    return copy.deepcopy(random.choice(SCALARS))


def mutate_json(value: Any, random: Random, times: int | None = None) -> Any:
    """Return a JSON value with one to three changes: a place is removed, replaced, retyped, renamed, doubled or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(times or random.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return a_value(random, value)
        node, key = random.choice(places)
        action = random.choice(["replace"] * 6 + ["remove", "remove", "rename", "double", "exchange"])
        if action == "replace":
            node[key] = a_value(random, node[key])
        elif action == "remove":
            del node[key]
        elif action == "exchange":
            other, there = random.choice(places)
            node[key], other[there] = copy.deepcopy(other[there]), copy.deepcopy(node[key])
        elif isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        elif action == "rename":
            node[str(a_value(random, key))] = node.pop(key)
        else:
            node[random.choice(list(node))] = copy.deepcopy(node[key])
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list) and len(value) < 100:
        for index, inner in enumerate(value):
            yield value, index
            yield from _places(inner)


def mutate_json_file(data: bytes, random: Random) -> bytes:
    """Change a JSON file: mostly a value, sometimes its bytes, or repeat a key."""
    way = random.random()
    if way < 0.15:
        return mutate_bytes(data, random)
    value = mutate_json(json.loads(data), random)
    text = json.dumps(value, indent=random.choice([None, 4]))
    if way < 0.2 and "{" in text:
        at = random.choice([i for i, c in enumerate(text) if c == "{"]) + 1
        key = random.choice(["name", "mags", "shape", "codecs", "chunks", "spec", "dataLayers", "mag", "path"])
        text = f"{text[:at]}{json.dumps(key)}: {json.dumps(a_value(random))}{',' if text[at : at + 1] != '}' else ''}{text[at:]}"
    if way > 0.97:
        front = random.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 5000, b"\0", b"9" * 6000])
        return front + text.encode(errors="replace")
    if way > 0.95:
        depth = random.choice([900, 2000, 100_000])
        return text.encode(errors="replace").replace(b"1", b"[" * depth + b"]" * depth, 1)
    return text.encode(errors="surrogatepass")


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Change the bytes of a file: flip bits, cut, zero, insert, repeat, or insert a limit of a number type."""
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        at = random.randrange(len(out) + 1)
        length = random.choice([1, 2, 4, 8, 16, 100])
        action = random.choice(["flip", "flip", "flip", "cut", "zero", "ones", "insert", "repeat", "number", "number", "remove"])
        if action == "flip" and at < len(out):
            out[at] ^= 1 << random.randrange(8)
        elif action == "cut":
            del out[at:]
        elif action in ("zero", "ones"):
            end = min(len(out), at + length)
            out[at:end] = (b"\0" if action == "zero" else b"\xff") * (end - at)
        elif action == "insert":
            out[at:at] = random.randbytes(length)
        elif action == "repeat":
            out[at:at] = out[max(0, at - length) : at] * random.choice([1, 2, 50])
        elif action == "remove":
            del out[at : at + length]
        elif action == "number":
            code = random.choice("HIQ")
            size = struct.calcsize("<" + code)
            most = 2 ** (8 * size)
            value = random.choice([0, 1, most - 1, most // 2, most // 2 - 1, len(out), len(out) - 1, len(out) + 1, 65535, 2**16 % most])
            raw = struct.pack(random.choice("<>") + code, value % most)
            out[at : at + size] = raw[: max(0, len(out) - at)]
    return bytes(out)


def mutate_segment(data: bytes, random: Random) -> bytes:
    """Change a ledger's segment: a record with a right checksum, or plain bytes."""
    lines = data.splitlines(keepends=True)
    if random.random() < 0.4 or not lines:
        return mutate_bytes(data, random)
    at = random.randrange(len(lines))
    text = json.dumps(mutate_json(json.loads(lines[at].split(b" ", 1)[1]), random), separators=(",", ":")).encode()
    lines[at] = f"{google_crc32c.value(text):08x} ".encode() + text + b"\n"
    return b"".join(lines)


def flip_in_place(data: bytes, random: Random) -> bytes:
    """Change a few bytes but not the length, as a bad disk or cable does."""
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5])):
        at = random.randrange(len(out))
        if random.random() < 0.6:
            out[at] ^= 1 << random.randrange(8)
        else:
            end = min(len(out), at + random.choice([1, 4, 64, 512]))
            out[at:end] = random.choice([bytes(end - at), b"\xff" * (end - at), random.randbytes(end - at), bytes(out[: end - at])])
    return bytes(out)


# -- TIFF ---------------------------------------------------------------------------------------------------------------

TIFF_TAGS = (254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 324, 325, 339)
_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}


def mutate_tiff(data: bytes, random: Random) -> bytes:
    """Change a TIFF file: an entry of a page's directory (tag, type, count, value), the chain of directories, or plain bytes."""
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 3])):
        if random.random() < 0.2:
            return mutate_bytes(bytes(out), random)
        _mutate_directory(out, random)
    return bytes(out)


def _mutate_directory(out: bytearray, random: Random) -> None:
    order = "<" if out[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", out, 2)[0] == 43
    word, count_code, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    width = struct.calcsize(word)
    directories, at, link = [], struct.unpack_from(order + word, out, 8 if big else 4)[0], 8 if big else 4
    while 0 < at < len(out) - 16 and len(directories) < 50:
        number = struct.unpack_from(order + count_code, out, at)[0]
        first = at + struct.calcsize(count_code)
        if first + number * entry + width > len(out):
            break
        directories.append((at, first, number, first + number * entry))
        at = struct.unpack_from(order + word, out, first + number * entry)[0]
    if not directories:
        return
    start, first, number, next_link = random.choice(directories)
    if random.random() < 0.15:
        target = random.choice([0, 1, 8, start, directories[0][0], len(out), len(out) - 1, 2 ** (8 * width) - 1])
        struct.pack_into(order + word, out, random.choice([link, next_link, next_link]), target)
        return
    if random.random() < 0.05 or number == 0:
        struct.pack_into(order + count_code, out, start, random.choice([0, number + 1, number - 1 if number else 0, 65535]))
        return
    field = first + random.randrange(number) * entry
    kind, count = struct.unpack_from(order + "H", out, field + 2)[0], struct.unpack_from(order + word, out, field + 4)[0]
    what = random.choice(["value"] * 6 + ["count", "count", "kind", "tag"])
    limits = [0, 1, 2, 3, 7, 8, 16, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, len(out), len(out) - 1]
    if what == "tag":
        struct.pack_into(order + "H", out, field, random.choice(TIFF_TAGS))
    elif what == "kind":
        struct.pack_into(order + "H", out, field + 2, random.choice([0, 1, 2, 3, 4, 5, 7, 12, 13, 16, 99]))
    elif what == "count":
        struct.pack_into(order + word, out, field + 4, random.choice([*limits, count + 1, max(0, count - 1)]))
    else:
        item = _TIFF_BYTES.get(kind, 4)
        place = field + 4 + width
        if item * count > width:  # the values are elsewhere: change one of them, or their offset
            where = struct.unpack_from(order + word, out, place)[0] + item * random.randrange(max(1, min(count, 1000)))
            place = where if random.random() < 0.7 and where + 8 <= len(out) else place
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}[item if place != field + 4 + width or item * count <= width else width]
        value = random.choice([*limits, random.randrange(2**16), 2**62])
        struct.pack_into(order + code, out, place, value % 2 ** (8 * struct.calcsize(code)))


# -- PNG and other formats that are decoded as a whole --------------------------------------------------------------------


PNG_CHUNKS = (b"PLTE", b"tRNS", b"acTL", b"fcTL", b"gAMA", b"eXIf", b"abcd", b"IHDR", b"IEND")


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file with a right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def mutate_png(data: bytes, random: Random) -> bytes:
    """Change a PNG file: its header; or add, remove, exchange or bomb a chunk, with right checksums; or plain bytes."""
    if random.random() < 0.25:
        return mutate_bytes(data, random)
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    bomb = zlib.compress(bytes(1 << 24), 9)
    way = random.randrange(7)
    if way <= 2:
        header = bytearray(chunks[0][1])
        edge = random.choice([0, 1, 7, 33, 1000, 20000, 65535, 2**20, 2**31 - 1, 2**32 - 1])
        if random.random() < 0.6:
            struct.pack_into(">I", header, random.choice([0, 4]), edge)
        else:
            header[random.randrange(8, 13)] = random.choice([0, 1, 2, 3, 4, 6, 7, 8, 16, 255])
        chunks[0] = (b"IHDR", bytes(header))
    elif way == 3:
        content = {b"zTXt": b"k\0\0" + bomb, b"iCCP": b"k\0\0" + bomb, b"iTXt": b"k\0\1\0\0\0" + bomb}
        kind = random.choice(list(content))
        chunks[1:1] = [(kind, content[kind])] * random.choice([1, 5, 40])
    elif way == 4:
        chunks = [(kind, bomb if kind == b"IDAT" else content) for kind, content in chunks]
    elif way == 5:
        chunks[1:1] = [(random.choice(PNG_CHUNKS), random.randbytes(26))]
    else:
        del chunks[random.randrange(len(chunks))]
    return data[:8] + b"".join(png_chunk(kind, content) for kind, content in chunks)


def mutate_picture(data: bytes, random: Random) -> bytes:
    """Change a JPEG, GIF or BMP file: the sizes in its header, or plain bytes."""
    if random.random() < 0.5:
        return mutate_bytes(data, random)
    out = bytearray(data)
    edge = random.choice([0, 1, 7, 1000, 20000, 65535])
    if data[:2] == b"\xff\xd8":
        at = next((i for i in range(2, len(out) - 9) if out[i] == 0xFF and out[i + 1] in (0xC0, 0xC1, 0xC2)), 2)
        struct.pack_into(">H", out, at + random.choice([5, 7]), edge)
    elif data[:3] == b"GIF":
        struct.pack_into("<H", out, random.choice([6, 8]), edge)
    else:
        struct.pack_into("<i", out, random.choice([10, 14, 18, 22, 26, 30]), random.choice([edge, -edge, 2**31 - 1, -(2**31)]))
    return bytes(out)
