"""BigQuery's functions: what each takes, what it gives, and how DuckDB computes it."""

from __future__ import annotations
