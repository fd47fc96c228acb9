# Some storage shards of coarser mags are computed from finer ones.
# The marker proves nothing; the step itself knows from the ledger what is done.


rule downsample:
    input:
        inputs_of,
    output:
        marker=RUN.pattern("downsample"),
    log:
        RUN.log_pattern("downsample"),
    conda:
        "../envs/wkpipe.yaml"
    threads: threads_of
    resources:
        mem_mb=mem_mb_of,
        runtime=runtime_of,
    params:
        run=run_of,
        python=RUN.python,
        script=RUN.script,
    shell:
        "bash {params.script:q} {params.python:q} {params.run:q} {wildcards.task:q} > {log:q} 2>&1"
