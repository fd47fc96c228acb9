# Some storage shards of the finest mag are written from images (and, where a layer is small, of its coarser mags too).
# The marker proves nothing; the step itself knows from the ledger what is done.


rule convert:
    input:
        inputs_of,
    output:
        marker=RUN.pattern("convert"),
    log:
        RUN.log_pattern("convert"),
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
