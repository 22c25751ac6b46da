"""A compiled pipeline as a value: its text, its parameters and its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from run_kfp.findings import Finding
from run_kfp.pipeline.spec import Documents, Spec, read_documents
from run_kfp.pipeline.tables import table_at


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
    names, `steps` each behind those that it waits for. `read` is what a file holds that was looked through.
    """

    text: str
    source: str
    name: str
    display_name: str
    parameters: tuple[Parameter, ...]
    steps: tuple[Step, ...]
    read: Documents | None = field(default=None, repr=False, compare=False)

    @cached_property
    def _documents(self) -> Documents:
        return self.read or read_documents(self.text, self.source)

    @property
    def spec(self) -> Spec:
        """The pipeline spec (IR) that the text holds; read when it is asked for, since a compile needs it for nothing.

        Raises:
            InputError: the text is not a KFP v2 pipeline spec.
        """
        return self._documents.spec

    @property
    def sent(self) -> Spec:
        """The spec as it stands in the text: a submission sends what it was given, all of it.

        Raises:
            InputError: as above.
        """
        return self._documents.sent

    @property
    def platforms(self) -> Mapping[str, Any]:
        """The settings of other platforms that stand behind the spec, by the name of the platform.

        Raises:
            InputError: as above.
        """
        return self._documents.platforms

    @property
    def own_root(self) -> str:
        """The folder of Cloud Storage that the file brings for what its runs write; empty where it brings none.

        A KFP server takes folders of other stores (`minio://…`), which Vertex AI does not.
        """
        root = table_at(self._documents.job, "runtimeConfig").get("gcsOutputDirectory") or self.spec.get(
            "defaultPipelineRoot"
        )
        return root if isinstance(root, str) and root.startswith("gs://") else ""

    @property
    def is_job(self) -> bool:
        """Whether the file is a whole PipelineJob with a root of its own."""
        return bool(table_at(self._documents.job, "runtimeConfig").get("gcsOutputDirectory"))

    @property
    def own_labels(self) -> Mapping[str, str]:
        """The labels of the PipelineJob that the file is."""
        labels = table_at(self._documents.job, "labels")
        return {key: value for key, value in labels.items() if isinstance(value, str)}

    @property
    def own_values(self) -> Mapping[str, Any]:
        """The values of parameters in the PipelineJob that the file is; those of an older one without their types."""
        config = table_at(self._documents.job, "runtimeConfig")
        older = {
            name: next(iter(table_at(value).values()), None) for name, value in table_at(config, "parameters").items()
        }
        return {**older, **table_at(config, "parameterValues")}

    @property
    def unfit(self) -> tuple[Finding, ...]:
        """What of a file does not fit KFP's schema; nothing for a pipeline that was compiled here."""
        return self.read.findings if self.read else ()
