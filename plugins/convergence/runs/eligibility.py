"""Decide which orgs may run: their status, subscription, integration and plan.

The API checks before it triggers a run. A DAG's first task checks again, because a run may also
come from Airflow's UI or schedule. The quota itself must be counted atomically: the state store
does that, within the limits that are read here.
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
from convergence.run_error_codes import RunErrorCode
from convergence.state.cache_versions import CacheVersions
from convergence.state.org_runs import RunError
from convergence.state.slots import RunLimits
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file

CACHE_SECONDS = 30.0
# Denials are cached for 2 s only: the customer may fix the cause through another API process
# and retry.
DENIED_CACHE_SECONDS = 2.0
_TABLE_ID = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Eligibility:
    """The conditions for an org to run the pipelines of one provider.

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
class OrgSelection:
    """The orgs that may run, and the reason for each of the others."""

    eligible: tuple[Eligibility, ...]
    denied: tuple[tuple[str, RunError], ...]


def find_denial(
    eligibility: Eligibility, *, provider: str | None, now: datetime
) -> RunError | None:
    """Return why the org may not run, or None; the checks are in the order of the API's."""
    if eligibility.org_status != "ACTIVE":
        return RunError(RunErrorCode.ORG_INACTIVE, f"the organization is {eligibility.org_status}")
    if reason := _check_subscription(eligibility, now):
        return RunError(SubscriptionInactiveError.code, reason)
    if provider is not None and (reason := _check_integration(eligibility, provider)):
        return RunError(IntegrationInvalidError.code, reason)
    if eligibility.limits is None:
        reason = "the organization has no quota; onboard it again"
        return RunError(RunErrorCode.QUOTA_MISSING, reason)
    return None


def select_eligible(
    candidates: Iterable[Eligibility], *, provider: str | None, now: datetime
) -> OrgSelection:
    """Divide orgs into those that may run and those that may not."""
    eligible: list[Eligibility] = []
    denied: list[tuple[str, RunError]] = []
    for candidate in candidates:
        reason = find_denial(candidate, provider=provider, now=now)
        if reason is None:
            eligible.append(candidate)
        else:
            denied.append((candidate.org_slug, reason))
    return OrgSelection(tuple(eligible), tuple(denied))


@dataclass(frozen=True)
class _CachedEligibility:
    """An org's eligibility, and the org's cache version before it was read."""

    eligibility: Eligibility | None
    version: int


_Cache = TTLCache[tuple[str, str | None], _CachedEligibility]


class EligibilityChecker:
    """Reads eligibility from the warehouse; it caches single orgs, never a whole fleet.

    Args:
        warehouse: where subscriptions, integrations and quotas are stored.
        cache_versions: show within seconds that an org's access has changed; without them a
            cached value stays until it expires.
        cache_seconds: how long a cached value is used.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        cache_versions: CacheVersions | None = None,
        cache_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._warehouse = warehouse
        self._cache_versions = cache_versions
        self._eligible: _Cache = TTLCache(10_000, cache_seconds)
        self._denied: _Cache = TTLCache(10_000, min(cache_seconds, DENIED_CACHE_SECONDS))
        self._lock = threading.Lock()

    def select_orgs(
        self, *, provider: str | None, now: datetime, org_slugs: Sequence[str] | None = None
    ) -> OrgSelection:
        """Select the eligible orgs; an unknown slug is in neither list of the result.

        Args:
            provider: whose integration is needed, as tables name it (OPENAI); None for none.
            now: the instant at which trials are checked.
            org_slugs: the orgs to check; None for all.
        """
        candidates = self._fetch_orgs(provider, org_slugs)
        return select_eligible(candidates, provider=provider, now=now)

    def forget_org(self, org_slug: str) -> None:
        """Drop the org's cached values, after this process changed the org's access."""
        with self._lock:
            for cache in (self._eligible, self._denied):
                for key in [key for key in cache if key[0] == org_slug]:
                    cache.pop(key, None)

    def require_eligible(
        self, org_slug: str, *, provider: str | None, now: datetime
    ) -> Eligibility:
        """Return the org's eligibility, which may come from the cache, or raise why it has none.

        Raises:
            NotFoundError: the org does not exist.
            SubscriptionInactiveError: the subscription is neither ACTIVE nor an unexpired TRIAL.
            IntegrationInvalidError: the provider is not connected, or its credential not valid.
            ConflictError: the org is not active or has no quota.
        """
        found = self._find_org(org_slug, provider, now)
        if found is None:
            raise NotFoundError("There is no such organization")
        reason = find_denial(found, provider=provider, now=now)
        if reason is None:
            return found
        kinds = {kind.code: kind for kind in (SubscriptionInactiveError, IntegrationInvalidError)}
        message = _capitalize(reason.message)
        raise kinds.get(reason.code, ConflictError)(message, reason=reason.code)

    def require_subscription(self, org_slug: str, *, now: datetime) -> None:
        """Check the org's subscription only, not its integrations.

        Raises:
            SubscriptionInactiveError: the subscription is neither ACTIVE nor an unexpired TRIAL.
        """
        found = self._find_org(org_slug, None, now)
        if found is not None and (reason := _check_subscription(found, now)):
            raise SubscriptionInactiveError(
                _capitalize(reason), reason=SubscriptionInactiveError.code
            )

    def _find_org(self, org_slug: str, provider: str | None, now: datetime) -> Eligibility | None:
        key = (org_slug, provider)
        # Read the version before the org: a change in between then causes one more read, and
        # never leaves an old eligibility under a new version.
        version = self._cache_versions.get_version(org_slug) if self._cache_versions else 0
        with self._lock:
            cached = self._eligible.get(key) or self._denied.get(key)
        if cached is not None and cached.version == version:
            return cached.eligibility
        found = next(iter(self._fetch_orgs(provider, [org_slug])), None)
        eligible = found is not None and find_denial(found, provider=provider, now=now) is None
        with self._lock:
            self._eligible.pop(key, None)
            cache = self._eligible if eligible else self._denied
            cache[key] = _CachedEligibility(found, version)
        return found

    def _fetch_orgs(
        self, provider: str | None, org_slugs: Sequence[str] | None
    ) -> list[Eligibility]:
        if provider is not None and not _TABLE_ID.fullmatch(provider):
            raise ValueError(f"{provider!r} is not a provider's name in tables, such as OPENAI")
        rows = run_file(
            self._warehouse,
            self._warehouse.sql("runs/org_eligibility.sql"),
            params={
                "provider": provider or "",
                "every_org": org_slugs is None,
                "org_slugs": list(org_slugs or [""]),
            },
        )
        return [_build_eligibility(row) for row in rows]


def _check_subscription(eligibility: Eligibility, now: datetime) -> str | None:
    status, ends = eligibility.subscription_status, eligibility.trial_ends_at
    if status == "ACTIVE":
        return None
    if status is None:
        return "the organization has no subscription"
    if status != "TRIAL":
        return f"the subscription is {status}"
    if ends is not None and ends > now:
        return None
    return f"the trial ended at {ends.isoformat()}" if ends else "the trial has no end"


def _check_integration(eligibility: Eligibility, provider: str) -> str | None:
    if eligibility.credential_id is None:
        return f"{provider} is not connected"
    if eligibility.validation_status != "VALID":
        return f"the credential for {provider} is {eligibility.validation_status}, not VALID"
    return None


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def _build_eligibility(row: Row) -> Eligibility:
    limits = (row["runs_per_day"], row["runs_per_month"], row["concurrent_runs"])
    return Eligibility(
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
