"""Configuration of the steps that onboard an organization."""

from __future__ import annotations

from typing import ClassVar

from convergence.processors.lib.field_types import ORG_LAYOUT, Folder, SchemaFile
from convergence.processors.step_config import PlatformConfig


class DryrunConfig(PlatformConfig):
    """Checks whether an organization could be onboarded; creates nothing."""

    ps_type: ClassVar[str] = "setup.organizations.dryrun"

    central_layout: Folder = "setup/bootstrap"
    """Folder of the central dataset, whose tables must be there."""


class OnboardingConfig(PlatformConfig):
    """Creates an organization: profile, dataset, tables, views, subscription and quota."""

    ps_type: ClassVar[str] = "setup.organizations.onboarding"

    layout: Folder = ORG_LAYOUT
    """Folder of what every org's dataset holds: config.yml, schemas/, views/."""

    provider_tables: tuple[SchemaFile, ...] = ()
    """Schemas of the providers' tables."""
