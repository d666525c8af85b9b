"""The documentation of a pipeline in Airflow's UI: summary, steps, tables, params and source."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convergence.pipelines.files.schedule import cadence
from convergence.pipelines.files.shrink_param import SHRINK_PARAM_SCHEMA
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.registry import find_config
from convergence.runs.shrink_guard import ACCEPT_SHRINK


def docs_md(spec: PipelineSpec) -> str:
    """Render the documentation of a pipeline in Markdown."""
    lines = [*_render_summary(spec), *_render_steps(spec)]
    lines += [*_render_params(spec), *_render_source(spec)]
    return "\n".join(lines)


def tags(spec: PipelineSpec) -> list[str]:
    """Return the provider, scope and cadence, and the tags of the file; sorted."""
    return sorted({*filter(None, [spec.provider]), spec.scope, cadence(spec.schedule), *spec.tags})


def _render_summary(spec: PipelineSpec) -> Iterator[str]:
    scope = "every eligible org" if spec.scope == "org" else "the platform, once"
    when = f"`{spec.schedule}` (UTC)" if spec.schedule else "manual"
    yield f"### {_escape_cell(spec.description)}"
    yield ""
    yield f"- **Pipeline**: `{spec.pipeline_id}`, for {scope}"
    yield f"- **Schedule**: {when}"
    if spec.provider:
        yield f"- **Provider**: {spec.provider}"
    if spec.tables:
        yield f"- **Tables**: {', '.join(f'`{table}`' for table in spec.tables)}"
    yield f"- **File**: `{spec.path}`"


def _render_steps(spec: PipelineSpec) -> Iterator[str]:
    yield ""
    yield "| step | processor | does | after | tables |"
    yield "|---|---|---|---|---|"
    for step in spec.steps:
        after = ", ".join(f"`{name}`" for name in spec.upstream[step.step])
        tables = ", ".join(f"`{table}`" for table in step.parsed.daily_tables())
        does = _escape_cell(find_config(step.ps_type).get_summary())
        yield f"| `{step.step}` | `{step.ps_type}` | {does} | {after} | {tables} |"


def _render_params(spec: PipelineSpec) -> Iterator[str]:
    if not spec.params and not spec.guards_tables:
        return
    yield ""
    yield "| param | type | | |"
    yield "|---|---|---|---|"
    for name, param in spec.params.items():
        kind = f"{param.type}, {param.format}" if param.format else param.type
        need = "required" if param.required else ""
        yield f"| `{name}` | {kind} | {need} | {_escape_cell(param.description or '')} |"
    if spec.guards_tables:
        described = _escape_cell(SHRINK_PARAM_SCHEMA["description"])
        yield f"| `{ACCEPT_SHRINK}` | object |  | {described} |"


def _render_source(spec: PipelineSpec) -> Iterator[str]:
    longest = max((len(run) for run in re.findall(r"`{3,}", spec.source)), default=2)
    fence = "`" * (longest + 1)
    yield ""
    yield f"{fence}yaml"
    yield spec.source.rstrip()
    yield fence


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
