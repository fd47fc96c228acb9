# Image stacks to WEBKNOSSOS datasets. Every key of the config stands in config/config.yaml with its default.
# The plan is made when this file is parsed; `snakemake -n` shows it.


configfile: workflow.source_path("config/config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/prove.smk"
include: "workflow/rules/convert.smk"
include: "workflow/rules/downsample.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/upload.smk"
include: "workflow/rules/verify.smk"


rule all:
    default_target: True
    input:
        RUN.final_markers,
