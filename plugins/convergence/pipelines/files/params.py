"""A param of a pipeline: the part of JSON Schema that a form can show, typed strictly."""

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
    """What the items of an array are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Kind
    """Type of every item."""

    enum: tuple[Simple, ...] | None = Field(default=None, min_length=1)
    """The accepted items."""

    pattern: str | None = Field(default=None, max_length=200)
    """Regular expression that each text item matches."""


class ParamSpec(BaseModel):
    """One param. It is optional unless `required: true`; without a default it is then not given."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Kind
    """JSON type."""

    title: str | None = Field(default=None, max_length=100)
    """Label in the trigger form."""

    description: str | None = Field(default=None, max_length=1000)
    """Help in the trigger form."""

    required: bool = False
    """Whether a run must be given it; not in a scheduled pipeline, where nobody gives it."""

    default: JsonValue = None
    """Value of a run that is not given one."""

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
    """What an array holds."""

    minItems: int | None = Field(default=None, ge=0)  # noqa: N815  # JSON Schema's own name
    """Fewest items."""

    maxItems: int | None = Field(default=None, ge=0)  # noqa: N815  # JSON Schema's own name
    """Most items."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, kinds in _ONLY_FOR.items():
            if getattr(self, name) is not None and self.type not in kinds:
                raise _fault(f"{name} is only for {' and '.join(kinds)}")
        if self.required and self.default is not None:
            raise _fault("a required param has no default")
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
        for fault in validator.iter_errors(self.default):
            raise _fault(f"its default is not valid: {fault.message}")

    def json_schema(self) -> dict[str, Any]:
        """The param as plain JSON Schema."""
        return self.model_dump(
            mode="json", exclude_unset=True, exclude_none=True, exclude={"required"}
        )


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise _fault(f"its pattern is no regular expression: {error}") from None


def _fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("param", "{why}", {"why": message})
