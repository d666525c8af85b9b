"""Where the descriptions of the JSON Schema come from, and that nothing else pays for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import AliasChoices, BaseModel, Field
from pydantic.json_schema import models_json_schema

from convergence.pipelines.files.field_docs import DescribedJsonSchema, field_descriptions
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors import registry


class Part(BaseModel):
    """A part."""

    size: int = Field(default=1, description="Said in place.")
    """Not shown: the field describes itself."""


class Base(BaseModel):
    kept: int
    """The base's text."""

    replaced: int
    """The base's other text."""


class Child(Base):
    replaced: int = 2

    named: str = Field(validation_alias=AliasChoices("first", "second"))
    """Known by
    another key."""

    part: Part
    """A part."""

    other: Part | None = None
    """Another part."""


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    _, schema = models_json_schema([(model, "validation")], schema_generator=DescribedJsonSchema)
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def test_each_field_has_the_docstring_below_it() -> None:
    properties = schema_of(Child)["Child"]["properties"]
    assert properties["kept"]["description"] == "The base's text."
    assert properties["first"]["description"] == "Known by\nanother key."
    assert properties["other"]["description"] == "Another part."
    # Declared again without a text: the base's is about another declaration.
    assert "description" not in properties["replaced"]


def test_a_field_says_nothing_that_its_model_says_already() -> None:
    definitions = schema_of(Child)
    assert definitions["Child"]["properties"]["part"] == {"$ref": "#/$defs/Part"}
    assert definitions["Part"]["properties"]["size"]["description"] == "Said in place."


def test_only_fields_with_a_docstring_are_described() -> None:
    assert set(field_descriptions(Child)) == {"kept", "named", "part", "other"}


def test_no_model_reads_its_source_when_it_is_imported() -> None:
    for name in registry.list_ps_types():
        registry.find_config(name)
    found = {one for one in _subclasses(BaseModel) if one.__module__.startswith("convergence.")}
    assert PipelineSpec in found
    assert [one for one in found if one.model_config.get("use_attribute_docstrings")] == []


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _subclasses(one)
