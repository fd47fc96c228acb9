# A part of a dataset is verified, or its storage shards are recorded as they are. The marker holds the part's report.


rule verify:
    input:
        inputs_of,
    output:
        marker=RUN.pattern("verify"),
    log:
        RUN.log_pattern("verify"),
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
