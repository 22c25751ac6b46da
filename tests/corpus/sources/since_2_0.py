# mypy: ignore-errors
# (kfp has no annotations, and reads those of its components as they stand)
"""Pipelines that every kfp since 2.0 compiles."""

from kfp import dsl


@dsl.component(base_image="python:3.10-slim", packages_to_install=["numpy==1.26.4"])
def prepare(rows: int, shuffle: bool, table: dsl.Output[dsl.Dataset]):
    import numpy

    numpy.save(table.path, numpy.arange(rows))


@dsl.component(base_image="python:3.10-slim")
def learn(table: dsl.Input[dsl.Dataset], options: dict, model: dsl.Output[dsl.Model]) -> float:
    with open(model.path, "w") as target:  # noqa: PTH123
        target.write(f"{table.uri} {options}")
    return 0.75


@dsl.container_component
def publish(model: dsl.Input[dsl.Model], title: str, address: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="europe-docker.pkg.dev/corpus-project/tools/publish:1.9.2",
        command=["/app/publish"],
        args=["--model", model.uri, "--title", title, "--address-file", address],
    )


@dsl.component(base_image="python:3.10-slim")
def report(status: dsl.PipelineTaskFinalStatus):
    import logging

    logging.getLogger("told").warning(status.state)


@dsl.container_component
def hello(name: str):
    return dsl.ContainerSpec(image="alpine:3.18", command=["echo", "hello"], args=[name])


@dsl.pipeline(name="training", description="Prepare, learn, publish what is good.")
def training(title: str, rows: int = 1000, shuffle: bool = True, options: dict = {"depth": 3}):  # noqa: B006
    table = prepare(rows=rows, shuffle=shuffle).set_retry(num_retries=2)
    table.set_display_name("Prepare the table")
    learned = learn(table=table.outputs["table"], options=options).set_env_variable("MODE", "full")
    learned.set_caching_options(False)
    with dsl.Condition(learned.outputs["Output"] > 0.5, name="good"):
        publish(model=learned.outputs["model"], title=title)


@dsl.pipeline(name="training-on-a-gpu")
def training_on_a_gpu(rows: int = 1000):
    table = prepare(rows=rows, shuffle=False).set_cpu_limit("4").set_memory_limit("15G")
    learned = learn(table=table.outputs["table"], options={}).set_cpu_limit("8").set_memory_limit("30G")
    learned.set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(1)


@dsl.pipeline(name="many-names")
def many_names(names: list = ["Anna", "Ben"]):  # noqa: B006  # a default of the pipeline
    with dsl.ExitHandler(report()), dsl.ParallelFor(names) as name:
        hello(name=name)
    with dsl.ParallelFor([{"a": "x", "b": 1}, {"a": "y", "b": 2}]) as item:
        hello(name=item.a)
