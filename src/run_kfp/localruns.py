"""A run on this machine, as it lies under `.run-kfp/runs/<id>/`: `run.json`, the pipeline file, a log a step.

All of it is the owner's alone. It is input like any other when it is read: a folder may come with a checkout, and a
record that is too large, does not fit its folder or names files outside of it is told and left out.

`run.json` is written whole at the beginning and at the end of a run. What changes in between is added to
`changes.jsonl`, a line a change, which costs the same however many steps a run has; whoever reads joins the two.

The program that runs a pipeline holds a lock in the folder of its run, which the system takes from it whatever kills
it: so a run whose program is gone is known for what it is, and never stays RUNNING.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from run_kfp.errors import InputError, StoreError
from run_kfp.files import make_private_folder, open_regular, write_atomically
from run_kfp.locks import lock
from run_kfp.runs import JOB_ID, BackendName, RunRef, RunState, RunStatus, StepState, StepStatus

FOLDER = Path(".run-kfp")

HINT = "run in a folder with free space and write permission"

_RECORD, _CHANGES, _LOCK, _CANCEL, _RESERVE = "run.json", "changes.jsonl", "lock", "cancel", "reserve"
PIPELINE_FILE = "pipeline.yaml"

# Bytes that a run keeps free for its own end: with the disk full, its record and its report still find room.
_RESERVED = 2**20

# The number of a change that no run has: a record that was given up has them all.
_ALL_CHANGES = 10**9

# What `log_names` returns.
_LOG = re.compile(r"logs/[A-Za-z0-9._-]{1,120}\.log")

# Bytes of the largest record; that of a thousand steps has less than one million.
_LARGEST_RECORD = 16 * 2**20

# What is never masked: a secret that happens to read "FAILED" must not make the record unreadable.
_FREE = frozenset({"parameters", "outputs"})
_PLAIN = frozenset(
    {"id", "ref", "state", "engine", "created", "started", "ended", "log", "image_id", "container", "reused_from"}
)


@dataclass
class StepRecord:
    """A step of a run; the fields are those of `run.json`.

    `image_id` is the Engine's id of the image that ran, None for processes; `container` is the id of the container, or
    `pid <number> <start time>` of a process; `outputs` are the values of its output parameters, None where they hold a
    secret and are not kept; `shell` is the command line that opens a shell in the container of a failed step, None
    where that was not kept.
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
    image_id: str | None = None
    container: str | None = None
    reused_from: str | None = None
    outputs: dict[str, Any] | None = None
    shell: str | None = None


@dataclass(kw_only=True)
class RunRecord:
    """A run; the fields are those of `run.json`.

    `parameters` holds `{"value": …, "from": …}`, and for a secret `{"secret": name, "from": place, "hash": …}`, a hash
    salted with `salt`; `bucket_dir` is the folder that the steps found as the bucket; `local_only` are the flags
    that gave steps what Vertex AI would not; `changes` is the number of the
    last line of `changes.jsonl` that is in it.
    """

    schema: int = 1
    id: str
    ref: str
    pipeline: dict[str, str]
    file: str = PIPELINE_FILE
    engine: str
    state: RunState = RunState.PENDING
    error: str | None = None
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    parameters: dict[str, dict[str, Any]]
    salt: str = ""
    bucket_dir: str | None = None
    local_only: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    from_run: str | None = None
    changes: int = 0
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
_STEP = TypeAdapter(StepRecord)

