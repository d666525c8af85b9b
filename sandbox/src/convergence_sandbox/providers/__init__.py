"""The providers' HTTP APIs: documented shapes, deterministic data, faults on request."""

from __future__ import annotations

from convergence_sandbox.providers.app import create_app

__all__ = ["create_app"]
