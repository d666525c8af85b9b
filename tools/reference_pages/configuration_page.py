"""Render docs/configuration.md from the settings models of the product, launcher and containers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from convergence.settings import PROJECT_ROOT, Settings
from deploy.settings import AccountSettings, EntrySettings
from stack.settings import CeleryStackSettings, StackSettings

_INTRODUCTION = """\
# Configuration

Every environment variable, its default and the processes that read it. An empty variable counts as
unset. A variable marked "Secret" may be a file of its name in `SECRETS_DIR` instead. Only processes
that serve the API read a variable marked "API". Written by `make docs` from the settings models.
"""

_SANDBOX = """\
## The sandbox

[sandbox/README.md](../sandbox/README.md) lists the variables of the sandbox, `SANDBOX_…`.
"""

_MODELS: tuple[tuple[str, str, type[BaseSettings]], ...] = (
    ("The product", "the API, tasks and the commands of `make`", Settings),
    ("Accounts of Airflow", "the container that makes Airflow's accounts", AccountSettings),
    ("Container start", "every container", EntrySettings),
    ("The local stack", "`make up`, `make demo`", StackSettings),
    ("The local stack with Celery", "`make up-celery`, `make demo-celery`", CeleryStackSettings),
)


@dataclass(frozen=True)
class Variable:
    """An environment variable as the page shows it."""

    names: tuple[str, ...]
    default: str
    description: str

    def render(self) -> str:
        """Return the variable's row of a table."""
        names = " or ".join(f"`{name}`" for name in self.names)
        return f"| {names} | {self.default} | {self.description} |"


_BEFORE_SETTINGS = (
    Variable(("SECRETS_DIR",), "unset", "Directory of files that hold secrets."),
    Variable(
        ("CONVERGENCE_PRELOAD",),
        "`packages`",
        "What Airflow's components import before they fork tasks: `packages` or `all` "
        "([preload.md](preload.md)).",
    ),
)
_COMPOSE_ONLY = (
    Variable(("CONVERGENCE_IMAGE",), "`convergence:local`", "Name of the image."),
    Variable(
        ("CONVERGENCE_SANDBOX_IMAGE",),
        "`convergence-sandbox:local`",
        "Name of the image of the `dev` profile's sandbox.",
    ),
    Variable(("CONVERGENCE_SECRETS",), "`./secrets`", "Directory of the secrets' files."),
    Variable(("API_BIND",), "`127.0.0.1`", "Address that the API is published on."),
    Variable(("AIRFLOW_BASE_URL",), "`http://localhost:8080`", "Airflow's address in links."),
    Variable(("PARALLELISM",), "`32`", "Slots of the scheduler; twice what all workers run."),
    Variable(("WORKER_CONCURRENCY",), "`8`", "Tasks that one worker runs at the same time."),
)
_TESTS_ONLY = (
    Variable(
        ("CONFORMANCE_BIGQUERY_PROJECT",),
        "unset",
        "Google Cloud project that the conformance suite runs against.",
    ),
    Variable(
        ("CONVERGENCE_PUBLIC_FILES",),
        "unset",
        "Directory of public sample files that are too large to commit.",
    ),
)
_OTHERS = (
    ("Before any settings", "every process at its start", _BEFORE_SETTINGS),
    ("Containers", "`docker-compose.yaml`", _COMPOSE_ONLY),
    ("Tests", "`make test`", _TESTS_ONLY),
)


def render_configuration_page() -> str:
    """Return the page: one table for each settings model, then what no model reads."""
    parts, listed = [_INTRODUCTION], set[tuple[str, ...]]()
    for title, reader, model in _MODELS:
        variables = [one for one in read_variables(model) if one.names not in listed]
        listed |= {variable.names for variable in variables}
        parts.append(_render_section(title, f"Read by {reader}.", variables))
    for title, reader, others in _OTHERS:
        parts.append(_render_section(title, f"Read by {reader}.", others))
    parts.append(_SANDBOX)
    return "\n".join(parts)


def read_variables(model: type[BaseSettings]) -> Iterator[Variable]:
    """Yield the variables of a settings model.

    Raises:
        ValueError: a field has no description, naming the field.
    """
    for name, field in model.model_fields.items():
        if not field.description:
            raise ValueError(f"{model.__name__}.{name}: the field needs a description")
        yield Variable(_variable_names(name, field), _render_default(field), field.description)


def _render_section(title: str, reader: str, variables: Iterable[Variable]) -> str:
    rows = [variable.render() for variable in variables]
    header = ["| variable | default | meaning |", "|---|---|---|"]
    return "\n".join([f"## {title}", "", reader, "", *header, *rows]) + "\n"


def _variable_names(name: str, field: FieldInfo) -> tuple[str, ...]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias),) if alias else (name.upper(),)


def _render_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ((), {}):
        return "unset"
    if isinstance(default, Path):
        return f"`{default.relative_to(PROJECT_ROOT)}`"
    return f"`{re.sub(r'[.]0$', '', str(getattr(default, 'value', default)))}`"
