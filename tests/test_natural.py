"""Names in the order in which a person counts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_pipelines import pipeline_text, task
from run_kfp.natural import natural
from run_kfp.pipeline.reader import read_pipeline


@pytest.mark.parametrize(
    "names",
    [
        ["work-2", "work-10"],
        ["work", "work-2", "work-2-1", "work-2-10", "work-10", "work-10-1"],
        ["2", "10", "a", "b"],
        ["europe-west1", "europe-west2", "europe-west10", "us-east1"],
        ["v1.9.0", "v1.10.0", "v2.0.0"],
        ["a", "b"],
        ["", "a"],
        ["a1b", "a1c", "a2b", "a10"],
        ["x9" + "9" * 5000, "x1" + "0" * 5001],
    ],
)
def test_numbers_are_counted(names: list[str]) -> None:
    mixed = [*names]
    random.Random(7).shuffle(mixed)

    assert sorted(mixed, key=natural) == names


@given(st.lists(st.text(), unique=True))
def test_no_two_names_have_the_same_place(names: list[str]) -> None:
    keys = {name: natural(name) for name in names}

    assert len({str(key) for key in keys.values()}) == len(names)


def test_steps_of_a_file_and_what_they_wait_for_are_in_this_order(tmp_path: Path) -> None:
    tasks = {f"work-{number}": task("nobody/work") for number in range(1, 13)}
    tasks["end"] = task("nobody/end", after=list(tasks))

    (tmp_path / "p.yaml").write_text(pipeline_text("chain", tasks), encoding="utf-8")

    pipeline = read_pipeline(tmp_path / "p.yaml")

    assert [step.name for step in pipeline.steps] == [*(f"work-{number}" for number in range(1, 13)), "end"]
    assert pipeline.steps[-1].after == tuple(f"work-{number}" for number in range(1, 13))
