# Storage shards with another modification time than recorded are read, and proven by their digests, before anything is made from
# them or in their place. The marker proves nothing; the outcome is in the ledger.


rule prove:
    input:
        inputs_of,
    output:
        marker=RUN.pattern("prove"),
    log:
        RUN.log_pattern("prove"),
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
