# Begin a run, and mark layers that are ready to be published. Both rules run where Snakemake was started.


# The main process takes the lease and prepares the dataset when Snakemake asks for `code`, just before this job.
rule begin:
    output:
        temp(RUN.targets.begun),
    log:
        RUN.targets.begin_log,
    localrule: True
    conda:
        "../envs/wkpipe.yaml"
    params:
        code=begun_of,
    shell:
        "(exit {params.code}) > {log:q} && touch {output:q}"


# All tasks of a layer are done. This file is the only input of the layer's marker, so Snakemake sees the same input in every
# run; see wkpipe/run/targets.py.
rule ready:
    input:
        inputs_of_ready,
    output:
        touch(RUN.targets.ready_pattern),
    wildcard_constraints:
        task=RUN.targets.ready_constraint,
    localrule: True
