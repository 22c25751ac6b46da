# mypy: disable-error-code="untyped-decorator"
# (kfp has no annotations)
"""What people write to run four containers on their machine without run-kfp: a kfp script with its own local runner."""

from kfp import dsl, local


@dsl.container_component
def first() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="busybox:latest", command=["true"])


@dsl.container_component
def second() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="busybox:latest", command=["true"])


@dsl.container_component
def third() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="busybox:latest", command=["true"])


@dsl.container_component
def fourth() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="busybox:latest", command=["true"])


@dsl.pipeline(name="four")
def four() -> None:
    a = first()
    b = second().after(a)
    c = third().after(b)
    fourth().after(c)


if __name__ == "__main__":
    local.init(runner=local.DockerRunner())
    four()
