"""The JSON Schema of a registry file, for editors: made from the models, and shipped as a file.

Draft 7, because the language servers for TOML know it (taplo in VS Code and Neovim, JetBrains' own). A schema cannot
know everything that the reader knows: names that are declared elsewhere, values that come later.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

SCHEMA_FILE = "run-kfp.schema.json"


def packaged_schema_text() -> str:
    """Return the schema as the package ships it: JSON, the text that `run-kfp schema` prints."""
    return (resources.files("run_kfp") / SCHEMA_FILE).read_text(encoding="utf-8")


def schema_text() -> str:
    """Return the schema made from the models: what the shipped file must hold."""
    return json.dumps(registry_schema(), indent=2, ensure_ascii=False) + "\n"


def registry_schema() -> dict[str, Any]:
    """Return the schema of a registry file, made from the models, with the forms of `settings.RULES`."""
    from pydantic.json_schema import GenerateJsonSchema

    from run_kfp.registry import RegistryFile, SettingsSection
    from run_kfp.settings import RULES

    class Generate(GenerateJsonSchema):
        """Leaves out what TOML does not have (null), and titles that only repeat a key."""

        schema_dialect = "http://json-schema.org/draft-07/schema#"

        def nullable_schema(self, schema: Any) -> Any:
            return self.generate_inner(schema["schema"])

        def default_schema(self, schema: Any) -> Any:
            made = self.generate_inner(schema["schema"])
            default = schema.get("default")
            told = isinstance(default, bool) or (isinstance(default, str) and default != "")
            return {**made, "default": default} if told else made

        def dict_schema(self, schema: Any) -> Any:
            made = super().dict_schema(schema)
            return {**made, "additionalProperties": False} if "patternProperties" in made else made

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    schema = RegistryFile.model_json_schema(schema_generator=Generate, ref_template="#/definitions/{model}")
    definitions = schema.pop("$defs")
    settings = definitions[SettingsSection.__name__]["properties"]
    for name, rule in RULES.items():
        settings[name] |= {"pattern": f"^({rule.pattern})$", "description": f"As `{rule.flag}`: {rule.allowed}."}
    for definition in definitions.values():
        del definition["title"]
    head = {"$schema": Generate.schema_dialect, "title": "A registry of run-kfp (run-kfp.toml)"}
    return {**head, **{key: value for key, value in schema.items() if key != "title"}, "definitions": definitions}
