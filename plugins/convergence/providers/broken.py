"""Invalid entries of `system/providers.yml`: their names, and the error that their use raises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from convergence.config_files import ConfigEntries
from convergence.errors import ConfigurationError

FILE = "system/providers.yml"
_MAX_SHOWN = 5


@dataclass(frozen=True)
class BrokenEntry:
    """An entry with errors, and its names as far as they can be read."""

    name: str
    errors: tuple[str, ...]
    table_ids: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @classmethod
    def from_entries(cls, name: str, errors: tuple[str, ...], read: ConfigEntries[Any]) -> Self:
        """Return the entry of this name, with its errors."""
        table_ids, aliases = _read_names(read.raw.get(name, ()))
        return cls(name, errors, table_ids, aliases)

    def build_error(self) -> ConfigurationError:
        """Return the error that a use of the entry raises: it names file, entry and field."""
        return misconfigured_error(f"The provider {self.name}", self.errors, provider=self.name)


def misconfigured_error(
    subject: str, errors: tuple[str, ...], **details: object
) -> ConfigurationError:
    """Return the error that a use of an invalid entry, or of an invalid file, raises."""
    shown = "; ".join(_shorten_path(error) for error in errors[:_MAX_SHOWN])
    more = len(errors) - _MAX_SHOWN
    rest = f"; and {more} more errors" if more > 0 else ""
    return ConfigurationError(
        f"{subject} can't be used until {FILE} is corrected: {shown}{rest}", **details
    )


def _shorten_path(error: str) -> str:
    """Shorten the file's path in an error to the part below the folder of configurations."""
    before, name, after = error.partition(FILE)
    return f"{name}{after}" if name else before


def format_entry_error(path: Path, name: str, message: str, read: ConfigEntries[Any]) -> str:
    """Return an error of an entry as one line, with the place of the entry."""
    line, column = read.places[name]
    return f"{path}:{line}:{column}: providers.{name}: {message}"


def _read_names(entries: Sequence[object]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the table ids and aliases of an entry, which may be invalid or in the file twice."""
    table_ids: list[object] = []
    aliases: list[object] = []
    for entry in entries:
        if isinstance(entry, dict):
            table_ids.append(entry.get("table_id"))
            listed = entry.get("aliases")
            aliases += listed if isinstance(listed, list) else []
    return _select_texts(table_ids), _select_texts(aliases)


def _select_texts(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def find_conflicts(read: ConfigEntries[Any]) -> Iterator[tuple[str, str]]:
    """Yield the entries that share a name with another entry, with the reason.

    Two entries with one table id are both invalid: rows and credentials would be mixed up between
    the two providers. If an alias is the id of another entry, the entry with the alias is invalid.
    Two entries with one alias are both invalid, since neither is known to be right.
    """
    names = {name: _read_names(entry) for name, entry in read.raw.items()}
    tables = Counter(table for found, _ in names.values() for table in set(found))
    aliases = Counter(alias for _, found in names.values() for alias in set(found))
    for name, (entry_tables, entry_aliases) in names.items():
        for table in sorted(set(entry_tables)):
            if tables[table] > 1:
                yield name, f"two providers have the table_id {table}"
        for alias in sorted(set(entry_aliases)):
            if aliases[alias] > 1 or alias in names or entry_aliases.count(alias) > 1:
                yield name, f"two providers have the provider {alias}"
