"""Files: what is read and written, what is refused, and what writing leaves as it was."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Cli
from run_kfp import files
from run_kfp.errors import InputError
from run_kfp.files import from_here, is_file, is_folder, read_text, write_atomically
from run_kfp.locks import lock
from run_kfp.temporary import TemporaryFolder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_file_has_what_the_umask_leaves(tmp_path: Path, umask: None) -> None:
    path = tmp_path / "new"

    write_atomically(path, "text\n")

    assert mode(path) == 0o640
    assert os.umask(0o027) == 0o027


@pytest.mark.parametrize("before", [0o600, 0o644, 0o755])
def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path, before: int) -> None:
    path = tmp_path / "old"
    path.write_text("old")
    path.chmod(before)

    write_atomically(path, "new")

    assert (mode(path), path.read_text()) == (before, "new")


def test_a_link_is_written_through_and_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere/target"
    target.write_text("old")
    target.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(target)

    write_atomically(link, "new")

    assert link.is_symlink()
    assert (target.read_text(), mode(target)) == ("new", 0o600)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()] == ["target"]


def test_a_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")

    write_atomically(link, "new")

    assert link.is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"

    write_atomically(path, "é\r\n\n")

    assert path.read_bytes() == "é\r\n\n".encode()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    with pytest.raises(InputError):
        write_atomically(path, "a lone surrogate: \ud800")

    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_program_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    kill = "import os, signal, pathlib; pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    write = "from run_kfp.files import write_atomically; write_atomically(pathlib.Path('p.yaml'), 'new')"
    killed = subprocess.run([sys.executable, "-c", f"{kill}; {write}"], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".p.yaml.kept", ".q.yaml.abcdefgh", ".p.yaml.ABCDEFGH")]
    for other in others:
        other.touch()
    living = tmp_path / ".p.yaml.abcdefgh"

    with living.open("wb") as file:
        assert lock(file)
        write_atomically(tmp_path / "p.yaml", "new")
        assert sorted(tmp_path.iterdir()) == sorted([*others, living, tmp_path / "p.yaml"])
    assert left not in tmp_path.iterdir()
    write_atomically(tmp_path / "p.yaml", "newer")
    assert not living.exists()


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_locks(file: object, flags: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", without_locks)
    write_atomically(tmp_path / "p.yaml", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["p.yaml"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with TemporaryFolder() as folder:
        assert folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["p.yaml"]


@pytest.mark.parametrize("name", ["no/such/folder", "", "a\0b", "n" * 300])
def test_what_cannot_be_written_is_told_with_its_hint(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as error:
        write_atomically(tmp_path / name, "text", hint="do this")

    assert error.value.message.startswith("cannot write ")
    assert error.value.hint == "do this"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()

    write_atomically(path, "text\n")
    reader.join(30)

    assert got == ["text\n"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_folder_that_is_not_to_be_left_is_not_left(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "here/pipe")
    for name, target in (("link", "../file"), ("new", "../made"), ("away", "..")):
        (tmp_path / "here" / name).symlink_to(target)

    for name in ("link", "new", "away/file", "pipe"):
        with pytest.raises(InputError, match=r"a link leads out of its folder|it is not a regular file"):
            write_atomically(tmp_path / "here" / name, "text", within=tmp_path / "here")

    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "made").exists()


def test_a_link_within_its_folder_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")

    write_atomically(tmp_path / "link", "new", within=tmp_path)

    assert (tmp_path / "file").read_text() == "new"


def test_what_is_private_is_the_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o644)

    write_atomically(tmp_path / "file", "new", private=True)

    assert mode(tmp_path / "file") == 0o600


@pytest.mark.parametrize("content", ["alias ls=ls\n", "a: 1\n", "# pipelineInfo\n"])
def test_without_o_only_a_pipeline_is_replaced(cli: Cli, folder: Path, content: str) -> None:
    (folder / "pipeline.yaml").write_text(content)
    call = ("-r", "1", "--compile-only")

    result = cli(*call)

    assert result.code == 2
    assert "pipeline.yaml is not a pipeline file and is not replaced" in result.err
    assert (folder / "pipeline.yaml").read_text() == content
    assert cli(*call, "-o", "pipeline.yaml").code == 0  # what is typed is the user's word
    assert cli(*call).code == 0
    (folder / "pipeline.yaml").write_text("")
    assert cli(*call).code == 0


@pytest.mark.parametrize("target", ["bashrc", "made", "pipeline"])
def test_without_o_no_link_leads_out_of_the_folder(cli: Cli, folder: Path, tmp_path: Path, target: str) -> None:
    call = ("-r", "1", "--compile-only")
    assert cli(*call).code == 0
    (folder / "pipeline.yaml").rename(tmp_path / "pipeline")
    (tmp_path / "bashrc").write_text("alias ls=ls\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    (folder / "pipeline.yaml").symlink_to(tmp_path / target)

    assert cli(*call).code == 2

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_without_o_a_pipe_is_not_waited_for(cli: Cli, folder: Path) -> None:
    os.mkfifo(folder / "pipeline.yaml")

    assert "is not a pipeline file" in cli("-r", "1", "--compile-only").err


def test_init_makes_secrets_for_the_owner_alone(cli: Cli, folder: Path, umask: None) -> None:
    assert cli("init", "new").code == 0

    assert mode(folder / "new/secrets") == 0o700
    assert mode(folder / "new") == 0o750
    assert {mode(path) for path in (folder / "new/secrets").iterdir()} == {0o600}


def test_init_writes_nothing_through_a_link_out_of_its_folder(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "secrets").symlink_to(tmp_path / "elsewhere")

    result = cli("init")

    assert result.code == 2
    assert "secrets is a link out of" in result.err
    assert list((tmp_path / "elsewhere").iterdir()) == []


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("\ufeffé\r\n".encode())

    assert read_text(path, "it") == "é\r\n"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert read_text(tmp_path / "missing", "it") is None
    assert read_text(tmp_path / "file/below", "it") is None


def test_what_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xe9")

    with pytest.raises(InputError, match="the registry is not text in UTF-8"):
        read_text(path, "the registry")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the registry: it is a folder"):
        read_text(tmp_path, "the registry")


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read it"):
        read_text(tmp_path / "a\0b", "it")


def test_a_link_in_a_circle_is_refused_with_the_hint_that_was_given(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)

    with pytest.raises(InputError) as told:
        read_text(circle, "it", "do this")
    with pytest.raises(InputError) as untold:
        read_text(circle, "it")

    assert told.value.hint == "do this"
    assert "permissions" in untold.value.hint


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 8)
    path = tmp_path / "file"
    path.write_bytes(b"12345678")
    assert read_text(path, "it") == "12345678"

    path.write_bytes(b"123456789")
    with pytest.raises(InputError, match="it is larger than"):
        read_text(path, "it")


def test_a_device_without_an_end_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 2**20)

    with pytest.raises(InputError, match="it is larger than 1 MB"):
        read_text(Path("/dev/zero"), "it")


def test_a_pipe_is_read_to_its_end_though_it_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b"one ")
            # So that the first piece is read alone.
            while any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))):
                pass
            pipe.write(b"two")

    writer = threading.Thread(target=write)
    writer.start()

    assert read_text(path, "it") == "one two"
    writer.join(30)


def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_FIRST_WAIT", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)

    with pytest.raises(InputError, match="without a writer"):
        read_text(path, "it")


def test_a_pipe_that_somebody_holds_open_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(files, "_NEXT_WAIT", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with os.fdopen(os.open(path, os.O_RDWR), "wb", buffering=0) as held:
        held.write(b"one")
        with pytest.raises(InputError, match=r"no data on this pipe for 0\.05 s"):
            read_text(path, "it")


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a\0b", "n" * 300, "missing"])
def test_a_name_that_none_can_have_is_neither_file_nor_folder(tmp_path: Path, name: str) -> None:
    assert not is_file(tmp_path / name)
    assert not is_folder(tmp_path / name)


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert (is_file(tmp_path / "file"), is_folder(tmp_path / "file")) == (True, False)
    assert (is_file(tmp_path), is_folder(tmp_path)) == (False, True)


def test_a_path_below_this_folder_is_told_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    assert from_here(tmp_path / "here/a/b") == Path("a/b")
    assert from_here(tmp_path / "elsewhere") == tmp_path / "elsewhere"
    assert from_here(Path("../x")) == Path("../x")
