# mypy: ignore-errors
# (kfp has no annotations, and reads those of its components as they stand)
"""One pipeline for each thing that kfp 2.17 can say and Vertex AI can run."""

from kfp import dsl


@dsl.component(base_image="python:3.12-slim", packages_to_install=["pandas==2.2.3", "pyarrow>=17,<19"])
def make_table(rows: int, table: dsl.Output[dsl.Dataset]):
    import pandas

    pandas.DataFrame({"x": range(rows)}).to_parquet(table.path)
    table.metadata["rows"] = rows


@dsl.component(base_image="python:3.12-slim")
def fit(table: dsl.Input[dsl.Dataset], rate: float, model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]):
    with open(table.path, "rb") as source, open(model.path, "wb") as target:  # noqa: PTH123
        target.write(source.read())
    metrics.log_metric("rate", rate)


@dsl.component(base_image="python:3.12-slim")
def score(model: dsl.Input[dsl.Model]) -> float:
    import os

    return float(os.path.getsize(model.path))  # noqa: PTH202


@dsl.component(base_image="python:3.12-slim")
def choose(score: float) -> str:
    return "good" if score > 0.5 else "bad"


@dsl.component(base_image="python:3.12-slim")
def names(count: int) -> list:
    return [{"title": f"part-{number}", "rate": number / 10} for number in range(count)]


@dsl.component(base_image="python:3.12-slim")
def total(scores: list) -> float:
    return sum(scores)


@dsl.component(base_image="python:3.12-slim")
def tell(status: dsl.PipelineTaskFinalStatus, who: str):
    import logging

    logging.getLogger("told").warning("%s: %s", who, status.state)


@dsl.container_component
def say(text: str):
    return dsl.ContainerSpec(image="alpine:3.20", command=["echo"], args=[text])


@dsl.container_component
def pick(result: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine:3.20",
        command=["sh", "-c"],
        args=['mkdir -p "$(dirname "$0")" && echo heads > "$0"', result],
    )


@dsl.container_component
def optional(name: str, greeting: str = None, loud: bool = False):  # noqa: RUF013  # what kfp takes for an optional input
    return dsl.ContainerSpec(
        image="alpine:3.20",
        command=["echo"],
        args=[
            dsl.ConcatPlaceholder(["--name=", name]),
            dsl.IfPresentPlaceholder(input_name="greeting", then=["--greeting", greeting], else_=["--silent"]),
            dsl.ConcatPlaceholder(["--loud=", loud]),
        ],
    )


@dsl.pipeline(name="artifacts")
def artifacts(rows: int = 100, rate: float = 0.1):
    table = make_table(rows=rows)
    model = fit(table=table.outputs["table"], rate=rate)
    score(model=model.outputs["model"])


@dsl.pipeline(name="conditions")
def conditions():
    picked = pick()
    with dsl.If(picked.outputs["result"] == "heads"):
        say(text="heads")
    with dsl.Elif(picked.outputs["result"] == "tails"):
        say(text="tails")
    with dsl.Else():
        say(text="the edge")


@dsl.pipeline(name="loops")
def loops(count: int, texts: list = ["a", "b"]):  # noqa: B006  # a default of the pipeline
    with dsl.ParallelFor(items=texts, parallelism=2) as text:
        say(text=text)
    with dsl.ParallelFor(items=names(count=count).output) as part:
        say(text=part.title)
        with dsl.ParallelFor(items=names(count=2).output) as inner_part:
            say(text=inner_part.title)


@dsl.pipeline(name="exit-handler")
def exit_handler(who: str = "somebody"):
    with dsl.ExitHandler(tell(who=who)):
        say(text="working").set_retry(
            num_retries=3, backoff_duration="30s", backoff_factor=2, backoff_max_duration="600s"
        )


@dsl.pipeline(name="imported")
def imported(uri: str = "gs://corpus-bucket/models/7"):
    fixed = dsl.importer(
        artifact_uri="gs://corpus-bucket/tables/2024.parquet",
        artifact_class=dsl.Dataset,
        reimport=False,
        metadata={"year": "2024"},
    )
    fit(table=fixed.output, rate=0.5)
    score(model=dsl.importer(artifact_uri=uri, artifact_class=dsl.Model, reimport=True).output)


