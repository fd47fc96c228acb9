#!/usr/bin/env bash
# From TIFF stacks to a dataset with its pyramid and a picture of it. Run again, it does only what is missing.
#   demo/run.sh [OUT]     OUT: where everything is written (demo/out)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/out}
mkdir -p "$out"
sample=$out/sample dataset=$out/dataset picture=$out/contact_sheet.png

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

step python "$here/make_sample.py" "$sample"
step wkpipe convert "$sample" "$dataset" --voxel-size 11,11,25 --no-downsample
step wkpipe downsample "$dataset"
step wkpipe verify "$dataset"
step wkpipe info "$dataset"
step python "$here/contact_sheet.py" "$dataset" "$picture"

printf '\nimages    %s\ndataset   %s\npicture   %s\n' "$sample" "$dataset" "$picture"
