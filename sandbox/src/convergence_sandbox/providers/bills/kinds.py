"""The effects that every provider's bill can have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from convergence_sandbox.providers.bills.content import CONTENT
from convergence_sandbox.providers.bills.delivery import DELIVERY
from convergence_sandbox.providers.bills.kind import EffectKind
from convergence_sandbox.providers.bills.pricing import PRICING

COMMON = (*CONTENT, *PRICING, *DELIVERY)


def list_kinds(more: Iterable[EffectKind] = ()) -> Mapping[str, EffectKind]:
    """Return the common effects and a provider's further ones, by name."""
    return {kind.name: kind for kind in (*COMMON, *more)}
