# Finished mags become visible in datasource-properties.json, when all of their storage shards are proven. The job is short, and
# runs where Snakemake was started, whatever runs the others.


localrules:
    publish,


rule publish:
    input:
        inputs_of,
    output:
        marker=RUN.pattern("publish"),
    log:
        RUN.log_pattern("publish"),
    conda:
        "../envs/wkpipe.yaml"
    resources:
        mem_mb=mem_mb_of,
        runtime=runtime_of,
    params:
        run=run_of,
        python=RUN.python,
        script=RUN.script,
    shell:
        "bash {params.script:q} {params.python:q} {params.run:q} {wildcards.task:q} > {log:q} 2>&1"
