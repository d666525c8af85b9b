"""OpenAI's organization usage and costs API, and its model list."""

from __future__ import annotations

from convergence_sandbox.providers.openai.api import PROVIDER

__all__ = ["PROVIDER"]
