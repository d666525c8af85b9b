"""Dimensions of cost: what rows are grouped by, and what they are filtered by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from convergence.api.http.problems import FieldError, InvalidFieldsError, build_field_error

TAG_PREFIX = "tag:"
MAX_TAG_CHARS = 128
MAX_FILTERS = 50
# A tag's name is part of a JSON path, in double quotes.
_TAG_NAME = re.compile(rf'[^"\\\x00-\x1f\x7f]{{1,{MAX_TAG_CHARS}}}')


class Dimension(StrEnum):
    """Dimensions that every row has; each is a column of the query's `lines`."""

    DAY = "day"
    BILLING_MONTH = "billing_month"
    PROVIDER = "provider"
    STREAM = "stream"
    SERVICE = "service"
    CHARGE_CATEGORY = "charge_category"
    MODEL = "model"
    SKU = "sku"
    METER = "meter"
    PROJECT = "project"
    API_KEY = "api_key"
    USER = "user"
    REGION = "region"
    ATTRIBUTION = "attribution"


_NAMES = frozenset(each.value for each in Dimension)
ACCEPTED = (*(each.value for each in Dimension), f"{TAG_PREFIX}NAME")
"""The dimensions as messages and the documentation list them."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Accepted values of one dimension; an empty text stands for rows without a value.

    Attributes:
        dimension: a name of `Dimension`, or `tag:` and the name of a tag.
        values: what is accepted, at least one.
    """

    dimension: str
    values: tuple[str, ...]


def parse_groupings(text: str) -> tuple[str, ...]:
    """Return the dimensions of a list that is separated by commas, each once.

    Raises:
        InvalidFieldsError: a name is no dimension.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    _raise_errors(
        _build_dimension_error("query.group_by", f"{name} is not a grouping", name)
        for name in names
        if not is_dimension(name)
    )
    return tuple(names)


def parse_filters(texts: Sequence[str]) -> tuple[Filter, ...]:
    """Return the filters of texts `DIMENSION=VALUE`; values of one dimension are alternatives.

    Raises:
        InvalidFieldsError: a text has another form, or there are too many.
    """
    if len(texts) > MAX_FILTERS:
        message = f"at most {MAX_FILTERS} filters are allowed"
        raise InvalidFieldsError([build_field_error("query.filter", message)])
    found: dict[str, list[str]] = {}
    errors: list[FieldError] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            message = f"{text!r} is not DIMENSION=VALUE"
            errors.append(build_field_error("query.filter", message))
        elif not is_dimension(name):
            errors.append(
                _build_dimension_error("query.filter", f"{name} is not a dimension", name)
            )
        else:
            found.setdefault(name, []).append(value)
    _raise_errors(errors)
    return tuple(Filter(name, tuple(dict.fromkeys(values))) for name, values in found.items())


def is_dimension(name: str) -> bool:
    """Return whether a name is a dimension or that of a tag."""
    if name.startswith(TAG_PREFIX):
        return _TAG_NAME.fullmatch(name.removeprefix(TAG_PREFIX)) is not None
    return name in _NAMES


def build_tag_path(name: str) -> str:
    """Return the JSON path of a tag in the column Tags."""
    return f'$."{name.removeprefix(TAG_PREFIX)}"'


def _build_dimension_error(field: str, message: str, name: str) -> FieldError:
    return build_field_error(field, message, value=name, accepted=ACCEPTED)


def _raise_errors(errors: Sequence[FieldError] | Iterator[FieldError]) -> None:
    found = list(errors)
    if found:
        raise InvalidFieldsError(found)
