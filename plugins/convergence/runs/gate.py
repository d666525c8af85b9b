"""Who may run: subscription, integration and plan of each org, asked once for all of them.

The API asks before it triggers, and a DAG's first task asks again, whoever triggered it. What
must be atomic, the quota itself, is counted in the state store from the limits given here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cachetools import TTLCache

from convergence.errors import (
    ConflictError,
    IntegrationInvalidError,
    NotFoundError,
    SubscriptionInactiveError,
)
from convergence.state.epochs import Epochs
from convergence.state.org_runs import RunError
from convergence.state.slots import RunLimits
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file

CACHE_SECONDS = 30.0
# Whoever was refused mends the reason and comes back; the mending may go through another process.
REFUSED_CACHE_SECONDS = 2.0
_PROVIDER_IN_TABLES = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Standing:
    """What decides whether an org may run one provider's pipelines.

    Attributes:
        subscription_status: TRIAL, ACTIVE, SUSPENDED, CANCELLED; None without a subscription.
        credential_id: of the provider's active integration; None when it is not connected.
        connected_on: the UTC day on which the org first connected the provider.
        limits: of the org's plan; None when it has no quota row.
    """

    org_slug: str
    org_status: str
    plan: str | None = None
    subscription_status: str | None = None
    trial_ends_at: datetime | None = None
    credential_id: str | None = None
    validation_status: str | None = None
    connected_on: date | None = None
    limits: RunLimits | None = None


@dataclass(frozen=True)
class Selection:
    """The orgs that may run, and why each of the others may not."""

    eligible: tuple[Standing, ...]
    refused: tuple[tuple[str, RunError], ...]


def refusal(standing: Standing, *, provider: str | None, now: datetime) -> RunError | None:
    """Why the org may not run, or None: the first reason in the order of the API's gate."""
    if standing.org_status != "ACTIVE":
        return RunError("org_inactive", f"the organization is {standing.org_status}")
    if reason := _subscription_fault(standing, now):
        return RunError(SubscriptionInactiveError.code, reason)
    if provider is not None and (reason := _integration_fault(standing, provider)):
        return RunError(IntegrationInvalidError.code, reason)
    if standing.limits is None:
        return RunError("quota_missing", "the organization has no quota; onboard it again")
    return None


def select(standings: Iterable[Standing], *, provider: str | None, now: datetime) -> Selection:
    """Sort orgs into those that may run and those that may not."""
    eligible: list[Standing] = []
    refused: list[tuple[str, RunError]] = []
    for standing in standings:
        reason = refusal(standing, provider=provider, now=now)
        if reason is None:
            eligible.append(standing)
        else:
            refused.append((standing.org_slug, reason))
    return Selection(tuple(eligible), tuple(refused))


@dataclass(frozen=True)
class _Remembered:
    """How an org stood under which of its epochs."""

    standing: Standing | None
    epoch: int


_Cache = TTLCache[tuple[str, str | None], _Remembered]


