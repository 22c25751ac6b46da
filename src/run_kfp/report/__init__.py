"""A run as one page that opens anywhere: no server, no network, no file beside it.

The page works without its script; the script adds the search, the severity filter and the drawing of long logs. Only
what stands in the package can run in it: its Content-Security-Policy names the script and the style sheet by hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from importlib import resources
from typing import Any

from run_kfp.report.drawing import Box, graph
from run_kfp.report.logs import Log, Severity
from run_kfp.report.markup import Child, Html, data_block, joined, tag
from run_kfp.report.timeline import Span, duration_words, moment, timeline

CHARACTERS = 24_000_000
"""What the logs of a run may take in its page. Each log gets at most half of what is left, the failed steps first."""
FEWEST_CHARACTERS = 20_000
"""What each log may take however much the others took."""
PRINTED_LINES = 200
"""How many of an open log's lines go to a printer: the last ones."""
FAILED_LINKS = 8
"""How many failed steps have a link in the header; the graph shows them all."""

_LOOKS = {
    "WAITING": ("○", "idle"),
    "QUEUED": ("○", "idle"),
    "PENDING": ("○", "idle"),
    "RUNNING": ("●", "busy"),
    "SUCCEEDED": ("✓", "good"),
    "FAILED": ("✗", "bad"),
    "CANCELLING": ("●", "held"),
    "CANCELLED": ("✗", "held"),
    "PAUSED": ("●", "held"),
    "SKIPPED": ("–", "idle"),
}
_UNKNOWN = ("?", "held")

_ENGINES = {"docker": "Docker Engine", "process": "child processes (less faithful than containers)"}

_WIDTHS = {
    **dict.fromkeys(
        (
            "Engine",
            "Steps",
            "Repeats",
            "Image",
            "Resources",
            "After",
            "Reused from",
            "Command",
            "Arguments",
            "Outputs",
            "Shell",
            "Not on Vertex AI",
        ),
        "double",
    ),
    **dict.fromkeys(("Started", "Ended"), "time"),
    "Run": "wide",
}
"""The facts that need more than one column."""

Record = Mapping[str, Any]


