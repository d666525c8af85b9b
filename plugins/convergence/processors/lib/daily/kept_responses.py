"""Folders where a step keeps a provider's responses: malformed ones, and all if configured."""

from __future__ import annotations

from datetime import timedelta

from convergence.extract.storage.quarantine import Quarantine
from convergence.extract.storage.raw import RawPages, prune_folders
from convergence.processors.context import OrgContext

QUARANTINE_RETENTION = timedelta(days=90)
"""Time that a malformed response is kept for analysis."""


def open_quarantine(org: OrgContext) -> Quarantine:
    """Return the folder for malformed responses of this step; remove old ones."""
    runs = org.settings.var_dir / "quarantine" / org.pipeline.dag_id / org.org_slug
    prune_folders(runs, since=org.now() - QUARANTINE_RETENTION)
    parts = (org.pipeline.dag_id, org.org_slug, org.run_id, org.step)
    return Quarantine(
        org.settings.var_dir.joinpath("quarantine", *parts), "/".join(("quarantine", *parts))
    )


def open_raw_pages(org: OrgContext, name: str, *, days: int) -> RawPages | None:
    """Return the folder for raw responses of this step, if they are kept; remove old ones.

    Args:
        org: the org.
        name: name of the request, which becomes part of a folder's name.
        days: for how many days responses are kept; 0 removes what an earlier configuration kept.
    """
    folders = org.settings.var_dir / "raw" / org.pipeline.dag_id / org.org_slug / org.step
    prune_folders(folders, since=org.now() - timedelta(days=days))
    return RawPages(folders / f"{org.run_id}_{org.attempt}_{name}") if days else None
