"""Steps as processes, without a runner: their environment, their end, and what is left of them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processes import await_end
from run_kfp.backends.local import process_engine
from run_kfp.backends.local.engines import Ended, StartRefusedError, StepCall, exit_words, too_large
from run_kfp.backends.local.process_engine import ProcessEngine, ProcessEntry, kill_left_behind
from run_kfp.errors import EngineError


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


def a_call(**fields: Any) -> StepCall:
    return StepCall(
        **{
            "run": "chain-1",
            "step": "one",
            "image": "an/one",
            "command": (),
            "args": (),
            "env": {},
            **fields,
        }
    )


class Step:
    """A step of a process engine, and what it said."""

    def __init__(self, folder: Path, script: str, entry: dict[str, Any] | None = None, **call: Any) -> None:
        self.engine = ProcessEngine({"one": ProcessEntry(folder, python(script), **(entry or {}))}, {"GIVEN": "to all"})
        self.said: dict[str, bytes] = {"O": b"", "E": b""}
        self.heard = threading.Event()
        self.running = self.engine.start(a_call(**call), self._sink)

    def _sink(self, stream: str, chunk: bytes) -> None:
        self.said[stream] += chunk
        self.heard.set()

    def end(self) -> Ended:
        try:
            return self.running.wait()
        finally:
            self.running.remove()


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGKILL, 137, "SIGKILL"),
        (signal.SIGTERM, 143, "SIGTERM"),
        (signal.SIGSEGV, 139, "SIGSEGV"),
        (signal.SIGABRT, 134, "SIGABRT"),
        (signal.SIGUSR1, 138, "exit code 138"),
    ],
)
def test_a_step_that_a_signal_ends_has_the_exit_code_of_a_shell(
    tmp_path: Path, number: signal.Signals, code: int, words: str
) -> None:
    script = f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {number})"
    ended = Step(tmp_path, script).end()

    assert ended.exit_code == code
    assert words in ended.error


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_an_exit_code_comes_through(tmp_path: Path, code: int) -> None:
    ended = Step(tmp_path, f"raise SystemExit({code})").end()

    assert ended == Ended(code, exit_words(code, "process") if code else "")


@pytest.mark.parametrize(
    ("code", "words"),
    [(126, "cannot be executed"), (127, "not found"), (134, "SIGABRT"), (137, "SIGKILL"), (139, "SIGSEGV"), (1, "")],
)
def test_reserved_exit_codes_have_words(code: int, words: str) -> None:
    assert exit_words(code, "process").startswith(f"exit code {code}" + (": " if words else ""))
    assert words in exit_words(code, "process")


def test_a_program_is_not_found_where_the_step_runs() -> None:
    assert exit_words(127, "process") == "exit code 127: the program was not found on this machine"
    assert exit_words(127, "docker") == "exit code 127: the program was not found in the image"


def test_what_a_step_says_comes_by_stream(tmp_path: Path) -> None:
    step = Step(tmp_path, "import sys; print('out'); print('err', file=sys.stderr)")

    step.end()

    assert step.said == {"O": b"out\n", "E": b"err\n"}


def test_its_environment_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "x")
    monkeypatch.setenv("LANG", "C.UTF-8")
    script = "import os; print(sorted(set(os.environ) - {'LC_CTYPE'})); print(os.environ['WHO'], os.environ['GIVEN'])"

    step = Step(tmp_path, script, {"assignments": 2}, args=["A=1", "WHO=assigned=x", "arg"], env={"WHO": "entry"})
    step.end()

    names = sorted(["A", "GIVEN", "HOME", "LANG", "PATH", "TMPDIR", "WHO"])
    assert step.said["O"].decode() == f"{names}\nassigned=x to all\n"


STEERING = (
    *("PATH", "HOME", "IFS", "ENV", "BASH_ENV", "BASH_FUNC_ls%%", "SHELLOPTS", "CDPATH", "PROMPT_COMMAND"),
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "GLIBC_TUNABLES"),
    *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONWARNINGS", "PERL5LIB", "PERL5OPT", "PERLLIB", "RUBYOPT"),
    *("RUBYLIB", "NODE_OPTIONS", "NODE_PATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "LUA_INIT"),
    *("GIT_SSH_COMMAND", "GIT_EXEC_PATH", "GIT_CONFIG_GLOBAL", "SSH_ASKPASS", "PAGER", "EDITOR", "R_PROFILE"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "OPENSSL_CONF", "path"),
)
PLAIN = (
    *("MODE", "NODE_ENV", "NODE_RANK", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "LANG", "TZ", "WANDB_MODE", "MY_PATH"),
    *("GOOGLE_CLOUD_PROJECT", "ENVIRONMENT", "HOMEPAGE", "LDAP_HOST", "SHELLS", "RANK"),
)


@pytest.mark.parametrize("registry", [False, True])
def test_a_file_chooses_no_program_and_no_code_by_a_variable(tmp_path: Path, registry: bool) -> None:
    """What the registry itself writes is passed on as it is; another value of the file is not."""
    env = dict.fromkeys((*STEERING, *PLAIN), "1")
    entry = {"env": {name: env[name] if registry else "of the registry" for name in env}}
    if registry:
        entry["env"]["PATH"] = "of the registry"
    script = f"import os; print([k for k in {[*env]} if os.environ.get(k) == '1'])"
    if registry:  # with this PYTHONHOME, no Python starts
        env.pop("PYTHONHOME")

    step = Step(tmp_path, script, entry, env=env)
    step.end()
    _, warned = step.engine.prepare([a_call(env=env)], lambda image, done, total: None, threading.Event())

    passed = [name for name in env if name != "PATH"] if registry else [*PLAIN]
    assert step.said["O"].decode() == f"{passed}\n"
    refused = ["PATH"] if registry else [*STEERING]
    expected = f"runs without {', '.join(refused)} of the pipeline file: on this machine they choose programs, "
    assert warned["one"] == [f"{expected}code or a login"]


def test_a_program_is_found_by_the_path_of_the_user_and_never_in_the_folder_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("user", "step"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text(f"#!/bin/sh\necho {folder}\n")
        (tmp_path / folder / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f".::{tmp_path / 'user'}")
    engine = ProcessEngine({"one": ProcessEntry(tmp_path / "step", ("tool",))}, {})
    said: list[bytes] = []

    running = engine.start(a_call(env={"PATH": str(tmp_path / "step")}), lambda stream, chunk: said.append(chunk))
    assert running.wait().exit_code == 0
    running.remove()

    assert b"".join(said) == b"user\n"


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("open('x', 'w').write('a' * 131072)", Ended(0, files={"x": "a" * 131072})),
        ("open('x', 'w').write('a' * 131073)", Ended(0, too_large("x"))),
        ("open('x', 'w').truncate(10**12)", Ended(0, too_large("x"))),
        ("os.mkfifo('x')", Ended(0)),
        ("os.mkdir('x')", Ended(0)),
        ("os.symlink('/etc/passwd', 'x')", Ended(0)),
        ("os.symlink('/dev/zero', 'x')", Ended(0)),
        ("os.symlink('x', 'x')", Ended(0)),
        ("open('y', 'w').truncate(10**12)", Ended(0)),
    ],
)
def test_an_output_is_read_no_further_than_what_counts(tmp_path: Path, script: str, ended: Ended) -> None:
    engine = ProcessEngine(
        {"one": ProcessEntry(tmp_path, python(f"import os; os.chdir(os.environ['WHERE']); {script}"))}, {}
    )
    folder = engine.outputs_folder("one")
    call = a_call(outputs=("x", "../home", "..", "a\0b"), env={"WHERE": folder})

    running = engine.start(call, lambda stream, chunk: None)
    found = running.wait()
    running.remove()

    assert found == ended


def test_its_arguments_are_those_behind_assignments_and_entrypoint(tmp_path: Path) -> None:
    step = Step(
        tmp_path,
        "import sys; print(sys.argv[1:])",
        {"assignments": 1, "replaced": 2},
        args=["A=1", "/in/the/image", "--of-it", "", "a b"],
    )
    step.end()

    assert step.said["O"] == b"['', 'a b']\n"


def test_it_runs_in_its_folder_with_a_home_that_is_gone_afterwards(tmp_path: Path) -> None:
    step = Step(tmp_path, "import os; print(os.getcwd()); print(os.environ['HOME']); print(os.environ['TMPDIR'])")
    step.end()

    cwd, home, temporary = step.said["O"].decode().split()
    assert Path(cwd) == tmp_path
    assert home != temporary
    assert not Path(home).parent.exists()


@pytest.mark.parametrize("wanted", [True, False])
def test_the_files_of_its_outputs_folder_are_read_where_they_are_wanted(tmp_path: Path, wanted: bool) -> None:
    script = "import pathlib, os; p = pathlib.Path(os.environ['WHERE']); (p / 'x').write_text('1'); os.mkdir(p / 'd')"
    engine = ProcessEngine({"one": ProcessEntry(tmp_path, python(script))}, {})
    folder = engine.outputs_folder("one")

    running = engine.start(
        a_call(outputs=("x", "d", "y") if wanted else (), env={"WHERE": folder}), lambda stream, chunk: None
    )
    ended = running.wait()
    running.remove()

    assert ended.files == ({"x": "1"} if wanted else {})
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("program", "code"), [("no-such-program", 127), ("./not-executable", 126), ("a\0b", None), ("./script", None)]
)
def test_what_cannot_be_started_is_refused_with_the_code_of_a_shell(
    tmp_path: Path, program: str, code: int | None
) -> None:
    (tmp_path / "not-executable").touch()
    (tmp_path / "script").write_text("no first line")
    (tmp_path / "script").chmod(0o755)
    engine = ProcessEngine({"one": ProcessEntry(tmp_path, (program,))}, {})
    folder = Path(engine.outputs_folder("one")).parent

    with pytest.raises(StartRefusedError) as refused:
        engine.start(a_call(), lambda stream, chunk: None)

    assert refused.value.exit_code == code
    assert str(refused.value).startswith(f"{program}: ")
    assert not folder.exists()


def test_what_it_left_behind_ends_with_it(tmp_path: Path) -> None:
    script = "import os, signal; child = os.fork(); child or signal.pause(); print(child, flush=True)"
    step = Step(tmp_path, script)

    assert step.end().exit_code == 0

    await_end(int(step.said["O"]))


DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); signal.pause()"
HEARS = "import signal; print('here', flush=True); signal.pause()"


@pytest.mark.parametrize(("script", "code"), [(HEARS, 143), (DEAF, 137)])
def test_a_stop_asks_first_and_kills_after_the_grace(
    tmp_path: Path, script: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_engine, "GRACE", 0.1 if script == DEAF else 20)

    assert _ended(Step(tmp_path, script), lambda running: running.stop()) == code


def test_a_kill_asks_nobody(tmp_path: Path) -> None:
    assert _ended(Step(tmp_path, HEARS), lambda running: running.kill()) == 137


def _ended(step: Step, by: Callable[[Any], None]) -> int | None:
    def act() -> None:
        step.heard.wait(20)
        by(step.running)

    thread = threading.Thread(target=act)
    thread.start()
    ended = step.end()
    thread.join()
    return ended.exit_code


def test_a_process_that_a_killed_run_left_is_killed_by_its_number_and_its_start(tmp_path: Path) -> None:
    step = Step(tmp_path, HEARS)
    number, start = step.running.identity.removeprefix("pid ").split()

    others = [f"pid {number} {int(start) + 1}", f"pid {number} ", f"pid x {start}", "", f"{number} {start}"]
    assert [kill_left_behind(identity) for identity in others] == [False] * 5
    assert kill_left_behind(step.running.identity)
    assert step.end().exit_code == 137
    assert not kill_left_behind(step.running.identity)


def test_a_folder_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    engine = ProcessEngine({"one": ProcessEntry(tmp_path / "missing", ("x",))}, {})

    with pytest.raises(EngineError, match="which does not exist"):
        engine.prepare([a_call()], lambda image, done, total: None, threading.Event())


@pytest.mark.parametrize(
    ("limits", "warning"),
    [
        ({}, []),
        ({"cpu": 1.0}, ["runs without its limits (CPU)"]),
        ({"memory": 2**20, "cpu": 1.0}, ["runs without its limits (CPU, memory)"]),
    ],
)
def test_limits_that_do_not_hold_are_told(tmp_path: Path, limits: dict[str, Any], warning: list[str]) -> None:
    engine = ProcessEngine({"one": ProcessEntry(tmp_path, ("x",))}, {})

    warnings, by_step = engine.prepare([a_call(**limits)], lambda image, done, total: None, threading.Event())

    assert by_step == {"one": warning}
    assert "no limits" in warnings[0]
