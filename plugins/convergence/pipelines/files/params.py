"""Models of a pipeline's params: the subset of JSON Schema that a form can show."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

Kind = Literal["string", "integer", "number", "boolean", "array", "object"]
Format = Literal["date", "date-time", "time", "email", "multiline", "uri"]
Simple = str | int | float | bool | None

_ONLY_FOR: dict[str, tuple[Kind, ...]] = {
    "format": ("string",),
    "pattern": ("string",),
    "minLength": ("string",),
    "maxLength": ("string",),
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
    "items": ("array",),
    "minItems": ("array",),
    "maxItems": ("array",),
}


class ItemSpec(BaseModel):
    """The schema of the items of an array."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Kind
    """Type of every item."""

    enum: tuple[Simple, ...] | None = Field(default=None, min_length=1)
    """The accepted items."""

    pattern: str | None = Field(default=None, max_length=200)
    """Regular expression that each text item matches."""


class ParamSpec(BaseModel):
    """One param. It is optional unless `required: true`; an optional one may have no value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Kind
    """JSON type."""

    title: str | None = Field(default=None, max_length=100)
    """Label in the trigger form."""

    description: str | None = Field(default=None, max_length=1000)
    """Help in the trigger form."""

    required: bool = False
    """Whether a run needs a value; not allowed in a scheduled pipeline, whose runs get none."""

    default: JsonValue = None
    """Value of a run that has none of its own."""

    enum: tuple[Simple, ...] | None = Field(default=None, min_length=1)
    """The accepted values."""

    examples: tuple[Simple, ...] | None = None
    """Values that the trigger form proposes."""

    format: Format | None = None
    """Kind of text."""

    pattern: str | None = Field(default=None, max_length=200)
    """Regular expression that the text matches."""

    minLength: int | None = Field(default=None, ge=0)  # noqa: N815  # JSON Schema's own name
    """Fewest characters."""

    maxLength: int | None = Field(default=None, ge=0)  # noqa: N815  # JSON Schema's own name
    """Most characters."""

    minimum: int | float | None = None
    """Smallest number."""

    maximum: int | float | None = None
    """Largest number."""

    items: ItemSpec | None = None
    """Type of the items of an array."""

    minItems: int | None = Field(default=None, ge=0)  # noqa: N815  # JSON Schema's own name
    """Fewest items."""

    maxItems: int | None = Field(default=None, ge=0)  # noqa: N815  # JSON Schema's own name
    """Most items."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, kinds in _ONLY_FOR.items():
            if getattr(self, name) is not None and self.type not in kinds:
                raise _build_error(f"{name} is allowed for {' and '.join(kinds)} only")
        if self.required and self.default is not None:
            raise _build_error("a required param can't have a default")
        for pattern in (self.pattern, self.items.pattern if self.items else None):
            _check_pattern(pattern)
        if self.default is not None:
            self._check_default()
        return self

    def _check_default(self) -> None:
        from jsonschema import Draft202012Validator

        validator = Draft202012Validator(
            self.json_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        for error in validator.iter_errors(self.default):
            raise _build_error(f"its default is not valid: {error.message}")

    def json_schema(self) -> dict[str, Any]:
        """Return the param as plain JSON Schema."""
        return self.model_dump(
            mode="json", exclude_unset=True, exclude_none=True, exclude={"required"}
        )


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise _build_error(f"its pattern is not a regular expression: {error}") from None


def _build_error(message: str) -> PydanticCustomError:
    return PydanticCustomError("param", "{why}", {"why": message})
