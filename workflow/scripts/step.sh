#!/bin/bash
# Do one task of a run: step.sh PYTHON RUN TASK. What all rules run.
# With -P (and PYTHONSAFEPATH for what that starts), Python imports nothing from the directory where it starts: no dataset
# brings code along. The environment holds the run's secret, see wkpipe/storage/seal.py. This shell gives way to Python, so
# that signals reach it and Snakemake sees how it ended.
export PYTHONSAFEPATH=1
exec "$1" -P -m wkpipe step "$2" "$3"
