"""What a person sees of checks: the report, the explanation of a finding, the machine table."""

from __future__ import annotations

import itertools
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from run_kfp.errors import Fault, InputError, did_you_mean
from run_kfp.launch import Checking, examine
from run_kfp.machines import (
    Machines,
    accelerator_rows,
    accelerators_like,
    find_accelerator,
    load_machines,
    machine_rows,
)
from run_kfp.preflight import Finding, Report, Severity, codes, find_code
from run_kfp.preflight.findings import Code
from run_kfp.preflight.offline.resources import region_hint
from run_kfp.prepare import Call, find_registry

if TYPE_CHECKING:
    from run_kfp.pipeline import CompiledPipeline
    from run_kfp.preflight.images import ImageFacts
    from run_kfp.terminal import Screen

_STYLES: Mapping[Severity, tuple[str, str]] = {
    Severity.ERROR: ("✗", "bold red"),
    Severity.WARNING: ("!", "bold yellow"),
    Severity.NOTE: ("·", "cyan"),
    Severity.SKIPPED: ("–", "dim"),
}
# Columns: longer lines are hard to read, however wide a terminal is.
_WIDEST = 120
_LOOKED = {"offline": "the call itself", "images": "the image registries", "cloud": "Google Cloud"}


def check_call(screen: Screen, call: Call, checking: Checking) -> None:
    """Check a call and tell everything.

    Raises:
        CheckFailed: there is an error or, where the check is strict, a warning.
        InputError: `--ignore` names no finding.
    """
    _known_codes(checking.ignore)
    draft, report = examine(call, os.environ, screen.masker, checking, screen.say)
    screen.data(**report_data(report, strict=checking.strict))
    if not screen.json:
        screen.show(report_lines(report, draft.pipeline, width=screen.width()))
    report.refuse(strict=checking.strict)


def before_submitting(screen: Screen, checking: Checking, check: Callable[[], Report]) -> None:
    """Check what is about to be submitted; tell errors and warnings, and how much more there is.

    Raises:
        CheckFailed: there is an error or, where the check is strict, a warning; nothing is submitted.
        InputError: `--ignore` names no finding.
    """
    _known_codes(checking.ignore)
    screen.say("checking …" if checking.offline else "checking: the call, its images, Google Cloud …")
    report = check()
    screen.data(check=report_data(report, strict=checking.strict))
    worst = [found for found in report.findings if found.severity in (Severity.ERROR, Severity.WARNING)]
    screen.say(*finding_lines(worst, width=screen.width(stderr=True)), _summary(report))
    report.refuse(strict=checking.strict, consequence="; nothing was submitted")


def _known_codes(names: Sequence[str]) -> None:
    """Refuse names that are no findings."""
    faults = [
        Fault(f"--ignore: {found.message}", found.hint) for name in names if isinstance(found := find_code(name), Fault)
    ]
    if faults:
        raise InputError.of("this call", faults)


def explain(screen: Screen, word: str | None) -> None:
    """Say what a kind of finding means; without a word, list all of them.

    Raises:
        InputError: the word names none.
    """
    if word is None:
        known = codes()
        screen.data(codes=[code_data(code) for code in known.values()])
        if not screen.json:
            screen.show(_code_table(list(known.values())))
        return
    found = find_code(word)
    if isinstance(found, Fault):
        raise InputError(found.message, found.hint)
    screen.data(**code_data(found))
    if not screen.json:
        screen.show(_explanation(found, screen.width() or _WIDEST))


def machines_table(screen: Screen, registry: Path | None, region: str | None, accelerator: str | None) -> None:
    """Show the machine table, with what the registry corrects of it.

    Raises:
        InputError: the registry or its machine table cannot be read, or a name is not in the table.
    """
    found = find_registry(registry, os.environ)
    table = load_machines(found.machines_file)
    if region is not None and region not in table.regions:
        raise InputError(f"{table.source} has no region {region!r}", region_hint(region, table))
    if accelerator is not None and accelerator not in table.accelerators:
        found_name = find_accelerator(table, accelerator)
        if found_name is None:
            like = accelerators_like(table, accelerator)
            hint = "" if like else did_you_mean(accelerator, table.accelerators)
            hint = hint or f"it has {', '.join(like or table.accelerators)}"
            raise InputError(f"{table.source} has no accelerator {accelerator!r}", hint)
        accelerator = found_name
    machines = machine_rows(table, region=region, accelerator=accelerator)
    accelerators = [row for row in accelerator_rows(table, region=region) if accelerator in (None, row["accelerator"])]
    screen.data(source=table.source, machines=machines, accelerators=accelerators, regions=sorted(table.regions))
    if not screen.json:
        screen.show(_machine_lines(table, machines, accelerators, region))


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
            yield Text(f"ignored: {found.code.name}  {found.place}  ({reason})", "dim")
    yield _summary(report)


