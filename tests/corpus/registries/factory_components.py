# mypy: ignore-errors
# (kfp has no annotations, and reads those of its components as they stand)
"""Factories of factories.toml."""

from kfp import dsl


def evaluate():
    @dsl.container_component
    def evaluate(bucket: str, threshold: str):
        return dsl.ContainerSpec(
            image="my-team/evaluate:1.0", command=["python3", "evaluate.py"], args=["--bucket", bucket, threshold]
        )

    return evaluate


@dsl.component(base_image="python:3.12-slim", packages_to_install=["pandas==2.2.3"])
def summarise(bucket: str, tag: str) -> str:
    import pandas

    return f"{bucket}/{tag}: pandas {pandas.__version__}"


@dsl.container_component
def train(tag: str, model: dsl.Output[dsl.Model]):
    return dsl.ContainerSpec(image="my-team/train:1.0", args=["--tag", tag, "--model", model.path])


def several():
    @dsl.container_component
    def one(tag: str, text: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image="alpine:3.20", command=["sh", "-c"], args=['echo "$0" > "$1"', tag, text])

    @dsl.container_component
    def two(text: str):
        return dsl.ContainerSpec(image="alpine:3.20", command=["echo"], args=[text])

    @dsl.pipeline
    def several(tag: str):
        two(text=one(tag=tag).outputs["text"])

    return several
