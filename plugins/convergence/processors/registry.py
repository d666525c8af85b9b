"""Find a processor by its ps_type; a new module in a folder needs no registration.

`openai.usage` is the operator in `processors/openai/usage.py`, and its configuration model is in
`processors/openai/config.py`. Looking up a configuration never imports an operator, so it works
where Airflow is not installed or too slow to import.

A folder of `processors` with a `config.py` holds ps_types. `processors/lib` has none: it is the
library that they share, and no ps_type lies below it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from convergence import processors
from convergence.errors import ConfigurationError
from convergence.processors.step_config import StepConfig

if TYPE_CHECKING:
    from convergence.processors.base import Processor

_PS_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_CONFIG_MODULE = "config"


class UnknownProcessorError(ConfigurationError):
    """Raised when no processor has the ps_type; details: `ps_type`, `suggestion`, `accepted`."""

    code = "processor_unknown"


def list_ps_types() -> tuple[str, ...]:
    """Return every ps_type, sorted."""
    return tuple(sorted(_load_all_configs()))


@cache
def find_config(ps_type: str) -> type[StepConfig]:
    """Return the configuration model of a processor; this does not import Airflow.

    Raises:
        UnknownProcessorError: no processor has this ps_type.
    """
    if _PS_TYPE.fullmatch(ps_type):
        folder = ps_type.rpartition(".")[0]
        found = _load_configs(f"{processors.__name__}.{folder}.{_CONFIG_MODULE}").get(ps_type)
        if found is not None:
            return found
    raise UnknownProcessorError(
        f"no processor is named {ps_type!r}",
        ps_type=ps_type,
        suggestion=suggest_ps_type(ps_type),
        accepted=list_ps_types(),
    )


@cache
def find_operator(ps_type: str) -> type[Processor[Any]]:
    """Return the operator class of a processor.

    Raises:
        UnknownProcessorError: no processor has this ps_type.
        ConfigurationError: its module has no operator for the configuration model.
    """
    config = find_config(ps_type)
    name = f"{processors.__name__}.{ps_type}"
    module = _import_module(name)
    for _, member in inspect.getmembers(module, inspect.isclass):
        if member.__module__ == name and getattr(member, "Config", None) is config:
            return cast("type[Processor[Any]]", member)
    raise ConfigurationError(
        f"{name} has no operator whose Config is {config.__name__}", ps_type=ps_type
    )


def suggest_ps_type(ps_type: str) -> str | None:
    """Return the ps_type that is spelled most like this one."""
    close = difflib.get_close_matches(ps_type, list_ps_types(), n=1, cutoff=0.6)
    return close[0] if close else None


def clear_caches() -> None:
    """Clear the caches, after the folders of processors changed."""
    for lookup in (find_config, find_operator, _load_all_configs, _load_configs):
        lookup.cache_clear()


@cache
def _load_all_configs() -> dict[str, type[StepConfig]]:
    found: dict[str, type[StepConfig]] = {}
    for name in _list_config_modules(processors.__path__, f"{processors.__name__}."):
        found.update(_load_configs(name))
    return found


def _list_config_modules(paths: list[str], prefix: str) -> list[str]:
    names: list[str] = []
    for module in pkgutil.iter_modules(paths, prefix):
        if module.ispkg:
            folder = importlib.import_module(module.name)
            names += _list_config_modules(list(folder.__path__), f"{module.name}.")
        elif module.name.endswith(f".{_CONFIG_MODULE}") and prefix.count(".") > 2:
            names.append(module.name)
    return names


@cache
def _load_configs(name: str) -> dict[str, type[StepConfig]]:
    module = _import_module(name)
    if module is None:
        return {}
    return {
        member.ps_type: member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, StepConfig)
        and member.__module__ == name
        and "ps_type" in vars(member)
    }


def _import_module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise
