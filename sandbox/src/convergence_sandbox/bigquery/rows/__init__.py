"""Rows on their way into tables and out of them."""

from __future__ import annotations
