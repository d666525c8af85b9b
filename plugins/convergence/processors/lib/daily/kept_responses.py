"""Where a step keeps a provider's answers: those that broke their shape, and, if asked, all."""

from __future__ import annotations

from datetime import timedelta

from convergence.extract.quarantine import Quarantine
from convergence.extract.raw import RawPages, prune_folders
from convergence.processors.context import OrgContext

QUARANTINE_KEPT = timedelta(days=90)
"""How long an answer that broke its shape waits for whoever looks into it."""


def quarantine(org: OrgContext) -> Quarantine:
    """Where answers of this step are kept that broke their shape; old ones are removed."""
    runs = org.settings.var_dir / "quarantine" / org.pipeline.dag_id / org.org_slug
    prune_folders(runs, since=org.now() - QUARANTINE_KEPT)
    parts = (org.pipeline.dag_id, org.org_slug, org.run_id, org.step)
    return Quarantine(
        org.settings.var_dir.joinpath("quarantine", *parts), "/".join(("quarantine", *parts))
    )


def raw_pages(org: OrgContext, name: str, *, days: int) -> RawPages | None:
    """Where this step keeps answers as they came, if it does; those kept too long are removed.

    Args:
        org: whose.
        name: of what is asked for, part of a folder's name.
        days: for how many days answers are kept; 0 removes what an earlier configuration kept.
    """
    folders = org.settings.var_dir / "raw" / org.pipeline.dag_id / org.org_slug / org.step
    prune_folders(folders, since=org.now() - timedelta(days=days))
    return RawPages(folders / f"{org.run_id}_{org.attempt}_{name}") if days else None
