# Image stacks to WEBKNOSSOS datasets: the workflow, run from the root of the repository.


include: "workflow/Snakefile"


# Snakemake takes no default target from an included file.
workflow.default_target = "all"
