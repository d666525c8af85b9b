"""The run parameter `accept_shrink` of each pipeline whose tables the shrink guard protects.

No pipeline file declares it: its form is one for all, and a person's decision to publish less is
never a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SHRINK_PARAM_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "title": "Accept lower content",
    "description": "Publish what the source states of these days, though it is less than what is "
    "published: first and last day, the reason, and the organizations if not all of the run",
    "properties": {
        "start_date": {"type": "string", "format": "date", "description": "First UTC day"},
        "end_date": {
            "type": "string",
            "format": "date",
            "description": "Last UTC day, inclusive",
        },
        "reason": {
            "type": "string",
            "minLength": 3,
            "maxLength": 500,
            "pattern": r"\S",
            "description": "Why the lower content is right; kept in the audit log",
        },
        "orgs": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_]{1,48}[a-z0-9]$"},
            "minItems": 1,
            "description": "The organizations that it is for; absent for every one of the run",
        },
    },
    "required": ["start_date", "end_date", "reason"],
    "additionalProperties": False,
}
