# What all rules share. Nothing is decided here: the plan says what each task needs.

from wkpipe.run.snakefile import WorkflowRun

RUN = WorkflowRun.of_config(config, workflow)


wildcard_constraints:
    task="[^/]+",


def inputs_of(wildcards):
    return RUN.inputs(wildcards.task)


def run_of(wildcards):
    return RUN.directory


def threads_of(wildcards):
    return RUN.task(wildcards.task).threads


def mem_mb_of(wildcards, attempt):
    return RUN.mem_mb(wildcards.task, attempt, workflow)


def runtime_of(wildcards, attempt):
    return RUN.runtime_minutes(wildcards.task, attempt)


onstart:
    RUN.begin(workflow)


onsuccess:
    RUN.end()


onerror:
    RUN.fail(log)
