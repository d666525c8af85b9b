"""A stand-in for BigQuery: the calls Convergence makes, on an embedded DuckDB."""

from __future__ import annotations
