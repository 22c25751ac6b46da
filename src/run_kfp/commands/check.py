"""A check: of a call by itself, and before a submission; the report as lines and as data."""

from __future__ import annotations

import itertools
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from run_kfp.backends import load_backend
from run_kfp.errors import InputError
from run_kfp.flags import CallOptions, conflicts
from run_kfp.lines import Text
from run_kfp.places import Places
from run_kfp.plans import Inputs, Values, fill
from run_kfp.preflight import CheckContext, CheckSetup, Finding, Report, Severity, find_rule, read_steps
from run_kfp.preflight import check as run_checks
from run_kfp.preflight.rules import rule
from run_kfp.registry_file import PACKAGED
from run_kfp.resolve import Call, PartialCall, ResolvedCall, inputs_of, recover
from run_kfp.runs import BackendName

if TYPE_CHECKING:
    from run_kfp.masking import Masker
    from run_kfp.pipeline import CompiledPipeline
    from run_kfp.plans import RunRequest
    from run_kfp.preflight.images import ImageFacts
    from run_kfp.terminal import Screen

STYLES: Mapping[Severity, tuple[str, str]] = {
    Severity.ERROR: ("✗", "bold red"),
    Severity.WARNING: ("!", "bold yellow"),
    Severity.NOTE: ("·", "cyan"),
    Severity.SKIPPED: ("–", "dim"),
}
# Columns: longer lines are hard to read, however wide a terminal is.
WIDEST = 120
_LOOKED = {"offline": "configuration", "images": "the image registries", "cloud": "Google Cloud"}


def examine(
    call: Call, environ: Mapping[str, str], masker: Masker, options: CallOptions, notify: Callable[[str], None]
) -> tuple[PartialCall, Report]:
    """Check a call, however wrong it is: what would keep it from becoming a plan are findings among the others."""
    found = recover(call, environ, masker)
    inputs = inputs_of(found, masker)
    backend = load_backend(BackendName.VERTEX)
    faults = [*found.unreadable, *inputs.faults, *found.obstacles, *backend.plan_faults(found.pipeline, inputs)]
    faults += () if options.offline else found.untrusted
    setup = check_setup(found, inputs, environ, options, notify)
    if found.pipeline is None:
        return found, run_checks(None, faults, setup)
    values, _ = fill(found.pipeline, inputs)
    refused = any(fault.code == "RK-JOB-ID" for fault in faults)
    context = context_of(found, found.pipeline, values, None if refused else call.job_id)
    return found, run_checks(context, faults, setup)


def context_of(call: PartialCall, pipeline: CompiledPipeline, values: Values, job_id: str | None) -> CheckContext:
    """Return what is checked: the pipeline, with all that is known of the call."""
    steps = read_steps(pipeline, call.registry, call.selection, values)
    return CheckContext(pipeline, steps, call.registry, call.settings, values, job_id)


def check_setup(
    call: PartialCall,
    inputs: Inputs,
    environ: Mapping[str, str],
    options: CallOptions,
    notify: Callable[[str], None],
) -> CheckSetup:
    """Return how it is checked, and who tells of the progress."""
    return CheckSetup(call.registry, inputs.finder, environ, options.offline, options.ignore or (), notify)


def check_call(screen: Screen, options: CallOptions) -> None:
    """Check a call and tell everything.

    Raises:
        CheckFailed: there is an error or, where the check is strict, a warning.
        InputError: `--ignore` names no finding.
    """
    _known_codes(options.ignore or ())
    call = options.call(tuple(conflicts(options)))
    found, report = examine(call, os.environ, screen.masker, options, screen.say)
    if screen.takes_data:
        screen.data(**report_data(report, found, strict=options.strict))
    screen.show(report_lines(report, found.pipeline, width=screen.width()))
    report.refuse(strict=options.strict)


