"""Every mistake that can be known before submitting: offline, from the image registries, from Google's read APIs.

The checks look at the compiled pipeline and at what would join it, and tell everything at once. What a part cannot look
at is told as skipped, with its reason; it is never an error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from run_kfp.errors import CheckFailed, InputError, did_you_mean
from run_kfp.findings import Finding, Severity
from run_kfp.machines import Choice, Machines, load_machines
from run_kfp.masking import Masker
from run_kfp.natural import natural
from run_kfp.preflight.context import CheckContext, StepSpec, read_steps
from run_kfp.preflight.offline import check_offline
from run_kfp.preflight.offline.references import image_place
from run_kfp.preflight.offline.resources import chosen_machines
from run_kfp.preflight.offline.spec import names_in_words
from run_kfp.preflight.offline.values import written_values
from run_kfp.preflight.rules import Rule, in_order, rule, rules
from run_kfp.registry import CheckSection, Registry
from run_kfp.secret_shapes import without_tokens
from run_kfp.secrets import SecretFinder, SecretRef
from run_kfp.threads import in_background
from run_kfp.trust import SERVICES

if TYPE_CHECKING:
    from run_kfp.preflight.images import ImageFacts

__all__ = [
    "CheckContext",
    "CheckSetup",
    "Finding",
    "Report",
    "Severity",
    "ask_registries",
    "check",
    "find_rule",
    "read_steps",
    "rules",
]


# Seconds that all servers have to answer a check, at most: a submission waits for it, and `--timeout` is for Vertex AI.
# It is twice what a single answer may take (`cloud.session.ONE_TRY`).
LONGEST = 20.0

REGISTRY = rule("RK-REGISTRY")


@dataclass(frozen=True)
class CheckSetup:
    """How to check, and what a check needs of the call beside the pipeline.

    Attributes:
        registry: for its `[check]` table.
        finder: finds the login of the Git remote; it knows the secrets of the call.
        environ: for where logins of other programs lie.
        offline: ask nobody.
        ignore: names of findings that a flag says not to tell.
        notify: takes a line on what goes on.
    """

    registry: Registry
    finder: SecretFinder
    environ: Mapping[str, str]
    offline: bool
    ignore: Sequence[str]
    notify: Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """What was found, and what is worth seeing beside it.

    Attributes:
        findings: in order; without the ignored ones.
        ignored: findings that the registry or a flag says not to tell, with the reason.
        machines: the machine that Vertex AI would choose, by the name of the step.
        images: what the image registries say, by the image as it stands in the pipeline.
        looked: the parts that were looked at.
    """

    findings: tuple[Finding, ...]
    ignored: tuple[tuple[Finding, str], ...] = ()
    machines: Mapping[str, Choice] = field(default_factory=dict)
    images: Mapping[str, ImageFacts] = field(default_factory=dict)
    looked: tuple[str, ...] = ("offline",)

    def count(self, severity: Severity) -> int:
        """Return how many findings are of this severity."""
        return sum(found.severity is severity for found in self.findings)

    def refuse(self, *, strict: bool, consequence: str = "") -> None:
        """Return where nothing keeps the run from being submitted.

        Args:
            strict: whether warnings do.
            consequence: what the words of the error add.

        Raises:
            CheckFailed: something does.
        """
        errors, warnings = self.count(Severity.ERROR), self.count(Severity.WARNING)
        if not errors and not (strict and warnings):
            return
        words = [_plural(errors, "error")] if errors else []
        words += [_plural(warnings, "warning")] if warnings and (strict or not errors) else []
        raise CheckFailed(
            f"the check found {' and '.join(words)}{consequence}",
            hint="fix the findings above; `run-kfp explain CODE` explains each kind",
        )


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count != 1 else ''}"


def find_rule(word: str) -> Rule | Finding:
    """Return the kind of finding that a word names, in any case and with or without RK-."""
    name = word.upper() if word.upper().startswith("RK-") else f"RK-{word.upper()}"
    known = rules()
    # What is no name at all may be a secret in the wrong place, and nothing has told the mask yet: it is not repeated.
    shown = f" {word!r}" if re.fullmatch(r"[A-Za-z-]{1,40}", word) else " of that name"
    near = [each for each in known if name.removeprefix("RK-") in each.split("-")] if shown.endswith("'") else []
    hint = f"did you mean {', '.join(near)}?" if near else did_you_mean(name, known) or "see `run-kfp explain`"
    return known.get(name) or Finding(f"unknown finding{shown}", hint)


def check(context: CheckContext | None, faults: Iterable[Finding], setup: CheckSetup) -> Report:
    """Check everything, and tell it at once.

    Args:
        context: what would be submitted; None where nothing could be compiled.
        faults: what the layers below found wrong with the call.
        setup: how to check.
    """
    section = setup.registry.check
    findings = list(faults)
    findings += _check_section(setup.registry)
    machines = _machines(setup.registry, findings)
    if context is None:
        return _report(findings, setup, looked=())
    masker = setup.finder.masker
    findings += check_offline(context, machines, setup.environ, lambda text: masker.mask(text) != text)
    if any(found.code == "RK-SECRET-WRITTEN" for found in findings):
        for value in written_values(context):
            masker.add(value)  # from here on: what no finding may show need not be one of the secrets of the call
    choices = chosen_machines(context, machines)
    if setup.offline:
        return _report(_once_for_each_image(findings, context), setup, machines=choices)
    found, images, facts = _online(context, section, machines, setup)
    findings = [one for one in findings if not _answered(one, facts)]
    findings = _once_for_each_image([*findings, *found], context)
    return _report(findings, setup, machines=choices, images=images, looked=("offline", "images", "cloud"))


def _once_for_each_image(findings: Sequence[Finding], context: CheckContext) -> list[Finding]:
    """Join what is told of one image in several steps: one finding, at the place of the first, with all names."""
    steps = {image_place(step): step.name for step in context.steps}
    told: dict[Finding, list[str]] = {}
    for found in findings:
        if found.place in steps and rule(found.code).group == "images":
            told.setdefault(dataclasses.replace(found, place=""), []).append(found.place)
    joined: dict[Finding, None] = {}
    for found in findings:
        places = sorted({*told.get(dataclasses.replace(found, place=""), ())}, key=natural)
        if found.place in steps and len(places) > 1:
            names = names_in_words([steps[place] for place in places])
            found = dataclasses.replace(found, place=places[0], message=f"{found.message} (steps {names})")
        joined[found] = None
    return list(joined)


def _answered(found: Finding, facts: Mapping[str, str]) -> bool:
    """Whether what Google says takes the place of an offline finding: of the login, or of a default quota.

    The hint of a default quota holds the name of its metric, as the facts do: "quota METRIC in REGION".
    """
    if found.code == "RK-LOGIN-MISSING":
        return True
    metrics = [name.split()[1] for name in facts if name.startswith("quota ")]
    return found.code == "RK-QUOTA-DEFAULT" and any(found.hint.endswith(f":{metric}") for metric in metrics)


def _online(
    context: CheckContext, section: CheckSection, machines: Machines, setup: CheckSetup
) -> tuple[list[Finding], Mapping[str, ImageFacts], Mapping[str, str]]:
    """Ask the image registries, Google and the Git remote, side by side, for `--timeout` or `LONGEST` seconds in all.

    Returns:
        The findings, what the registries say of the images, and the facts that Google tells.
    """
    from run_kfp.preflight.cloud import GoogleSession, check_cloud
    from run_kfp.preflight.images import look_at_images

    seconds = min(context.settings.timeout, LONGEST)
    context = dataclasses.replace(
        context,
        settings=dataclasses.replace(context.settings, timeout=seconds),
        steps=_steps_to_ask_for(context, setup),
    )
    with GoogleSession(context.settings, endpoints=section.endpoints, tell=setup.notify) as session:
        images = in_background(lambda: look_at_images(context, google_token=session.token, deadline_seconds=seconds))
        cloud = in_background(lambda: check_cloud(context, session=session, machines=machines))
        git = in_background(lambda: list(_git(context, section, setup)))
        seen, shown = cloud.result(), images.result()
        return [*shown.findings, *seen.findings, *git.result()], shown.facts, seen.facts


def ask_registries(context: CheckContext, setup: CheckSetup) -> tuple[Mapping[str, ImageFacts], Sequence[Finding]]:
    """Ask the image registries alone; return what they say by image, and what they make of the steps."""
    from run_kfp.preflight.cloud import GoogleSession
    from run_kfp.preflight.images import look_at_images

    context = dataclasses.replace(context, steps=_steps_to_ask_for(context, setup))
    with GoogleSession(context.settings, endpoints=setup.registry.check.endpoints, tell=setup.notify) as session:
        found = look_at_images(context, google_token=session.token, deadline_seconds=context.settings.timeout)
    return found.facts, found.findings


def _steps_to_ask_for(context: CheckContext, setup: CheckSetup) -> tuple[StepSpec, ...]:
    """Return the steps whose image may be named to others: not those where the value of a secret stands in it."""
    masker = setup.finder.masker
    return tuple(step for step in context.steps if masker.mask(step.image) == step.image)


def _git(context: CheckContext, section: CheckSection, setup: CheckSetup) -> Iterator[Finding]:
    """Look for the tag of the run at the Git remote that the registry names."""
    if section.git is None:
        return
    from run_kfp.preflight.cloud.git import check_git

    login = None
    name = section.git.login or ""
    if name and name not in context.values:
        return  # no selected container takes the login, so that none goes to this remote either
    if name in setup.registry.secrets:
        located = setup.finder.locate(name, setup.registry.secrets[name])
        login = located.reveal() if isinstance(located, SecretRef) else None
    tag = context.values.get("tag")
    makers = {step.container.index for step in context.steps if step.container} | {
        step.container.name for step in context.steps if step.container
    }
    yield from check_git(
        section.git.remote,
        login,
        str(tag.value) if tag is not None and not isinstance(tag, SecretRef) else None,
        makes_tag=bool(makers & set(section.git.makes_tag)),
        seconds=context.settings.timeout,
    )


def _machines(registry: Registry, findings: list[Finding]) -> Machines:
    try:
        return load_machines(registry.machines_file)
    except InputError as error:
        for fault in error.all_faults:
            if fault.place == str(registry.machines_file):  # the file as a whole: a key of the registry names it
                fault = dataclasses.replace(fault, place=f"{registry.source}: check.machines")
            findings.append(fault)
        return load_machines()


def _check_section(registry: Registry) -> Iterator[Finding]:
    for key, known in (("endpoints", SERVICES), ("ignore", tuple(rules()))):
        for name in getattr(registry.check, key):
            if name not in known:
                yield REGISTRY(
                    f"{registry.source}: check.{key}.{name}",
                    f"unknown {'service' if key == 'endpoints' else 'finding'} {name!r}",
                    did_you_mean(name, known)
                    or (f"valid names: {', '.join(known)}" if key == "endpoints" else _EXPLAIN),
                )


_EXPLAIN = "`run-kfp explain` lists all of them"


def _without_secrets(found: Finding, masker: Masker) -> Finding:
    """Return a finding in whose words no known secret stands, and nothing of the shape of a token that nobody knows."""
    words = (found.place, found.message, found.hint)
    place, message, hint = (without_tokens(masker.mask(text)) for text in words)
    return dataclasses.replace(found, place=place, message=message, hint=hint)


def _report(
    findings: Iterable[Finding],
    setup: CheckSetup,
    *,
    machines: Mapping[str, Choice] | None = None,
    images: Mapping[str, ImageFacts] | None = None,
    looked: tuple[str, ...] = ("offline",),
) -> Report:
    """Set apart what is to be ignored; what keeps a call from becoming a plan is refused elsewhere all the same."""
    reasons = {**dict.fromkeys(setup.ignore, "--ignore"), **setup.registry.check.ignore}
    told: list[Finding] = []
    ignored: list[tuple[Finding, str]] = []
    for found in in_order(_without_secrets(found, setup.finder.masker) for found in findings):
        name = found.code
        if name in reasons:
            ignored.append((found, reasons[name]))
        else:
            told.append(found)
    return Report(tuple(told), tuple(ignored), machines or {}, images or {}, looked)
