# mypy: ignore-errors
# (kfp has no annotations)
"""Components as ZenML makes them for Vertex AI: from text at run time, values in arguments and variables.

Written with kfp for this corpus; ZenML has no command that compiles a pipeline without its server.
"""

from kfp import components, dsl

IMAGE = "europe-west4-docker.pkg.dev/corpus-project/zenml/flowers:4f1c2d"


def step(name: str):
    """Make a component whose command, arguments and inputs are all literals."""
    return components.load_component_from_text(
        f"""
name: {name}
implementation:
  container:
    image: {IMAGE}
    command: [python, -m, flowers.entrypoint]
    args: [--deployment_id, 6f2b0d3e-0000-4000-8000-5f1f9a6c2b11, --step_name, {name}]
"""
    )


@dsl.pipeline(name="zenml-form")
def zenml_form():
    made = {}
    for name, after in {"load": [], "split": ["load"], "fit": ["split"], "score": ["fit", "split"]}.items():
        task = step(name)().after(*(made[before] for before in after))
        task.set_env_variable("ZENML_RUN_ID", dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
        task.set_env_variable("ZENML_LOGGING_VERBOSITY", "INFO")
        task.set_caching_options(enable_caching=False)
        task.set_cpu_limit("4").set_memory_limit("16G")
        made[name] = task
    made["fit"].set_cpu_limit("16").set_memory_limit("60G")
    made["fit"].set_accelerator_type("NVIDIA_TESLA_V100").set_accelerator_limit(2)
