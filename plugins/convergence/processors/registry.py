"""Find a processor by its ps_type; a module dropped into a folder is found without being listed.

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
    """Raised when no processor has the ps_type; facts: `ps_type`, `suggestion`, `accepted`."""

    code = "processor_unknown"


def available() -> tuple[str, ...]:
    """Every ps_type, sorted."""
    return tuple(sorted(_all_configs()))


@cache
def find_config(ps_type: str) -> type[StepConfig]:
    """The configuration model of a processor; Airflow is not imported.

    Raises:
        UnknownProcessorError: no processor has this ps_type.
    """
    if _PS_TYPE.fullmatch(ps_type):
        folder = ps_type.rpartition(".")[0]
        found = _configs_in(f"{processors.__name__}.{folder}.{_CONFIG_MODULE}").get(ps_type)
        if found is not None:
            return found
    raise UnknownProcessorError(
        f"no processor is named {ps_type!r}",
        ps_type=ps_type,
        suggestion=suggest(ps_type),
        accepted=available(),
    )


@cache
def find(ps_type: str) -> type[Processor[Any]]:
    """The operator class of a processor.

    Raises:
        UnknownProcessorError: no processor has this ps_type.
        ConfigurationError: its module holds no operator for the configuration model.
    """
    config = find_config(ps_type)
    name = f"{processors.__name__}.{ps_type}"
    module = _module(name)
    for _, member in inspect.getmembers(module, inspect.isclass):
        if member.__module__ == name and getattr(member, "Config", None) is config:
            return cast("type[Processor[Any]]", member)
    raise ConfigurationError(
        f"{name} holds no operator whose Config is {config.__name__}", ps_type=ps_type
    )


def suggest(ps_type: str) -> str | None:
    """The ps_type that was most likely meant."""
    close = difflib.get_close_matches(ps_type, available(), n=1, cutoff=0.6)
    return close[0] if close else None


def forget() -> None:
    """Drop what was looked up, after the folders of processors changed."""
    for lookup in (find_config, find, _all_configs, _configs_in):
        lookup.cache_clear()


@cache
def _all_configs() -> dict[str, type[StepConfig]]:
    found: dict[str, type[StepConfig]] = {}
    for name in _config_modules(processors.__path__, f"{processors.__name__}."):
        found.update(_configs_in(name))
    return found


def _config_modules(paths: list[str], prefix: str) -> list[str]:
    names: list[str] = []
    for module in pkgutil.iter_modules(paths, prefix):
        if module.ispkg:
            folder = importlib.import_module(module.name)
            names += _config_modules(list(folder.__path__), f"{module.name}.")
        elif module.name.endswith(f".{_CONFIG_MODULE}") and prefix.count(".") > 2:
            names.append(module.name)
    return names


@cache
def _configs_in(name: str) -> dict[str, type[StepConfig]]:
    module = _module(name)
    if module is None:
        return {}
    return {
        member.ps_type: member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, StepConfig)
        and member.__module__ == name
        and "ps_type" in vars(member)
    }


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise
