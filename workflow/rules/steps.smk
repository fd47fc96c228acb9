# One rule for each kind of task; all are alike. The targets of tasks prove nothing: a step reads from the ledger what is done.


# Storage shards whose modification time differs from the record are read and proven by their digests, before anything is made from
# them or replaces them.
rule prove:
    input:
        inputs_of,
    output:
        marker=RUN.targets.pattern("prove"),
    log:
        RUN.targets.log_pattern("prove"),
    conda:
        "../envs/wkpipe.yaml"
    threads: threads_of
    resources:
        mem_mb=mem_mb_of,
        runtime=runtime_of,
    params:
        run=run_of,
        task=task_of,
        python=python_of,
        script=script_of,
    shell:
        "bash {params.script:q} {params.python:q} {params.run:q} {params.task:q} > {log:q} 2>&1"


# Some storage shards of the finest mag are made from images (and in small layers, those of coarser mags too).
use rule prove as convert with:
    output:
        marker=RUN.targets.pattern("convert"),
    log:
        RUN.targets.log_pattern("convert"),


# Some storage shards of coarser mags are computed from finer ones.
use rule prove as downsample with:
    output:
        marker=RUN.targets.pattern("downsample"),
    log:
        RUN.targets.log_pattern("downsample"),


# Some storage shards are copied from another layer or dataset, and encoded again.
use rule prove as copy with:
    output:
        marker=RUN.targets.pattern("copy"),
    log:
        RUN.targets.log_pattern("copy"),


# Some storage shards of finer mags are computed from coarser ones.
use rule prove as upsample with:
    output:
        marker=RUN.targets.pattern("upsample"),
    log:
        RUN.targets.log_pattern("upsample"),


# Some storage shards are downloaded from a WEBKNOSSOS server. The job runs on this machine, where the main process keeps the token.
use rule prove as download with:
    output:
        marker=RUN.targets.pattern("download"),
    log:
        RUN.targets.log_pattern("download"),


# A part of a dataset is verified, or its storage shards are recorded as they are. The target is the report on the part.
use rule prove as verify with:
    output:
        marker=RUN.targets.pattern("verify"),
    log:
        RUN.targets.log_pattern("verify"),


# The finished dataset is sent to a WEBKNOSSOS server. The job always runs where Snakemake was started:
# there the main process keeps the token, which no other job can see. The target contains the dataset's id and URL.
use rule prove as upload with:
    output:
        marker=RUN.targets.pattern("upload"),
    log:
        RUN.targets.log_pattern("upload"),
    localrule: True


# Finished mags become visible in datasource-properties.json when all of their storage shards are proven, and the layer's published
# marker is written. The job is short, and runs where Snakemake was started. Snakemake must not remove the marker first: it stays
# as it is if the data do not change.
use rule prove as publish with:
    input:
        inputs_of_marker,
    output:
        marker=update(RUN.targets.pattern("publish")),
    log:
        RUN.targets.log_pattern("publish"),
    localrule: True
    threads: 1
    resources:
        mem_mb=100,
        runtime=10,
    params:
        run=run_of,
        task=publishing_of,
        python=python_of,
        script=script_of,