def report_html(run: Record, read_log: Callable[[str], Iterable[str | int]]) -> str:
    """Make the page of a run.

    Args:
        run: the record of the run as `run.json` holds it, masked. What it lacks is left out of the page; its parameters
            of the form `{"secret": …}` show their name and place, never a value.
        read_log: opens the log of a step: takes the step's `log` (a path in the folder of the run) and gives its lines,
            masked, `<RFC 3339 time> <O or E> <text>`, with or without line ends; a number stands for so many lines
            that were not read. A step without log raises
            FileNotFoundError or gives none; any other OSError is told in the page in place of the log.

    Returns:
        The page, to be written as UTF-8.
    """
    style, script = _packaged("report.css"), _packaged("report.js")
    steps: Sequence[Record] = run.get("steps") or ()
    logs = _logs(steps, read_log)
    pipeline = run.get("pipeline") or {}
    title = pipeline.get("display_name") or pipeline.get("name") or "run"
    state = run.get("state") or "UNKNOWN"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    body = tag(
        "body",
        tag("a", "Skip to the steps", href="#steps", class_="skip"),
        _header(run, title, state, steps),
        tag(
            "main",
            _warnings(run.get("warnings")),
            tag("div", _graph_section(steps), _timeline_section(run, steps), class_="overview") if steps else None,
            _section("steps", "Steps", [_step(number, step, logs[number]) for number, step in enumerate(steps, 1)]),
            _parameters(run.get("parameters") or {}),
        ),
        tag(
            "footer",
            tag(
                "p",
                "Created by run-kfp. Times are UTC (Z); the complete logs are in ",
                tag("code", "logs/"),
                " beside this file.",
            ),
        ),
        data_block("logs", {str(number): _marks(log) for number, log in logs.items() if isinstance(log, Log)}),
        tag("script", Html(script)),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"{_look(state)[0]} {title} {state} – {run.get('id', '')}"),
        tag("style", Html(style)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _packaged(name: str) -> str:
    return (resources.files("run_kfp.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _look(state: str) -> tuple[str, str]:
    return _LOOKS.get(state, _UNKNOWN)


# ── the parts of the page ────────────────────────────────────────────────────────────────────────────────────────────


def _header(run: Record, title: str, state: str, steps: Sequence[Record]) -> Html:
    failed = [(number, step) for number, step in enumerate(steps, 1) if step.get("state") == "FAILED"]
    engine = run.get("engine")
    facts = {
        "Run": tag("code", run["ref"]) if run.get("ref") else run.get("id"),
        "Pipeline": pipeline if (pipeline := (run.get("pipeline") or {}).get("name")) != title else None,
        "Engine": _ENGINES.get(engine, engine) if engine else None,
        "Started": _time(run.get("started") or run.get("created")),
        "Ended": _time(run.get("ended")),
        "Took": _took(run),
        "Steps": _tally(steps),
        "Executed file": tag("code", run["file"]) if run.get("file") else None,
        "Repeats": tag("code", run["from_run"]) if run.get("from_run") else None,
        "Not on Vertex AI": _words(run.get("local_only") or ()),
    }
    return tag(
        "header",
        tag("div", tag("h1", title), _badge(state), class_="heading"),
        _facts(facts),
        tag("p", run["error"], class_="failure") if run.get("error") else None,
        tag(
            "p",
            [
                tag("a", f"Go to {_name(step)}, which failed", href=f"#step-{number}")
                for number, step in failed[:FAILED_LINKS]
            ],
            tag("span", f"and {len(failed) - FAILED_LINKS} more") if len(failed) > FAILED_LINKS else None,
            class_="jump",
        )
        if failed
        else None,
    )


def _tally(steps: Sequence[Record]) -> str | None:
    if not steps:
        return None
    states = [str(step.get("state") or "UNKNOWN").lower() for step in steps]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _warnings(warnings: Sequence[str] | None) -> Html | None:
    if not warnings:
        return None
    return _section("warnings", "Warnings", tag("ul", [tag("li", warning) for warning in warnings], class_="caution"))


def _graph_section(steps: Sequence[Record]) -> Html:
    boxes = [
        Box(_name(step), *_look(step.get("state") or ""), _state_words(step), f"#step-{number}")
        for number, step in enumerate(steps, 1)
    ]
    drawn = graph(boxes, {_name(step): step.get("after") or () for step in steps})
    # What can be scrolled must be reachable by keyboard.
    return _section(
        "graph", "Graph", tag("div", drawn, class_="graph", tabindex=0, role="group", aria_label="Graph of the steps")
    )


def _timeline_section(run: Record, steps: Sequence[Record]) -> Html | None:
    spans = [
        Span(
            _name(step),
            _look(step.get("state") or "")[1],
            f"#step-{number}",
            "reused" if step.get("reused_from") else step.get("state") or "UNKNOWN",
            # A step of an earlier run was not on this run's clock.
            None if step.get("reused_from") else moment(step.get("started")),
            moment(step.get("ended")),
        )
        for number, step in enumerate(steps, 1)
    ]
    moments = [moment(run.get("started")), moment(run.get("ended"))]
    for span in spans:
        if span.started:
            moments += (span.started, span.ended)
    known = [at for at in moments if at]
    if not known:
        return None
    return _section("timeline", "Timeline", timeline(spans, min(known), max(known)))


def _step(number: int, step: Record, log: Log | str | None) -> Html:
    state = step.get("state") or "UNKNOWN"
    label = step.get("label")
    command, args = step.get("command"), step.get("args")
    reused = step.get("reused_from")
    facts = {
        "Image": tag("code", step["image"]) if step.get("image") else None,
        "Image ID": tag("code", _short_id(step["image_id"])) if step.get("image_id") else None,
        "Resources": step.get("resources"),
        "After": ", ".join(step.get("after") or ()),
        "Started": _time(step.get("started")),
        "Ended": _time(step.get("ended")),
        "Took": _took(step),
        "Exit code": tag("code", str(step["exit_code"])) if step.get("exit_code") is not None else None,
        **_place(str(step.get("container") or "")),
        "Reused from": tag("code", reused) if reused else None,
        "Command": _words(command or ()) or "its own",
        "Arguments": _words(args or ()) or ("none" if command else "its own"),
        "Shell": tag("code", step["shell"]) if step.get("shell") else None,
        "Outputs": _words([f"{name} = {_output(value)}" for name, value in (step.get("outputs") or {}).items()]),
    }
    return tag(
        "article",
        tag(
            "div",
            tag("h3", _name(step), id=f"step-{number}-name"),
            tag("span", label, class_="label") if label and label != _name(step) else None,
            _badge(state),
            tag("span", "reused", class_="badge idle") if reused else None,
            class_="heading",
        ),
        tag("p", step["error"], class_="failure") if step.get("error") else None,
        tag("ul", [tag("li", warning) for warning in step["warnings"]], class_="caution")
        if step.get("warnings")
        else None,
        _facts(facts),
        _log(number, step, log),
        id=f"step-{number}",
        class_=_look(state)[1],
        aria_labelledby=f"step-{number}-name",
    )


def _log(number: int, step: Record, log: Log | str | None) -> Html:
    if log is None:
        return tag("p", "No log.", class_="no-log")
    if isinstance(log, str):
        return tag("p", f"The log cannot be read: {log}", class_="caution")
    if not log.total:
        return tag("p", "The log is empty.", class_="no-log")
    counts = [tag("span", _counted(log.total, "line"), class_="count")]
    for kind in (Severity.ERROR, Severity.WARNING):
        if log.counts[kind]:
            # The space lets a narrow page break the line.
            counts += (Html(" "), tag("span", _counted(log.counts[kind], kind), class_=f"count {kind}"))
    lines = [tag("b", line.raw, class_=line.severity) if line.grave else joined(line.raw) for line in log.lines]
    early, last = lines[:-PRINTED_LINES], lines[-PRINTED_LINES:]
    note = f"The last {len(last)} of {log.total:,} lines:" if early else None
    text = (
        tag("span", Html("".join(f"{line}\n" for line in early)), class_="early"),
        tag("span", Html("\n".join(last)), class_="last", data_note=note),
    )
    return tag(
        "details",
        tag("summary", "Log ", counts),
        # HTML drops a line end that follows the tag.
        tag("pre", Html("\n"), text, class_="raw", tabindex=0, role="region", aria_label=f"Log of {_name(step)}"),
        class_="log",
        open=step.get("state") == "FAILED",
        data_at_end=step.get("state") == "FAILED",
        data_step=number,
        data_name=_name(step),
    )


def _marks(log: Log) -> dict[str, Any]:
    """What the script needs to know of a log beside its text: which lines are grave, and where lines are missing."""
    of = {kind: [index for index, line in enumerate(log.lines) if line.severity is kind] for kind in Severity}
    return {
        "errors": of[Severity.ERROR],
        "warnings": of[Severity.WARNING],
        "gap": len(log.head) if log.left_out else None,
        "leftOut": log.left_out,
    }


def _parameters(parameters: Mapping[str, Record]) -> Html | None:
    if not parameters:
        return None

    def row(name: str, found: Record) -> Html:
        secret = "secret" in found
        value: Child = tag("span", "secret", class_="badge held") if secret else tag("code", _text(found.get("value")))
        return tag("tr", tag("th", name, scope="row"), tag("td", value), tag("td", str(found.get("from") or "")))

    header = tag("tr", [tag("th", words, scope="col") for words in ("Name", "Value", "From")])
    rows = [row(name, found) for name, found in parameters.items()]
    return _section("parameters", "Parameters", tag("table", tag("thead", header), tag("tbody", rows)))


# ── pieces ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _section(id_: str, title: str, *children: Child) -> Html:
    return tag("section", tag("h2", title, id=f"{id_}-title"), *children, id=id_, aria_labelledby=f"{id_}-title")


def _facts(facts: Mapping[str, Child]) -> Html:
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", fact), class_=_WIDTHS.get(name))
            for name, fact in facts.items()
            if fact
        ],
    )


def _badge(state: str) -> Html:
    mark, look = _look(state)
    return tag("span", tag("span", mark, aria_hidden="true"), f" {state}", class_=f"badge {look}")


def _place(container: str) -> dict[str, Child]:
    """Say where a step ran: in a container, by the short form of its id, or in a process (`pid <number> <start>`)."""
    kind, _, rest = container.partition(" ")
    if kind == "pid":
        return {"Process": tag("code", rest.partition(" ")[0])}
    return {"Container": tag("code", _short_id(container)) if container else None}


def _short_id(identity: str) -> str:
    """Return an id as `docker ps` and `docker images` show it."""
    return identity.removeprefix("sha256:")[:12]


def _output(value: Any) -> str:
    return "(a secret, not kept)" if value is None else _text(value)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _words(words: Sequence[str]) -> Html:
    """List arguments one by one, so that it is seen where each begins and ends; nothing for none."""
    if not words:
        return Html()
    return tag(
        "ol", [tag("li", tag("code", _text(word) or "(empty)", class_=None if word else "empty")) for word in words]
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _name(step: Record) -> str:
    return str(step.get("name") or "step")


def _time(text: str | None) -> Html | None:
    at = moment(text)
    return tag("time", f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z", datetime=at.isoformat()) if at else None


def _took(record: Record) -> str | None:
    started, ended = moment(record.get("started")), moment(record.get("ended"))
    return duration_words(ended - started) if started and ended else None


def _state_words(step: Record) -> str:
    state = str(step.get("state") or "UNKNOWN").lower()
    if step.get("reused_from"):
        return f"{state} (reused)"
    took = _took(step)
    return f"{state} · {took}" if took else state


def _logs(steps: Sequence[Record], read_log: Callable[[str], Iterable[str | int]]) -> dict[int, Log | str | None]:
    left = CHARACTERS
    logs: dict[int, Log | str | None] = {}
    for number, step in sorted(enumerate(steps, 1), key=lambda item: item[1].get("state") != "FAILED"):
        logs[number] = None
        if not step.get("log"):
            continue
        try:
            log = Log.read(read_log(step["log"]), max(left // 2, FEWEST_CHARACTERS))
        except FileNotFoundError:
            continue
        except OSError as error:
            logs[number] = error.strerror or type(error).__name__
        else:
            left = max(left - log.size, 0)
            logs[number] = log
    return logs
