"""Which jobs have reached the database: a note in the same transaction as their rows.

A job's last word is written elsewhere, after its commit. When a kill comes in between, the note
shows the next start that the work is done, so that nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import duckdb

SCHEMA = "CREATE TABLE IF NOT EXISTS meta.commits (note VARCHAR NOT NULL);"

_note: ContextVar[str | None] = ContextVar("commit_note", default=None)


@contextmanager
def note_commits(note: str) -> Iterator[None]:
    """Every write transaction that this thread commits meanwhile carries the note."""
    token = _note.set(note)
    try:
        yield
    finally:
        _note.reset(token)


def record(cursor: duckdb.DuckDBPyConnection) -> None:
    """Leave the note, if there is one; to be called inside a write transaction."""
    note = _note.get()
    if note is not None:
        cursor.execute("INSERT INTO meta.commits VALUES (?)", [note])


def is_noted(cursor: duckdb.DuckDBPyConnection, note: str) -> bool:
    """Return whether a transaction with this note was committed."""
    sql = "SELECT 1 FROM meta.commits WHERE note = ? LIMIT 1"
    return bool(cursor.execute(sql, [note]).fetchall())


def forget(cursor: duckdb.DuckDBPyConnection) -> None:
    """Drop all notes."""
    cursor.execute("DELETE FROM meta.commits")
