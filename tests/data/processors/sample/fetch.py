from __future__ import annotations

from convergence.errors import FatalError, ProviderUnavailableError
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult

from .config import FetchConfig

FAILURES: dict[str, list[Exception]] = {}
"""Org → what its next calls raise."""

CALLS: list[str] = []


class Fetch(OrgProcessor[FetchConfig]):
    """Fetches usage."""

    Config = FetchConfig

    def run_step(self, org: OrgContext, config: FetchConfig) -> StepResult:
        CALLS.append(org.org_slug)
        if pending := FAILURES.get(org.org_slug):
            raise pending.pop(0)
        return StepResult(
            rows_processed=len(org.days) * config.page_size,
            destination_table=f"{org.dataset}.{config.destination}",
        )


def flaky() -> Exception:
    return ProviderUnavailableError("the provider answers 503")


def fatal() -> Exception:
    return FatalError("the provider refuses this")
