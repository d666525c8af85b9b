"""DeepSeek's balance and its model list: it has no usage API."""

from __future__ import annotations

from convergence_sandbox.providers.deepseek.api import PROVIDER

__all__ = ["PROVIDER"]