def before_submitting(screen: Screen, options: CallOptions, call: ResolvedCall, request: RunRequest) -> None:
    """Check what is about to be submitted; tell errors and warnings, and how much more there is.

    Raises:
        CheckFailed: there is an error or, where the check is strict, a warning; nothing is submitted.
        InputError: `--ignore` names no finding.
    """
    _known_codes(options.ignore or ())
    screen.say("checking …" if options.offline else "checking configuration, images, Google Cloud …")
    context = context_of(call, request.pipeline, request.values, call.call.job_id)
    setup = check_setup(call, inputs_of(call, screen.masker), os.environ, options, screen.say)
    report = run_checks(context, () if options.offline else call.untrusted, setup)
    if screen.takes_data:
        screen.data(check=report_data(report, call, strict=options.strict))
    worst = [found for found in report.findings if found.severity in (Severity.ERROR, Severity.WARNING)]
    screen.say(*finding_lines(worst, width=screen.width(stderr=True)), _summary(report))
    report.refuse(strict=options.strict, consequence="; nothing was submitted")


def _known_codes(names: Sequence[str]) -> None:
    """Refuse names that are no findings."""
    faults = [
        Finding(f"--ignore: {found.message}", found.hint)
        for name in names
        if isinstance(found := find_rule(name), Finding)
    ]
    if faults:
        raise InputError.of("this call", faults)


# ── the report ───────────────────────────────────────────────────────────────────────────────────────────────────────


def report_lines(report: Report, pipeline: CompiledPipeline | None, *, width: int | None) -> Iterator[Text]:
    """Show a report: what was found, the worst first, then what each step gets.

    Args:
        report: of a check.
        pipeline: what was checked, None where nothing could be compiled.
        width: columns of the terminal; None where there is none: then a finding is one line, for logs and programs.
    """
    yield from finding_lines(report.findings, width=width)
    if width is not None:
        if pipeline is not None:
            yield from _step_lines(report, pipeline)
        for found, reason in report.ignored:
            yield Text(f"ignored: {found.code}  {found.place}  ({reason})", "dim")
    yield _summary(report)


def finding_lines(findings: Sequence[Finding], *, width: int | None) -> Iterator[Text]:
    """Show findings for a terminal of so many columns; for None, each on one line."""
    if width is None:
        yield from (Text(_plain(found)) for found in findings)
        return
    for (severity, code), same in itertools.groupby(findings, lambda found: (found.severity, found.code)):
        mark, style = STYLES[severity]
        yield Text.assemble((f"{mark} {severity.value}", style), "  ", (code, "bold"), f"  {rule(code).title}")
        of_kind = list(same)
        for number, found in enumerate(of_kind):
            yield Text.assemble("    ", (found.place, "cyan"))
            yield from map(Text, wrapped(found.message, "      ", width))
            if found.hint and found.hint not in [other.hint for other in of_kind[number + 1 :]]:
                # Not wrapped: it may be a command to paste.
                yield Text.assemble("      ", ("→ ", "cyan"), found.hint)
        if severity is not Severity.SKIPPED:
            words = f"otherwise, {rule(code).when.value}: {rule(code).impact}"
            yield from (Text(line, "dim") for line in wrapped(words, "    ", width))
        yield Text("")


