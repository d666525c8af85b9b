"""BigQuery SQL into DuckDB SQL: a typed compiler over sqlglot's syntax tree."""

from __future__ import annotations
