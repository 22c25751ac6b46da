"""Runs on this machine, as they lie under `.run-kfp/runs/<id>/`: `run.json`, the pipeline file, a log a step.

All of it is the owner's alone. It is input like any other when it is read: a folder may come with a checkout, and a
record that is too large, does not fit its folder or names files outside of it is told and left out.

The program that runs a pipeline holds a lock in the folder of its run, which the system takes from it whatever kills
it: so a run whose program is gone is known for what it is, and never stays RUNNING.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from run_kfp.errors import InputError, did_you_mean
from run_kfp.files import make_private_folder, open_regular, write_atomically
from run_kfp.locks import lock
from run_kfp.runs import JOB_ID, BackendName, RunRef, RunState, RunStatus, StepState, StepStatus

FOLDER = Path(".run-kfp")

_HINT = "run in a folder with free space and write permission"

_RECORD, _LOCK, _CANCEL = "run.json", "lock", "cancel"

# What `log_names` returns.
_LOG = re.compile(r"logs/[A-Za-z0-9._-]{1,120}\.log")

# Bytes of the largest record; that of a thousand steps has less than one million.
_LARGEST_RECORD = 16 * 2**20

# Bytes of a line of a log; the runner writes none that is longer than a few thousand characters.
_LONGEST_LINE = 2**20

# What is never masked: a secret that happens to read "FAILED" must not make the record unreadable.
_FREE = frozenset({"parameters", "outputs"})
_PLAIN = frozenset({"id", "ref", "state", "engine", "created", "started", "ended", "log", "container", "reused_from"})


@dataclass
class StepRecord:
    """A step of a run; the fields are those of `run.json`.

    `container` is the id of the container, or `pid <number> <start time>` of a process; `outputs` are the values of its
    output parameters, None where they hold a secret and are not kept.
    """

    name: str
    label: str
    image: str
    after: list[str]
    resources: str
    state: StepState = StepState.WAITING
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    command: list[str] | None = None
    args: list[str] | None = None
    log: str = ""
    container: str | None = None
    reused_from: str | None = None
    outputs: dict[str, Any] | None = None


@dataclass(kw_only=True)
class RunRecord:
    """A run; the fields are those of `run.json`.

    `parameters` holds `{"value": …, "from": …}`, and for a secret `{"secret": name, "from": place}`.
    """

    schema: int = 1
    id: str
    ref: str
    pipeline: dict[str, str]
    file: str = "pipeline.yaml"
    engine: str
    state: RunState = RunState.PENDING
    error: str | None = None
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    parameters: dict[str, dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    from_run: str | None = None
    runner: dict[str, Any]
    steps: list[StepRecord]

    def step(self, name: str) -> StepRecord:
        """Return the step of that name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def status(self) -> RunStatus:
        """The run as every backend tells of it."""
        steps = tuple(
            StepStatus(step.name, step.state, step.started, step.ended, step.error or "", step.log)
            for step in self.steps
        )
        return RunStatus(self.state, steps, self.error or "")

    @property
    def data(self) -> dict[str, Any]:
        """The record as `run.json` holds it."""
        data: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return data


_ADAPTER = TypeAdapter(RunRecord)


