"""Configuration of the platform's steps."""

from __future__ import annotations

from typing import ClassVar

from convergence.processors.step_config import PlatformConfig


class TickConfig(PlatformConfig):
    """Starts what waits or is due, ends what nobody ended, ships records, forgets old ones."""

    ps_type: ClassVar[str] = "system.tick"
