"""What a run takes over of an earlier one (`--from`), and what has changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from run_kfp.backends.local.extras import told_step
from run_kfp.backends.local.naming import step_named
from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.graph import ExecutableStep, downstream, executable_steps
from run_kfp.localruns import RunFolder, RunRecord
from run_kfp.localstore import LocalRuns
from run_kfp.natural import natural
from run_kfp.pipeline import CompiledPipeline, read_pipeline
from run_kfp.plans import Value
from run_kfp.registry import Registry
from run_kfp.runs import StepState
from run_kfp.secrets import SecretRef
from run_kfp.visible import shell_word


def resume(
    pipeline: CompiledPipeline,
    steps: Sequence[ExecutableStep],
    values: Mapping[str, Value | SecretRef],
    registry: Registry,
    runs: LocalRuns,
    *,
    from_step: str,
    from_run: str | None,
    bucket_dir: str | None,
    local_only: Sequence[str],
) -> tuple[RunRecord, frozenset[str], tuple[str, ...]]:
    """Find the run that `--from` repeats, which of its steps stay done, and what has changed since they ran.

    Args:
        pipeline: what is to run.
        steps: its steps.
        values: of its parameters; of secrets, their places.
        registry: knows the steps by their index.
        runs: of this folder.
        from_step: the step to begin with, as it was typed.
        from_run: the run to repeat, as it was typed; None for the latest of this pipeline.
        bucket_dir: the folder that the steps find as the bucket; None for none.
        local_only: the flags that give steps what Vertex AI would not, as `read_extras` tells them.

    Raises:
        InputError: there is none, it has not come so far, it ran with other values, it still runs, or it is a run of
            another pipeline.
    """
    first = step_named("--from", from_step, steps, registry)
    folder, base = _found(pipeline, from_step, from_run, runs)
    done = {step.name: step for step in base.steps if step.state is StepState.SUCCEEDED}
    again = downstream(steps, first)
    reused = frozenset(step.name for step in steps if step.name not in again and step.name in done)
    needed = {name for step in steps if step.name not in reused for name in step.after} - again - reused
    missing = sorted((name for name in needed if name in _ancestors(steps, first)), key=natural)
    faults = [
        Finding(f"--from {from_step}: {base.ref} did not complete step {name}", f"start with --from {name}")
        for name in missing
    ]
    used = {name for step in steps if step.name in reused for name in step.parameters}
    for name in sorted(used, key=natural):
        found, before = values.get(name), base.parameters.get(name, {})
        if isinstance(found, Value) and "value" in before and before["value"] != found.value:
            faults.append(
                Finding(
                    f"--from {from_step}: {base.ref} ran with {name}={before['value']!r}, "
                    f"this call has {found.value!r}",
                    "pass the same value, or remove --from",
                )
            )
    if faults:
        raise InputError.of("--from", faults)
    kept = [step for step in steps if step.name in reused]
    notes = [*_changes(kept, values, folder, base, bucket_dir), *_other_flags(kept, base, local_only)]
    return base, reused, tuple(notes)


def _changes(
    reused: Sequence[ExecutableStep],
    values: Mapping[str, Value | SecretRef],
    folder: RunFolder,
    base: RunRecord,
    bucket_dir: str | None,
) -> Iterator[str]:
    """Yield a note on what has changed for the steps that are not run again."""

    def note(steps: Iterable[ExecutableStep], words: str) -> Iterator[str]:
        if names := ", ".join(step.name for step in steps):
            yield f"{names}: {words}; not run again"

    try:
        file = folder.path / base.file
        old = {} if file.is_symlink() else {step.name: step for step in executable_steps(read_pipeline(file))}
    except InputError:
        old = {}
    yield from note((step for step in reused if old.get(step.name) != step), f"changed since {base.id}")
    for name, found in values.items():
        users = [step for step in reused if name in step.parameters]
        before = base.parameters.get(name, {}).get("hash")
        if users and before and isinstance(found, SecretRef) and before != fingerprint(found, base.salt):
            yield from note(users, f"secret {name} changed since {base.id}")
    if base.salt and base.bucket_dir != bucket_dir:
        was, now = (f"{place!r}" if place else "not set" for place in (base.bucket_dir, bucket_dir))
        yield from note(reused, f"--bucket-dir was {was} in {base.id} and is {now}")


def _other_flags(reused: Sequence[ExecutableStep], base: RunRecord, local_only: Sequence[str]) -> Iterator[str]:
    """Yield a note on each step that had other flags of this machine alone than it would have now."""
    names = {step.name for step in base.steps}
    for step in reused:
        was, now = (
            [flag for flag in flags if told_step(flag, names) in ("", step.name)]
            for flags in (base.local_only, local_only)
        )
        if sorted(was) != sorted(now):
            how = f"with {', '.join(was)}" if was else f"without {', '.join(now)}"
            yield f"{step.name}: ran {how} in {base.id}; not run again"


def fingerprint(secret: SecretRef, salt: str) -> str:
    """Return what tells a later run whether a secret is still the same, and nobody what it is.

    A record may be read by others in the end, and a secret may be short: each guess costs 16 MB and some 50 ms
    (scrypt, RFC 7914), and a salt of the run keeps a table of guesses from serving twice.

    Args:
        secret: where its value is.
        salt: that of the run's record.

    Raises:
        InputError: it is gone.
    """
    value = secret.reveal().get_secret_value()
    return hashlib.scrypt(value.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=32).hex()


def _found(
    pipeline: CompiledPipeline, from_step: str, from_run: str | None, runs: LocalRuns
) -> tuple[RunFolder, RunRecord]:
    """Find the run to repeat: the one that is named, else the latest of this pipeline.

    Raises:
        InputError: there is none, it still runs, or it is a run of another pipeline.
    """
    if from_run is not None:
        folder, base = runs.find(from_run)
        if (name := base.pipeline["name"]) != pipeline.name:
            raise InputError(
                f"--from-run {from_run}: {base.ref} is a run of {name}, this pipeline is {pipeline.name}",
                hint=f"pass a run of {pipeline.name}, see `run-kfp runs`",
            )
    else:
        same, _ = runs.newest(1, pipeline.name)
        if not same:
            raise InputError(
                f"--from {from_step}: no earlier run of {pipeline.name} in {runs.path}",
                hint="remove --from to run all steps",
            )
        folder, base = same[0]
    # One whose program was killed has not been ended yet where nothing but a plan is made.
    if not base.state.is_final and not folder.abandoned():
        raise InputError(
            f"--from {from_step}: {base.ref} is still running",
            hint=f"wait for its end, stop it with `run-kfp cancel {shell_word(base.id)}`, or pass another --from-run",
        )
    return folder, base


def _ancestors(steps: Sequence[ExecutableStep], name: str) -> set[str]:
    after = {step.name: step.after for step in steps}
    found, todo = set[str](), list(after[name])
    while todo:
        step = todo.pop()
        if step not in found:
            found.add(step)
            todo += after[step]
    return found
