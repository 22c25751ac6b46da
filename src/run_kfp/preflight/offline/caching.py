"""What runs twice, and what does not run although it should: the cache, restarts, and steps behind a failed one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from run_kfp.findings import Finding, Severity
from run_kfp.pipeline.tables import table_at
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.offline.spec import compiled_here, names_in_words, source_of
from run_kfp.preflight.rules import rule

EXPIRY = rule("RK-CACHE-EXPIRY")
EFFECTS = rule("RK-CACHE-EFFECTS")
NO_OUTPUTS = rule("RK-CACHE-NO-OUTPUTS")
SECRET = rule("RK-CACHE-SECRET")
RESTART = rule("RK-RESTART-EFFECTS")
SLOW = rule("RK-FAILURE-SLOW")


def check_caching(context: CheckContext) -> Iterator[Finding]:
    """Check what the cache, restarts and the failure policy do to the steps; no network.

    Args:
        context: of this program or another.

    Yields:
        Findings of the group "caching", one of a kind for the whole pipeline.
    """
    place, own = source_of(context), compiled_here(context)
    switch_off = "pass --no-caching" if own else "compile with task.set_caching_options(False)"
    cached = [step for step in context.steps if step.cached]
    if cached:
        yield EXPIRY(
            place,
            f"caching is on for {_names(cached)}; results have no expiry",
            switch_off,
        )
    if effects := [step for step in cached if _has_effects(context, step)]:
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
        if secrets := [name for name in _parameters(step) if name in context.registry.secrets]:
            yield SECRET(
                step.at("args"),
                f"takes {names_in_words(secrets)}, and caching is on for the step",
                switch_off,
            )
    if again := [step for step in context.steps if step.side_effects]:
        yield RESTART(
            place,
            f"{_names(again)} {'has' if len(again) == 1 else 'have'} side effects, and a failed container is restarted",
            "let it check first whether its work is done",
        )
    if context.settings.failure_policy == "slow" and _has_branches(context):
        yield SLOW(
            "--failure-policy",
            "is slow: independent steps continue after a failure",
            "pass --failure-policy fast to stop them",
        )


def _names(steps: list[StepSpec]) -> str:
    return names_in_words([step.name for step in steps])


def _has_effects(context: CheckContext, step: StepSpec) -> bool:
    """Say whether the registry knows of side effects: of this step, or of the image of a step of a finished file."""
    if step.container:
        return step.side_effects
    return any(one.side_effects and one.image == step.image for one in context.registry.containers.values())


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


def _has_branches(context: CheckContext) -> bool:
    """Say whether two steps may run side by side: the root's tasks are no chain, or a task holds a DAG."""
    steps = context.pipeline.steps
    chain = all(before.name in after.after for before, after in pairwise(steps))
    return not chain or any("/" in step.name for step in context.steps)
