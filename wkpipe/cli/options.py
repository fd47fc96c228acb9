"""Options that several commands share, with the names and defaults of the reference's commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def given_path(text: str) -> Path:
    """Return a path argument; an empty one, as an unset shell variable leaves it, does not mean the current directory."""
    if not text:
        raise typer.BadParameter("expected a path, found nothing")
    return Path(text)


Dataset = Annotated[Path, typer.Argument(parser=given_path, metavar="TARGET", help="Path to the dataset.")]
SamplingMode = Annotated[str, typer.Option(help="How the axes take part in downsampling: anisotropic, isotropic, constant_z.")]
InterpolationMode = Annotated[
    str,
    typer.Option(
        help="How a voxel is made: median, mode, nearest, bilinear, bicubic, max, min; default = mode for segmentation, median for color."
    ),
]
CompressionLevel = Annotated[
    int | None,
    typer.Option(help="zstd level, 1 to 22, higher is smaller and slower; default 5, for mags of an existing layer that of the finer mag."),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, max=4096, help="Cores to use, default: all that this process may use; with slurm, jobs at once, default: 100."),
]
Strategy = Annotated[str, typer.Option(help="Where jobs run: multiprocessing, sequential, slurm, kubernetes.")]
JobResources = Annotated[
    str | None,
    typer.Option(
        help='What each cluster job is to have, in sbatch\'s words, as JSON like \'{"mem": "10M"}\' or like mem=4G,partition=long.'
    ),
]
Profile = Annotated[str | None, typer.Option(help="Snakemake profile to use, by its directory or name, instead of the strategy's own.")]
LeaveJobs = Annotated[
    bool,
    typer.Option("--leave-jobs-running", help="Ctrl-C leaves cluster jobs running; wait for those that an earlier run has left."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Print the plan and exit; nothing is written.")]
OverwriteExisting = Annotated[
    bool, typer.Option("--overwrite-existing", help="Delete what was made from something else, or otherwise, first.")
]
TrustEmpty = Annotated[bool, typer.Option("--trust-empty", help="Accept a mag without any data although a finer one has some.")]
MissingShards = Annotated[str, typer.Option(help="What absent shards of a dataset without a ledger mean: fill or error.")]
IgnoreDiskSpace = Annotated[bool, typer.Option("--ignore-disk-space", help="Begin even where the disk looks too small.")]
StateDir = Annotated[Path | None, typer.Option(help="Where wkpipe keeps its state; default: .wkpipe in the dataset.")]
BreakLock = Annotated[bool, typer.Option("--break-lock", help="Take over a dataset from a run that is gone but looks alive.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress lines.")]

# -- images and storage ---------------------------------------------------------------------------------------------

Source = Annotated[Path, typer.Argument(parser=given_path, metavar="SOURCE", help="Image file, or directory of images.")]
VoxelSize = Annotated[str, typer.Option(help="Size of a voxel, like 11.0,11.0,20.0 (x,y,z).")]
Unit = Annotated[str, typer.Option(help="Unit of the voxel size.")]
NewLayerName = Annotated[str | None, typer.Option(help="Name of the layer; with several layers, a prefix.")]
Category = Annotated[str | None, typer.Option(help="color or segmentation; default: recognised from the data.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per job; a multiple of the shard's depth (WKW: of the chunk's).")]
MaxMag = Annotated[str | None, typer.Option(help="Coarsest mag to make, like 8 or 8-8-4; default: from the layer's size.")]
DataFormat = Annotated[str, typer.Option(help="Storage format: wkw, zarr, zarr3.")]
ChunkShape = Annotated[str | None, typer.Option(help="Voxels per chunk, like 32 or 32,32,32; default: 32,32,32.")]
ShardShape = Annotated[str | None, typer.Option(help="Voxels per shard (one file), like 1024,1024,1024.")]
Compress = Annotated[bool, typer.Option("--compress/--no-compress", help="Compress the data.")]

# -- servers --------------------------------------------------------------------------------------------------------

Token = Annotated[
    str | None, typer.Option(help="Token of the server. The process list shows it: rather set WK_TOKEN, or give --token-file.")
]
TokenFile = Annotated[Path | None, typer.Option(help="File with the token, which only you can read. [env var: WK_TOKEN_FILE]")]
Folder = Annotated[str | None, typer.Option(help="Folder of the server's dashboard, like Datasets/mine; default: the root folder.")]
Datastore = Annotated[str | None, typer.Option(help="Name or address of the server's datastore; default: the first that takes uploads.")]
AllowHttp = Annotated[bool, typer.Option("--allow-http", help="Send the token unencrypted to a server that is not this machine.")]
CaFile = Annotated[Path | None, typer.Option(help="File with certificates (PEM) to trust besides the usual ones.")]
Proxy = Annotated[str | None, typer.Option(envvar="WK_PROXY", help="Proxy to use; others in the environment are not.")]


def warn_of_token(token: str | None) -> None:
    """Warn of a token on the command line."""
    if token is not None:
        print("wkpipe: --token shows the token in the process list; rather set WK_TOKEN, or give --token-file", file=sys.stderr)
