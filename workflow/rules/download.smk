# Some storage shards come from a WEBKNOSSOS server. The job runs on this machine, where the main process keeps the token for it.
# The marker proves nothing; the step itself knows from the ledger what is done.


rule download:
    input:
        inputs_of,
    output:
        marker=RUN.pattern("download"),
    log:
        RUN.log_pattern("download"),
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
