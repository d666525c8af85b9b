"""What a step's `config:` may hold: the base of every processor's own model.

Each folder of processors keeps its models in a module named `config`, importable without Airflow:
the linter, the HTTP API and the JSON Schema need them where Airflow does not run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

Scope = Literal["org", "platform"]


class Fault(NamedTuple):
    """What is wrong with a configuration in view of other files; `place` leads to the key."""

    place: tuple[str | int, ...]
    message: str


class StepConfig(BaseModel):
    """Base of every processor's configuration: strict types, no unknown keys, immutable.

    The first line of the subclass' docstring says what the processor does; it is shown in the
    documentation of every pipeline that uses it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ps_type: ClassVar[str]
    """Name in YAML: `openai.usage` is the operator in `processors/openai/usage.py`."""

    scope: ClassVar[Scope] = "org"
    """`org`: works for one org at a time. `platform`: runs once."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Validate values as they stand in YAML: JSON types, so a list may become a tuple.

        Raises:
            pydantic.ValidationError: with every fault.
        """
        return cls.model_validate_json(json.dumps(values))

    @classmethod
    def summary(cls) -> str:
        """What the processor does, in one line."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    def tables(self) -> tuple[str, ...]:
        """Tables of the org's dataset that the step publishes day by day; they have due days."""
        return ()

    def faults(self, folder: Path, *, provider: str | None) -> Iterator[Fault]:  # noqa: ARG002  # for subclasses
        """What is wrong in view of the files that the configuration names.

        Args:
            folder: of configurations.
            provider: the pipeline's.
        """
        return iter(())


def refusal(message: str) -> PydanticCustomError:
    """What a model's validator raises for a value whose type is right and which is wrong."""
    return PydanticCustomError("config", "{why}", {"why": message})


def check_groups(given: Sequence[str], *, accepted: Collection[str], what: str) -> None:
    """Check what a provider is asked to split its figures by.

    Raises:
        PydanticCustomError: a group that `what` does not have, or one that is named twice.
    """
    if unknown := sorted(set(given) - set(accepted)):
        raise refusal(
            f"{what} can't be grouped by {', '.join(unknown)}; accepted: {', '.join(accepted)}"
        )
    if len(set(given)) != len(given):
        raise refusal("a group is named twice")


class PlatformConfig(StepConfig):
    """Base for processors that run once, for the platform and not for an org."""

    scope: ClassVar[Scope] = "platform"
