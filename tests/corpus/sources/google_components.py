# mypy: ignore-errors
# (kfp and google-cloud-pipeline-components have no annotations)
"""Pipelines of google-cloud-pipeline-components, as its users write them."""

from google_cloud_pipeline_components.types import artifact_types
from google_cloud_pipeline_components.v1.batch_predict_job import ModelBatchPredictOp
from google_cloud_pipeline_components.v1.bigquery import BigqueryQueryJobOp
from google_cloud_pipeline_components.v1.custom_job import (
    CustomTrainingJobOp,
    create_custom_training_job_from_component,
)
from google_cloud_pipeline_components.v1.dataflow import DataflowPythonJobOp
from google_cloud_pipeline_components.v1.endpoint import EndpointCreateOp, ModelDeployOp
from google_cloud_pipeline_components.v1.hyperparameter_tuning_job import HyperparameterTuningJobRunOp
from google_cloud_pipeline_components.v1.model import ModelUploadOp
from google_cloud_pipeline_components.v1.wait_gcp_resources import WaitGcpResourcesOp
from kfp import dsl


@dsl.component(base_image="python:3.10-slim")
def train(epochs: int, model: dsl.Output[dsl.Model]):
    with open(model.path, "w") as target:  # noqa: PTH123
        target.write(str(epochs))


large_train = create_custom_training_job_from_component(
    train,
    display_name="Train on a large machine",
    machine_type="n1-standard-16",
    accelerator_type="NVIDIA_TESLA_T4",
    accelerator_count=2,
    boot_disk_size_gb=300,
)


def pool(machine_type: str, **accelerator: object) -> dict:
    return {
        "machineSpec": {"machineType": machine_type, **accelerator},
        "replicaCount": 1,
        "containerSpec": {
            "imageUri": "us-docker.pkg.dev/vertex-ai/training/pytorch-gpu.2-2.py310:m126",
            "command": ["python3", "-m", "trainer.task"],
            "args": ["--epochs", "3"],
        },
    }


@dsl.pipeline(name="custom-training")
def custom_training(project: str, location: str = "us-central1", base_output_directory: str = "gs://corpus-bucket/out"):
    one = CustomTrainingJobOp(
        project=project,
        location=location,
        display_name="One machine",
        base_output_directory=base_output_directory,
        worker_pool_specs=[pool("n1-standard-8", acceleratorType="NVIDIA_TESLA_T4", acceleratorCount=1)],
    )
    CustomTrainingJobOp(
        display_name="Eight accelerators",
        worker_pool_specs=[pool("a2-highgpu-8g", acceleratorType="NVIDIA_TESLA_A100", acceleratorCount=8)],
        timeout="86400s",
    ).after(one)


@dsl.pipeline(name="upload-and-serve")
def upload_and_serve(project: str, location: str, name: str = "flowers"):
    model = dsl.importer(
        artifact_uri="gs://corpus-bucket/models/flowers",
        artifact_class=artifact_types.UnmanagedContainerModel,
        metadata={
            "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-3:latest"},
        },
    )
    uploaded = ModelUploadOp(
        project=project, location=location, display_name=name, unmanaged_container_model=model.output
    )
    endpoint = EndpointCreateOp(project=project, location=location, display_name=name)
    ModelDeployOp(
        model=uploaded.outputs["model"],
        endpoint=endpoint.outputs["endpoint"],
        dedicated_resources_machine_type="n1-standard-4",
        dedicated_resources_min_replica_count=1,
        dedicated_resources_max_replica_count=2,
        traffic_split={"0": 100},
    )


@dsl.pipeline(name="batch-predict")
def batch_predict(project: str, location: str, source: list = ["gs://corpus-bucket/in/*.jsonl"]):  # noqa: B006
    model = dsl.importer(
        artifact_uri="https://us-central1-aiplatform.googleapis.com/v1/projects/corpus-project/locations/us-central1/models/1",
        artifact_class=artifact_types.VertexModel,
        metadata={"resourceName": "projects/corpus-project/locations/us-central1/models/1"},
    )
    ModelBatchPredictOp(
        project=project,
        location=location,
        job_display_name="predict",
        model=model.output,
        gcs_source_uris=source,
        gcs_destination_output_uri_prefix="gs://corpus-bucket/out/",
        instances_format="jsonl",
        predictions_format="jsonl",
        machine_type="n1-standard-8",
        accelerator_type="NVIDIA_TESLA_T4",
        accelerator_count=1,
        starting_replica_count=1,
        max_replica_count=4,
    )


@dsl.pipeline(name="component-as-job")
def component_as_job(project: str, location: str, epochs: int = 3):
    large_train(project=project, location=location, epochs=epochs)
    train(epochs=epochs)


@dsl.pipeline(name="data-and-tuning")
def data_and_tuning(project: str, location: str, query: str = "SELECT 1 AS x"):
    queried = BigqueryQueryJobOp(
        project=project,
        location="US",
        query=query,
        job_configuration_query={
            "destinationTable": {"projectId": "corpus-project", "datasetId": "made", "tableId": "rows"},
            "writeDisposition": "WRITE_TRUNCATE",
        },
    )
    flow = DataflowPythonJobOp(
        project=project,
        location=location,
        python_module_path="gs://corpus-bucket/code/flow.py",
        temp_location="gs://corpus-bucket/temp",
        requirements_file_path="gs://corpus-bucket/code/requirements.txt",
        args=["--runner", "DataflowRunner"],
    ).after(queried)
    waited = WaitGcpResourcesOp(gcp_resources=flow.outputs["gcp_resources"])
    HyperparameterTuningJobRunOp(
        project=project,
        location=location,
        display_name="tune",
        base_output_directory="gs://corpus-bucket/tuning",
        worker_pool_specs=[pool("g2-standard-12", acceleratorType="NVIDIA_L4", acceleratorCount=1)],
        study_spec_metrics=[{"metricId": "loss", "goal": "MINIMIZE"}],
        study_spec_parameters=[
            {
                "parameterId": "rate",
                "doubleValueSpec": {"minValue": 0.001, "maxValue": 1.0},
                "scaleType": "UNIT_LOG_SCALE",
            }
        ],
        max_trial_count=8,
        parallel_trial_count=2,
    ).after(waited)
