"""Errors to correct in the configuration."""

from __future__ import annotations

from convergence.errors.base import ConfigurationError


class SettingsError(ConfigurationError):
    """Raised when environment variables are missing or wrong; `errors` lists all of them.

    Remedy: set the named variables and start the process again.
    """

    code = "settings_invalid"


class SchemaError(ConfigurationError):
    """Raised when a table's schema file is wrong, or a table can't be changed to match it.

    Remedy: correct the schema file. A column's type can't be changed: add a column instead.
    """

    code = "schema_invalid"


class ForeignTableError(ConfigurationError):
    """Raised when a SQL file names a table directly instead of through a placeholder of its org.

    Remedy: replace the table's name in the SQL file by the placeholder of the org's dataset.
    """

    code = "foreign_table"


class PriceBookError(ConfigurationError):
    """Raised when a price book is wrong; `errors` lists each error as `file:line: field: …`.

    Remedy: correct the listed lines of the price book.
    """

    code = "price_book_invalid"


class StateStoreVersionError(ConfigurationError):
    """Raised when this version of Convergence can't migrate the state store's tables.

    Remedy: start the version that the message names, restore the store's backup, or give
    Convergence a database of its own.
    """

    code = "state_store_version"