def wrapped(text: str, indent: str, width: int) -> list[str]:
    """Break a text into lines of the width, at most 120 columns, each behind the indent."""
    return textwrap.wrap(
        text,
        min(width, WIDEST) - 1,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(found: Finding) -> str:
    parts = [f"{found.severity.value}: {found.code}: {found.place}: {found.message}"]
    if found.severity is not Severity.SKIPPED:
        parts.append(f"otherwise, {rule(found.code).when.value}: {rule(found.code).impact}")
    if found.hint:
        parts.append(f"next: {found.hint}")
    return "; ".join(" ".join(part.split()) for part in parts)


def _summary(report: Report) -> Text:
    counts = [(severity, report.count(severity)) for severity in Severity]
    words = ", ".join(f"{count} {_plural(severity.value, count)}" for severity, count in counts if count)
    ignored = f"; {len(report.ignored)} ignored" if report.ignored else ""
    looked = ", ".join(_LOOKED[part] for part in report.looked) or "configuration, as far as it is readable"
    worst = next((severity for severity, count in counts if count), None)
    style = "green" if worst not in (Severity.ERROR, Severity.WARNING) else STYLES[worst][1]
    return Text.assemble((words or "nothing found", style), f"{ignored}  ", (f"checked: {looked}", "dim"))


def _plural(word: str, count: int) -> str:
    return word if count == 1 or word == "skipped" else f"{word}s"


def _step_lines(report: Report, pipeline: CompiledPipeline) -> Iterator[Text]:
    """Say of each step which machine it gets, and what its image does."""
    width = max(len(step.name) for step in pipeline.steps)
    for step in pipeline.steps:
        yield Text.assemble(("○ ", "cyan"), (f"{step.name:<{width}}", "bold"), f"  {step.image}")
        choice = report.machines.get(step.name)
        pad = " " * (width + 4)
        if choice is not None and choice.machine is not None:
            yield Text.assemble((f"{pad}machine  ", "dim"), f"{choice.machine}", (f"  {choice.reason}", "dim"))
        if facts := report.images.get(step.image):
            yield Text.assemble((f"{pad}image    ", "dim"), image_words(facts))
    yield Text("")


def image_words(facts: ImageFacts) -> str:
    """Say in words what a registry says of an image."""
    parts = [facts.digest[:19] + "…", " ".join(facts.platforms)]
    if facts.compressed_size is not None:
        megabytes = facts.compressed_size / 1e6
        parts.append(f"{megabytes:,.0f} MB compressed" if megabytes >= 1 else "less than 1 MB compressed")
    if facts.config is not None:
        for name, words in (("ENTRYPOINT", facts.config.entrypoint), ("CMD", facts.config.cmd)):
            parts += [f"{name} {' '.join(words)}"] if words else []
        for name, word in (("USER", facts.config.user), ("WORKDIR", facts.config.workdir)):
            parts += [f"{name} {word}"] if word else []
    return ", ".join(part for part in parts if part)


def report_data(report: Report, call: PartialCall, *, strict: bool) -> dict[str, Any]:
    """Return a report as data, with the position of each finding; its files are read for that once more.

    Args:
        report: of a check.
        call: what was checked.
        strict: whether warnings count as errors.
    """
    registry = None if call.registry.source == PACKAGED else call.registry.source
    places = Places(registry)
    worst = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    return {
        "ok": not any(report.count(severity) for severity in worst),
        "strict": strict,
        "source": str(call.call.file) if call.call.file else registry,
        "looked": list(report.looked),
        "findings": [finding_data(found, places) for found in report.findings],
        "ignored": [{**finding_data(found, places), "reason": reason} for found, reason in report.ignored],
        "machines": {
            name: {"machine": choice.machine.name if choice.machine else None, "reason": choice.reason}
            for name, choice in report.machines.items()
        },
        "images": {name: _image_data(facts) for name, facts in report.images.items()},
    }


def finding_data(found: Finding, places: Places) -> dict[str, str | int | None]:
    """Return a finding as data; `file`, `line` and `column` are None where it is in no file."""
    position = places.position(found.place)
    broken = rule(found.code)
    return {
        "code": found.code,
        "severity": found.severity.value,
        "group": broken.group,
        "place": found.place,
        "file": position.file if position else None,
        "line": position.line if position else None,
        "column": position.column if position else None,
        "message": found.message,
        "when": broken.when.value,
        "otherwise": broken.impact,
        "hint": found.hint,
    }


def _image_data(facts: ImageFacts) -> dict[str, Any]:
    config = facts.config
    return {
        "digest": facts.digest,
        "platforms": list(facts.platforms),
        "compressed_size": facts.compressed_size,
        "entrypoint": list(config.entrypoint) if config else None,
        "cmd": list(config.cmd) if config else None,
        "user": config.user if config else None,
        "workdir": config.workdir if config else None,
        "created": config.created.isoformat() if config and config.created else None,
    }
