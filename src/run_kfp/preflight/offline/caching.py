"""What runs twice, and what does not run although it should: the cache, restarts, and steps behind a failed one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from run_kfp.preflight.findings import Code, Finding, Severity, When
from run_kfp.preflight.offline.spec import compiled_here, names_in_words, source_of, table_at
from run_kfp.preflight.subject import StepSpec, Subject

_GROUP = "caching"
_CACHING = "https://cloud.google.com/vertex-ai/docs/pipelines/configure-caching"

EXPIRY = Code(
    "RK-CACHE-EXPIRY",
    _GROUP,
    "results come from the cache",
    Severity.NOTE,
    When.SILENT,
    "a step that ran before would succeed in seconds without running, however old its result is",
    """\
Vertex AI takes the result of an earlier run of the same pipeline name when image reference, command, arguments,
environment and inputs are equal. Results have no expiry, and nobody looks whether the data behind a path has changed.
kfp switches caching on for every task unless it is told otherwise; run-kfp leaves it off unless --caching is given.""",
    _CACHING,
)

EFFECTS = Code(
    "RK-CACHE-EFFECTS",
    _GROUP,
    "a cached step that changes something outside",
    Severity.WARNING,
    When.SILENT,
    "the push or the upload would be left out, and the run would be green",
    """\
The registry says of this image that it has side effects. A result from the cache repeats none of them. Write
task.set_caching_options(False) for it in kfp; run-kfp never caches a container with side_effects = true.""",
    _CACHING,
)

NO_OUTPUTS = Code(
    "RK-CACHE-NO-OUTPUTS",
    _GROUP,
    "a cached step without outputs",
    Severity.WARNING,
    When.SILENT,
    "what the step does outside of the pipeline would be left out the next time",
    """\
A step without outputs can only be there for what it does outside of the pipeline: write to a bucket, push, send. With
equal inputs it looks like the step of yesterday, and the cache leaves it out. Switch caching off for it
(task.set_caching_options(False), or --no-caching), or give it an output.""",
    _CACHING,
)

SECRET = Code(
    "RK-CACHE-SECRET",
    _GROUP,
    "a cached step with a secret as its input",
    Severity.WARNING,
    When.SILENT,
    "its result would not be found again after the secret is renewed, and the step would run anew",
    """\
The values of parameters are a part of the key of the cache. A new token is a new value, for which there is no result.
Switch caching off for the step, or let it read the secret itself (Secret Manager).""",
    _CACHING,
)

RESTART = Code(
    "RK-RESTART-EFFECTS",
    _GROUP,
    "a step with side effects may run more than once",
    Severity.NOTE,
    When.RUN,
    "what it does outside of the pipeline would be done again",
    """\
Vertex AI starts a container anew when it ended with an error: up to five times on the same job, and the job up to three
times. A push or an upload has to be fit for that: look first whether it is done, write under a new name and rename.""",
    "https://cloud.google.com/vertex-ai/docs/training/troubleshooting",
)

SLOW = Code(
    "RK-FAILURE-SLOW",
    _GROUP,
    "steps go on after one has failed",
    Severity.NOTE,
    When.RUN,
    "steps that do not wait for the failed one would still be started, and paid for",
    """\
With the failure policy "slow" a run goes on until nothing is left that can run; this is what Vertex AI does unless it
is told otherwise. With "fast", which run-kfp sets unless it is told otherwise, no further step is started.""",
    "google.cloud.aiplatform.v1.PipelineFailurePolicy",
)


def check_caching(subject: Subject) -> Iterator[Finding]:
    """Check what the cache, restarts and the failure policy do to the steps; no network.

    Args:
        subject: of this program or another.

    Yields:
        Findings of the group "caching", one of a kind for the whole pipeline.
    """
    place, own = source_of(subject), compiled_here(subject)
    switch_off = "give --no-caching" if own else "compile with task.set_caching_options(False)"
    cached = [step for step in subject.steps if step.cached]
    if cached:
        yield EXPIRY(
            place,
            f"caching is on for {_names(cached)}; results have no expiry",
            switch_off,
        )
    if effects := [step for step in cached if _has_effects(subject, step)]:
        yield EFFECTS(
            place,
            f"caching is on for {_names(effects)}, which the registry marks with side_effects",
            "compile with task.set_caching_options(False)",
        )
    if silent := [step for step in cached if step not in effects and not _has_outputs(step) and not _names_run(step)]:
        yield NO_OUTPUTS(
            place,
            f"caching is on for {_names(silent)}, which {'has' if len(silent) == 1 else 'have'} no outputs",
            "set side_effects = true for what changes anything outside" if own else switch_off,
            # In a registry side effects are declared, and no container there has outputs.
            Severity.NOTE if own else None,
        )
    for step in cached:
        if secrets := [name for name in _parameters(step) if name in subject.registry.secrets]:
            yield SECRET(
                step.at("args"),
                f"takes {names_in_words(secrets)}, and caching is on for the step",
                switch_off,
            )
    if again := [step for step in subject.steps if step.side_effects]:
        yield RESTART(
            place,
            f"{_names(again)} {'has' if len(again) == 1 else 'have'} side effects, and a failed container starts again",
            "let it look first whether its work is done",
        )
    if subject.settings.failure_policy == "slow" and _has_branches(subject):
        yield SLOW(
            "--failure-policy",
            "is slow: steps beside a failed one go on",
            "give --failure-policy fast to stop them",
        )


def _names(steps: list[StepSpec]) -> str:
    return names_in_words([step.name for step in steps])


def _has_effects(subject: Subject, step: StepSpec) -> bool:
    """Say whether the registry knows of side effects: of this step, or of the image of a step of a finished file."""
    if step.container:
        return step.side_effects
    return any(one.side_effects and one.image == step.image for one in subject.registry.containers.values())


def _has_outputs(step: StepSpec) -> bool:
    outputs = table_at(step.component, "outputDefinitions")
    return bool(table_at(outputs, "parameters") or table_at(outputs, "artifacts"))


def _names_run(step: StepSpec) -> bool:
    """Say whether a step takes how another ended (PipelineTaskFinalStatus): it names the run, so no key repeats."""
    inputs = table_at(step.task, "inputs", "parameters")
    return any(isinstance(source, Mapping) and "taskFinalStatus" in source for source in inputs.values())


def _parameters(step: StepSpec) -> list[str]:
    """Return the parameters that a step takes; kfp puts a word in front of those that reach an inner DAG."""
    return [name.removeprefix("pipelinechannel--") for name in step.pipeline_parameters.values()]


def _has_branches(subject: Subject) -> bool:
    """Say whether two steps may run side by side: the root's tasks are no chain, or a task holds a DAG."""
    steps = subject.pipeline.steps
    chain = all(before.name in after.after for before, after in pairwise(steps))
    return not chain or any("/" in step.name for step in subject.steps)
