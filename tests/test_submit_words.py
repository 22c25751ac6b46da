"""What a call without a submission writes and says, without a process: the file, the plan, what is in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local_pipelines import pipeline_text, task
from run_kfp.commands.submit import compile_only, dry_run, plan, run_call, write_pipeline
from run_kfp.errors import InputError
from run_kfp.flags import RunOptions
from run_kfp.masking import Masker
from run_kfp.resolve import Call, resolve
from test_command_words import Kept

REGISTRY = """
[containers.1]
name = "first"
image = "busybox:1.36"
args = [{ param = "tag" }, { secret = "key" }]
[secrets.key]
env = "KEY"
"""
KEY = "a-key-of-the-test"
SETTINGS = {
    "GCP_PROJECT": "my-project",
    "GCP_REGION": "us-east1",
    "GCS_BUCKET_NAME": "flowers",
    "GCS_SERVICE_ACCOUNT": "runner@my-project.iam.gserviceaccount.com",
    "KEY": KEY,
}


@pytest.fixture(autouse=True)
def _in_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "run-kfp.toml").write_text(REGISTRY, encoding="utf-8")
    (folder / "given.yaml").write_text(
        pipeline_text("given", {"one": task("an/image")}, ["key", "tag"]), encoding="utf-8"
    )


class Screened(Kept):
    """A screen that masks and keeps what is printed as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.masker = Masker()
        self.text = ""

    def raw(self, text: str) -> None:
        self.text += text


def screened() -> Any:
    return Screened()


def resolved(screen: Any, environ: dict[str, str] | None = None, **call: Any) -> Any:
    return resolve(Call(**{"file": Path("given.yaml"), "tag": "v1", **call}), environ or {}, screen.masker)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pipeline_is_written_where_o_says(folder: Path) -> None:
    screen = screened()
    pipeline = resolved(screen).pipeline

    assert write_pipeline(screen, pipeline, None) == "pipeline.yaml"
    assert write_pipeline(screen, pipeline, "sub.yaml") == "sub.yaml"
    assert [(folder / name).read_text() for name in ("pipeline.yaml", "sub.yaml")] == [pipeline.text] * 2
    assert screen.text == ""
    assert write_pipeline(screen, pipeline, "-") is None
    assert screen.text == pipeline.text


def test_a_link_is_followed_where_it_is_typed_alone(folder: Path, tmp_path: Path) -> None:
    screen = screened()
    pipeline = resolved(screen).pipeline
    (folder / "pipeline.yaml").symlink_to(tmp_path / "elsewhere.yaml")

    with pytest.raises(InputError, match="a link leads out of its folder"):
        write_pipeline(screen, pipeline, None)
    assert write_pipeline(screen, pipeline, "pipeline.yaml") == "pipeline.yaml"
    assert (tmp_path / "elsewhere.yaml").read_text() == pipeline.text


@pytest.mark.parametrize(
    ("content", "replaced"),
    [
        ("", True),
        (" \n", True),
        ("pipelineInfo:\n", True),
        ('{\n  "pipelineSpec" : {}}', True),
        ("a: 1\n\tpipelineSpec:\n", True),
        ("# pipelineInfo: x\n", False),
        ("a pipelineInfo: x\n", False),
        ("pipelineInfo\n", False),
        (None, False),
    ],
)
def test_without_o_only_a_pipeline_file_is_replaced(folder: Path, content: str | None, replaced: bool) -> None:
    screen = screened()
    pipeline = resolved(screen).pipeline
    target = folder / "pipeline.yaml"
    if content is None:
        target.mkdir()
    else:
        target.write_text(content, encoding="utf-8")

    if replaced:
        assert write_pipeline(screen, pipeline, None) == "pipeline.yaml"
        return
    with pytest.raises(InputError) as error:
        write_pipeline(screen, pipeline, None)
    assert error.value.message == "pipeline.yaml is not a pipeline file and is not replaced"
    assert error.value.hint == "pass a file with -o"


