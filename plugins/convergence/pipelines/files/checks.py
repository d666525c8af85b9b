"""Checks that the models can't make: names must exist, and steps must fit together.

The checks read the file's plain values, so they also run on a file that the models reject, and
the author sees every violation at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import ValidationError

from convergence.pipelines.files.document import Document, Node, Path
from convergence.pipelines.files.messages import report_validation_errors
from convergence.pipelines.files.quality_step import QUALITY_STEP
from convergence.pipelines.files.spec import STEP_VERBS
from convergence.pipelines.files.sql.files import SUFFIX, check_sql_file
from convergence.pipelines.files.violations import (
    ViolationReport,
    closest_match,
    format_key,
    quote_value,
)
from convergence.processors import registry
from convergence.processors.registry import UnknownProcessorError
from convergence.processors.run_conf import ORG_RUN_ID, ORG_SLUG
from convergence.processors.step_config import StepConfig
from convergence.providers.registry import load_registry_at

_RESERVED_PARAMS = (ORG_RUN_ID, ORG_SLUG)
_NOTIFY = "notify_systems"


class _Step(NamedTuple):
    """The well-formed parts of one step; an ill-formed part is None."""

    path: Path
    name: str | None
    processor: str | None
    depends_on: Sequence[str] | None


class Checks:
    """The checks of one file."""

    def __init__(self, document: Document, report: ViolationReport) -> None:
        self._document = document
        self._report = report
        self._values: Mapping[str, Any] = (
            document.value if isinstance(document.value, Mapping) else {}
        )
        self._steps = list(self._read_steps())
        self.parsed: dict[int, StepConfig] = {}

    def check_file(self) -> None:
        """Add every violation that the file itself shows."""
        self._check_names()
        self._check_processors()
        self._check_dependencies()
        self._check_params()
        self._check_quality()

    def check_references(self, root: FilePath) -> None:
        """Add the violations of names that refer to other files of the folder."""
        self._check_provider(root)
        self._check_channels(root)
        self._check_expectations(root)
        self._check_files_of_steps(root)

    def _read_steps(self) -> Iterator[_Step]:
        steps = self._values.get("steps")
        for index, step in enumerate(steps if isinstance(steps, list) else []):
            values = step if isinstance(step, Mapping) else {}
            depends_on = values.get("depends_on")
            if isinstance(depends_on, list):
                depends_on = [name if isinstance(name, str) else "" for name in depends_on]
            else:
                depends_on = None
            yield _Step(
                ("steps", index),
                _text_or_none(values.get("step")),
                _text_or_none(values.get("processor", values.get("ps_type"))),
                depends_on,
            )

    def _check_provider(self, root: FilePath) -> None:
        provider = self._values.get("provider")
        known = list_providers(root)
        if known and isinstance(provider, str) and provider not in known:
            self._add_violation(
                ("provider",),
                f"unknown provider {quote_value(provider)}",
                suggestion=closest_match(provider, known),
                accepted=known,
            )

    def _check_names(self) -> None:
        first: dict[str, int] = {}
        for step in self._steps:
            if step.name is None:
                continue
            where = (*step.path, "step")
            if step.name in first:
                self._add_violation(
                    where, f"{step.name} is also the step in line {first[step.name]}"
                )
            first.setdefault(step.name, self._find_node(where).place[0])
            if step.name.partition("_")[0] not in STEP_VERBS or "_" not in step.name:
                self._add_violation(
                    where,
                    f"{quote_value(step.name)} does not begin with a verb",
                    accepted=[f"{verb}_…" for verb in STEP_VERBS],
                )

    def _check_processors(self) -> None:
        scope = self._values.get("scope", "org")
        for index, step in enumerate(self._steps):
            if step.processor is None:
                continue
            where = (*step.path, self._processor_key(step))
            try:
                config = registry.find_config(step.processor)
            except UnknownProcessorError:
                self._add_violation(
                    where,
                    f"unknown processor {quote_value(step.processor)}",
                    suggestion=registry.suggest_ps_type(step.processor),
                    accepted=registry.list_ps_types(),
                )
                continue
            if scope in ("org", "platform") and config.scope != scope:
                self._add_violation(
                    where,
                    f"{step.processor} needs a pipeline of scope {config.scope}; "
                    f"this pipeline has the scope {scope}",
                )
            self._check_config(index, step, config)

    def _check_config(self, index: int, step: _Step, model: type[StepConfig]) -> None:
        under = (*step.path, "config")
        values = self._values["steps"][index].get("config", {})
        if not isinstance(values, Mapping):
            return
        try:
            self.parsed[index] = model.from_values(values)
        except ValidationError as error:
            report_validation_errors(
                error, model=model, document=self._document, report=self._report, under=under
            )

    def _check_dependencies(self) -> None:
        names = [step.name for step in self._steps if step.name is not None]
        for step in self._steps:
            for position, name in enumerate(step.depends_on or ()):
                where = (*step.path, "depends_on", position)
                if name == step.name:
                    self._add_violation(where, f"{name} can't depend on itself")
                elif name not in names:
                    self._add_violation(
                        where,
                        f"unknown step {quote_value(name)}",
                        suggestion=closest_match(name, names),
                        accepted=names,
                    )
                elif name in (step.depends_on or ())[:position]:
                    self._add_violation(where, f"{name} is listed twice")
        self._check_cycles()

    def _check_cycles(self) -> None:
        upstream: dict[str, list[str]] = {}
        places: dict[str, Path] = {}
        for index, step in enumerate(self._steps):
            if step.name is None or step.name in upstream:
                continue
            before = self._steps[index - 1].name if index else None
            chosen = [before] if step.depends_on is None and before else step.depends_on
            upstream[step.name] = [name for name in chosen or () if name != step.name]
            places[step.name] = (*step.path, "depends_on" if step.depends_on else "step")
        for cycle in find_cycles(upstream):
            steps = " → ".join([*cycle, cycle[0]])
            self._add_violation(places[cycle[0]], f"the steps depend on each other: {steps}")

    def _check_params(self) -> None:
        params = self._values.get("params")
        for name, param in params.items() if isinstance(params, Mapping) else ():
            where = ("params", name)
            if self._values.get("scope", "org") == "org" and name in _RESERVED_PARAMS:
                self._add_violation(
                    where, f"{name} is reserved: every org pipeline has this param", at_key=True
                )
            required = isinstance(param, Mapping) and param.get("required") is True
            if required and self._values.get("schedule") is not None:
                self._add_violation(
                    (*where, "required"),
                    "a scheduled pipeline can't require a param, since its schedule sets none",
                )

    def _check_quality(self) -> None:
        if self._values.get("quality") is None:
            return
        if self._values.get("scope", "org") != "org":
            self._add_violation(
                ("quality",), "quality checks an org's tables: the scope must be org"
            )
        for step in self._steps:
            if step.name == QUALITY_STEP:
                message = f"{QUALITY_STEP} is the step that quality: adds; rename this step"
                self._add_violation((*step.path, "step"), message)

    def _check_channels(self, root: FilePath) -> None:
        folder = root / _NOTIFY
        notify = self._values.get("notify")
        if not folder.is_dir() or not isinstance(notify, Mapping):
            return
        known = sorted(
            path.parent.name.removesuffix("_notification")
            for path in folder.glob("*_notification/config.yml")
        )
        for event, channels in notify.items():
            for index, channel in enumerate(channels if isinstance(channels, list) else ()):
                if isinstance(channel, str) and channel not in known:
                    self._add_violation(
                        ("notify", event, index),
                        f"unknown channel {quote_value(channel)}",
                        suggestion=closest_match(channel, known),
                        accepted=known,
                    )

    def _check_expectations(self, root: FilePath) -> None:
        quality = self._values.get("quality")
        if isinstance(quality, str) and not (root / quality).is_file():
            self._add_violation(("quality",), f"there is no file {quote_value(quality)}")

    def _check_files_of_steps(self, root: FilePath) -> None:
        provider = _text_or_none(self._values.get("provider"))
        for index, config in self.parsed.items():
            for place, message in config.find_violations(root, provider=provider):
                self._add_violation(("steps", index, "config", *place), message)
            self._check_sql_of_step(index, config, root)

    def _check_sql_of_step(self, index: int, config: StepConfig, root: FilePath) -> None:
        """Report SQL that reads outside its org's dataset as a violation of this pipeline only."""
        for key in type(config).model_fields:
            value = getattr(config, key)
            if isinstance(value, str) and value.endswith(SUFFIX):
                for violation in check_sql_file(root / value, root):
                    self._add_violation(("steps", index, "config", key), str(violation))

    def _processor_key(self, step: _Step) -> str:
        return "processor" if "processor" in self._find_node(step.path).parts else "ps_type"

    def _find_node(self, path: Path) -> Node:
        node = self._document.node
        for part in path:
            node = node.parts.get(part, node)
        return node

    def _add_violation(
        self,
        path: Path,
        message: str,
        *,
        suggestion: str | None = None,
        accepted: Sequence[str] = (),
        at_key: bool = False,
    ) -> None:
        node = self._find_node(path)
        if node.invalid:
            return
        place = self._find_node(path[:-1]).keys[path[-1]] if at_key else node.place
        self._report.add(
            place, message, key=format_key(path), suggestion=suggestion, accepted=accepted
        )


def list_providers(root: FilePath) -> tuple[str, ...]:
    """Return the ids in the provider registry of the folder; none if it can't be read.

    A provider with an invalid entry is included: its pipelines load, and each run fails with the
    reason.
    """
    return load_registry_at(root).ids


def find_cycles(upstream: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the cycles of a graph, each once, starting at its first step in the file."""
    done: set[str] = set()
    cycles: list[list[str]] = []

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            cycle = trail[trail.index(name) :]
            start = min(range(len(cycle)), key=lambda at: list(upstream).index(cycle[at]))
            cycles.append(cycle[start:] + cycle[:start])
        elif name not in done and name in upstream:
            for before in upstream[name]:
                visit(before, [*trail, name])
            done.add(name)

    for name in upstream:
        visit(name, [])
    return cycles


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
