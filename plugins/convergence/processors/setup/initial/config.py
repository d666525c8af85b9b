"""What the steps of the platform's own set-up are told."""

from __future__ import annotations

from typing import ClassVar

from convergence.processors.config import PlatformConfig
from convergence.processors.generic.files import Folder


class OnetimeBootstrapConfig(PlatformConfig):
    """Creates or widens the central dataset with its tables and views."""

    ps_type: ClassVar[str] = "setup.initial.onetime_bootstrap"

    layout: Folder = "setup/bootstrap"
    """Folder of the central dataset: config.yml, schemas/, views/."""
