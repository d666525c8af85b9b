"""Projects, datasets, tables and their schemas, as the sandbox's database keeps them."""

from __future__ import annotations
