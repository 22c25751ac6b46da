"""The main job's example values: settings, parameters and canaries in the place of secrets."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

MAIN = ("-r", "1", "-r", "2", "-r", "3", "-r", "4", "-t", "dataset_v22")

RUNNER = "runner@test-project.iam.gserviceaccount.com"
SETTINGS: Mapping[str, str] = {
    "GCP_PROJECT": "test-project",
    "GCP_REGION": "us-east1",
    "GCS_BUCKET_NAME": "test-bucket",
    "GCS_SERVICE_ACCOUNT": RUNNER,
    "WHYLABS_DEFAULT_ORG_ID": "org-1",
    "WHYLABS_DEFAULT_DATASET_ID": "model-7",
}


def canary(kind: str) -> str:
    """Return a value that stands nowhere else: it only turns up where it was carried to."""
    return f"canary{kind}{secrets.token_hex(16)}"


@dataclass(frozen=True)
class Canaries:
    """A value for each secret of the packaged registry."""

    wandb: str = field(default_factory=lambda: canary("wandb"))
    whylabs: str = field(default_factory=lambda: canary("whylabs"))
    token: str = field(default_factory=lambda: canary("token"))

    @property
    def git_login(self) -> str:
        """The login that holds the token."""
        return f"https://somebody:{self.token}"

    @property
    def variables(self) -> dict[str, str]:
        """The secrets as environment variables."""
        return {"WANDB_API_KEY": self.wandb, "WHYLABS_API_KEY": self.whylabs, "GIT_LOGIN": self.git_login}

    @property
    def files(self) -> dict[str, str]:
        """The secrets as files of a secrets folder."""
        return {
            "wandb.txt": self.wandb + "\n",
            "whylabs.txt": self.whylabs + "\r\n",
            "git.env": f"GIT_LOGIN={self.git_login}\n",
        }

    @property
    def parameter_values(self) -> dict[str, str]:
        """The parameters that carry them in a run."""
        return {"wandb_api_key": self.wandb, "whylabs_api_key": self.whylabs, "git_login": self.git_login}

    @property
    def values(self) -> tuple[str, ...]:
        """What must be found nowhere; the token stands in the login."""
        return (self.wandb, self.whylabs, self.token)
