"""Check and build names for BigQuery: tables, partitions, job ids and labels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from convergence.errors import ConfigurationError

CENTRAL: Final = "organizations"
"""The dataset with the administration and the run records of every org."""

_PROJECT = re.compile(r"(?:[a-z0-9][a-z0-9.-]{0,61}:)?[a-z][a-z0-9-]{4,61}[a-z0-9]")
IDENTIFIER: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,299}$"
"""A table or column name in a schema file."""

# An org's dataset may begin with a digit, as its slug may: SQL files quote every name.
_IDENTIFIER = re.compile(r"[A-Za-z0-9_]{1,300}")
_MAX_LABEL_CHARS = 63
_HASH_CHARS = 8


def check_project(name: str) -> str:
    """Return a valid project id unchanged; raise `ConfigurationError` otherwise."""
    if not _PROJECT.fullmatch(name):
        raise ConfigurationError("Not a Google Cloud project id", project=name)
    return name


def check_identifier(name: str) -> str:
    """Return a valid dataset, table or column name unchanged; raise `ConfigurationError` otherwise.

    The rule is narrower than BigQuery's (no dash, no unicode), so that no name needs escaping.
    """
    if not _IDENTIFIER.fullmatch(name):
        raise ConfigurationError("Not a BigQuery identifier", identifier=name)
    return name


@dataclass(frozen=True, slots=True)
class TableName:
    """The name of a table or view in the project of the warehouse."""

    dataset: str
    table: str

    def __post_init__(self) -> None:
        check_identifier(self.dataset)
        check_identifier(self.table)

    def __str__(self) -> str:
        return f"{self.dataset}.{self.table}"


def central_table(table: str) -> TableName:
    """Return the name of a table of the central dataset."""
    return TableName(CENTRAL, table)


def partition_id(day: date) -> str:
    """Return the id of a day partition, such as `20251125`."""
    return f"{day:%Y%m%d}"


def job_base(purpose: str, *parts: str) -> str:
    """Return a readable job id without the attempt; two ids are equal only if all parts are equal.

    Job ids take up to 1,024 letters, digits, dashes and underscores
    (cloud.google.com/bigquery/docs/reference/rest/v2/JobReference).
    """
    # Each part with its length, so that ("ab", "c") and ("a", "bc") have different ids.
    identity = "".join(f"{len(part)}:{part}" for part in (purpose, *parts))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    readable = "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part)[:60] for part in (purpose, *parts[:4]))
    return f"convergence-{readable}-{digest}"


def label_value(text: str) -> str:
    """Return a text as a label value: lowercase letters, digits, dashes, underscores, at most 63.

    A longer text is cut and ends with a hash of the whole, so that two long names stay different.
    """
    legal = re.sub(r"[^a-z0-9_-]", "_", text.lower())
    if len(legal) <= _MAX_LABEL_CHARS:
        return legal
    tail = hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]
    return f"{legal[: _MAX_LABEL_CHARS - _HASH_CHARS - 1]}-{tail}"


def labels(values: Mapping[str, str]) -> dict[str, str]:
    """Return valid labels; the keys are ours and must start with a lowercase letter."""
    return {key: label_value(value) for key, value in values.items() if value}
