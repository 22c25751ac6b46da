"""Consent to what a folder wants: shown, asked for, kept, and forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from run_kfp.consent import User, Wish, read_user
from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.lines import Text
from run_kfp.resolve import find_registry
from run_kfp.settings import ENV_FILE, Layers, read_env_file
from run_kfp.trust import judge

if TYPE_CHECKING:
    from run_kfp.terminal import Screen


def trust_folder(screen: Screen, registry: Path | None, *, revoke: bool, yes: bool) -> None:
    """Show what the current folder wants its user to agree to, and keep the consent, or forget it.

    Args:
        screen: shows it, and asks.
        registry: the flag.
        revoke: forget what was agreed to.
        yes: do not ask.

    Raises:
        InputError: a file of the folder cannot be read; the consent cannot be kept; or nobody can be asked.
    """
    faults: list[Finding] = []
    user = read_user(os.environ, (), faults)
    if faults:
        raise InputError.of("your trust settings", faults)
    layers = Layers({}, os.environ, read_env_file(Path(ENV_FILE)))
    wishes = judge(layers, find_registry(registry, os.environ), user, here=Path.cwd().resolve()).wishes
    screen.data(wishes=[_wish_data(wish, user) for wish in wishes])
    if revoke:
        _revoke(screen, user, wishes)
        return
    missing = [wish for wish in wishes if not user.agrees(wish)]
    lines = [*_wish_lines(wishes, user)]
    screen.show(lines)
    if not missing:
        return
    if screen.takes_data and not yes:
        screen.say(*lines)  # nobody agrees to what is not shown
    if not yes and not screen.agree(f"Agree to {'this' if len(missing) == 1 else f'these {len(missing)}'}?"):
        screen.say("nothing is changed")
        screen.data(agreed=False)
        return
    for folder in dict.fromkeys(wish.folder for wish in missing):
        new = [wish.agreement for wish in missing if wish.folder == folder]
        # What the folder wants no longer is not agreed to any longer.
        kept = {wish.agreement for wish in wishes if wish.folder == folder} & {*user.agreed(folder)}
        user.keep(folder, {*kept, *new})
        screen.say(f"kept for {folder}; `run-kfp trust --revoke` forgets it")
    screen.data(agreed=True)


def _revoke(screen: Screen, user: User, wishes: Sequence[Wish]) -> None:
    folders = list(dict.fromkeys([*(wish.folder for wish in wishes), Path.cwd().resolve()]))
    forgotten = [folder for folder in folders if user.agreed(folder)]
    for folder in forgotten:
        user.keep(folder, ())
        screen.say(f"forgotten for {folder}")
    if not forgotten:
        screen.say("you have agreed to nothing in this folder")
    screen.data(forgotten=[str(folder) for folder in forgotten])


def _wish_data(wish: Wish, user: User) -> dict[str, str | bool]:
    return {
        "kind": wish.kind.value,
        "subject": wish.subject,
        "gets": wish.gets,
        "place": wish.place,
        "folder": str(wish.folder),
        "agreed": user.agrees(wish),
    }


def _wish_lines(wishes: Sequence[Wish], user: User) -> Iterator[Text]:
    if not wishes:
        yield Text("Nothing in this folder needs your consent.")
    for wish in wishes:
        mark, style = ("✓", "green") if user.agrees(wish) else ("?", "bold yellow")
        yield Text.assemble((f"{mark} ", style), wish.words, (f"  ({wish.place})", "dim"))
