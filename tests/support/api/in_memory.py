"""What the API reads from the warehouse, from dictionaries instead."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import cast

from convergence.runs.eligibility import Eligibility, EligibilityChecker
from convergence.runs.ledger import Action, LedgerRow, SliceEnd
from convergence.runs.slices import SliceKey
from convergence.security.keys import compute_digest
from convergence.tenants.api_keys import authentication
from convergence.tenants.api_keys.authentication import Authenticator, Principal
from convergence.warehouse.client import Warehouse

NO_WAREHOUSE = cast("Warehouse", None)


class InMemoryAuthenticator(Authenticator):
    """The real cache and comparison over a dictionary of keys; counts its lookups."""

    def __init__(self) -> None:
        super().__init__(NO_WAREHOUSE)
        self.keys: dict[str, authentication._StoredKey] = {}
        self.lookups = 0

    def add(
        self, key: str, org: str, *, scopes: Sequence[str], not_after: datetime | None = None
    ) -> None:
        """Make a key known."""
        principal = Principal(org, f"key_of_{org}", frozenset(scopes))
        self.keys[compute_digest(key)] = authentication._StoredKey(
            compute_digest(key), principal, not_after
        )

    def _fetch(self, fingerprint: str) -> authentication._StoredKey:
        self.lookups += 1
        return self.keys.get(fingerprint, authentication._UNKNOWN)


class InMemoryGate(EligibilityChecker):
    """The real gate over a dictionary of standings."""

    def __init__(self) -> None:
        super().__init__(NO_WAREHOUSE)
        self.standings: dict[str, Eligibility] = {}

    def _fetch_orgs(
        self, provider: str | None, org_slugs: Sequence[str] | None
    ) -> list[Eligibility]:
        wanted = self.standings if org_slugs is None else org_slugs
        return [self.standings[org] for org in wanted if org in self.standings]


class InMemoryLedger:
    """The ledger's newest rows, as a test sets them."""

    def __init__(self) -> None:
        self.rows: dict[SliceKey, SliceEnd] = {}

    def read_latest_of_pipelines(
        self, pipeline_ids: Collection[str], *, orgs: Sequence[str], since: date | None = None
    ) -> dict[SliceKey, LedgerRow]:
        """No cost stream is published."""
        return {}

    def read_ends(
        self,
        actions: Collection[Action],
        *,
        orgs: Sequence[str],
        pipeline_id: str,
        since: date | None = None,
    ) -> dict[SliceKey, SliceEnd]:
        """The rows of these orgs."""
        return {
            key: row
            for key, row in self.rows.items()
            if key.org_slug in orgs and key.pipeline_id == pipeline_id
            if since is None or key.day >= since
            if row.action in actions
        }
