# mypy: ignore-errors
# (kfp has no annotations, and reads those of its components as they stand)
"""A pipeline in the layout of vertex-deployer 1.0: vertex/pipelines/flowers.py, compiled by its `deploy --compile`."""

import kfp.dsl


@kfp.dsl.component(base_image="python:3.11-slim")
def load(project_id: str, region: str, seed: int, flowers: kfp.dsl.Output[kfp.dsl.Dataset]):
    with open(flowers.path, "w") as target:  # noqa: PTH123
        target.write(f"{project_id} {region} {seed}")


@kfp.dsl.component(base_image="europe-west1-docker.pkg.dev/corpus-project/images/flowers:3.4.1")
def grow(flowers: kfp.dsl.Input[kfp.dsl.Dataset], garden: kfp.dsl.Input[kfp.dsl.Dataset], days: int) -> str:
    return f"{flowers.uri} in {garden.uri} for {days} days"


@kfp.dsl.pipeline(name="flowers", description="Loads flowers and grows them.")
def flowers(
    project_id: str,
    region: str,
    seed: int = 7,
    days: int = 30,
):
    garden = kfp.dsl.importer(artifact_uri="gs://corpus-bucket/garden", artifact_class=kfp.dsl.Dataset)
    loaded = load(project_id=project_id, region=region, seed=seed).set_display_name("Load the flowers")
    grow(flowers=loaded.outputs["flowers"], garden=garden.output, days=days).set_display_name("Grow").set_retry(1)
