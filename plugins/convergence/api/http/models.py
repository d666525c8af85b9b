"""Base models: requests forbid unknown fields, responses are allow-lists."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
)

# One line of text: names have no control characters.
ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=ONE_LINE),
]


def _convert_integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Strict(), BeforeValidator(_convert_integral)]
"""An integer as in JSON Schema: 3.0 is one, a text or a boolean is not."""

DecimalText = Annotated[
    Decimal,
    PlainSerializer(lambda value: format(value, "f"), return_type=str, when_used="json"),
]
"""Money as decimal text: it is never converted to a float."""


class RequestModel(BaseModel):
    """Base of every request body."""

    model_config = ConfigDict(extra="forbid", str_max_length=65_536)


class ResponseModel(BaseModel):
    """Base of every response."""

    model_config = ConfigDict(extra="forbid")


class OperationResponse(BaseModel):
    """A platform operation: its state, and its result once it has ended."""

    model_config = ConfigDict(extra="allow")

    operation_id: str
    status: str = Field(description="QUEUED, RUNNING, SUCCESS or FAILED.", examples=["SUCCESS"])
    status_url: str
    message: str | None = None
