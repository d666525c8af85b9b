"""The DuckDB file below everything."""

from __future__ import annotations
