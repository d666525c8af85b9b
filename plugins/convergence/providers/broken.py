"""Entries of `system/providers.yml` that are wrong: their names, and the error of using them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from convergence.config_files import ConfigEntries
from convergence.errors import ConfigurationError

FILE = "system/providers.yml"
_MOST_SHOWN = 5


@dataclass(frozen=True)
class BrokenEntry:
    """An entry with errors. Its names are as the file has them, where they can be read."""

    name: str
    errors: tuple[str, ...]
    table_ids: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, errors: tuple[str, ...], read: ConfigEntries[Any]) -> Self:
        """The entry of this name, with its errors."""
        table_ids, aliases = _names_in(read.raw.get(name, ()))
        return cls(name, errors, table_ids, aliases)

    def error(self) -> ConfigurationError:
        """What using the entry raises: it names the file, the entry and the field."""
        return misconfigured_error(f"The provider {self.name}", self.errors, provider=self.name)


def misconfigured_error(what: str, errors: tuple[str, ...], **facts: object) -> ConfigurationError:
    """What using a wrong entry, or a wrong file, raises."""
    shown = "; ".join(_from_folder(error) for error in errors[:_MOST_SHOWN])
    more = len(errors) - _MOST_SHOWN
    rest = f"; and {more} more errors" if more > 0 else ""
    return ConfigurationError(
        f"{what} can't be used until {FILE} is corrected: {shown}{rest}", **facts
    )


def _from_folder(error: str) -> str:
    """An error with the file's path from the folder of configurations on."""
    before, name, after = error.partition(FILE)
    return f"{name}{after}" if name else before


def format_entry_error(path: Path, name: str, message: str, read: ConfigEntries[Any]) -> str:
    """An error of an entry as a line, at the entry's place."""
    line, column = read.places[name]
    return f"{path}:{line}:{column}: providers.{name}: {message}"


def _names_in(entries: Sequence[object]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The table ids and the aliases of an entry that may be wrong, or be in the file twice."""
    table_ids: list[object] = []
    aliases: list[object] = []
    for entry in entries:
        if isinstance(entry, dict):
            table_ids.append(entry.get("table_id"))
            listed = entry.get("aliases")
            aliases += listed if isinstance(listed, list) else []
    return _texts(table_ids), _texts(aliases)


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def find_conflicts(read: ConfigEntries[Any]) -> Iterator[tuple[str, str]]:
    """Entries whose names are another's too.

    Two entries with one table id are both wrong: rows and credentials under it would be taken
    for the other provider's. An alias that is another's id is the mistake of the entry with the
    alias; of two entries with one alias neither is known to be right.
    """
    names = {name: _names_in(entry) for name, entry in read.raw.items()}
    tables = Counter(table for found, _ in names.values() for table in set(found))
    aliases = Counter(alias for _, found in names.values() for alias in set(found))
    for name, (own_tables, own_aliases) in names.items():
        for table in sorted(set(own_tables)):
            if tables[table] > 1:
                yield name, f"two providers have the table_id {table}"
        for alias in sorted(set(own_aliases)):
            if aliases[alias] > 1 or alias in names or own_aliases.count(alias) > 1:
                yield name, f"two providers have the provider {alias}"
