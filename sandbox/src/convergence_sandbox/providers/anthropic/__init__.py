"""Anthropic's organization usage and cost reports, old and new, and its model list."""

from __future__ import annotations

from convergence_sandbox.providers.anthropic.api import PROVIDERS
from convergence_sandbox.providers.anthropic.bill import BILL

__all__ = ["BILL", "PROVIDERS"]
