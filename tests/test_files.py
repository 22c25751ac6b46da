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
from types import SimpleNamespace

import pytest

from conftest import Cli
from run_kfp import files, temporary
from run_kfp.errors import InputError
from run_kfp.files import (
    from_here,
    is_below,
    is_file,
    is_folder,
    make_private_folder,
    open_regular,
    read_text,
    readable_by_others,
    write_atomically,
)
from run_kfp.locks import lock
from run_kfp.temporary import TemporaryFolder, sweep_temporary


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


# ── regular files alone ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_regular_file_is_opened_for_what_its_flags_say(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open_regular(path, os.O_WRONLY | os.O_CREAT, within=tmp_path) as file:
        assert (file.write(b"one"), mode(path)) == (3, 0o600)
    with open_regular(path, os.O_RDWR, within=tmp_path) as file:
        assert file.read() == b"one"
        file.write(b" two")
    with open_regular(path, os.O_WRONLY | os.O_APPEND, within=tmp_path) as file:
        file.write(b" three")
    with open_regular(path, within=tmp_path) as file:
        assert file.read() == b"one two three"


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("folder", PermissionError, "it is not a regular file"),
        ("pipe", PermissionError, "it is not a regular file"),
        ("link", PermissionError, "it is a link"),
        ("away/file", PermissionError, "a link leads out of its folder"),
        ("folder/../file", PermissionError, "a link leads out of its folder"),
        ("../work2/file", PermissionError, "a link leads out of its folder"),
        ("gone", FileNotFoundError, "No such file or directory"),
        ("file/below", NotADirectoryError, "Not a directory"),
    ],
)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_nothing_but_a_regular_file_is_opened(
    tmp_path: Path, name: str, error: type[OSError], words: str, flags: int
) -> None:
    here = tmp_path / "work"
    (here / "folder").mkdir(parents=True)
    (here / "file").touch()
    (here / "link").symlink_to("file")
    (here / "away").symlink_to(tmp_path / "work2")
    (tmp_path / "work2").mkdir()
    (tmp_path / "work2/file").touch()
    os.mkfifo(here / "pipe")

    with pytest.raises(error) as raised:
        open_regular(here / name, flags, within=here)
    assert raised.value.strerror == words
    if error is PermissionError:
        assert raised.value.errno == errno.EACCES


def test_a_pipe_that_nobody_reads_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PermissionError) as raised:
        open_regular(tmp_path / "pipe", os.O_WRONLY, within=tmp_path)
    assert raised.value.strerror == "it is not a regular file"


def test_a_folder_that_is_trusted_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("text")
    (tmp_path / "link").symlink_to("real")

    with open_regular(tmp_path / "link/file", within=tmp_path / "link") as file:
        assert file.read() == b"text"


def test_a_refused_file_is_not_left_open() -> None:
    def open_files() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    before = open_files()
    with pytest.raises(PermissionError, match="it is not a regular file"):
        open_regular(Path(os.devnull), within=Path(os.devnull).parent)
    assert open_files() == before


@pytest.mark.parametrize(
    ("bits", "others"), [(0o600, False), (0o640, True), (0o604, True), (0o700, False), (0o622, False)]
)
def test_whether_others_can_read_a_file(tmp_path: Path, bits: int, others: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(bits)

    assert readable_by_others(path) is others
    assert not readable_by_others(tmp_path / "gone")


def test_a_mode_that_cannot_be_changed_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o644)
    # A mount that is read-only needs root: only what the system says of it is replaced.
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOSUID))
    assert not readable_by_others(path)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_NOSUID))
    assert readable_by_others(path)


def test_what_lies_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/out").symlink_to(tmp_path)
    (tmp_path / "in/round").symlink_to("round")

    assert is_below(tmp_path / "in/new/file", tmp_path / "in")
    assert is_below(tmp_path / "in", tmp_path / "in")
    assert not is_below(tmp_path / "in/out/file", tmp_path / "in")
    assert not is_below(tmp_path / "in/../file", tmp_path / "in")
    assert not is_below(tmp_path / "inner", tmp_path / "in")
    assert not is_below(tmp_path / "in/a\0b", tmp_path / "in")


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_private_folder_is_the_owners_alone_and_stays_as_it_is(tmp_path: Path, umask: None) -> None:
    make_private_folder(tmp_path / "a/b", "do this")
    assert mode(tmp_path / "a/b") == 0o700
    (tmp_path / "a/b").chmod(0o750)
    make_private_folder(tmp_path / "a/b", "do this")
    assert mode(tmp_path / "a/b") == 0o750


@pytest.mark.parametrize(
    ("name", "words"), [("file", "File exists"), ("file/below", "Not a directory"), ("a\0b", "invalid file name")]
)
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as error:
        make_private_folder(tmp_path / name, "do this")
    assert error.value.message == f"cannot create {tmp_path / name}: {words}"
    assert error.value.hint == "do this"


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "it is a folder"), ("no/such", "No such file or directory"), ("a\0b", "invalid file name")],
)
def test_why_a_file_cannot_be_written(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        write_atomically(tmp_path / name, "text")
    assert error.value.message == f"cannot write {tmp_path / name}: {words}"
    assert error.value.hint == "pass another file with -o"


# ── folders for a while ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_folder_is_there_for_a_while(place: Path) -> None:
    with TemporaryFolder() as folder:
        assert folder.parent == place
        assert mode(folder) == 0o700
        assert [path.name for path in folder.iterdir()] == [".run-kfp-lock"]
        (folder / "deep").mkdir()
        sweep_temporary()
        assert (folder / "deep").is_dir()
    assert list(place.iterdir()) == []
    removed = TemporaryFolder()
    removed.remove()
    removed.remove()
    assert list(place.iterdir()) == []


def test_what_killed_programs_left_is_removed_and_nothing_else(place: Path) -> None:
    def folder(name: str, *, lock_file: bool = True) -> Path:
        made = place / name
        made.mkdir()
        (made / "data").touch()
        if lock_file:
            (made / ".run-kfp-lock").touch()
        return made

    left = [folder("run-kfp-tmp-abcdefgh"), folder("run-kfp-tmp-0_______")]
    others = [
        folder("run-kfp-tmp-abcdefghi"),
        folder("run-kfp-tmp-ABCDEFGH"),
        folder("run-kfp-tmp-without1", lock_file=False),
        folder("a-folder"),
    ]
    (place / "run-kfp-tmp-link0000").symlink_to(others[3])
    held = folder("run-kfp-tmp-living00")
    with (held / ".run-kfp-lock").open("r+b") as file:
        assert lock(file)
        sweep_temporary()
        assert [path.exists() for path in left] == [False, False]
        assert all((path / "data").exists() for path in [*others, held])
    with TemporaryFolder():
        assert not held.exists()


def test_a_place_that_is_not_there_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "gone"))
    sweep_temporary()
    with pytest.raises(InputError, match="cannot write temporary files: No such file or directory") as error:
        TemporaryFolder()
    assert error.value.hint == "set TMPDIR to a folder with free space and write permission"


def test_where_no_folder_can_be_written_the_shared_memory_is_taken(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(temporary, "_SHARED_MEMORY", place)
    with TemporaryFolder() as folder:
        assert folder.parent == place
    monkeypatch.setattr(temporary, "_SHARED_MEMORY", place / "gone")
    with pytest.raises(InputError, match="cannot write temporary files: no folder for them"):
        TemporaryFolder()
