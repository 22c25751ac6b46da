"""Four imports of libraries without the parts that are not needed and take most of the time.

All lean on how the libraries are built inside. So nothing depends on it: where anything is not as expected, they are
imported whole, and the rest of the program cannot tell the difference but by the clock.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any


def import_kfp(*, whole: bool) -> Any:
    """Import kfp's dsl and compiler, where it can be without `kfp.client`: that takes over half of the time.

    kfp 2.17 leaves it out when `_KFP_RUNTIME` is "true" while `kfp` itself is imported (kfp/__init__.py; it is what kfp
    sets in the containers of its own components).

    Args:
        whole: import everything, for code of the user that may look for it.
    """
    if not whole and "kfp" not in sys.modules:
        with _kfp_runtime("true"):
            importlib.import_module("kfp")
    # Unset, whatever the environment says: in a container of kfp it is set, and `kfp.dsl` would be empty.
    with _kfp_runtime(None):
        try:
            return _whole_kfp()
        except (ImportError, AttributeError):
            for name in [name for name in sys.modules if name == "kfp" or name.startswith("kfp.")]:
                del sys.modules[name]
            return _whole_kfp()


@contextlib.contextmanager
def _kfp_runtime(value: str | None) -> Iterator[None]:
    """Set the switch, or unset it, for the time of an import."""
    before = os.environ.pop("_KFP_RUNTIME", None)
    if value is not None:
        os.environ["_KFP_RUNTIME"] = value
    try:
        yield
    finally:
        os.environ.pop("_KFP_RUNTIME", None)
        if before is not None:
            os.environ["_KFP_RUNTIME"] = before


def _whole_kfp() -> Any:
    kfp = importlib.import_module("kfp")
    for name, needed in (("dsl", ("pipeline", "container_component", "ContainerSpec")), ("compiler", ("Compiler",))):
        module = importlib.import_module(f"kfp.{name}")
        for attribute in needed:
            getattr(module, attribute)
    return kfp


def import_pipeline_messages() -> Any:
    """Import the descriptors of KFP's pipeline_spec.proto without `kfp` itself, whose `__init__` takes two seconds.

    The module is loaded under a name of its own, and `kfp` may be imported before or after: protobuf takes the same
    file twice.

    Returns:
        The file's descriptor: `message_types_by_name`, `pool`.
    """
    name = "kfp.pipeline_spec.pipeline_spec_pb2"
    if name not in sys.modules:
        found = PathFinder.find_spec("kfp")
        folders = found.submodule_search_locations if found is not None else None
        package = PathFinder.find_spec("pipeline_spec", list(folders or ()))
        spec = (
            PathFinder.find_spec("pipeline_spec_pb2", list(package.submodule_search_locations or ()))
            if package
            else None
        )
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.DESCRIPTOR
    return importlib.import_module(name).DESCRIPTOR


_AIPLATFORM = "google.cloud.aiplatform_v1"


def import_pipeline_service() -> Any:
    """Import Vertex AI's PipelineService: of aiplatform_v1 only that service and its messages, a quarter of the time.

    The `__init__` modules of `aiplatform_v1`, its `types` and its `services` import all sixty services. While the one
    service is imported, empty modules with the same search path stand in their place; afterwards they are taken away,
    so that whoever imports the package later gets it whole, with the very same classes.

    Returns:
        A namespace with PipelineServiceClient, PipelineJob, PipelineFailurePolicy and EncryptionSpec.
    """
    if _AIPLATFORM not in sys.modules:
        with contextlib.suppress(Exception):  # whatever it is, the whole package is imported instead
            return _pipeline_service_alone()
        # What was imported of it stays: protobuf does not let a message be declared twice in one process.
    module = importlib.import_module(_AIPLATFORM)
    return types.SimpleNamespace(**{name: getattr(module, name) for name in _PIPELINE_SERVICE.values()})


_PIPELINE_SERVICE = {
    "services.pipeline_service": "PipelineServiceClient",
    "types.pipeline_job": "PipelineJob",
    "types.pipeline_failure_policy": "PipelineFailurePolicy",
    "types.encryption_spec": "EncryptionSpec",
}


def _pipeline_service_alone() -> Any:
    packages = [_AIPLATFORM, f"{_AIPLATFORM}.types", f"{_AIPLATFORM}.services"]
    try:
        for name in packages:
            parent = importlib.import_module(name.rpartition(".")[0])
            spec = PathFinder.find_spec(name, parent.__path__)
            if spec is None or spec.submodule_search_locations is None:
                raise ImportError(f"{name} is not a package")
            empty = types.ModuleType(name)
            empty.__path__ = list(spec.submodule_search_locations)
            empty.__spec__ = spec
            sys.modules[name] = empty
        found = {
            attribute: getattr(importlib.import_module(f"{_AIPLATFORM}.{module}"), attribute)
            for module, attribute in _PIPELINE_SERVICE.items()
        }
    finally:
        for name in packages:
            sys.modules.pop(name, None)
    return types.SimpleNamespace(**found)


# What typer.rich_utils (0.29) imports, and uses only for texts in Markdown and for its own tracebacks.
_NOT_FOR_HELP = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


def import_help_screens() -> None:
    """Import Typer's help screens without Rich's Markdown and tracebacks: a tenth of the time of a `--help`.

    While they are imported, a module with an empty class stands in for each; afterwards these are taken away, so that
    whoever imports them later gets the real ones.
    """
    if "typer.rich_utils" in sys.modules:
        return
    stand_ins = [name for name in _NOT_FOR_HELP if name not in sys.modules]
    try:
        for name in stand_ins:
            sys.modules[name] = types.ModuleType(name)
            setattr(sys.modules[name], _NOT_FOR_HELP[name], type(_NOT_FOR_HELP[name], (), {}))
        importlib.import_module("typer.rich_utils")
    except Exception:  # noqa: BLE001 - whatever it is, Typer imports it whole by itself
        sys.modules.pop("typer.rich_utils", None)
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)
