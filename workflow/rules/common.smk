# Functions that all rules share. They decide nothing: the plan says what each task needs.

from wkpipe.run.snakefile import WorkflowRun

RUN = WorkflowRun.of_config(config, workflow)


wildcard_constraints:
    task="[^/]+",


def published(layer):
    """Return the published marker of a layer, for rules of other workflows: `input: wk.published("em")`."""
    return RUN.published(layer)


def inputs_of(wildcards):
    return RUN.targets.inputs(RUN.task(wildcards.task))


def inputs_of_ready(wildcards):
    return RUN.targets.inputs_of_ready(wildcards.task, workflow.touch)


def inputs_of_marker(wildcards):
    return RUN.targets.inputs_of_marker(wildcards.task)


def threads_of(wildcards):
    return RUN.task(wildcards.task).threads


def mem_mb_of(wildcards, attempt):
    return RUN.mem_mb(wildcards.task, attempt, workflow)


def runtime_of(wildcards, attempt):
    return RUN.runtime_minutes(wildcards.task, attempt)


# Parameters are functions of the output, which Snakemake does not record. So another run, or wkpipe installed elsewhere, does not
# make published markers again.


def begun_of(wildcards, output):
    return RUN.begin(workflow)


def run_of(wildcards, output):
    return RUN.directory


def task_of(wildcards, output):
    return wildcards.task


def publishing_of(wildcards, output):
    return RUN.publishing(wildcards.task)


def python_of(wildcards, output):
    return RUN.python


def script_of(wildcards, output):
    return RUN.script


# For wkpipe's own exit codes. If this is a module of another workflow, Snakemake does not run these, and nothing needs them.
onsuccess:
    RUN.end()


onerror:
    RUN.fail(log)
