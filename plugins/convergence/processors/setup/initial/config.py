"""Configuration of the steps that set up the platform."""

from __future__ import annotations

from typing import ClassVar

from convergence.processors.lib.field_types import Folder
from convergence.processors.step_config import PlatformConfig


class OnetimeBootstrapConfig(PlatformConfig):
    """Creates or widens the central dataset with its tables and views."""

    ps_type: ClassVar[str] = "setup.initial.onetime_bootstrap"

    layout: Folder = "setup/bootstrap"
    """Folder of the central dataset: config.yml, schemas/, views/."""
