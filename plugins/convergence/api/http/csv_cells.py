"""Cells of a CSV response that spreadsheets open without running them."""

from __future__ import annotations


def format_cell(value: object) -> str:
    """Return the text of a cell; a quote keeps spreadsheets from running it as a formula."""
    text = "" if value is None else str(value)
    harmless = not text.startswith(("=", "+", "-", "@", "\t", "\r")) or _is_number(text)
    return text if harmless else f"'{text}"


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()
