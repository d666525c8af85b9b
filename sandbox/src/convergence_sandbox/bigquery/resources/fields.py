"""Fields and schemas: the columns of a table as BigQuery's REST interface writes them.

https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from convergence_sandbox.bigquery.errors import invalid, not_implemented

Json = dict[str, Any]

CANONICAL_TYPES = {
    "STRING": "STRING",
    "BYTES": "BYTES",
    "INTEGER": "INTEGER",
    "INT64": "INTEGER",
    "INT": "INTEGER",
    "FLOAT": "FLOAT",
    "FLOAT64": "FLOAT",
    "NUMERIC": "NUMERIC",
    "DECIMAL": "NUMERIC",
    "BIGNUMERIC": "BIGNUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
    "BOOLEAN": "BOOLEAN",
    "BOOL": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "DATETIME",
    "JSON": "JSON",
    "RECORD": "RECORD",
    "STRUCT": "RECORD",
}
MODES = ("NULLABLE", "REQUIRED", "REPEATED")
_FIELD_NAME = re.compile(r"^[^\W\d][\w -]{0,299}$")
_RESERVED_PREFIXES = (
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
)
_FIELD_KEYS = frozenset(
    {"name", "type", "mode", "description", "fields", "precision", "scale", "maxLength"}
)
_PASSIVE_FIELD_KEYS = frozenset(
    {
        "defaultValueExpression",
        "policyTags",
        "roundingMode",
        "collation",
        "rangeElementType",
        "foreignTypeDefinition",
        "dataPolicies",
        "timestampPrecision",
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """One column or nested field. `type` is the REST name (`INTEGER`, `RECORD`, …)."""

    name: str
    type: str
    mode: str = "NULLABLE"
    description: str | None = None
    fields: tuple[Field, ...] = ()
    precision: int | None = None
    scale: int | None = None
    max_length: int | None = None

    @classmethod
    def from_rest(cls, data: Mapping[str, Any]) -> Field:
        """Read one `TableFieldSchema`.

        Raises:
            BigQueryError: an unknown type, mode or name; a property that is not kept (501).
        """
        name = data.get("name")
        if not name:
            raise invalid("Field name is missing in schema", location="schema")
        reject_unkept(data, kept=_FIELD_KEYS, unkept=_PASSIVE_FIELD_KEYS, where=f"field {name}")
        kind = checked_type(str(data.get("type") or ""), where=str(name))
        made = cls(
            name=str(name),
            type=kind,
            mode=str(data.get("mode") or "NULLABLE").upper(),
            description=data.get("description"),
            fields=tuple(cls.from_rest(child) for child in data.get("fields") or ()),
            precision=integer(data.get("precision")),
            scale=integer(data.get("scale")),
            max_length=integer(data.get("maxLength")),
        )
        return checked_field(made)

    def to_rest(self) -> Json:
        """Return the field as BigQuery's REST JSON, absent facts left out."""
        out: Json = {"name": self.name, "type": self.type, "mode": self.mode}
        if self.description is not None:
            out["description"] = self.description
        if self.fields:
            out["fields"] = [child.to_rest() for child in self.fields]
        for key, value in (
            ("precision", self.precision),
            ("scale", self.scale),
            ("maxLength", self.max_length),
        ):
            if value is not None:
                out[key] = str(value)
        return out


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table, in order."""

    fields: tuple[Field, ...] = ()

    @classmethod
    def from_rest(cls, data: Mapping[str, Any] | None) -> Schema:
        """Read a `TableSchema`; None and `{}` are the empty schema."""
        fields = tuple(Field.from_rest(one) for one in (data or {}).get("fields") or ())
        reject_duplicates(fields)
        return cls(fields)

    def to_rest(self) -> Json:
        """Return the schema as BigQuery's REST JSON."""
        return {"fields": [one.to_rest() for one in self.fields]}

    def find(self, name: str) -> Field | None:
        """Return the top-level field of that name; names are case-insensitive."""
        lower_name = name.lower()
        return next((one for one in self.fields if one.name.lower() == lower_name), None)


def checked_type(name: str, *, where: str) -> str:
    """Return the REST name of a column type.

    Raises:
        BigQueryError: 501 for a type not kept here, 400 for one BigQuery does not know.
    """
    kind = name.upper()
    if kind in {"GEOGRAPHY", "INTERVAL", "RANGE"}:
        raise not_implemented(f"columns of type {kind}")
    if kind not in CANONICAL_TYPES:
        raise invalid(f"Invalid value for type: {kind} is not a valid value", location=where)
    return CANONICAL_TYPES[kind]


def checked_field(made: Field) -> Field:
    """Return the field itself, rejected when its name, mode or nested schema is impossible."""
    if not _FIELD_NAME.match(made.name) or made.name.upper().startswith(_RESERVED_PREFIXES):
        raise invalid(
            f'Invalid field name "{made.name}". Fields must contain only letters, numbers, and'
            " underscores, start with a letter or underscore, and be at most 300 characters long.",
            location=made.name,
        )
    if made.mode not in MODES:
        raise invalid(
            f"Invalid value for mode: {made.mode} is not a valid value", location=made.name
        )
    if (made.type == "RECORD") != bool(made.fields):
        has = "no" if made.type == "RECORD" else "a"
        raise invalid(
            f"Field {made.name} is type {made.type} but has {has} schema", location=made.name
        )
    reject_duplicates(made.fields)
    return made


def reject_unkept(
    data: Mapping[str, Any], *, kept: Iterable[str], unkept: Iterable[str], where: str
) -> None:
    """Reject properties that would otherwise be dropped silently; empty ones are let pass.

    Raises:
        BigQueryError: 501 for a property BigQuery knows, 400 for one no one knows.
    """
    for key in data.keys() - set(kept):
        if data[key] in (None, "", [], {}, False):
            continue
        if key in unkept or key in _KNOWN_UNKEPT:
            raise not_implemented(f"property {key} of {where}")
        raise invalid(f'Invalid JSON payload received. Unknown name "{key}": Cannot find field.')


_KNOWN_UNKEPT = frozenset(
    {
        "externalDataConfiguration",
        "materializedView",
        "encryptionConfiguration",
        "model",
        "snapshotDefinition",
        "cloneDefinition",
        "defaultCollation",
        "defaultRoundingMode",
        "maxStaleness",
        "tableConstraints",
        "resourceTags",
        "partitionDefinition",
        "biglakeConfiguration",
        "tableReplicationInfo",
        "replicas",
        "externalCatalogTableOptions",
        "managedTableType",
        "defaultEncryptionConfiguration",
        "maxTimeTravelHours",
        "storageBillingModel",
        "isCaseInsensitive",
        "linkedDatasetSource",
        "externalDatasetReference",
        "externalCatalogDatasetOptions",
        "satisfiesPzs",
        "satisfiesPzi",
        "tags",
    }
)


def integer(value: object) -> int | None:
    """Return a REST integer, which may come as a string; None when absent."""
    if value is None or value == "":
        return None
    try:
        return int(str(value))
    except ValueError:
        raise invalid(f"Invalid integer value: {value}") from None


def reject_duplicates(fields: Iterable[Field]) -> None:
    """Reject two fields of one name; names are case-insensitive."""
    seen: set[str] = set()
    for one in fields:
        if one.name.lower() in seen:
            raise invalid(f"Field {one.name} already exists in schema", location=one.name)
        seen.add(one.name.lower())
