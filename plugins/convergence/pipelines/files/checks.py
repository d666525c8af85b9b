"""What the models can't see: names that must exist, and steps that must fit together.

The checks read the file's plain values, so that they run beside the models' own faults and one
look shows everything that is wrong.
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
    """The well-formed parts of one step; None where a part is not."""

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

    def run(self) -> None:
        """Add every fault that the file alone shows."""
        self._names()
        self._processors()
        self._dependencies()
        self._params()
        self._quality()

    def references(self, root: FilePath) -> None:
        """Add the faults of names that lead into other files of the folder."""
        self._provider(root)
        self._channels(root)
        self._expectations(root)
        self._files_of_steps(root)

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
                _text(values.get("step")),
                _text(values.get("processor", values.get("ps_type"))),
                depends_on,
            )

    def _provider(self, root: FilePath) -> None:
        provider = self._values.get("provider")
        known = known_providers(root)
        if known and isinstance(provider, str) and provider not in known:
            self._fault(
                ("provider",),
                f"no provider is named {quote_value(provider)}",
                suggestion=closest_match(provider, known),
                accepted=known,
            )

    def _names(self) -> None:
        first: dict[str, int] = {}
        for step in self._steps:
            if step.name is None:
                continue
            where = (*step.path, "step")
            if step.name in first:
                self._fault(where, f"{step.name} is also the step in line {first[step.name]}")
            first.setdefault(step.name, self._node(where).place[0])
            if step.name.partition("_")[0] not in STEP_VERBS or "_" not in step.name:
                self._fault(
                    where,
                    f"{quote_value(step.name)} does not begin with a verb",
                    accepted=[f"{verb}_…" for verb in STEP_VERBS],
                )

    def _processors(self) -> None:
        scope = self._values.get("scope", "org")
        for index, step in enumerate(self._steps):
            if step.processor is None:
                continue
            where = (*step.path, self._processor_key(step))
            try:
                config = registry.find_config(step.processor)
            except UnknownProcessorError:
                self._fault(
                    where,
                    f"no processor is named {quote_value(step.processor)}",
                    suggestion=registry.suggest(step.processor),
                    accepted=registry.available(),
                )
                continue
            if scope in ("org", "platform") and config.scope != scope:
                self._fault(
                    where,
                    f"{step.processor} is for pipelines of scope {config.scope}; "
                    f"this one's is {scope}",
                )
            self._config(index, step, config)

    def _config(self, index: int, step: _Step, model: type[StepConfig]) -> None:
        under = (*step.path, "config")
        values = self._values["steps"][index].get("config", {})
        if not isinstance(values, Mapping):
            return
        try:
            self.parsed[index] = model.parse(values)
        except ValidationError as error:
            report_validation_errors(
                error, model=model, document=self._document, report=self._report, under=under
            )

    def _dependencies(self) -> None:
        names = [step.name for step in self._steps if step.name is not None]
        for step in self._steps:
            for position, name in enumerate(step.depends_on or ()):
                where = (*step.path, "depends_on", position)
                if name == step.name:
                    self._fault(where, f"{name} can't depend on itself")
                elif name not in names:
                    self._fault(
                        where,
                        f"no step is named {quote_value(name)}",
                        suggestion=closest_match(name, names),
                        accepted=names,
                    )
                elif name in (step.depends_on or ())[:position]:
                    self._fault(where, f"{name} is said twice")
        self._cycles()

    def _cycles(self) -> None:
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
            told = " → ".join([*cycle, cycle[0]])
            self._fault(places[cycle[0]], f"the steps wait for each other: {told}")

    def _params(self) -> None:
        params = self._values.get("params")
        for name, param in params.items() if isinstance(params, Mapping) else ():
            where = ("params", name)
            if self._values.get("scope", "org") == "org" and name in _RESERVED_PARAMS:
                self._fault(
                    where, f"{name} is a name that every org pipeline has already", at_key=True
                )
            required = isinstance(param, Mapping) and param.get("required") is True
            if required and self._values.get("schedule") is not None:
                self._fault(
                    (*where, "required"),
                    "a scheduled pipeline can't require a param, since the schedule gives none",
                )

    def _quality(self) -> None:
        if self._values.get("quality") is None:
            return
        if self._values.get("scope", "org") != "org":
            self._fault(("quality",), "published days are an org's: the scope must be org")
        for step in self._steps:
            if step.name == QUALITY_STEP:
                told = f"{QUALITY_STEP} is the step that quality: adds; name this one otherwise"
                self._fault((*step.path, "step"), told)

    def _channels(self, root: FilePath) -> None:
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
                    self._fault(
                        ("notify", event, index),
                        f"no channel is named {quote_value(channel)}",
                        suggestion=closest_match(channel, known),
                        accepted=known,
                    )

    def _expectations(self, root: FilePath) -> None:
        quality = self._values.get("quality")
        if isinstance(quality, str) and not (root / quality).is_file():
            self._fault(("quality",), f"there is no file {quote_value(quality)}")

    def _files_of_steps(self, root: FilePath) -> None:
        provider = _text(self._values.get("provider"))
        for index, config in self.parsed.items():
            for place, told in config.faults(root, provider=provider):
                self._fault(("steps", index, "config", *place), told)
            self._sql_of_step(index, config, root)

    def _sql_of_step(self, index: int, config: StepConfig, root: FilePath) -> None:
        """Break the pipeline whose SQL reaches beyond its org's dataset, and no other."""
        for key in type(config).model_fields:
            value = getattr(config, key)
            if isinstance(value, str) and value.endswith(SUFFIX):
                for fault in check_sql_file(root / value, root):
                    self._fault(("steps", index, "config", key), str(fault))

    def _processor_key(self, step: _Step) -> str:
        return "processor" if "processor" in self._node(step.path).parts else "ps_type"

    def _node(self, path: Path) -> Node:
        node = self._document.node
        for part in path:
            node = node.parts.get(part, node)
        return node

    def _fault(
        self,
        path: Path,
        message: str,
        *,
        suggestion: str | None = None,
        accepted: Sequence[str] = (),
        at_key: bool = False,
    ) -> None:
        node = self._node(path)
        if node.faulty:
            return
        place = self._node(path[:-1]).keys[path[-1]] if at_key else node.place
        self._report.add(
            place, message, key=format_key(path), suggestion=suggestion, accepted=accepted
        )


def known_providers(root: FilePath) -> tuple[str, ...]:
    """The ids in the provider registry beside the pipelines; none when it can't be read.

    A provider whose entry is wrong is known: its pipelines load, and their runs say what is wrong.
    """
    return load_registry_at(root).ids


def find_cycles(upstream: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The cycles of a graph, each once and beginning with its first step in the file's order."""
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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
