"""Statements and scripts of GoogleSQL: compiled, run, and their effects kept."""

from __future__ import annotations