# What changes of a run itself.
_RUN_FIELDS = ("state", "error", "started", "ended", "warnings")


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        """Take its path; nothing is made."""
        self.path = path
        self._ended = self._left_something = False
        self._held: IO[bytes] | None = None
        self._changes: IO[bytes] | None = None

    @property
    def id(self) -> str:
        """The id of the run."""
        return self.path.name

    @property
    def _store(self) -> Path:
        """The folder `.run-kfp`."""
        return self.path.parent.parent

    def make(self, pipeline: str) -> None:
        """Make the folder with the executed pipeline file in it, and hold its lock until this process ends.

        Raises:
            InputError: it is there already, cannot be made, or `.run-kfp` is a link or somebody else's.
        """
        check_store(self._store)
        make_private_folder(self.path.parent, HINT)
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
            raise InputError(f"cannot create {self.path}: {error.strerror}", hint=HINT) from None
        lock(self._held)
        write_atomically(self.path / PIPELINE_FILE, pipeline, HINT, private=True)
        try:
            with self._open(_RESERVE, os.O_WRONLY | os.O_CREAT) as reserve:
                reserve.write(bytes(_RESERVED))
        except OSError:  # a small disk: its record ends in its own place then
            self.use_reserve()

    def release(self) -> None:
        """Let go of the lock, and remove it where the record says how the run ended: nobody has to look at it then."""
        self.use_reserve()
        if self._changes is not None:
            with contextlib.suppress(OSError):
                self._changes.close()
            self._changes = None
        if self._held is not None:
            self._held.close()
            self._held = None
            if self._ended and not self._left_something:
                self.forget_program()

    def stay_in_hand(self) -> None:
        """Keep the lock's file behind the end of the run: it left something behind that somebody has to remove."""
        self._left_something = True

    @property
    def in_hand(self) -> bool:
        """Whether a program runs it, or left it without an end; costs one look at the folder."""
        return os.path.lexists(f"{self.path}/{_LOCK}")

    def forget_program(self) -> None:
        """Remove the lock of a run that has ended."""
        with contextlib.suppress(OSError):
            (self.path / _LOCK).unlink(missing_ok=True)

    def write(self, record: RunRecord, mask: Callable[[str], str]) -> None:
        """Write `run.json` anew, whole or not at all, with every secret masked.

        Raises:
            StoreError: it cannot be written.
        """
        data = _masked(record.data, mask)
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        try:
            write_atomically(self.record_path, text, HINT, private=True)
        except InputError as error:
            raise StoreError(
                error.message, "check this folder and the space on its disk, then repeat the run"
            ) from None
        self._ended = record.state.is_final
        if self._ended:
            (self.path / _CHANGES).unlink(missing_ok=True)

    def append(self, record: RunRecord, steps: Sequence[StepRecord], mask: Callable[[str], str]) -> None:
        """Add to the record what has changed: the run's own state, and that of `steps`; secrets are masked.

        Raises:
            StoreError: it cannot be written.
        """
        record.changes += 1
        run = {name: getattr(record, name) for name in _RUN_FIELDS}
        change = {
            "change": record.changes,
            "run": _masked(to_jsonable_python(run), mask),
            "steps": [_masked(_STEP.dump_python(step, mode="json"), mask) for step in steps],
        }
        try:
            if self._changes is None:
                self._changes = self._open(_CHANGES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self._changes.write(json.dumps(change, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            self._changes.flush()
            if not os.fstat(self._changes.fileno()).st_nlink:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # somebody took the folder away
        except OSError as error:
            raise StoreError.of(self.path / _CHANGES, error) from None

    def use_reserve(self) -> None:
        """Give back what was kept free for the end of the run."""
        with contextlib.suppress(OSError):
            (self.path / _RESERVE).unlink(missing_ok=True)

    def give_up(self, reason: str) -> None:
        """End the record where it cannot be written anew, in its own place: a full disk has room for what is there.

        What does not fit either is left to the next call, which finds the run abandoned.

        Args:
            reason: why the run failed, without a secret in it.
        """
        with contextlib.suppress(OSError, ValueError, AttributeError), self._open(_RECORD, os.O_RDWR) as file:
            text = file.read()
            record = json.loads(text)
            if RunState(record["state"]).is_final:
                return
            ended = datetime.now(UTC).isoformat()
            record |= {"state": RunState.FAILED, "error": reason, "ended": ended, "changes": _ALL_CHANGES}
            for step in record["steps"]:
                if step["state"] in (StepState.RUNNING, StepState.PENDING, StepState.CANCELLING):
                    step |= {"state": StepState.FAILED, "ended": ended}
                elif step["state"] == StepState.WAITING:
                    step["state"] = StepState.SKIPPED
            shorter = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
            if len(shorter) < len(text):
                file.seek(0)
                file.write(shorter.ljust(len(text) - 1) + b"\n")
                self._ended = True

    def read(self) -> RunRecord | None:
        """Read the record; None when there is none yet, or none that is valid."""
        found = self.look()
        return found if isinstance(found, RunRecord) else None

    def look(self) -> RunRecord | str | None:
        """Read the record; None when there is none yet, words where it is not the record of this run."""
        changes = b""
        try:
            with self._open(_RECORD) as file:
                content = file.read(_LARGEST_RECORD + 1)
            with contextlib.suppress(FileNotFoundError), self._open(_CHANGES) as file:
                changes = file.read(_LARGEST_RECORD + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return str(error.strerror)
        if max(len(content), len(changes)) > _LARGEST_RECORD:
            return f"larger than {_LARGEST_RECORD // 2**20} MB"
        try:
            record = _ADAPTER.validate_json(_joined(content, changes) if changes else content)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
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

    @property
    def record_path(self) -> Path:
        """The path of its record."""
        return self.path / _RECORD

    @property
    def began(self) -> float:
        """When it was made, in seconds, without a look into its record: the pipeline file is written once."""
        for path in (f"{self.path}/{PIPELINE_FILE}", self.path):
            with contextlib.suppress(OSError):
                return os.lstat(path).st_mtime
        return 0.0

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
            raise InputError(f"cannot write {self.path / _CANCEL}: {error.strerror}", hint=HINT) from None

    @property
    def asked_to_cancel(self) -> bool:
        """Whether somebody asked to stop it."""
        return (self.path / _CANCEL).exists()


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
    if not record.pipeline.get("name"):
        return "it names no pipeline"
    names = [step.name for step in record.steps]
    logs = [step.log for step in record.steps]
    if len(set(names)) < len(names):
        return "two steps have the same name"
    if record.file != PIPELINE_FILE or not all(_LOG.fullmatch(log) for log in logs):
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


def process_lives(pid: int, start: str) -> bool:
    """Say whether a process that began at `start` (`process_start`) is still there; where nobody can say, it is."""
    if start:
        return process_start(pid) == start
    if sys.platform != "win32":  # where signal 0 is a Ctrl-C
        with contextlib.suppress(PermissionError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return False
    return True


def _joined(content: bytes, changes: bytes) -> bytes:
    """Join changes to a record, up to one that is cut off: the disk was full, or the machine went down."""
    data = json.loads(content)
    places = {step["name"]: place for place, step in enumerate(data["steps"])}
    for line in changes.split(b"\n"):
        try:
            change = json.loads(line)
        except ValueError:
            break
        if change["change"] > data["changes"]:
            data |= {**change["run"], "changes": change["change"]}
            for step in change["steps"]:
                data["steps"][places[step["name"]]] = step
    return json.dumps(data).encode()


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
