"""API keys of organizations: issuing one, and showing one without its secret."""

from __future__ import annotations

from datetime import UTC, datetime

from convergence.api.http.scopes import list_org_scopes
from convergence.api.http.services import ApiServices
from convergence.api.organizations.key_models import KeyInfo
from convergence.tenants.api_keys import keys
from convergence.tenants.api_keys.keys import IssuedKey, KnownKey
from convergence.tenants.audit import Actor

# Fields of a response that hold a key: no stored response has them.
KEY_FIELDS = frozenset({"api_key"})


def issue_org_key(
    services: ApiServices, org: str, *, by: Actor, not_after: datetime | None = None
) -> IssuedKey:
    """Issue a key with all scopes of organizations."""
    return keys.issue_key(
        services.store,
        services.warehouse,
        services.kms,
        org,
        scopes=list_org_scopes(),
        by=by,
        now=datetime.now(UTC),
        not_after=not_after,
    )


def build_key_info(key: KnownKey) -> KeyInfo:
    """Return a key without its secret."""
    return KeyInfo(**{name: getattr(key, name) for name in KeyInfo.model_fields})
