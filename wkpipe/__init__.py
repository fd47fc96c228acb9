"""Image stacks to WEBKNOSSOS datasets, as a resumable Snakemake workflow."""
