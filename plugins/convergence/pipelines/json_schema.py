"""Write the JSON Schema of a pipeline file: `python -m convergence.pipelines.json_schema`.

It is generated from the models, each processor's own `config` included, and committed for
editors. `--check` exits 1 when the committed copy is not current.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from convergence.pipelines.files.field_docs import DescribedJsonSchema
from convergence.pipelines.files.spec import STEP_VERBS, PipelineSpec
from convergence.processors import registry
from convergence.settings import PROJECT_ROOT

COMMITTED = PROJECT_ROOT / "include" / "configs" / "pipeline.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODE: Literal["validation"] = "validation"


def build() -> dict[str, Any]:
    """The schema, with `config` checked by the step's processor."""
    processors = {name: registry.find_config(name) for name in registry.available()}
    models: list[type[BaseModel]] = [PipelineSpec, *processors.values()]
    by_model, schema = models_json_schema(
        [(model, _MODE) for model in models], schema_generator=DescribedJsonSchema
    )
    definitions: dict[str, Any] = schema["$defs"]
    _describe_step(
        definitions["StepSpec"],
        {name: by_model[model, _MODE] for name, model in processors.items()},
    )
    root: dict[str, Any] = definitions.pop(_name(by_model[PipelineSpec, _MODE]))
    head = {"$schema": _DIALECT, "title": "Convergence pipeline"}
    return {**root, **head, "$defs": definitions}


def text() -> str:
    """The schema as it is committed."""
    return json.dumps(build(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schema, or compare it with the committed copy."""
    parser = argparse.ArgumentParser(prog="json_schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--path", type=Path, default=COMMITTED)
    options = parser.parse_args(arguments)
    path: Path = options.path
    current = text()
    if not options.check:
        path.write_text(current, encoding="utf-8")
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == current:
        return 0
    sys.stderr.write(f"{path} is not current: run `make schema`\n")
    return 1


def _describe_step(step: dict[str, Any], configs: dict[str, dict[str, Any]]) -> None:
    """Say what the model alone does not: either key, known processors, each one's config."""
    names: dict[str, Any] = {"enum": sorted(configs)} if configs else {"type": "string"}
    processor = step["properties"]["processor"] | names
    step["properties"]["processor"] = processor
    step["properties"]["ps_type"] = names | {"description": "The same as `processor`."}
    step["properties"]["step"]["pattern"] = f"^({'|'.join(STEP_VERBS)})_[a-z0-9_]+$"
    step["required"] = [name for name in step["required"] if name != "processor"]
    step["oneOf"] = [{"required": ["processor"]}, {"required": ["ps_type"]}]
    step["allOf"] = [
        {
            "if": {"anyOf": [_is(key, name) for key in ("processor", "ps_type")]},
            "then": {"properties": {"config": reference}},
        }
        for name, reference in sorted(configs.items())
    ]


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _is(key: str, name: str) -> dict[str, Any]:
    return {"properties": {key: {"const": name}}, "required": [key]}


if __name__ == "__main__":
    sys.exit(main())
