"""Find the pipeline files, read them, and tell every fault of each.

The path is the identity: `openai/cost/usage_cost.yml` is the DAG `openai.cost.usage_cost`, so one
pipeline is loaded by opening one file, however many there are. What needs several files to be
seen (a name that two of them claim) is checked where all are loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from convergence.pipelines.files.checks import Checks
from convergence.pipelines.files.document import read_document, read_source
from convergence.pipelines.files.messages import report_validation_errors
from convergence.pipelines.files.quality_step import with_quality
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.files.violations import Violation, ViolationReport

SUFFIXES = (".yml", ".yaml")
SETTINGS_FOLDERS = ("system", "notify_systems")
SETTINGS_FILES = ("config.yml", "config.yaml")
_SEGMENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

Loaded = PipelineSpec | tuple[Violation, ...]


@dataclass(frozen=True)
class Catalogue:
    """Every pipeline file under a folder.

    Attributes:
        specs: the valid ones by dag_id, sorted.
        faults: all faults of the others, by place.
    """

    specs: dict[str, PipelineSpec]
    faults: tuple[Violation, ...]

    def find(self, url_path: str) -> PipelineSpec | None:
        """The pipeline at an address of the HTTP API, or at one of its aliases."""
        own = self.specs.get(url_path.replace("/", "."))
        if own is not None and own.url_path == url_path:
            return own
        return next((spec for spec in self.specs.values() if url_path in spec.aliases), None)


def load_pipeline(path: Path, root: Path, *, references: bool = True) -> Loaded:
    """Read one pipeline file.

    Args:
        path: the file.
        root: the folder of configurations, which the identity is relative to.
        references: whether to look up what the file names in others (provider, channels,
            expectations).

    Returns:
        The pipeline, or every fault of its file.
    """
    told = _told(path, root)
    report = ViolationReport(told)
    text = read_source(path, report)
    if text is None:
        return report.sorted()
    report = ViolationReport(told, text)
    _check_path(path, root, report)
    spec = _validated(text, report, root=root if references else None)
    if spec is None or report.faults:
        return report.sorted()
    spec.locate(told, text)
    return spec


def load_dag(dag_id: str, root: Path) -> Loaded | None:
    """Read the one file that a DAG comes from, and no other; None when there is none.

    For a task's process: what the file names in others was looked up when the DAG was made.
    """
    for suffix in SUFFIXES:
        path = root.joinpath(*dag_id.split(".")).with_suffix(suffix)
        if path.is_file() and is_pipeline(path, root):
            return load_pipeline(path, root, references=False)
    return None


def load_all(root: Path) -> Catalogue:
    """Read every pipeline file and check them against each other."""
    loaded = {path: load_pipeline(path, root) for path in find_pipeline_files(root)}
    specs = [one for one in loaded.values() if isinstance(one, PipelineSpec)]
    claims = _double_claims(specs, addresses=(_told(path, root) for path in loaded))
    faults = [fault for one in loaded.values() if isinstance(one, tuple) for fault in one]
    faulty = {fault.path for fault in claims}
    sound = {spec.dag_id: spec for spec in specs if spec.path not in faulty}
    return Catalogue(
        specs=dict(sorted(sound.items())),
        faults=tuple(sorted([*faults, *claims], key=lambda fault: fault.place)),
    )


def find_pipeline_files(root: Path) -> list[Path]:
    """Every pipeline file under the folder, sorted."""
    return sorted(path for path in _yaml_files(root) if is_pipeline(path, root))


def is_pipeline(path: Path, root: Path) -> bool:
    """Whether a YAML file is a pipeline, not settings or something hidden."""
    parts = path.relative_to(root).parts
    return not (
        parts[0] in SETTINGS_FOLDERS
        or path.name in SETTINGS_FILES
        or any(part.startswith(".") for part in parts)
    )


def _told(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _yaml_files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _check_path(path: Path, root: Path, report: ViolationReport) -> None:
    relative = path.relative_to(root)
    segments = relative.with_suffix("").parts
    if not 2 <= len(segments) <= 3:
        report.add((1, 1), "a pipeline is {provider}/{pipeline}.yml or one folder deeper")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            report.add((1, 1), f"the path is the identity: {segment} is not snake_case")
    if path.suffix not in SUFFIXES:
        report.add((1, 1), f"the file's ending is {path.suffix}", accepted=SUFFIXES)
    first = path.with_suffix(SUFFIXES[0])
    if path.suffix != first.suffix and first.is_file():
        report.add((1, 1), f"{first.name} beside it claims the same identity")


def _validated(text: str, report: ViolationReport, *, root: Path | None) -> PipelineSpec | None:
    document = read_document(text, report)
    if document is None:
        return None
    checks = Checks(document, report)
    checks.run()
    if root is not None:
        checks.references(root)
    try:
        spec = PipelineSpec.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        report_validation_errors(error, model=PipelineSpec, document=document, report=report)
        return None
    if not report.faults:
        for index, step in enumerate(spec.steps):
            step.remember(checks.parsed[index])
    return with_quality(spec)


def _double_claims(specs: Iterable[PipelineSpec], *, addresses: Iterable[str]) -> list[Violation]:
    """Faults of names that several files claim. The first by path keeps a name.

    So a file that is added breaks itself, hardly ever another; and an alias never takes the
    address that is a file's own.
    """
    held = {("address", path.rpartition(".")[0]): path for path in addresses}
    faults: list[Violation] = []
    for spec in specs:
        own = {("pipeline_id", spec.pipeline_id): "pipeline_id"}
        own |= {("address", alias): f"aliases[{at}]" for at, alias in enumerate(spec.aliases)}
        doubled = {name: key for name, key in own.items() if name in held}
        faults += [
            _double_claim(spec, key, f"{name} is the {kind} of {held[kind, name]} already")
            for (kind, name), key in doubled.items()
        ]
        if not doubled:
            held |= dict.fromkeys(own, spec.path)
    return faults


def _double_claim(spec: PipelineSpec, key: str, message: str) -> Violation:
    report = ViolationReport(spec.path, spec.source)
    if (document := read_document(spec.source, report)) is not None:
        name, _, index = key.rstrip("]").partition("[")
        node = document.node.parts[name]
        report.add(node.parts[int(index)].place if index else node.place, message, key=key)
    return report.faults[0]
