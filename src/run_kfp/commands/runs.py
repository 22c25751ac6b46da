"""`run-kfp runs`: the runs of this folder; `run-kfp runs prune`: fewer of them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from run_kfp.backends.local.pruning import Pruning, plan_pruning, prune
from run_kfp.commands.local import known_runs, mended
from run_kfp.errors import InputError
from run_kfp.limits import bytes_words
from run_kfp.lines import Text
from run_kfp.localstore import LocalRuns
from run_kfp.screens import record_data, runs_lines
from run_kfp.terminal import Screen
from run_kfp.times import age, whole_number

# How many runs `prune` keeps where nothing else is said.
KEPT = 20

# Runs that are named before the question; of more the number is told.
_NAMED = 20


def list_runs(screen: Screen, limit: str) -> None:
    """Show the runs of this folder, the newest first.

    Args:
        screen: where to.
        limit: how many, as typed; 0 for all.

    Raises:
        InputError: that is no number.
    """
    count = whole_number("--limit", limit, "runs") or None
    runs = known_runs(screen.masker, LocalRuns(), screen.say)
    found, words = runs.newest(count)
    screen.say(*words)
    records = [mended(screen, folder, record) for folder, record in found]
    screen.data(runs=[record_data(record) for record in records])
    if records:
        screen.show(runs_lines(records, datetime.now(UTC)))
    else:
        screen.progress("no runs in this folder: `--local` creates one")
    older = runs.count() - len(found) - len(words)
    if count and older > 0:
        screen.progress(f"{older:,} older: `run-kfp runs --limit 0` shows all, `run-kfp runs prune` removes old ones")


def prune_runs(screen: Screen, keep: str | None, older_than: str | None, *, yes: bool) -> None:
    """Remove old runs of this folder, and containers that runs left behind, after the user agreed.

    Args:
        screen: where to show it and to ask.
        keep: how many of the newest runs stay, as typed; None for `KEPT`, or 0 where an age is given.
        older_than: the age of those that go, as typed; None for any.
        yes: whether the user agrees without being asked.

    Raises:
        InputError: a number or an age has another form, nobody can be asked, or the answer was no.
        EngineError: the Engine refuses.
        StoreError: a folder cannot be removed.
    """
    kept = whole_number("--keep", keep, "runs") if keep is not None else 0 if older_than is not None else KEPT
    limit = age("--older-than", older_than) if older_than is not None else None
    runs = known_runs(screen.masker, LocalRuns(), screen.say)
    what = plan_pruning(runs, kept, limit, datetime.now(UTC))
    if what.unasked:
        screen.say(f"note: containers were not looked for: {what.unasked}")
    if what.elsewhere:
        screen.say(
            f"note: {what.elsewhere} containers or volumes of other machines stay: "
            "`docker ps -a --filter label=run-kfp.store` shows them"
        )
    screen.data(
        runs=[folder.id for folder, _ in what.runs],
        bytes=what.size,
        containers=[each.identity for each in what.leftovers if each.kind == "container"],
        volumes=[each.identity for each in what.leftovers if each.kind == "volume"],
        removed=False,
    )
    if not what.runs and not what.leftovers:
        screen.progress("nothing to remove")
        return
    screen.say(*_lines(what))
    if not yes and not screen.agree("Remove them?"):
        raise InputError("nothing was removed", hint="answer y, or pass --yes")
    prune(runs, what)
    screen.data(removed=True)
    screen.out(f"removed {_counts(what)}")


def _lines(what: Pruning) -> list[str | Text]:
    """Name what would be removed."""
    lines: list[str | Text] = [Text("To be removed", "bold")]
    width = max((len(folder.id) for folder, _ in what.runs[:_NAMED]), default=0)
    lines += [f"  {folder.id:<{width}}  {bytes_words(size):>8}" for folder, size in what.runs[:_NAMED]]
    if len(what.runs) > _NAMED:
        lines.append(f"  … and {len(what.runs) - _NAMED:,} more runs")
    for each in what.leftovers:
        state = ", which runs" if each.running else ""
        lines.append(f"  {each.kind} {each.identity[:12]} of run {each.run}{state}")
    return [*lines, f"  in all {_counts(what)}"]


def _counts(what: Pruning) -> str:
    kinds = Counter(each.kind for each in what.leftovers)
    parts = [("run", len(what.runs)), ("container", kinds["container"]), ("volume", kinds["volume"])]
    words = [f"{count:,} {kind}{'s' if count != 1 else ''}" for kind, count in parts if count]
    return ", ".join(words) + (f": {bytes_words(what.size)}" if what.runs else "")