@dsl.pipeline(name="inner")
def inner(rows: int) -> float:
    table = make_table(rows=rows)
    model = fit(table=table.outputs["table"], rate=0.1)
    return score(model=model.outputs["model"]).output


@dsl.pipeline(name="nested")
def nested(rows: int = 10):
    first = inner(rows=rows)
    second = inner(rows=20).after(first)
    say(text=f"{first.output} and {second.output}")


@dsl.pipeline(name="collected")
def collected(count: int = 3):
    with dsl.ParallelFor(items=[0.1, 0.2, 0.3]) as rate:
        model = fit(table=make_table(rows=10).outputs["table"], rate=rate)
        scored = score(model=model.outputs["model"])
    total(scores=dsl.Collected(scored.output))


@dsl.pipeline(name="one-of")
def one_of(good: float = 0.7):
    choice = choose(score=good)
    with dsl.If(choice.output == "good"):
        one = pick()
    with dsl.Else():
        other = pick()
    say(text=dsl.OneOf(one.outputs["result"], other.outputs["result"]))


@dsl.pipeline(name="placeholders")
def placeholders(name: str = "Anna"):
    optional(name=name, greeting="hello")
    optional(name="nobody")
    say(text=f"{dsl.PIPELINE_JOB_NAME_PLACEHOLDER}/{dsl.PIPELINE_TASK_NAME_PLACEHOLDER}/{name}")
    say(text=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER)
    say(text=dsl.PIPELINE_ROOT_PLACEHOLDER)


@dsl.pipeline(name="resources", description="Every setter of a task that Vertex AI reads.", display_name="Resources")
def resources(text: str = "x"):
    say(text=text).set_cpu_limit("2").set_memory_limit("8G").set_display_name("On a small machine")
    training = say(text=text).set_cpu_limit("8").set_memory_limit("30G")
    training.set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(1)
    training.set_env_variable("MODE", "train").set_caching_options(False).set_retry(2)
    say(text=text).set_cpu_limit("96").set_memory_limit("624G").after(training)


@dsl.pipeline(name="types")
def types(
    text: str,
    whole: int,
    number: float,
    flag: bool,
    several: list,
    table: dict,
    with_default: str = "x",
    optional_text: str = None,  # noqa: RUF013
):
    say(text=f"{text} {whole} {number} {flag} {several} {table} {with_default}")


@dsl.pipeline(name="parallel-wide")
def parallel_wide(text: str = "x"):
    first = say(text="first")
    middle = [say(text=f"{text} {number}").after(first) for number in range(12)]
    say(text="last").after(*middle)


@dsl.pipeline(name="parallel-apart")
def parallel_apart():
    for number in range(4):
        say(text=f"{number} a").after(say(text=f"{number} b"))


@dsl.pipeline(name="diamond")
def diamond(rows: int = 5):
    table = make_table(rows=rows)
    models = [fit(table=table.outputs["table"], rate=rate) for rate in (0.1, 0.2, 0.3)]
    for model in models:
        model.set_cpu_limit("4").set_memory_limit("15G")
    scores = [score(model=model.outputs["model"]) for model in models]
    for found in scores:
        say(text=f"{found.output}")


@dsl.pipeline(name="everything", pipeline_root="gs://corpus-bucket/roots/everything")
def everything(count: int = 2):
    with dsl.ExitHandler(tell(who="the team"), name="always tell"):
        with dsl.ParallelFor(items=names(count=count).output, name="each part") as part:
            chosen = choose(score=part.rate)
            with dsl.If(chosen.output == "good", name="is it good"):
                model = fit(table=make_table(rows=10).outputs["table"], rate=part.rate)
                model.set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit("2")
                model.set_cpu_limit("16").set_memory_limit("60G")
                score(model=model.outputs["model"]).set_caching_options(True)
        inner(rows=3)
