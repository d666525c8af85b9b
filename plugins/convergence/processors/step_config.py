"""Base models of a step's `config:`.

Each folder of processors keeps its models in a module named `config`. These modules must be
importable without Airflow: the linter, the HTTP API and the JSON Schema use them where Airflow is
not installed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

Scope = Literal["org", "platform"]


class ConfigViolation(NamedTuple):
    """An error of a configuration that depends on other files; `place` is the path of the key."""

    place: tuple[str | int, ...]
    message: str


class StepConfig(BaseModel):
    """Base of every processor's configuration: strict types, no unknown keys, immutable.

    The first line of a subclass' docstring describes the processor; the documentation of every
    pipeline that uses the processor shows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ps_type: ClassVar[str]
    """The name in YAML: `openai.usage` is the operator in `processors/openai/usage.py`."""

    scope: ClassVar[Scope] = "org"
    """`org`: works for one org at a time. `platform`: runs once."""

    guards_tables: ClassVar[bool] = False
    """Whether the shrink guard protects the step's tables; its pipeline then has the run parameter
    `accept_shrink`."""

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Validate values from YAML. They have JSON types, so a list may become a tuple.

        Raises:
            pydantic.ValidationError: a value is invalid; all errors are listed.
        """
        return cls.model_validate_json(json.dumps(values))

    @classmethod
    def get_summary(cls) -> str:
        """Return one line that describes the processor."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    def daily_tables(self) -> tuple[str, ...]:
        """Return the tables that the step publishes day by day; these tables have due days."""
        return ()

    def find_violations(
        self,
        folder: Path,  # noqa: ARG002  # for subclasses
        *,
        provider: str | None,  # noqa: ARG002  # for subclasses
    ) -> Iterator[ConfigViolation]:
        """Find errors that only the files named in the configuration reveal.

        Args:
            folder: the folder of configurations.
            provider: the pipeline's provider.
        """
        return iter(())


def config_error(message: str) -> PydanticCustomError:
    """Build the error that a model's validator raises for a value of the right type."""
    return PydanticCustomError("config", "{why}", {"why": message})


def check_groups(groups: Sequence[str], *, accepted: Collection[str], what: str) -> None:
    """Check the groups by which a provider is to split its figures.

    Raises:
        PydanticCustomError: `what` does not have a group, or a group is named twice.
    """
    if unknown := sorted(set(groups) - set(accepted)):
        raise config_error(
            f"{what} can't be grouped by {', '.join(unknown)}; accepted: {', '.join(accepted)}"
        )
    if len(set(groups)) != len(groups):
        raise config_error("a group is named twice")


class PlatformConfig(StepConfig):
    """Base of processors that run once, for the platform and not for an org."""

    scope: ClassVar[Scope] = "platform"