def finding_lines(findings: Sequence[Finding], *, width: int | None) -> Iterator[Text]:
    """Show findings for a terminal of so many columns; for None, each on one line."""
    if width is None:
        yield from (Text(_plain(found)) for found in findings)
        return
    for (severity, code), same in itertools.groupby(findings, lambda found: (found.severity, found.code)):
        mark, style = _STYLES[severity]
        yield Text.assemble((f"{mark} {severity.value}", style), "  ", (code.name, "bold"), f"  {code.title}")
        of_kind = list(same)
        for number, found in enumerate(of_kind):
            yield Text.assemble("    ", (found.place, "cyan"))
            yield from map(Text, _wrapped(found.message, "      ", width))
            if found.hint and found.hint not in [other.hint for other in of_kind[number + 1 :]]:
                # Not wrapped: it may be a command to paste.
                yield Text.assemble("      ", ("→ ", "cyan"), found.hint)
        if severity is not Severity.SKIPPED:
            words = f"otherwise, {code.when.value}: {code.otherwise}"
            yield from (Text(line, "dim") for line in _wrapped(words, "    ", width))
        yield Text("")


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    """Break a text into lines of the width, at most 120 columns, each behind the indent."""
    return textwrap.wrap(
        text,
        min(width, _WIDEST) - 1,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(found: Finding) -> str:
    parts = [f"{found.severity.value}: {found.code.name}: {found.place}: {found.message}"]
    if found.severity is not Severity.SKIPPED:
        parts.append(f"otherwise, {found.code.when.value}: {found.code.otherwise}")
    if found.hint:
        parts.append(f"next: {found.hint}")
    return "; ".join(" ".join(part.split()) for part in parts)


def _summary(report: Report) -> Text:
    counts = [(severity, report.count(severity)) for severity in Severity]
    words = ", ".join(f"{count} {_plural(severity.value, count)}" for severity, count in counts if count)
    ignored = f"; {len(report.ignored)} ignored" if report.ignored else ""
    looked = ", ".join(_LOOKED[part] for part in report.looked) or "the call itself, as far as it can be read"
    worst = next((severity for severity, count in counts if count), None)
    style = "green" if worst not in (Severity.ERROR, Severity.WARNING) else _STYLES[worst][1]
    return Text.assemble((words or "nothing found", style), f"{ignored}  ", (f"looked at: {looked}", "dim"))


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


def report_data(report: Report, *, strict: bool) -> dict[str, Any]:
    """Return a report as data."""
    worst = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    return {
        "ok": not any(report.count(severity) for severity in worst),
        "looked": list(report.looked),
        "findings": [finding_data(found) for found in report.findings],
        "ignored": [{**finding_data(found), "reason": reason} for found, reason in report.ignored],
        "machines": {
            name: {"machine": choice.machine.name if choice.machine else None, "reason": choice.reason}
            for name, choice in report.machines.items()
        },
        "images": {name: _image_data(facts) for name, facts in report.images.items()},
    }


def finding_data(found: Finding) -> dict[str, str]:
    """Return a finding as data."""
    return {
        "code": found.code.name,
        "severity": found.severity.value,
        "group": found.code.group,
        "place": found.place,
        "message": found.message,
        "when": found.code.when.value,
        "otherwise": found.code.otherwise,
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


# ── explanations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def code_data(code: Code) -> dict[str, str]:
    """Return a kind of finding as data."""
    return {
        "code": code.name,
        "group": code.group,
        "title": code.title,
        "severity": code.severity.value,
        "when": code.when.value,
        "otherwise": code.otherwise,
        "explanation": code.explanation,
        "source": code.source,
    }


def _explanation(code: Code, width: int) -> Iterator[Text]:
    mark, style = _STYLES[code.severity]
    yield Text.assemble((code.name, "bold"), f"  {code.title}")
    yield Text.assemble((f"{mark} {code.severity.value}", style), f"; without the check, {code.when.value}:")
    yield from map(Text, _wrapped(code.otherwise, "  ", width))
    for paragraph in code.explanation.split("\n\n"):
        yield Text("")
        yield from map(Text, _wrapped(paragraph, "", width))
    yield Text("")
    yield Text.assemble(("source: ", "dim"), code.source)
    yield Text.assemble(("not to be told it: ", "dim"), f"--ignore {code.name}, or in the registry")
    yield Text(f'  [check.ignore]\n  {code.name} = "the reason"')


def _code_table(known: Sequence[Code]) -> Iterator[Text]:
    width = max(len(code.name) for code in known)
    for group in sorted({code.group for code in known}):
        yield Text(group, "bold")
        for code in known:
            if code.group == group:
                yield Text.assemble("  ", (f"{code.name:<{width}}", _STYLES[code.severity][1]), f"  {code.title}")


def _machine_lines(
    table: Machines,
    machines: Sequence[Mapping[str, Any]],
    accelerators: Sequence[Mapping[str, Any]],
    region: str | None,
) -> Iterator[Text]:
    yield Text.assemble((table.source, "bold"), f"  {'in ' + region if region else 'all regions'}")
    yield Text("")
    for row in machines:
        known = row["vcpus"] is not None and row["memory_gb"] is not None
        size = f"{row['vcpus']:>4} vCPU  {row['memory_gb']:>6} GB" if known else f"{'size not known':>20}"
        takes = "; ".join(f"{'/'.join(map(str, counts))} × {name}" for name, counts in row["accelerators"].items())
        yield Text.assemble("  ", (f"{row['machine']:<22}", "bold"), size, (f"   {takes}" if takes else "", "dim"))
    yield Text("")
    for row in accelerators:
        counts = f"{'/'.join(map(str, row['counts']))} a machine" if row["counts"] else "machines not known"
        quota = "" if row["default_quota"] is None else f"; default quota {row['default_quota']}"
        yield Text.assemble(
            "  ",
            (f"{row['accelerator']:<22}", "bold"),
            counts,
            quota if row["supported"] else f"; support ended {row['end_of_support'] or ''}".rstrip(),
            (f"   {', '.join(row['regions'])}" if region is None else "", "dim"),
        )
