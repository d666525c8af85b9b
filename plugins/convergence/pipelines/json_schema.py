"""Write the JSON Schema of a pipeline file: `python -m convergence.pipelines.json_schema`.

The schema is generated from the models, including the `config` of each processor, and committed
for editors. `--check` exits 1 if the committed copy is not current.
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


def build_schema() -> dict[str, Any]:
    """Build the schema, in which the processor of a step decides the schema of its `config`."""
    processors = {name: registry.find_config(name) for name in registry.list_ps_types()}
    models: list[type[BaseModel]] = [PipelineSpec, *processors.values()]
    by_model, schema = models_json_schema(
        [(model, _MODE) for model in models], schema_generator=DescribedJsonSchema
    )
    definitions: dict[str, Any] = schema["$defs"]
    _describe_step(
        definitions["StepSpec"],
        {name: by_model[model, _MODE] for name, model in processors.items()},
    )
    root: dict[str, Any] = definitions.pop(_definition_name(by_model[PipelineSpec, _MODE]))
    head = {"$schema": _DIALECT, "title": "Convergence pipeline"}
    return {**root, **head, "$defs": definitions}


def render_schema() -> str:
    """Return the text of the committed file."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schema, or compare it with the committed copy and return 1 if they differ."""
    parser = argparse.ArgumentParser(prog="json_schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; write nothing")
    parser.add_argument("--path", type=Path, default=COMMITTED)
    options = parser.parse_args(arguments)
    path: Path = options.path
    current = render_schema()
    if not options.check:
        path.write_text(current, encoding="utf-8")
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == current:
        return 0
    sys.stderr.write(f"{path} is not current: run `make schema`\n")
    return 1


def _describe_step(step: dict[str, Any], configs: dict[str, dict[str, Any]]) -> None:
    """Add what the model lacks: either of two keys, the known processors, each one's config."""
    names: dict[str, Any] = {"enum": sorted(configs)} if configs else {"type": "string"}
    processor = step["properties"]["processor"] | names
    step["properties"]["processor"] = processor
    step["properties"]["ps_type"] = names | {"description": "The same as `processor`."}
    step["properties"]["step"]["pattern"] = f"^({'|'.join(STEP_VERBS)})_[a-z0-9_]+$"
    step["required"] = [name for name in step["required"] if name != "processor"]
    step["oneOf"] = [{"required": ["processor"]}, {"required": ["ps_type"]}]
    step["allOf"] = [
        {
            "if": {"anyOf": [_require_value(key, name) for key in ("processor", "ps_type")]},
            "then": {"properties": {"config": reference}},
        }
        for name, reference in sorted(configs.items())
    ]


def _definition_name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _require_value(key: str, name: str) -> dict[str, Any]:
    return {"properties": {key: {"const": name}}, "required": [key]}


if __name__ == "__main__":
    sys.exit(main())
