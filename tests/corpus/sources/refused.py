# mypy: ignore-errors
# (kfp has no annotations, and reads those of its components as they stand)
"""Pipelines that kfp compiles into what Vertex AI refuses: a loop's item is asked of a DAG that does not have it."""

from kfp import dsl


@dsl.container_component
def say(text: str):
    return dsl.ContainerSpec(image="alpine:3.20", command=["echo"], args=[text])


@dsl.pipeline(name="literals-in-a-loop")
def literals_in_a_loop(texts: list = ["a", "b"]):  # noqa: B006  # a default of the pipeline
    with dsl.ParallelFor(items=texts) as text, dsl.ParallelFor(items=[1, 2]) as number:
        say(text=f"{text} {number}")


@dsl.pipeline(name="tables-in-an-exit-handler")
def tables_in_an_exit_handler():
    with dsl.ExitHandler(say(text="the end")), dsl.ParallelFor(items=[{"a": "x"}, {"a": "y"}]) as item:
        say(text=item.a)


@dsl.pipeline(name="same-list-twice")
def same_list_twice(outer: list, texts: list = ["a", "b"]):  # noqa: B006  # likewise
    with dsl.ParallelFor(items=texts) as text:
        say(text=text)
    with dsl.ParallelFor(items=outer) as item, dsl.ParallelFor(items=texts) as text:
        say(text=f"{item} {text}")
