"""Settings of an organization for the comparison of its bill with its usage.

They are params of the pipeline that publishes the stream's bill, set by `PUT pipelines/config`: one
place, whichever pipeline compares the stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

from convergence.errors import ConfigurationError
from convergence.processors.context import OrgContext
from convergence.providers.cost_streams import Stream
from convergence.state.pipeline_configs import get_config

DECLARED_FACTORS: Final = "declared_factors"
MIN_EXPLAINED_SHARE: Final = "min_explained_share"
_FACTOR = re.compile(r"([a-z_]{1,50}) ([0-9]{1,3}(?:\.[0-9]{1,6})?) ([A-Za-z0-9.:*-]{1,200})")


@dataclass(frozen=True, slots=True)
class DeclaredFactor:
    """A factor on computed prices that the organization says its bill has.

    Attributes:
        reason: the reason of the amount, such as `regional`.
        factor: what the computed price is multiplied by.
        models: regular expression of the models' names.
    """

    reason: str
    factor: Decimal
    models: str

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse `regional 1.1 gpt-4.1*`.

        Raises:
            ConfigurationError: the text is none.
        """
        found = _FACTOR.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                "A declared factor is a reason, a factor and a pattern of models, such as "
                "'regional 1.1 gpt-4.1*'",
                value=text,
            )
        pattern = ".*".join(re.escape(part) for part in found[3].split("*"))
        return cls(found[1], Decimal(found[2]), f"^{pattern}$")


@dataclass(frozen=True, slots=True)
class OrgSettings:
    """The settings of one organization and stream.

    Attributes:
        factors: factors that no line of the bill names, in the order in which they apply.
        min_explained_share: replaces that of the step; None where the organization has none.
    """

    factors: tuple[DeclaredFactor, ...] = ()
    min_explained_share: Decimal | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Read the params of a configuration; errors as `DeclaredFactor.from_text`."""
        texts: Iterable[str] = params.get(DECLARED_FACTORS) or ()
        share = params.get(MIN_EXPLAINED_SHARE)
        return cls(
            tuple(map(DeclaredFactor.from_text, texts)),
            None if share is None else Decimal(str(share)),
        )


def read_org_settings(org: OrgContext, stream: Stream) -> OrgSettings:
    """Read the organization's settings for a stream with a bill."""
    billed = stream.declared.bases["billed"]
    with org.services.store.read() as conn:
        config = get_config(conn, org.org_slug, billed.pipeline)
    return OrgSettings.from_params(config.params if config else {})
