# The finished dataset is sent to a WEBKNOSSOS server. The job runs where Snakemake was started, whatever runs the others:
# there the main process keeps the token, which no other job gets to see. The marker holds the dataset's id and URL.


localrules:
    upload,


rule upload:
    input:
        inputs_of,
    output:
        marker=RUN.pattern("upload"),
    log:
        RUN.log_pattern("upload"),
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
