"""Pipelines in kfp's own words, for what they compile to. (kfp reads annotations as they stand: none is postponed.)"""

from typing import Any

from kfp import dsl


def _echo(text: str = "x"):  # type: ignore[no-untyped-def]  # kfp takes a return annotation for an output
    return dsl.ContainerSpec(image="busybox", command=["echo"], args=[text])


def _make(result: dsl.OutputPath(str)):  # type: ignore[no-untyped-def,valid-type]  # likewise
    return dsl.ContainerSpec(image="busybox", command=["sh", "-c"], args=[f"echo yes > {result}"])


def _keep(data: dsl.Output[dsl.Dataset]):  # type: ignore[no-untyped-def]  # likewise
    return dsl.ContainerSpec(image="busybox", command=["touch"], args=[data.path])


def _number() -> int:
    return 1


def _component(name: str, function: Any, make: Any) -> Any:
    function.__name__ = name
    return make(function)


echo = _component("echo", _echo, dsl.container_component)
make = _component("make", _make, dsl.container_component)
keep = _component("keep", _keep, dsl.container_component)
number = _component("number", _number, dsl.component(base_image="python:3.12"))


def _inner() -> None:
    echo()


inner = _component("inner", _inner, dsl.pipeline)


def a_condition() -> None:
    made = make()
    with dsl.If(made.outputs["result"] == "yes"):
        echo()


def a_loop() -> None:
    with dsl.ParallelFor(["a", "b"]) as item:
        echo(text=item)


def an_exit_handler() -> None:
    with dsl.ExitHandler(echo()):
        make()


def an_importer() -> None:
    dsl.importer(artifact_uri="gs://bucket/data", artifact_class=dsl.Dataset)


def an_artifact() -> None:
    keep()


def an_inner_pipeline() -> None:
    inner()


def chain(tag: str, count: int = 3) -> None:
    made = make().set_memory_limit("512Mi").set_cpu_limit("500m")
    echo(text=f"{tag}/{made.outputs['result']}").set_retry(2).set_env_variable("MODE", "x")
    number().set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(2)
    echo(text=f"{count}")
