"""Schema templates: several tables in one file, each by the name that pipelines use for it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from convergence.errors import SchemaError
from convergence.warehouse.schemas import TableSchema


def load_template(path: Path, name: str, *, table: str) -> TableSchema:
    """Load the template with this name, for a table that may have another name.

    Raises:
        SchemaError: the file is missing or wrong, or has no such template.
    """
    try:
        templates = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SchemaError("Schema file is missing", file=str(path)) from None
    except ValueError as error:
        raise SchemaError("Schema file is not JSON", file=str(path), why=str(error)) from None
    if not isinstance(templates, dict) or name not in templates:
        accepted = sorted(templates) if isinstance(templates, dict) else []
        raise SchemaError(
            "There is no such schema template", file=str(path), template=name, accepted=accepted
        )
    try:
        return TableSchema.model_validate({**templates[name], "table": table})
    except (ValidationError, TypeError) as error:
        raise SchemaError(
            "Schema template is wrong", file=str(path), template=name, why=str(error)
        ) from None
