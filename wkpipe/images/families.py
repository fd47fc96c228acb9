"""Families: files of one ending. One family of a folder is its images; what the others are decides if they are left out or refused.

The choice depends on names only, never on the readers that are installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images.numbering import Running, largest_group, parse_names
from wkpipe.images.registry import ending_of, endings_of, supported_extensions

SECOND_EXPORT, OUTSIDE, NOT_CHOSEN = "of the same names in another format", "outside of the sequence", "not of the chosen family"

NO_READER = frozenset(
    f".{each}"
    for each in (
        *("mrc", "mrcs", "rec", "st", "ali", "map", "ccp4", "czi", "zvi", "lif", "lof", "xlef", "nd2", "oib", "oif", "oir", "vsi", "ets"),
        *("dm2", "dm3", "dm4", "ser", "emd", "ims", "h5", "hdf", "hdf5", "nwb", "nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd", "mnc"),
        *("dcm", "dicom", "npy", "raw", "vol", "zarr", "n5", "ozx", "jp2", "j2k", "jpx", "jxl", "webp", "pgm", "ppm", "pnm", "pbm"),
        *("exr", "heic", "avif", "ico", "tga", "psd", "xcf", "pcx", "fits", "fts", "spe", "sld", "stk", "lsm", "btf", "tf2", "tf8"),
        *("svs", "scn", "ndpi", "qptiff", "vms", "bif", "mrxs", "gel", "ipl", "img", "dv", "r3d", "flex", "mvd2", "pic", "sxm", "klb"),
    )
)
"""Endings of image formats; those that no reader has are refused if they are the images, and named if they are left out."""

NO_READER_DIRECTORIES = frozenset({".zarr", ".n5"})
"""Endings of directories that are images of a format without a reader."""

LEAST_SEQUENCE = 3


def family_of(path: Path, is_dir: bool = False) -> str:
    """Return the ending of an image, also of a format without a reader; empty for anything else.

    >>> family_of(Path("A.TIF")), family_of(Path("v.mrc")), family_of(Path("notes.txt"))
    ('.tif', '.mrc', '')
    """
    if ending := ending_of(path, is_dir):
        return ending
    known = NO_READER_DIRECTORIES if is_dir else NO_READER
    return next((ending for ending in endings_of(path) if ending in known), "")


def image_family(path: Path) -> str:
    """Return the family of an image, which is a file or a directory; the file system is not asked."""
    return family_of(path) or family_of(path, True).rstrip("/")


def choose_family(files: Sequence[Path], where: Path, wanted: Sequence[str] = ()) -> tuple[list[Path], dict[Path, str]]:
    """Return the images of a folder and the files that are left out, with the reason for each.

    The largest family is chosen, or the ones that are wanted. Other files are left out if they have the names of chosen ones, or are
    single files outside of the sequence.

    Raises:
        InputRefused: two families are equally large, or another family continues the sequence, fills its gaps or is one itself.
        UnreadableInput: there is no reader for the chosen family.
    """
    families: dict[str, list[Path]] = {}
    for file in files:
        families.setdefault(image_family(file), []).append(file)
    if wanted:
        chosen = [file for ending in wanted for file in families.get(ending, [])]
        return chosen, {file: NOT_CHOSEN for ending in families.keys() - {*wanted} for file in families[ending]}
    sizes = sorted(map(len, families.values()), reverse=True)
    if len(sizes) > 1 and sizes[0] == sizes[1]:
        first, second, *_ = (ending for ending in sorted(families) if len(families[ending]) == sizes[0])
        found = f"as many {first} as {second} files ({families[first][0].name}, {families[second][0].name}{', …' if sizes[0] > 1 else ''})"
        raise InputRefused(where=where, found=found, expected="images of one format", fix=_choice(families))
    ending = max(families, key=lambda each: len(families[each]))
    chosen = families.pop(ending)
    reasons: dict[Path, str] = {}
    for others in families.values():
        reasons |= _left_out(chosen, others, where)
    return chosen, reasons


def check_readable_family(path: Path) -> None:
    """Refuse a file of a format without a reader.

    Raises:
        UnreadableInput: there is no reader for its ending.
    """
    if not ending_of(path) and not ending_of(path, True):
        expected = f"an image ({', '.join(supported_extensions())})"
        fix = "convert it to TIFF, or choose other files with --family"
        raise UnreadableInput(where=path, found=f"the format {image_family(path)}, which has no reader", expected=expected, fix=fix)


def _left_out(chosen: Sequence[Path], others: Sequence[Path], where: Path) -> dict[Path, str]:
    """Return why each file of another family is left out.

    Raises:
        InputRefused: they could be slices that are missing in the chosen family, or another stack.
    """
    stems = {file.stem.casefold() for file in chosen}
    reasons = {file: SECOND_EXPORT for file in others if file.stem.casefold() in stems}
    rest = [file for file in others if file not in reasons]
    if not rest:
        return reasons
    parsed = parse_names([file.stem for file in (*chosen, *rest)])
    group = largest_group(parsed[: len(chosen)])
    skeleton = group[0].skeleton
    for file, each in zip(rest, parsed[len(chosen) :], strict=True):
        if each.words and each.skeleton == skeleton:
            found = f"a {file.suffix.lower()} file that is numbered like the {chosen[0].suffix.lower()} files"
            fix = f"convert it to the format of the others, or choose with --family {chosen[0].suffix.lower()},{file.suffix.lower()}"
            raise InputRefused(where=file, found=found, expected="all slices in one format", fix=fix)
    sequence = largest_group(parsed[len(chosen) :])
    columns = list(zip(*(each.numbers for each in sequence), strict=True))
    if len(sequence) >= LEAST_SEQUENCE and any(len({*column}) == len(column) and Running.of(column).step for column in columns):
        found = f"two sequences of images ({chosen[0].name} …, {rest[0].name} …)"
        fix = f"choose one with --family {chosen[0].suffix.lower()}"
        raise InputRefused(where=where, found=found, expected="images of one format", fix=fix)
    return reasons | dict.fromkeys(rest, OUTSIDE)


def _choice(families: dict[str, list[Path]]) -> str:
    example = min(families, key=lambda ending: (not ending_of(families[ending][0]), ending))
    return f"choose with --family, like --family {example}, or move the others away"
