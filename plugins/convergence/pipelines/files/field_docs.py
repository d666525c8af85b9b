"""Take the descriptions of model fields from the docstrings below them.

Pydantic can do this when a class is created (`use_attribute_docstrings`), but then every process
that imports the model reads and parses its source. In a task that was a third of the CPU time.
Only the JSON Schema shows the descriptions, so only the command that writes it reads them.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from convergence.pipelines.files.messages import list_keys

if TYPE_CHECKING:
    from pydantic_core import core_schema


class DescribedJsonSchema(GenerateJsonSchema):
    """Pydantic's generator of JSON Schema, with each field's docstring as its description."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the JSON Schema of a model."""
        described = super().model_schema(schema)
        properties = described.get("properties", {})
        for name, text in field_descriptions(schema["cls"]).items():
            key = list_keys(name, schema["cls"].model_fields[name])[0]
            if not self._is_repeated(properties[key], text):
                properties[key].setdefault("description", text)
        return described

    def _is_repeated(self, property_: JsonSchemaValue, text: str) -> bool:
        """Return whether the model that a field refers to has the same description."""
        if "$ref" not in property_:
            return False
        referenced = self.get_schema_from_definitions(property_["$ref"])
        return referenced is not None and referenced.get("description") == text


def field_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields by name, inherited fields included."""
    found = {name: _read_declaring_class(model, name).get(name) for name in model.model_fields}
    return {name: text for name, text in found.items() if text is not None}


def _read_declaring_class(model: type[BaseModel], name: str) -> dict[str, str]:
    """Return the docstrings of the class that declares the field: the first one in the MRO."""
    for base in model.__mro__:
        if name in vars(base).get("__annotations__", {}):
            return _read_docstrings(base)
    return {}


@cache
def _read_docstrings(model: type) -> dict[str, str]:
    module = ast.parse(textwrap.dedent(inspect.getsource(model)))
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    body = [node for found_class in classes for node in found_class.body]
    found: dict[str, str] = {}
    for field, below in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(below.value.value)
    return found
