"""The models of a pipeline file: what may be said, of which type, with which default.

The JSON Schema for editors is generated from them, so the docstring under each field is what an
author reads while typing.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, PrivateAttr

from convergence.pipelines.files.params import ParamSpec
from convergence.pipelines.files.schedule import Schedule
from convergence.processors.context import PipelineFacts
from convergence.processors.notify_systems.channels import Trigger
from convergence.processors.step_config import Scope, StepConfig

SNAKE = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
KEBAB = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
URL_PATH = r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){1,2}$"
CONFIG_PATH = r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*\.json$"

STEP_VERBS = ("create", "decrypt", "extract", "load", "notify", "transform", "validate")
"""How a step's name begins."""

SnakeName = Annotated[str, Field(pattern=SNAKE, max_length=100)]
Channel = Annotated[str, Field(pattern=SNAKE, max_length=50)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StepSpec(_Model):
    """One step: a processor and what it is told."""

    step: SnakeName
    """Name of the step, verb first: extract_, transform_, load_, validate_, notify_, decrypt_,
    create_."""

    processor: str = Field(validation_alias=AliasChoices("processor", "ps_type"))
    """ps_type of the processor, such as openai.usage. `ps_type` is accepted as the same key."""

    config: dict[str, JsonValue] = Field(default_factory=dict)
    """The processor's own settings."""

    depends_on: tuple[SnakeName, ...] | None = None
    """Steps that must have succeeded; the step before when absent."""

    retries: int | None = Field(default=None, ge=0, le=10)
    """Tries after the first; the pipeline's `retries` when absent."""

    timeout_minutes: int | None = Field(default=None, ge=1, le=1440)
    """Longest a try may take; the pipeline's `timeout_minutes` when absent."""

    _parsed: StepConfig | None = PrivateAttr(default=None)

    @property
    def ps_type(self) -> str:
        """The processor's name."""
        return self.processor

    @property
    def parsed(self) -> StepConfig:
        """The configuration as the processor's own model; set by the loader."""
        if self._parsed is None:
            raise ValueError(f"the step {self.step} was not loaded from a file")
        return self._parsed

    def remember(self, parsed: StepConfig) -> None:
        """Keep the validated configuration."""
        self._parsed = parsed


class NotifySpec(_Model):
    """Who is told what, by channel: `email` is `notify_systems/email_notification/`."""

    on_failure: tuple[Channel, ...] = ()
    """When the run failed."""

    on_success: tuple[Channel, ...] = ()
    """When the run succeeded."""

    on_completion: tuple[Channel, ...] = ()
    """When the run ended, either way."""

    always: tuple[Channel, ...] = ()
    """Also when there was nothing to do."""

    def channels(self) -> dict[Trigger, tuple[Channel, ...]]:
        """The channels of each trigger."""
        return {
            "on_failure": self.on_failure,
            "on_success": self.on_success,
            "on_completion": self.on_completion,
            "always": self.always,
        }


class PipelineSpec(_Model):
    """A pipeline: one YAML file, one Airflow DAG, one address of the HTTP API."""

    pipeline_id: str = Field(pattern=KEBAB, max_length=100)
    """Kebab-case name, such as openai-usage-cost; unique, and for ever, since the ledger
    identifies what was published by it."""

    description: str = Field(min_length=1, max_length=1000)
    """What the pipeline does, in a sentence."""

    provider: Annotated[str, Field(pattern=SNAKE, max_length=50)] | None = None
    """The provider whose integration an org needs to be eligible; absent when it needs none."""

    scope: Scope = "org"
    """`org`: mapped over every eligible org. `platform`: runs once."""

    schedule: Schedule | None = None
    """Cron of five fields in UTC, or a preset such as @daily; absent for manual runs only."""

    params: dict[SnakeName, ParamSpec] = Field(default_factory=dict)
    """What a run may be asked for: JSON Schema by name. Airflow's trigger form and the HTTP
    API's body."""

    steps: tuple[StepSpec, ...] = Field(min_length=1, max_length=50)
    """What is done, in order."""

    retries: int = Field(default=3, ge=0, le=10)
    """Tries of a step after the first."""

    retry_delay_seconds: int = Field(default=15, ge=1, le=3600)
    """Wait before the second try; doubles with each further one, up to ten minutes."""

    timeout_minutes: int = Field(default=60, ge=1, le=1440)
    """Longest a try of a step may take."""

    notify: NotifySpec = NotifySpec()
    """Who is told when a run ends."""

    quality: Annotated[str, Field(pattern=CONFIG_PATH)] | None = None
    """Expectations that the published tables are checked against, a path under the folder of
    configurations."""

    aliases: tuple[Annotated[str, Field(pattern=URL_PATH)], ...] = ()
    """Further addresses in the HTTP API, such as openai/usage_cost."""

    history_days: int = Field(default=30, ge=0, le=3650)
    """How many days before it was connected an org's data is fetched."""

    max_days: int = Field(default=31, ge=1, le=366)
    """Most days that one run does for one org."""

    lookback_days: int = Field(default=3, ge=0, le=90)
    """How long the provider may still change a day; until then it is checked daily."""

    tags: tuple[Annotated[str, Field(min_length=1, max_length=50)], ...] = ()
    """Further tags in Airflow's UI, beside provider, scope and cadence."""

    max_active_runs: int = Field(default=16, ge=1, le=100)
    """Most runs of the pipeline at a time."""

    max_active_tasks: int = Field(default=8, ge=1, le=100)
    """Most tasks of one run at a time."""

    _path: str = PrivateAttr(default="")
    _source: str = PrivateAttr(default="")

    def locate(self, path: str, source: str) -> None:
        """Say which file the pipeline was read from: path under the root, and its text."""
        self._path, self._source = path, source

    @property
    def path(self) -> str:
        """The file, relative to the folder of configurations."""
        return self._path

    @property
    def source(self) -> str:
        """The file's text."""
        return self._source

    @property
    def url_path(self) -> str:
        """Address in the HTTP API: `openai/cost/usage_cost`."""
        return str(PurePosixPath(self._path).with_suffix(""))

    @property
    def dag_id(self) -> str:
        """Identity in Airflow: `openai.cost.usage_cost`."""
        return self.url_path.replace("/", ".")

    @cached_property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """Each step's upstream steps, defaults applied, in the file's order."""
        names = [step.step for step in self.steps]
        before: dict[str, tuple[str, ...]] = {}
        for index, step in enumerate(self.steps):
            default = (names[index - 1],) if index else ()
            before[step.step] = default if step.depends_on is None else step.depends_on
        return before

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that the steps publish day by day, in step order, each once."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.parsed.tables()))

    def params_schema(self) -> dict[str, Any]:
        """JSON Schema of the object of params that a run may be given."""
        return {
            "type": "object",
            "properties": {name: param.json_schema() for name, param in self.params.items()},
            "required": sorted(name for name, param in self.params.items() if param.required),
            "additionalProperties": False,
        }

    def facts(self) -> PipelineFacts:
        """What the pipeline's steps may know of it."""
        return PipelineFacts(
            pipeline_id=self.pipeline_id,
            dag_id=self.dag_id,
            provider=self.provider,
            scope=self.scope,
            history_days=self.history_days,
            max_days=self.max_days,
            settle_days=self.lookback_days,
            tables=self.tables,
            upstream=self.upstream,
            params=self.params_schema(),
        )
