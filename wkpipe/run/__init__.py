"""Run a plan as a Snakemake workflow: find the workflow's files, start Snakemake with a profile, show progress."""
