#!/bin/bash
# Do one task of a run: step.sh PYTHON RUN TASK. All rules run this script. Without a task it does nothing; Snakemake calls it so if it
# is forced to make a published marker again that is up to date.
# With -P (and PYTHONSAFEPATH for its children), Python imports nothing from the directory where it starts: no dataset can bring
# its own code. The run's secret is in the environment, see wkpipe/storage/seal.py. Python replaces this shell, so that signals
# reach it and Snakemake sees how it ended. WKPIPE_JOBS is the socket of the process that forks the jobs of a local run of `wkpipe`.
[ -n "$3" ] || exit 0
export PYTHONSAFEPATH=1
if [ -n "$WKPIPE_JOBS" ]; then
    exec "$1" -I -S "${0%/*}/ask.py" "$1" "$WKPIPE_JOBS" "$2" "$3"
fi
exec "$1" -P -m wkpipe step "$2" "$3"