class Gate:
    """Asks the warehouse; one org's answer is kept for a while, a fleet's never.

    Args:
        warehouse: where what decides is stored.
        epochs: tells within seconds that it has changed for an org; without it only time does.
        cache_seconds: how long an answer is believed.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        epochs: Epochs | None = None,
        cache_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._warehouse = warehouse
        self._epochs = epochs
        self._good: _Cache = TTLCache(10_000, cache_seconds)
        self._refused: _Cache = TTLCache(10_000, min(cache_seconds, REFUSED_CACHE_SECONDS))
        self._lock = threading.Lock()

    def select(
        self, *, provider: str | None, now: datetime, org_slugs: Sequence[str] | None = None
    ) -> Selection:
        """The eligible orgs of all, or of those named; an unknown name is in neither list.

        Args:
            provider: whose integration is needed, as tables name it (OPENAI); None for none.
            now: the instant at which trials are judged.
            org_slugs: the only orgs to ask about.
        """
        standings = self._fetch(provider, org_slugs)
        return select(standings, provider=provider, now=now)

    def forget(self, org_slug: str) -> None:
        """Ask again about this org, as after this process changed what decides."""
        with self._lock:
            for cache in (self._good, self._refused):
                for key in [key for key in cache if key[0] == org_slug]:
                    cache.pop(key, None)

    def require(self, org_slug: str, *, provider: str | None, now: datetime) -> Standing:
        """The org's standing if it may run; from memory where it was asked for lately.

        Raises:
            NotFoundError: there is no such org.
            SubscriptionInactiveError: neither ACTIVE nor in an unexpired TRIAL.
            IntegrationInvalidError: the provider is not connected, or its credential not valid.
            ConflictError: the org is not active or has no quota.
        """
        standing = self._standing(org_slug, provider, now)
        if standing is None:
            raise NotFoundError("There is no such organization")
        reason = refusal(standing, provider=provider, now=now)
        if reason is None:
            return standing
        kinds = {kind.code: kind for kind in (SubscriptionInactiveError, IntegrationInvalidError)}
        raise kinds.get(reason.code, ConflictError)(_sentence(reason.message), reason=reason.code)

    def require_subscription(self, org_slug: str, *, now: datetime) -> None:
        """Refuse an org whose subscription is not active, whatever its integrations.

        Raises:
            SubscriptionInactiveError: neither ACTIVE nor in an unexpired TRIAL.
        """
        standing = self._standing(org_slug, None, now)
        if standing is not None and (reason := _subscription_fault(standing, now)):
            raise SubscriptionInactiveError(
                _sentence(reason), reason=SubscriptionInactiveError.code
            )

    def _standing(self, org_slug: str, provider: str | None, now: datetime) -> Standing | None:
        key = (org_slug, provider)
        # Read before the org is: what a later change leaves behind is then asked once more.
        epoch = self._epochs.of(org_slug) if self._epochs else 0
        with self._lock:
            known = self._good.get(key) or self._refused.get(key)
        if known is not None and known.epoch == epoch:
            return known.standing
        found = next(iter(self._fetch(provider, [org_slug])), None)
        good = found is not None and refusal(found, provider=provider, now=now) is None
        with self._lock:
            self._good.pop(key, None)
            (self._good if good else self._refused)[key] = _Remembered(found, epoch)
        return found

    def _fetch(self, provider: str | None, org_slugs: Sequence[str] | None) -> list[Standing]:
        if provider is not None and not _PROVIDER_IN_TABLES.fullmatch(provider):
            raise ValueError(f"{provider!r} is not a provider's name in tables, such as OPENAI")
        rows = run_file(
            self._warehouse,
            self._warehouse.sql("runs/org_standings.sql"),
            params={
                "provider": provider or "",
                "every_org": org_slugs is None,
                "org_slugs": list(org_slugs or [""]),
            },
        )
        return [_standing(row) for row in rows]


def _subscription_fault(standing: Standing, now: datetime) -> str | None:
    status, ends = standing.subscription_status, standing.trial_ends_at
    if status == "ACTIVE":
        return None
    if status is None:
        return "the organization has no subscription"
    if status != "TRIAL":
        return f"the subscription is {status}"
    if ends is not None and ends > now:
        return None
    return f"the trial ended at {ends.isoformat()}" if ends else "the trial has no end"


def _integration_fault(standing: Standing, provider: str) -> str | None:
    if standing.credential_id is None:
        return f"{provider} is not connected"
    if standing.validation_status != "VALID":
        return f"the credential for {provider} is {standing.validation_status}, not VALID"
    return None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _standing(row: Row) -> Standing:
    limits = (row["runs_per_day"], row["runs_per_month"], row["concurrent_runs"])
    return Standing(
        org_slug=row["org_slug"],
        org_status=row["org_status"],
        plan=row["plan"],
        subscription_status=row["subscription_status"],
        trial_ends_at=row["trial_ends_at"],
        credential_id=row["credential_id"],
        validation_status=row["validation_status"],
        connected_on=row["connected_on"],
        limits=RunLimits(*limits) if None not in limits else None,
    )
