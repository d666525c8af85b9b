"""The models of a pipeline file: its keys, their types and defaults.

The JSON Schema for editors is generated from the models, so an author sees the docstring of each
field while typing.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, PrivateAttr

from convergence.pipelines.files.params import ParamSpec
from convergence.pipelines.files.schedule import Schedule
from convergence.pipelines.files.shrink_param import SHRINK_PARAM_SCHEMA
from convergence.processors.context import PipelineInfo
from convergence.processors.notify_systems.channels import Trigger
from convergence.processors.step_config import Scope, StepConfig
from convergence.runs.shrink_guard import ACCEPT_SHRINK

SNAKE = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
KEBAB = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
URL_PATH = r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){1,2}$"
CONFIG_PATH = r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*\.json$"

STEP_VERBS = (
    *("create", "decrypt", "extract", "load", "notify", "publish", "transform", "validate"),
)
"""The verbs that a step's name may start with."""

SnakeName = Annotated[str, Field(pattern=SNAKE, max_length=100)]
Channel = Annotated[str, Field(pattern=SNAKE, max_length=50)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StepSpec(_Model):
    """One step: a processor and its configuration."""

    step: SnakeName
    """Name of the step. It starts with a verb: extract_, transform_, load_, validate_, notify_,
    decrypt_, create_, publish_."""

    processor: str = Field(validation_alias=AliasChoices("processor", "ps_type"))
    """ps_type of the processor, such as openai.usage. `ps_type` is accepted as the same key."""

    config: dict[str, JsonValue] = Field(default_factory=dict)
    """The settings of the processor."""

    depends_on: tuple[SnakeName, ...] | None = None
    """Steps that must succeed first; by default the step before this one."""

    retries: int | None = Field(default=None, ge=0, le=10)
    """Number of retries; by default the pipeline's `retries`."""

    timeout_minutes: int | None = Field(default=None, ge=1, le=1440)
    """Time limit of one attempt; by default the pipeline's `timeout_minutes`."""

    _parsed: StepConfig | None = PrivateAttr(default=None)

    @property
    def ps_type(self) -> str:
        """Return the name of the processor."""
        return self.processor

    @property
    def parsed(self) -> StepConfig:
        """Return the configuration as the model of the processor; the loader sets it."""
        if self._parsed is None:
            raise ValueError(f"the step {self.step} was not loaded from a file")
        return self._parsed

    def set_parsed(self, parsed: StepConfig) -> None:
        """Set the validated configuration."""
        self._parsed = parsed


class NotifySpec(_Model):
    """The channels of each notification: `email` is `notify_systems/email_notification/`."""

    on_failure: tuple[Channel, ...] = ()
    """When the run failed."""

    on_success: tuple[Channel, ...] = ()
    """When the run succeeded."""

    on_completion: tuple[Channel, ...] = ()
    """When the run ended, successfully or not."""

    always: tuple[Channel, ...] = ()
    """When the run ended, also if it had nothing to do."""

    def channels(self) -> dict[Trigger, tuple[Channel, ...]]:
        """Return the channels of each trigger."""
        return {
            "on_failure": self.on_failure,
            "on_success": self.on_success,
            "on_completion": self.on_completion,
            "always": self.always,
        }


class PipelineSpec(_Model):
    """A pipeline: one YAML file, one Airflow DAG and one address of the HTTP API."""

    pipeline_id: str = Field(pattern=KEBAB, max_length=100)
    """Kebab-case name, such as openai-usage-cost. It is unique and never changes, since the
    ledger identifies published days by it."""

    description: str = Field(min_length=1, max_length=1000)
    """One sentence that says what the pipeline does."""

    provider: Annotated[str, Field(pattern=SNAKE, max_length=50)] | None = None
    """The provider that an org must have connected to be eligible; absent if it needs none."""

    scope: Scope = "org"
    """`org`: runs for every eligible org. `platform`: runs once for the whole installation."""

    schedule: Schedule | None = None
    """Five cron fields in UTC, or a preset such as @daily; absent if all runs are manual."""

    params: dict[SnakeName, ParamSpec] = Field(default_factory=dict)
    """The params of a run, as JSON Schema by name, for Airflow's trigger form and the body of the
    HTTP API."""

    steps: tuple[StepSpec, ...] = Field(min_length=1, max_length=50)
    """The steps, in order."""

    retries: int = Field(default=3, ge=0, le=10)
    """Number of retries of a step."""

    retry_delay_seconds: int = Field(default=15, ge=1, le=3600)
    """Pause before the first retry; it doubles with each further retry, up to ten minutes."""

    timeout_minutes: int = Field(default=60, ge=1, le=1440)
    """Time limit of one attempt at a step."""

    notify: NotifySpec = NotifySpec()
    """The channels that are notified when a run ends."""

    quality: Annotated[str, Field(pattern=CONFIG_PATH)] | None = None
    """The suite of expectations for the published tables: a path under the folder of
    configurations."""

    aliases: tuple[Annotated[str, Field(pattern=URL_PATH)], ...] = ()
    """Further addresses in the HTTP API, such as openai/usage_cost."""

    history_days: int = Field(default=30, ge=0, le=3650)
    """Number of days before the connection of an org that are fetched too."""

    max_days: int = Field(default=31, ge=1, le=366)
    """Maximum number of days that one run processes for one org."""

    lookback_days: int = Field(default=3, ge=0, le=90)
    """Number of days in which the provider may still change a day; it is checked daily until
    then."""

    tags: tuple[Annotated[str, Field(min_length=1, max_length=50)], ...] = ()
    """Further tags in Airflow's UI, in addition to provider, scope and cadence."""

    max_active_runs: int = Field(default=16, ge=1, le=100)
    """Maximum number of concurrent runs of the pipeline."""

    max_active_tasks: int = Field(default=8, ge=1, le=100)
    """Maximum number of concurrent tasks of one run."""

    _path: str = PrivateAttr(default="")
    _source: str = PrivateAttr(default="")

    def set_source(self, path: str, source: str) -> None:
        """Set the file that the pipeline was read from: its path under the root and its text."""
        self._path, self._source = path, source

    @property
    def path(self) -> str:
        """Return the path of the file, relative to the folder of configurations."""
        return self._path

    @property
    def source(self) -> str:
        """Return the text of the file."""
        return self._source

    @property
    def url_path(self) -> str:
        """Return the address in the HTTP API, such as `openai/cost/usage_cost`."""
        return str(PurePosixPath(self._path).with_suffix(""))

    @property
    def dag_id(self) -> str:
        """Return the id of the DAG in Airflow, such as `openai.cost.usage_cost`."""
        return self.url_path.replace("/", ".")

    @cached_property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """Return the upstream steps of each step, in the file's order, with defaults applied."""
        names = [step.step for step in self.steps]
        before: dict[str, tuple[str, ...]] = {}
        for index, step in enumerate(self.steps):
            default = (names[index - 1],) if index else ()
            before[step.step] = default if step.depends_on is None else step.depends_on
        return before

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the tables that the steps publish by day, in step order, without duplicates."""
        return tuple(
            dict.fromkeys(name for step in self.steps for name in step.parsed.daily_tables())
        )

    @property
    def guards_tables(self) -> bool:
        """Return whether the shrink guard protects tables of the pipeline."""
        return any(step.parsed.guards_tables for step in self.steps)

    def params_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the object with a run's params."""
        properties = {name: param.json_schema() for name, param in self.params.items()}
        if self.guards_tables:
            properties[ACCEPT_SHRINK] = dict(SHRINK_PARAM_SCHEMA)
        return {
            "type": "object",
            "properties": properties,
            "required": sorted(name for name, param in self.params.items() if param.required),
            "additionalProperties": False,
        }

    def build_info(self) -> PipelineInfo:
        """Return the properties of the pipeline that its steps use."""
        return PipelineInfo(
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
