# mypy: disable-error-code="untyped-decorator"
# (kfp has no annotations)
"""What people write without run-kfp: the four containers of the packaged registry as a plain kfp script.

    kfp dsl compile --py chain.py --output FILE
    python chain.py compile FILE            the same without kfp's command line
    python chain.py submit FILE             compile, then aiplatform.PipelineJob(...).submit(...)

REPEATS in the environment chains the four that many times.
"""

import os
import sys

from kfp import compiler, dsl


@dsl.container_component
def get_raw_data(bucket: str) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image="crispinnosidam/01-get-raw-data",
        args=["-c", 'GCS_BUCKET_NAME="$1" exec pipenv run python get_data.py', "get-raw-data", bucket],
    )


@dsl.container_component
def preprocess_data(
    bucket: str, whylabs_org_id: str, whylabs_api_key: str, whylabs_dataset_id: str
) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image="crispinnosidam/02-preprocess-data",
        args=[
            "-c",
            'GCS_BUCKET_NAME="$1" WHYLABS_DEFAULT_ORG_ID="$2" WHYLABS_API_KEY="$3" '
            'WHYLABS_DEFAULT_DATASET_ID="$4" exec pipenv run python preprocess_data.py',
            "preprocess-data",
            bucket,
            whylabs_org_id,
            whylabs_api_key,
            whylabs_dataset_id,
        ],
    )


@dsl.container_component
def versioning(project: str, bucket: str, git_login: str, tag: str) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="sahilsakhuja/dermaid-versioning", args=[project, bucket, git_login, tag])


@dsl.container_component
def train_model(project: str, bucket: str, git_login: str, wandb_api_key: str, tag: str) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image="crispinnosidam/03-train-model", args=[project, bucket, git_login, wandb_api_key, tag, "4"]
    )


@dsl.pipeline(name="dermaid", display_name="dermaid-pipeline")
def dermaid(
    project: str,
    bucket: str,
    tag: str,
    git_login: str,
    wandb_api_key: str,
    whylabs_api_key: str,
    whylabs_org_id: str,
    whylabs_dataset_id: str,
) -> None:
    before = None
    for _ in range(int(os.environ.get("REPEATS", "1"))):
        raw = get_raw_data(bucket=bucket)
        raw.set_display_name("01-get-raw-data")
        raw.set_caching_options(False)
        if before is not None:
            raw.after(before)

        shards = preprocess_data(
            bucket=bucket,
            whylabs_org_id=whylabs_org_id,
            whylabs_api_key=whylabs_api_key,
            whylabs_dataset_id=whylabs_dataset_id,
        )
        shards.set_display_name("02-preprocess-data")
        shards.set_caching_options(False)
        shards.set_cpu_limit("16").set_memory_limit("128G")
        shards.set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(4)
        shards.after(raw)

        version = versioning(project=project, bucket=bucket, git_login=git_login, tag=tag)
        version.set_display_name("08-versioning")
        version.set_caching_options(False)
        version.after(shards)

        model = train_model(project=project, bucket=bucket, git_login=git_login, wandb_api_key=wandb_api_key, tag=tag)
        model.set_display_name("03-train-model")
        model.set_caching_options(False)
        model.set_cpu_limit("16").set_memory_limit("128G")
        model.set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(4)
        model.after(version)
        before = model


def submit(path: str) -> None:
    """Send the compiled file, with the values of the environment."""
    variables = {
        "project": "GCP_PROJECT",
        "bucket": "GCS_BUCKET_NAME",
        "git_login": "GIT_LOGIN",
        "wandb_api_key": "WANDB_API_KEY",
        "whylabs_api_key": "WHYLABS_API_KEY",
        "whylabs_org_id": "WHYLABS_DEFAULT_ORG_ID",
        "whylabs_dataset_id": "WHYLABS_DEFAULT_DATASET_ID",
    }
    job = aiplatform.PipelineJob(
        display_name="dermaid-pipeline",
        template_path=path,
        pipeline_root=f"gs://{os.environ['GCS_BUCKET_NAME']}/pipeline_root/root",
        parameter_values={
            "tag": "dataset_v22",
            **{name: os.environ[variable] for name, variable in variables.items()},
        },
        project=os.environ["GCP_PROJECT"],
        location=os.environ["GCP_REGION"],
        failure_policy="fast",
    )
    job.submit(service_account=os.environ["GCS_SERVICE_ACCOUNT"])


if __name__ == "__main__":
    mode, target = sys.argv[1:]
    if mode == "submit":
        # First of all, as at the top of such a script; `kfp dsl compile`, which imports this file, goes without.
        from google.cloud import aiplatform
    compiler.Compiler().compile(dermaid, target)
    if mode == "submit":
        submit(target)
