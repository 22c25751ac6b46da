"""The registry file: its reader, and what a faulty one was meant to say (`hints`)."""

from run_kfp.registry_file.reader import (
    PACKAGED,
    REGISTRY_FILE,
    REGISTRY_VARIABLE,
    load_registry,
    packaged_registry_text,
    parse_registry,
    read_registry,
)

__all__ = [
    "PACKAGED",
    "REGISTRY_FILE",
    "REGISTRY_VARIABLE",
    "load_registry",
    "packaged_registry_text",
    "parse_registry",
    "read_registry",
]