@dataclass(frozen=True)
class LogLine:
    """A line of a step: when it came (UTC), `O` for stdout or `E` for stderr, its text without the line end."""

    time: datetime
    stream: str
    text: str

    def __str__(self) -> str:
        moment = self.time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        return f"{moment}Z {self.stream} {self.text}"

    @classmethod
    def parse(cls, line: str) -> LogLine | None:
        """Read a line of a log file; None when it is none (the last one of a machine that went down)."""
        stamp, _, rest = line.rstrip("\n").partition(" ")
        stream, _, text = rest.partition(" ")
        try:
            return cls(datetime.fromisoformat(stamp), stream, text) if stream in ("O", "E") else None
        except ValueError:
            return None


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        """Take its path; nothing is made."""
        self.path = path
        self._held: IO[bytes] | None = None

    @property
    def id(self) -> str:
        """The id of the run."""
        return self.path.name

    @property
    def _store(self) -> Path:
        """The folder `.run-kfp`."""
        return self.path.parent.parent

    def make(self, pipeline: str, file: str) -> None:
        """Make the folder with the executed pipeline file in it, and hold its lock until this process ends.

        Raises:
            InputError: it is there already, cannot be made, or `.run-kfp` is a link or somebody else's.
        """
        check_store(self._store)
        make_private_folder(self.path.parent, _HINT)
        try:
            for folder in (self._store, self.path.parent):
                if folder.is_symlink():
                    raise InputError(f"{folder} is a link", hint="remove it; runs stay in this folder")
                folder.chmod(0o700)
            self.path.mkdir(mode=0o700)
            (self.path / "logs").mkdir(mode=0o700)
            ignore = self._store / ".gitignore"
            if not ignore.exists() and not ignore.is_symlink():
                ignore.write_text("*\n", encoding="utf-8")
            self._held = self._open(_LOCK, os.O_WRONLY | os.O_CREAT)
        except FileExistsError:
            raise InputError(
                f"the run {self.id} already exists on this machine", hint="remove --job-id to get a new id"
            ) from None
        except OSError as error:
            raise InputError(f"cannot create {self.path}: {error.strerror}", hint=_HINT) from None
        lock(self._held)
        write_atomically(self.path / file, pipeline, _HINT, private=True)

    def release(self) -> None:
        """Let go of the lock: the run has ended."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def write(self, record: RunRecord, mask: Callable[[str], str]) -> None:
        """Write `run.json` anew, whole or not at all, with every secret masked."""
        data = _masked(record.data, mask)
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.path / _RECORD, text, _HINT, private=True)

    def give_up(self, reason: str) -> None:
        """End the record where it cannot be written anew, in its own place: a full disk has room for what is there.

        What does not fit either is left to the next call, which finds the run abandoned.

        Args:
            reason: why the run failed, without a secret in it.
        """
        with contextlib.suppress(OSError, ValueError, AttributeError), self._open(_RECORD, os.O_RDWR) as file:
            text = file.read()
            record = json.loads(text)
            ended = datetime.now(UTC).isoformat()
            record |= {"state": RunState.FAILED, "error": reason, "ended": ended}
            for step in record["steps"]:
                if step["state"] in (StepState.RUNNING, StepState.PENDING, StepState.CANCELLING):
                    step |= {"state": StepState.FAILED, "ended": ended}
                elif step["state"] == StepState.WAITING:
                    step["state"] = StepState.SKIPPED
            shorter = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
            if len(shorter) < len(text):
                file.seek(0)
                file.write(shorter.ljust(len(text) - 1) + b"\n")

    def read(self) -> RunRecord | None:
        """Read `run.json`; None when there is none yet, or none that is valid."""
        found = self.look()
        return found if isinstance(found, RunRecord) else None

    def look(self) -> RunRecord | str | None:
        """Read `run.json`; None when there is none yet, words where it is not the record of this run."""
        try:
            with self._open(_RECORD) as file:
                content = file.read(_LARGEST_RECORD + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return str(error.strerror)
        if len(content) > _LARGEST_RECORD:
            return f"larger than {_LARGEST_RECORD // 2**20} MB"
        try:
            record = _ADAPTER.validate_json(content)
        except (ValidationError, RecursionError):
            return "not a run record of this version"
        return _record_fault(record, self.id) or record

    def abandoned(self) -> bool:
        """Whether the program that ran it is gone."""
        try:
            with self._open(_LOCK, os.O_RDWR) as file:
                return lock(file)
        except OSError:
            return True

    def log(self, step: StepRecord) -> Path:
        """Return the path of a step's log."""
        return self.path / step.log

    def open_log(self, step: StepRecord) -> IO[bytes]:
        """Open the log of a step to write at its end."""
        return self._open(step.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _open(self, name: str, flags: int = os.O_RDONLY) -> IO[bytes]:
        """Open a file of this folder as `open_regular` does."""
        return open_regular(self.path / name, flags, within=self._store)

    def ask_to_cancel(self) -> None:
        """Ask the program that runs it to stop: it looks for this mark twice a second.

        Raises:
            InputError: the mark cannot be made.
        """
        try:
            self._open(_CANCEL, os.O_WRONLY | os.O_CREAT).close()
        except OSError as error:
            raise InputError(f"cannot write {self.path / _CANCEL}: {error.strerror}", hint=_HINT) from None

    @property
    def asked_to_cancel(self) -> bool:
        """Whether somebody asked to stop it."""
        return (self.path / _CANCEL).exists()


class LocalRuns:
    """All runs of one folder, `.run-kfp/runs` of the current one."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Take the folder `.run-kfp`; it need not be there."""
        self.path = folder / "runs"

    def folder(self, run_id: str) -> RunFolder:
        """Return the folder of a run that may be or not be there."""
        return RunFolder(self.path / run_id)

    def all(self) -> list[tuple[RunFolder, RunRecord]]:
        """Return every run, the newest first.

        Raises:
            InputError: the folder `.run-kfp` is a link or somebody else's.
        """
        return self.scan()[0]

    def scan(self) -> tuple[list[tuple[RunFolder, RunRecord]], list[str]]:
        """Return every run, the newest first, and a line on each folder whose record is invalid.

        Raises:
            InputError: as `all` does.
        """
        check_store(self.path.parent)
        try:
            folders = [RunFolder(path) for path in sorted(self.path.iterdir())]
        except OSError:
            return [], []
        looked = [(folder, folder.look()) for folder in folders]
        found = [(folder, record) for folder, record in looked if isinstance(record, RunRecord)]
        words = [
            f"warning: {folder.path / _RECORD} is ignored: {words}"
            for folder, words in looked
            if isinstance(words, str)
        ]
        return sorted(found, key=lambda pair: (pair[1].created, pair[1].id), reverse=True), words

    def find(self, word: str | None) -> tuple[RunFolder, RunRecord]:
        """Return the run that `word` names: an id, a ref `local://ID`, the beginning of one id; None for the newest.

        Raises:
            InputError: there is none, or more than one.
        """
        runs = self.all()
        if not runs:
            raise InputError(f"no runs in {self.path}", hint="run a pipeline with --local in this folder")
        if word is None:
            return runs[0]
        run_id = word.removeprefix(f"{BackendName.LOCAL}://")
        exact = [pair for pair in runs if pair[1].id == run_id]
        near = exact or [pair for pair in runs if pair[1].id.startswith(run_id)]
        if len(near) == 1:
            return near[0]
        if near:
            raise InputError(f"{word!r} matches {len(near)} runs", hint="write more characters")
        guess = did_you_mean(run_id, [record.id for _, record in runs])
        raise InputError(f"unknown run {word!r} in {self.path}", hint=guess or "see `run-kfp runs`")

    def remove(self, run_id: str) -> None:
        """Remove the folder of a run that never began."""
        shutil.rmtree(self.path / run_id, ignore_errors=True)


def check_store(store: Path) -> None:
    """Refuse a folder `.run-kfp` that leads elsewhere or that somebody else can write.

    Raises:
        InputError: it is a link, or belongs to another user.
    """
    try:
        found = store.lstat()
    except OSError:  # what is not there is made, or told where it cannot be
        return
    if stat.S_ISLNK(found.st_mode):
        raise InputError(f"{store} is a link", hint="remove it; runs stay in this folder")
    if not hasattr(os, "geteuid") or found.st_uid == os.geteuid():
        return
    # In a container the user is root, and the folder that is mounted belongs to somebody outside.
    if os.geteuid() or found.st_uid != (store.parent / ".").stat().st_uid:
        raise InputError(f"{store} belongs to another user (uid {found.st_uid})", hint="remove it, or run elsewhere")


def _record_fault(record: RunRecord, run_id: str) -> str:
    """Say why a record is not that of the run in whose folder it is; empty where it is."""
    if record.schema != 1:
        return f"version {record.schema} is not supported"
    if record.id != run_id or not JOB_ID.fullmatch(run_id) or record.ref != str(local_ref(run_id)):
        return "its id is not the name of its folder"
    names = [step.name for step in record.steps]
    logs = [step.log for step in record.steps]
    if len(set(names)) < len(names):
        return "two steps have the same name"
    if record.file != "pipeline.yaml" or not all(_LOG.fullmatch(log) for log in logs):
        return "it names a file outside of its folder"
    moments = [record.created, record.started, record.ended]
    moments += [moment for step in record.steps for moment in (step.started, step.ended)]
    # Sums and differences with them must stay within what a time can be.
    if any(moment and (moment.tzinfo is None or not 1970 < moment.year < 9000) for moment in moments):
        return "a time is invalid"
    return ""


def local_ref(run_id: str) -> RunRef:
    """Return the ref of a run on this machine."""
    return RunRef(BackendName.LOCAL, run_id)


def this_runner() -> dict[str, Any]:
    """Say who runs: process, machine, and when the process began, so that a pid that is used again is told apart."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "boot": process_start(os.getpid())}


def process_start(pid: int) -> str:
    """Return when a process began, in a form to compare; empty when there is none, or the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The name in parentheses may hold anything; the 22nd field is the start time in clock ticks since boot (proc(5)).
    return stat.rpartition(")")[2].split()[19]


def log_names(steps: Sequence[str]) -> dict[str, str]:
    """Return the file of each step's log, relative to the folder of the run; a name is no path."""
    names: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", step)[:100]
        name = f"logs/{safe}.log"
        names[step] = name if name not in names.values() else f"logs/{safe}.{number}.log"
    return names


def read_log(path: Path) -> Iterator[LogLine]:
    """Yield the lines of a log, those that are there now."""
    return (line for _, line in follow_logs({"": path}, lambda: True))


def follow_logs(
    paths: Mapping[str, Path], ended: Callable[[], bool], *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[str, LogLine]]:
    """Yield the lines of several logs as they come, each look in the order of their times.

    Args:
        paths: the logs by the names of their steps; a file may be missing as long as its step has not begun.
        ended: says that no more will come; what is there then is still read.
        sleep: waits for a number of seconds; tests bring their own.

    Raises:
        InputError: a log is no regular file, or cannot be read.
    """
    positions = dict.fromkeys(paths, 0)
    while True:
        last = ended()
        found: list[tuple[str, LogLine]] = []
        for name, path in paths.items():
            with contextlib.suppress(FileNotFoundError), open_log(path) as file:
                file.seek(positions[name])
                while raw := file.readline(_LONGEST_LINE):
                    if not raw.endswith(b"\n") and len(raw) < _LONGEST_LINE:
                        break
                    positions[name] += len(raw)
                    if line := LogLine.parse(raw.decode("utf-8", "replace")):
                        found.append((name, line))
        yield from sorted(found, key=lambda pair: pair[1].time) if len(paths) > 1 else found
        if last:
            return
        sleep(0.3)


def open_log(path: Path) -> IO[bytes]:
    """Open a log, `logs/<name>.log` of a run's folder.

    Raises:
        FileNotFoundError: it is not there.
        InputError: it is no regular file, or cannot be read.
    """
    try:
        return open_regular(path, within=path.parent.parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"cannot read the log {path}: {error.strerror}") from None


def _masked(value: Any, mask: Callable[[str], str], key: str = "", *, free: bool = False) -> Any:
    """Mask a part of a record; `free` is one whose keys are names that a pipeline chose."""
    if isinstance(value, str):
        return value if key in _PLAIN and not free else mask(value)
    if isinstance(value, dict):
        return {
            mask(name) if free else name: _masked(item, mask, name, free=free or name in _FREE)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_masked(item, mask, key, free=free) for item in value]
    return value
