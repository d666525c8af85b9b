"""Choose the streams and days that a step of cost streams works on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date

from convergence.providers.cost_streams import Stream, list_streams
from convergence.providers.registry import load_registry
from convergence.settings import Settings


def choose_streams(settings: Settings, names: Sequence[str]) -> list[Stream]:
    """Return the named streams, or every stream if none is named.

    Raises:
        ConfigurationError: the entry of a named stream's provider in `providers.yml` has errors. To
            leave the stream out would end the run SUCCESS with nothing done.
    """
    registry = load_registry(settings)
    for name in names:
        registry.get(name.partition("/")[0])
    return [stream for stream in list_streams(registry) if not names or stream.id in names]


def choose_days(
    pending: Collection[date], requested: Collection[date], *, limit: int
) -> list[date]:
    """Return the days to publish now, newest first: those of the run, then the newest.

    Args:
        pending: every day whose content has changed.
        requested: days of the run.
        limit: maximum number of days.
    """
    chosen = sorted(pending, key=lambda day: (day not in requested, -day.toordinal()))[:limit]
    return sorted(chosen, reverse=True)
