"""Configuration of the platform's steps."""

from __future__ import annotations

from typing import ClassVar

from convergence.processors.step_config import PlatformConfig


class TickConfig(PlatformConfig):
    """Starts waiting and due runs, closes unfinished ones, ships records and deletes old ones."""

    ps_type: ClassVar[str] = "system.tick"
