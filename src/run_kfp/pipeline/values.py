"""A compiled pipeline as a value: its text, its parameters and its steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from run_kfp.pipeline.spec import Spec, read_spec


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline, as its file declares it.

    `type` is KFP's (STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST, STRUCT); `required` is true when a run must
    bring a value.
    """

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class Step:
    """A task of the pipeline as a person looks at it."""

    name: str
    label: str
    image: str
    after: tuple[str, ...]
    resources: str
    cached: bool


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline: the text of its file, what there is to know of it, and where it came from in words.

    `name` is the pipeline's: the cache and the job ids of its runs go by it. `parameters` are in the order of their
    names, `steps` each behind those that it waits for.
    """

    text: str
    source: str
    name: str
    display_name: str
    parameters: tuple[Parameter, ...]
    steps: tuple[Step, ...]

    @cached_property
    def spec(self) -> Spec:
        """The pipeline spec (IR) that the text holds; read when it is asked for, since a compile needs it for nothing.

        Raises:
            InputError: the text is not a KFP v2 pipeline spec.
        """
        return read_spec(self.text, self.source)