@pytest.mark.parametrize("image", [f"an/{KEY}", f"an/{KEY[:8]}\\\n{KEY[8:]}"])
def test_a_secret_is_never_written(folder: Path, image: str) -> None:
    text = pipeline_text("given", {"one": task("an/image")}, ["key", "tag"]).replace("an/image", json.dumps(image))
    (folder / "given.yaml").write_text(text.replace("\\\\\\n", "\\\n"), encoding="utf-8")
    screen = screened()
    read = resolved(screen)
    screen.masker.add(KEY)

    with pytest.raises(InputError, match="would contain the value of a secret as plain text"):
        write_pipeline(screen, read.pipeline, "-")
    assert screen.text == ""


def test_what_is_compiled_is_told(folder: Path) -> None:
    screen = screened()
    compile_only(screen, resolved(screen, {"GCP_PROJECT": "P"}), "out.yaml")

    assert screen.lines == ["out.yaml"]
    assert screen.said[0].startswith("note: environment GCP_PROJECT: project is 'P'")
    assert screen.said[0].endswith("; not needed here")
    assert screen.printed["file"] == "out.yaml"
    assert "text" not in screen.printed
    printed = screened()
    compile_only(printed, resolved(printed), "-")
    assert printed.lines == []
    assert printed.printed["text"] == printed.text == (folder / "out.yaml").read_text()


def test_a_wrong_flag_is_told_though_it_is_not_needed() -> None:
    screen = screened()
    with pytest.raises(InputError, match="--region: region is 'us'"):
        compile_only(screen, resolved(screen, flags={"region": "us"}), "-")
    assert screen.text == ""


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_is_shown_and_written_where_o_says(folder: Path) -> None:
    screen = screened()
    dry_run(screen, resolved(screen, SETTINGS), None)

    assert screen.printed["project"] == "my-project"
    assert screen.printed["parameter_values"]["key"] == {"secret": "key", "from": "environment KEY"}
    assert screen.lines
    assert [line for line in screen.said if line.startswith("note: ")] == screen.said
    assert len(screen.said) == 1
    assert not (folder / "out.yaml").exists()
    dry_run(screen, resolved(screen, SETTINGS), "out.yaml")
    assert (folder / "out.yaml").exists()
    assert plan(resolved(screen, SETTINGS), screen.masker).project == "my-project"


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        (RunOptions(), ["nothing to run"]),
        (RunOptions(file=Path("given.yaml"), poll_every="0"), ["--poll-every requires"]),
        (
            RunOptions(file=Path("given.yaml"), wait=True, poll_every="0", wait_timeout="x", tag="v1", dry_run=True),
            [],
        ),
    ],
)
def test_every_fault_of_a_call_is_told_at_once(options: RunOptions, faults: list[str]) -> None:
    screen = screened()
    with pytest.raises(InputError) as error:
        run_call(screen, options)
    told = [fault.message for fault in error.value.all_faults]
    assert all(any(words in text for text in told) for words in faults), told
    if options.wait:
        assert any("--poll-every '0'" in text for text in told)
        assert any("--wait-timeout 'x'" in text for text in told)


def test_a_call_without_a_submission(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    screen = screened()

    assert run_call(screen, RunOptions(file=Path("given.yaml"), tag="v1", dry_run=True)) == 0
    assert screen.printed["project"] == "my-project"
    assert run_call(screen, RunOptions(containers=["1"], compile_only=True, output="o.yaml")) == 0
    assert (folder / "o.yaml").exists()
    assert screen.lines[-1] == "o.yaml"


@pytest.mark.parametrize(
    ("options", "times"),
    [
        (RunOptions(file=Path("given.yaml"), tag="v1", wait=True), (10.0, None)),
        (RunOptions(file=Path("given.yaml"), tag="v1", wait=True, poll_every="2", wait_timeout="7.5"), (2.0, 7.5)),
    ],
)
def test_how_often_and_how_long_a_run_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, options: RunOptions, times: tuple[float, float | None]
) -> None:
    given: list[tuple[float, float | None]] = []

    def submit(*_: object, every: float, deadline: float | None) -> None:
        given.append((every, deadline))

    monkeypatch.setattr("run_kfp.commands.submit.submit_call", submit)

    assert run_call(screened(), options) == 0
    assert given == [times]
