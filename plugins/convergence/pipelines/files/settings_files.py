"""Check the settings files, message templates and suites, as strictly as the pipeline files.

`MODELS` lists the model of each file. A file under `system/` or `notify_systems/`, or a
`config.yml`, without a model is still read strictly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from convergence.errors import ConfigurationError
from convergence.pipelines.files.document import read_document, read_source
from convergence.pipelines.files.loader import SETTINGS_FILES, SETTINGS_FOLDERS, SUFFIXES
from convergence.pipelines.files.messages import report_validation_errors
from convergence.pipelines.files.suites import check_suite, find_suites
from convergence.pipelines.files.violations import Violation, ViolationReport
from convergence.processors.notify_systems.channels import (
    CHANNELS,
    FOLDER,
    Audience,
    Channel,
    Words,
    folder_of,
)
from convergence.processors.notify_systems.messages import render, specimen
from convergence.providers.registry import ProvidersFile
from convergence.runs.run_cost import RunCostRates
from convergence.tenants.datasets import DatasetTypesFile
from convergence.tenants.quotas import PlansFile
from convergence.warehouse.tables.bootstrap import LayoutConfig

MODELS: Final[dict[str, type[BaseModel]]] = {
    "system/providers.yml": ProvidersFile,
    "system/dataset_types.yml": DatasetTypesFile,
    "system/plans.yml": PlansFile,
    "system/run_costs.yml": RunCostRates,
    "setup/bootstrap/config.yml": LayoutConfig,
    "setup/organizations/onboarding/config.yml": LayoutConfig,
    f"{FOLDER}/config.yml": Words,
    **{f"{FOLDER}/{name}_notification/config.yml": model for name, model in CHANNELS.items()},
}


def find_settings_files(root: Path) -> list[Path]:
    """Return every settings file under the folder of configurations, sorted."""
    found = {path for folder in SETTINGS_FOLDERS for path in (root / folder).rglob("*.*")}
    found |= {path for name in SETTINGS_FILES for path in root.rglob(name)}
    return sorted(path for path in found if path.suffix in SUFFIXES)


def check_settings_files(root: Path) -> tuple[Violation, ...]:
    """Return every violation of the settings files, message templates and suites, by place."""
    violations = [
        violation for path in find_settings_files(root) for violation in _check_file(path, root)
    ]
    violations += [violation for path in find_suites(root) for violation in check_suite(path, root)]
    return tuple(sorted(violations, key=lambda violation: violation.place))


def _check_file(path: Path, root: Path) -> Iterator[Violation]:
    name = path.relative_to(root).as_posix()
    report = ViolationReport(name)
    text = read_source(path, report)
    if text is not None:
        report = ViolationReport(name, text)
        document = read_document(text, report)
        model = MODELS.get(name)
        if document is not None and model is not None:
            try:
                parsed = model.model_validate_json(json.dumps(document.value))
            except ValidationError as error:
                report_validation_errors(error, model=model, document=document, report=report)
            else:
                yield from _check_templates(parsed, root)
    yield from report.list_violations()


def _check_templates(settings: BaseModel, root: Path) -> Iterator[Violation]:
    """Render a channel's templates with sample reports of every kind; yield what fails."""
    for name, kind in CHANNELS.items():
        if isinstance(settings, kind):
            folder = folder_of(root, name)
            found = {
                violation
                for audience in settings.templates
                for violation in _render_samples(settings, audience, folder, root)
            }
            yield from sorted(found, key=lambda violation: violation.place)


def _render_samples(
    settings: Channel, audience: Audience, folder: Path, root: Path
) -> Iterator[Violation]:
    for report in specimen(audience):
        try:
            render(settings, audience, report, folder=folder)
        except ConfigurationError as error:
            path = folder / "templates" / str(error.details["file"])
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            line = error.details.get("line", 1)
            failures = ViolationReport(path.relative_to(root).as_posix(), text)
            why = error.details.get("why")
            message = f"{error.message}: {why}" if why else error.message
            failures.add((line if isinstance(line, int) else 1, 1), message)
            yield from failures.list_violations()
