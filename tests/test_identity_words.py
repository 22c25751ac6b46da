"""What is said of a run's settings against each other, as tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from run_kfp.findings import Finding
from run_kfp.preflight.offline.identity import check_identity
from specs import context_of_spec, registry, step_spec

HERE = {"project": "my-project", "region": "us-east1", "bucket": "my-data"}
RUNNER = "runner@my-project.iam.gserviceaccount.com"
KEY = {
    "type": "service_account",
    "client_email": RUNNER,
    "token_uri": "x",
    "private_key": "PRIVATE KEY-----",
}


def line(found: Finding, folder: Path | None = None) -> str:
    message = found.message.replace(str(folder), "…")[:90]
    return f"{found.severity.value} {found.code} {found.place}: {message} → {found.hint[:70]}".rstrip()


def of(key: Path | None = None, job_id: str | None = None, home: Path | None = None, **settings: Any) -> list[str]:
    context = context_of_spec(step_spec({}), registry_text=registry(""), job_id=job_id, **{**HERE, **settings})
    context = replace(context, settings=replace(context.settings, credentials_file=key))
    found = check_identity(context, {"HOME": str(home or "/nowhere")})
    return [line(one, key and key.parent) for one in found if one.code != "RK-LOGIN-MISSING" or home is not None]


def of_setting(name: str, values: Iterable[str], **more: Any) -> dict[str, list[str]]:
    return {value: of(**{name: value, **more}) for value in values}


def test_accounts() -> None:
    expected = {
        "runner@my-project.iam.gserviceaccount.com": [],
        "123-compute@developer.gserviceaccount.com": [
            "warning RK-ACCOUNT-DEFAULT --service-account: "
            "123-compute@developer.gserviceaccount.com is the "
            "Compute Engine default account → create one for "
            "pipelines: gcloud iam service-accounts create "
            "pipeline-"
        ],
        "x@gcp-sa-aiplatform.iam.gserviceaccount.com": [
            "error RK-ACCOUNT-FORM --service-account: "
            "x@gcp-sa-aiplatform.iam.gserviceaccount.com is "
            "an account of a Google service → set an account "
            "of your project: gcloud iam service-accounts "
            "list"
        ],
        "x@cloudservices.gserviceaccount.com": [
            "error RK-ACCOUNT-FORM --service-account: "
            "x@cloudservices.gserviceaccount.com is an account of a "
            "Google service → set an account of your project: gcloud "
            "iam service-accounts list"
        ],
        "x@system.gserviceaccount.com": [
            "error RK-ACCOUNT-FORM --service-account: "
            "x@system.gserviceaccount.com is an account of a Google service "
            "→ set an account of your project: gcloud iam service-accounts "
            "list"
        ],
        "my-project@appspot.gserviceaccount.com": [],
        "short@my-project.iam.gserviceaccount.com": [
            "error RK-ACCOUNT-FORM --service-account: 'short' is "
            "not a service account name: 6 to 30 lower-case "
            "letters, digits and dashes, a le → find it: gcloud "
            "iam service-accounts list"
        ],
        "abcdef@my-project.iam.gserviceaccount.com": [],
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@my-project.iam.gserviceaccount.com": [],
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@my-project.iam.gserviceaccount.com": [
            "error RK-ACCOUNT-FORM "
            "--service-account: "
            "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' "
            "is not a service account "
            "name: 6 to 30 lower-case "
            "letter → find it: gcloud "
            "iam service-accounts "
            "list"
        ],
        "Runner-1@my-project.iam.gserviceaccount.com": [
            "error RK-ACCOUNT-FORM --service-account: "
            "'Runner-1' is not a service account name: 6 to "
            "30 lower-case letters, digits and dashes, a → "
            "find it: gcloud iam service-accounts list"
        ],
        "runner@my-projekt.iam.gserviceaccount.com": [
            "warning RK-ACCOUNT-PROJECT --service-account: "
            "runner@my-projekt.iam.gserviceaccount.com is of "
            "project 'my-projekt', and the run is in 'm → did "
            "you mean "
            "runner@my-project.iam.gserviceaccount.com?"
        ],
        "runner@my-porject.iam.gserviceaccount.com": [
            "warning RK-ACCOUNT-PROJECT --service-account: "
            "runner@my-porject.iam.gserviceaccount.com is of "
            "project 'my-porject', and the run is in 'm → did "
            "you mean "
            "runner@my-project.iam.gserviceaccount.com?"
        ],
        "runner@my-project1.iam.gserviceaccount.com": [
            "warning RK-ACCOUNT-PROJECT --service-account: "
            "runner@my-project1.iam.gserviceaccount.com is of "
            "project 'my-project1', and the run is in  → set "
            "an account of my-project: gcloud iam "
            "service-accounts list --proje"
        ],
        "runner@other-project.iam.gserviceaccount.com": [
            "warning RK-ACCOUNT-PROJECT --service-account: "
            "runner@other-project.iam.gserviceaccount.com is "
            "of project 'other-project', and the run is → "
            "set an account of my-project: gcloud iam "
            "service-accounts list --proje"
        ],
        "runner@my-project.example.com.iam.gserviceaccount.com": [
            "warning RK-ACCOUNT-PROJECT "
            "--service-account: "
            "runner@my-project.example.com.iam.gserviceaccount.com "
            "is of project 'example.com:my-projec → "
            "set an account of my-project: gcloud "
            "iam service-accounts list --proje"
        ],
        "your-account@my-project.iam.gserviceaccount.com": [
            "warning RK-SETTING-TEMPLATE "
            "--service-account: service account is "
            "'your-account@my-project.iam.gserviceaccount.com', "
            "and 'your-account' l → set the name there, "
            "or pass --service-account"
        ],
    }
    assert of_setting("service_account", expected) == expected
    assert of(service_account="runner@p.iam.gserviceaccount.com", project="123") == []
    assert (
        of(service_account="runner@my-project.example.com.iam.gserviceaccount.com", project="example.com:my-project")
        == []
    )
    assert of(service_account="runner@my-porject.iam.gserviceaccount.com", project="example.com:my-project") == [
        "warning RK-ACCOUNT-PROJECT --service-account: runner@my-porject.iam.gserviceaccount.com is of "
        "project 'my-porject', and the run is in 'e → set an account of example.com:my-project: gcloud "
        "iam service-accounts"
    ]


def test_buckets() -> None:
    texts = (
        "my-data",
        "a" * 63,
        "a" * 64,
        f"{'a' * 63}.b",
        f"{'a' * 64}.b",
        "a..b",
        "a-.b",
        "a.-b",
        "1.2.3.4",
        "1.2.3.4.5",
        "goog-x",
        "my-google",
        "google",
        "your-bucket",
        "bucket-name",
        "your-gcp-bucket-name",
        "my-dat",
        "my-daat",
    )
    assert of_setting("bucket", texts) == {
        "my-data": [],
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": [],
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": [
            "error RK-BUCKET-NAME "
            "--bucket: "
            "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' "
            "has 64 characters; a bu → "
            "find it: gcloud storage "
            "buckets list"
        ],
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b": [],
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b": [
            "error RK-BUCKET-NAME "
            "--bucket: "
            "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b' "
            "has a part between do → "
            "find it: gcloud storage "
            "buckets list"
        ],
        "a..b": [],
        "a-.b": [
            "error RK-BUCKET-NAME --bucket: 'a-.b' has a dash beside a dot → find it: gcloud storage buckets list"
        ],
        "a.-b": [
            "error RK-BUCKET-NAME --bucket: 'a.-b' has a dash beside a dot → find it: gcloud storage buckets list"
        ],
        "1.2.3.4": [
            "error RK-BUCKET-NAME --bucket: '1.2.3.4' looks like an IP address → find it: gcloud storage buckets list"
        ],
        "1.2.3.4.5": [],
        "goog-x": [
            "error RK-BUCKET-NAME --bucket: 'goog-x' starts with goog or contains google, which "
            "Google reserves → find it: gcloud storage buckets list"
        ],
        "my-google": [
            "error RK-BUCKET-NAME --bucket: 'my-google' starts with goog or contains google, "
            "which Google reserves → find it: gcloud storage buckets list"
        ],
        "google": [
            "error RK-BUCKET-NAME --bucket: 'google' starts with goog or contains google, which "
            "Google reserves → find it: gcloud storage buckets list"
        ],
        "your-bucket": [
            "warning RK-SETTING-TEMPLATE --bucket: bucket is 'your-bucket', and 'your-bucket' "
            "looks like a placeholder → set the name there, or pass --bucket"
        ],
        "bucket-name": [
            "warning RK-SETTING-TEMPLATE --bucket: bucket is 'bucket-name', and 'bucket-name' "
            "looks like a placeholder → set the name there, or pass --bucket"
        ],
        "your-gcp-bucket-name": [
            "warning RK-SETTING-TEMPLATE --bucket: bucket is 'your-gcp-bucket-name', "
            "and 'your-gcp-bucket-name' looks like a placeholder → set the name "
            "there, or pass --bucket"
        ],
        "my-dat": [],
        "my-daat": [],
    }
    roots = (
        "gs://my-data/x",
        "gs://my-dta/x",
        "gs://my-adta",
        "gs://my-data2/x",
        "gs://other/x",
        "gs://a..b/x",
        "gs://my-data/your-project",
    )
    assert of_setting("pipeline_root", roots) == {
        "gs://my-data/x": [],
        "gs://my-dta/x": [
            "note RK-BUCKET-TWO --pipeline-root: the pipeline root is in 'my-dta' and the "
            "bucket is 'my-data' → to use one bucket: gs://my-data/x"
        ],
        "gs://my-adta": [
            "note RK-BUCKET-TWO --pipeline-root: the pipeline root is in 'my-adta' and the "
            "bucket is 'my-data' → to use one bucket: gs://my-data"
        ],
        "gs://my-data2/x": [],
        "gs://other/x": [],
        "gs://a..b/x": [],
        "gs://my-data/your-project": [
            "warning RK-SETTING-TEMPLATE --pipeline-root: pipeline root is "
            "'gs://my-data/your-project', and 'your-project' looks like a "
            "placeholder → set the name there, or pass --pipeline-root"
        ],
    }


def test_places_and_hosts() -> None:
    keys = ("projects/p/locations/us-east1/keyRings/r/cryptoKeys/k", "projects/p/locations/us/keyRings/r/cryptoKeys/k")
    assert of_setting("encryption_key", keys) == {
        "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k": [],
        "projects/p/locations/us/keyRings/r/cryptoKeys/k": [
            "error RK-KMS-REGION --encryption-key: the "
            "key is in us, the run is in us-east1 → set a "
            "key of us-east1: gcloud kms keys list "
            "--location=us-east1 --keyr"
        ],
    }
    hosts = (
        "us-east1-aiplatform.googleapis.com",
        "us-west1-aiplatform.googleapis.com:443",
        "us-east1-aiplatfrom.googleapis.com",
        "us-east1-aiplatform.googleapi.com",
        "aiplatform.googleapis.com",
        "us-east1-compute.googleapis.com",
        "example.com",
        "localhost",
    )
    assert of_setting("api_endpoint", hosts) == {
        "us-east1-aiplatform.googleapis.com": [],
        "us-west1-aiplatform.googleapis.com:443": [
            "error RK-ENDPOINT-REGION --api-endpoint: "
            "us-west1-aiplatform.googleapis.com:443 serves "
            "us-west1; the run is in us-east1 → remove it, or set "
            "us-east1-aiplatform.googleapis.com"
        ],
        "us-east1-aiplatfrom.googleapis.com": [
            "warning RK-ENDPOINT-HOST --api-endpoint: "
            "us-east1-aiplatfrom.googleapis.com is not a Vertex AI "
            "host → did you mean "
            "'us-east1-aiplatform.googleapis.com'?"
        ],
        "us-east1-aiplatform.googleapi.com": [
            "warning RK-ENDPOINT-HOST --api-endpoint: "
            "us-east1-aiplatform.googleapi.com is not a Vertex AI host "
            "→ did you mean 'us-east1-aiplatform.googleapis.com'?"
        ],
        "aiplatform.googleapis.com": [],
        "us-east1-compute.googleapis.com": [],
        "example.com": [],
        "localhost": [],
    }
    networks = (
        "projects/12/global/networks/n",
        "projects/my-project/global/networks/n",
        "projects/my-project/global/networks/your-network",
    )
    assert of_setting("network", networks) == {
        "projects/12/global/networks/n": [],
        "projects/my-project/global/networks/n": [
            "warning RK-NETWORK-NUMBER --network: the network is "
            "named by the id 'my-project'; Vertex AI takes the "
            "project's number → gcloud projects describe my-project "
            "--format='value(projectNumber)'"
        ],
        "projects/my-project/global/networks/your-network": [
            "warning RK-SETTING-TEMPLATE --network: "
            "network is "
            "'projects/my-project/global/networks/your-network', "
            "and 'your-network' looks li → set the name "
            "there, or pass --network",
            "warning RK-NETWORK-NUMBER --network: the "
            "network is named by the id 'my-project'; "
            "Vertex AI takes the project's number → "
            "gcloud projects describe my-project "
            "--format='value(projectNumber)'",
        ],
    }
    assert of(job_id="my-run-1") == [
        "note RK-JOB-ID-FIXED --job-id: the id 'my-run-1' works for one submission → remove it to get a "
        "new id each time"
    ]
    assert of(project="your-project-id", region="us-east1") == [
        "warning RK-SETTING-TEMPLATE --project: project is 'your-project-id', and 'your-project-id' looks "
        "like a placeholder → set the name there, or pass --project"
    ]


def test_logins(tmp_path: Path) -> None:
    def key(content: Any) -> list[str]:
        file = tmp_path / "key.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return of(file)

    assert key(KEY) == []
    assert key({"type": "authorized_user"}) == []
    assert key({**KEY, "project_id": "my-project"}) == []
    assert key({**KEY, "project_id": "other"}) == [
        "note RK-LOGIN-PROJECT GOOGLE_APPLICATION_CREDENTIALS: the key is of project 'other', and the run "
        "is in 'my-project' → use a key of that project, or grant the account its roles there"
    ]
    assert key({**KEY, "private_key": "x"}) == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names '…/key.json', a service account key "
        "whose private_key is none → run `gcloud auth application-default login`, or set "
        "GOOGLE_APPLICATION"
    ]
    assert key({"type": "service_account", "token_uri": 1}) == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names '…/key.json', a service account key "
        "without client_email, private_key, token_uri → run `gcloud auth application-default login`, or set "
        "GOOGLE_APPLICATION"
    ]
    assert key({"type": 1}) == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names '…/key.json', which is JSON but not a "
        "key: it has no type → run `gcloud auth application-default login`, or set GOOGLE_APPLICATION"
    ]
    assert key([]) == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names '…/key.json', which is JSON but not a "
        "key: it has no type → run `gcloud auth application-default login`, or set GOOGLE_APPLICATION"
    ]
    assert key("{no") == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names '…/key.json', which is not JSON → run "
        "`gcloud auth application-default login`, or set GOOGLE_APPLICATION"
    ]
    assert of(tmp_path / "none.json") == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names '…/none.json', which does not exist → "
        "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION"
    ]
    assert of(tmp_path) == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names a text that is not the path of a key "
        "file, which does not exist → run `gcloud auth application-default login`, or set "
        "GOOGLE_APPLICATION"
    ]
    assert of(Path('{"type"')) == [
        "error RK-LOGIN-FILE GOOGLE_APPLICATION_CREDENTIALS: names a text that is not the path of a key "
        "file, which does not exist → run `gcloud auth application-default login`, or set "
        "GOOGLE_APPLICATION"
    ]
    assert of(home=tmp_path) == [
        "note RK-LOGIN-MISSING GOOGLE_APPLICATION_CREDENTIALS: no Google login found on this machine → "
        "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION"
    ]
    (tmp_path / ".config/gcloud").mkdir(parents=True)
    (tmp_path / ".config/gcloud/application_default_credentials.json").touch()
    assert of(home=tmp_path) == []
