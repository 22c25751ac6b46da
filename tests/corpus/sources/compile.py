# mypy: ignore-errors
# (kfp has no annotations)
"""Compile pipelines of a module beside this file: compile.py MODULE FOLDER PREFIX PIPELINE …

Runs with whatever kfp the Python has that it is started with. Descriptions of inputs and outputs are left out: in those
of google-cloud-pipeline-components they are most of the file.
"""

import importlib
import sys
import warnings
from pathlib import Path

import yaml
from kfp import compiler


def main(module: str, folder: str, prefix: str, *wanted: str) -> None:
    warnings.simplefilter("ignore")  # of what later versions call otherwise
    found = importlib.import_module(module)
    for name in wanted:
        target = Path(folder) / f"{prefix}{name.replace('_', '-')}.yaml"
        compiler.Compiler().compile(getattr(found, name), str(target))
        spec = yaml.safe_load(target.read_text())
        if undescribed(spec):
            target.write_text(yaml.safe_dump(spec))


def undescribed(spec: dict) -> bool:
    """Drop the descriptions of the components' inputs and outputs; say whether there were any."""
    definitions = [
        body
        for component in spec["components"].values()
        for side in ("inputDefinitions", "outputDefinitions")
        for kind in component.get(side, {}).values()
        for body in kind.values()
    ]
    dropped = [body.pop("description", None) for body in definitions]
    return any(dropped)


main(*sys.argv[1:])
