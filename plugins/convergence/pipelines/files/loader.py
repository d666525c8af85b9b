"""Find the pipeline files, load them, and report every violation of each.

The path is the identity: `openai/cost/usage_cost.yml` is the DAG `openai.cost.usage_cost`, so a
task loads its pipeline by opening one file, however many there are. `load_all` also checks the
names that two files claim, which no single file shows.
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
        specs: the valid pipelines by dag_id, sorted.
        violations: every violation of the other files, in the order of their places.
    """

    specs: dict[str, PipelineSpec]
    violations: tuple[Violation, ...]

    def find(self, url_path: str) -> PipelineSpec | None:
        """Return the pipeline at an address of the HTTP API, or at one of its aliases."""
        spec = self.specs.get(url_path.replace("/", "."))
        if spec is not None and spec.url_path == url_path:
            return spec
        return next((spec for spec in self.specs.values() if url_path in spec.aliases), None)


def load_pipeline(path: Path, root: Path, *, references: bool = True) -> Loaded:
    """Read one pipeline file.

    Args:
        path: the file.
        root: the folder of configurations; the path below it is the identity.
        references: whether to check names that refer to other files (provider, channels,
            expectations).

    Returns:
        The pipeline, or every violation of its file.
    """
    name = _relative_name(path, root)
    report = ViolationReport(name)
    text = read_source(path, report)
    if text is None:
        return report.list_violations()
    report = ViolationReport(name, text)
    _check_path(path, root, report)
    spec = _validate_text(text, report, root=root if references else None)
    if spec is None or report.violations:
        return report.list_violations()
    spec.set_source(name, text)
    return spec


def load_dag(dag_id: str, root: Path) -> Loaded | None:
    """Load the file of one DAG and open no other file; None if there is no such file.

    For the process of a task: names that refer to other files were checked when the DAG was built.
    """
    for suffix in SUFFIXES:
        path = root.joinpath(*dag_id.split(".")).with_suffix(suffix)
        if path.is_file() and is_pipeline(path, root):
            return load_pipeline(path, root, references=False)
    return None


def load_all(root: Path) -> Catalogue:
    """Load every pipeline file and check the files against each other."""
    loaded = {path: load_pipeline(path, root) for path in find_pipeline_files(root)}
    specs = [one for one in loaded.values() if isinstance(one, PipelineSpec)]
    claims = _find_double_claims(specs, addresses=(_relative_name(path, root) for path in loaded))
    violations = [
        violation for one in loaded.values() if isinstance(one, tuple) for violation in one
    ]
    invalid = {violation.path for violation in claims}
    sound = {spec.dag_id: spec for spec in specs if spec.path not in invalid}
    return Catalogue(
        specs=dict(sorted(sound.items())),
        violations=tuple(sorted([*violations, *claims], key=lambda violation: violation.place)),
    )


def find_pipeline_files(root: Path) -> list[Path]:
    """Return every pipeline file under the folder, sorted."""
    return sorted(path for path in _yaml_files(root) if is_pipeline(path, root))


def is_pipeline(path: Path, root: Path) -> bool:
    """Return whether a YAML file is a pipeline: neither settings nor hidden."""
    parts = path.relative_to(root).parts
    return not (
        parts[0] in SETTINGS_FOLDERS
        or path.name in SETTINGS_FILES
        or any(part.startswith(".") for part in parts)
    )


def _relative_name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _yaml_files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _check_path(path: Path, root: Path, report: ViolationReport) -> None:
    relative = path.relative_to(root)
    segments = relative.with_suffix("").parts
    if not 2 <= len(segments) <= 3:
        report.add((1, 1), "a pipeline's path is {provider}/{pipeline}.yml or one folder deeper")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            report.add((1, 1), f"the path is the pipeline's identity: {segment} is not snake_case")
    if path.suffix not in SUFFIXES:
        report.add((1, 1), f"the file has the suffix {path.suffix}", accepted=SUFFIXES)
    first = path.with_suffix(SUFFIXES[0])
    if path.suffix != first.suffix and first.is_file():
        report.add((1, 1), f"{first.name} in the same folder claims the same identity")


def _validate_text(text: str, report: ViolationReport, *, root: Path | None) -> PipelineSpec | None:
    document = read_document(text, report)
    if document is None:
        return None
    checks = Checks(document, report)
    checks.check_file()
    if root is not None:
        checks.check_references(root)
    try:
        spec = PipelineSpec.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        report_validation_errors(error, model=PipelineSpec, document=document, report=report)
        return None
    if not report.violations:
        for index, step in enumerate(spec.steps):
            step.set_parsed(checks.parsed[index])
    return with_quality(spec)


def _find_double_claims(
    specs: Iterable[PipelineSpec], *, addresses: Iterable[str]
) -> list[Violation]:
    """Return the violations of names that several files claim. The first by path keeps a name.

    An added file therefore breaks itself and hardly ever another one. An alias never takes the
    address of a file.
    """
    owners = {("address", path.rpartition(".")[0]): path for path in addresses}
    violations: list[Violation] = []
    for spec in specs:
        claims = {("pipeline_id", spec.pipeline_id): "pipeline_id"}
        claims |= {("address", alias): f"aliases[{at}]" for at, alias in enumerate(spec.aliases)}
        taken = {name: key for name, key in claims.items() if name in owners}
        violations += [
            _build_claim_violation(
                spec, key, f"{name} is already the {kind} of {owners[kind, name]}"
            )
            for (kind, name), key in taken.items()
        ]
        if not taken:
            owners |= dict.fromkeys(claims, spec.path)
    return violations


def _build_claim_violation(spec: PipelineSpec, key: str, message: str) -> Violation:
    report = ViolationReport(spec.path, spec.source)
    if (document := read_document(spec.source, report)) is not None:
        name, _, index = key.rstrip("]").partition("[")
        node = document.node.parts[name]
        report.add(node.parts[int(index)].place if index else node.place, message, key=key)
    return report.violations[0]
