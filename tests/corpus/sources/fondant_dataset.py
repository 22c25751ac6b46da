# mypy: ignore-errors
# (fondant has no annotations that a checker may read)
"""A dataset of fondant 0.12, compiled for Vertex AI by its own compiler: fondant_dataset.py FILE"""

import sys

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
from fondant.component import DaskLoadComponent, PandasTransformComponent
from fondant.dataset import Dataset, Resources, lightweight_component
from fondant.dataset.compiler import VertexCompiler


@lightweight_component(produces={"text": pa.string()}, extra_requires=["dask==2024.2.1"])
class Load(DaskLoadComponent):
    def __init__(self, folder: str):
        self.folder = folder

    def load(self) -> dd.DataFrame:
        import dask.dataframe as dd

        return dd.read_parquet(self.folder)


@lightweight_component(base_image="python:3.10-slim", consumes={"text": pa.string()}, produces={"length": pa.int64()})
class Measure(PandasTransformComponent):
    def __init__(self, unit: str):
        self.unit = unit

    def transform(self, dataframe: pd.DataFrame) -> pd.DataFrame:
        dataframe["length"] = dataframe["text"].str.len()
        return dataframe[["length"]]


dataset = Dataset.create(Load, arguments={"folder": "gs://corpus-bucket/texts"}, dataset_name="texts")
dataset = dataset.apply(
    Measure,
    arguments={"unit": "characters"},
    resources=Resources(cpu_limit="8", memory_limit="30G", accelerator_number=1, accelerator_name="NVIDIA_TESLA_T4"),
)

VertexCompiler().compile(dataset, working_directory="gs://corpus-bucket/fondant", output_path=sys.argv[1])
