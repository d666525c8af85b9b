"""The states in which an attempt at a slice ends, and what each state allows."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """How an attempt at a slice ended: every requested slice of a run ends in one of these."""

    PUBLISHED = "PUBLISHED"
    """A job made the content."""
    UNCHANGED = "UNCHANGED"
    """The content was already there: no job was needed."""
    REFUSED = "REFUSED"
    """The new content was not accepted; the content before it stays."""
    NOT_OBSERVABLE = "NOT_OBSERVABLE"
    """The provider says nothing about the day any more; what was published of it stays."""
    SUPERSEDED = "SUPERSEDED"
    """A newer attempt ended the slice, and the ledger has that attempt's row."""
    RECOVERED = "RECOVERED"
    """As PUBLISHED, by a job of an earlier try. Read from old rows only, no longer written."""
    INVALIDATED = "INVALIDATED"
    """No attempt ended so: a check found the slice wrong, or its partition not as recorded."""


_VALID: Final = frozenset({Action.PUBLISHED, Action.UNCHANGED, Action.RECOVERED})
CONTENT: Final = _VALID | {Action.INVALIDATED}
"""Only rows in these states say what a slice's partition holds. An INVALIDATED one says that it is
wrong: the slice is due at once, and published even with an equal content hash."""
CHECKED: Final = CONTENT | {Action.NOT_OBSERVABLE, Action.REFUSED}
"""Rows in these states say when a day was checked, and so whether it is due again."""
ENDING: Final = _VALID | {Action.REFUSED}
"""An older attempt may leave a slice to a newer one whose row is in one of these states."""
SUCCESSFUL: Final = _VALID | {Action.NOT_OBSERVABLE, Action.SUPERSEDED}
"""A run is SUCCESS only when each of its slices ended in one of these states."""
