"""OpenAI's organization usage and costs endpoints, and its model list."""

from __future__ import annotations

from convergence_sandbox.providers.openai.api import PROVIDER
from convergence_sandbox.providers.openai.bill import BILL

__all__ = ["BILL", "PROVIDER"]
