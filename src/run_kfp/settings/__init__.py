"""Settings: which there are (`rules`), where they come from (`layers`, `env_file`), what was meant (`hints`)."""

from run_kfp.settings.env_file import ENV_FILE, read_env_file
from run_kfp.settings.hints import region_meant
from run_kfp.settings.layers import Layers, Setting, Settings, load_settings
from run_kfp.settings.rules import (
    CREDENTIALS_VARIABLE,
    RULES,
    SECRETS_VARIABLE,
    SUBMISSION_LABEL,
    label_faults,
    pairs,
    seconds,
    wrong_form,
)

__all__ = [
    "CREDENTIALS_VARIABLE",
    "ENV_FILE",
    "RULES",
    "SECRETS_VARIABLE",
    "SUBMISSION_LABEL",
    "Layers",
    "Setting",
    "Settings",
    "label_faults",
    "load_settings",
    "pairs",
    "read_env_file",
    "region_meant",
    "seconds",
    "wrong_form",
]
