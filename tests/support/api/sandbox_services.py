"""The API's services on the sandbox: its warehouse, KMS and providers; only Airflow is a double.

The double does the work of platform DAGs in this process, as their tasks would.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

from convergence.api.airflow.client import AirflowClient
from convergence.api.http.services import ApiServices
from convergence.pipelines.files.loader import load_dag
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext
from convergence.processors.registry import find_operator
from convergence.processors.run_conf import check_params
from convergence.settings import Settings
from support.api.airflow_double import AirflowDouble, connect_double
from support.api.env import ROOT_KEY
from support.processor_env import ProcessorEnv

KMS_KEY = "projects/local-dev-project/locations/global/keyRings/convergence/cryptoKeys/credentials"
ROOT = {"X-CA-Root-Key": ROOT_KEY}
PLATFORM_DAGS = (
    "setup.initial.onetime_bootstrap",
    "setup.organizations.dryrun",
    "setup.organizations.onboarding",
    "integrations.validate",
)


class SandboxServices(ApiServices):
    """The real services; Airflow is a double."""

    def __init__(self, settings: Settings, double: AirflowDouble) -> None:
        super().__init__(settings)
        self.double = double

    @cached_property
    def airflow(self) -> AirflowClient:
        return connect_double(self.double)


def working(env: ProcessorEnv) -> Callable[[str, dict[str, Any]], dict[str, Any] | None]:
    """Run the steps of a platform DAG; leave an org's run queued."""

    def work(dag_id: str, conf: dict[str, Any]) -> dict[str, Any] | None:
        spec = load_dag(dag_id, env.settings.configs_dir)
        assert isinstance(spec, PipelineSpec)
        if spec.scope == "org":
            return None
        facts = spec.build_info()
        told: dict[str, Any] = {}
        for step in spec.steps:
            kind = cast("type[PlatformProcessor[Any]]", find_operator(step.ps_type))
            operator = kind(task_id=step.step, config=step.config, pipeline=facts)
            context = PlatformContext(
                pipeline=facts,
                step=step.step,
                dag_run_id="test",
                attempt=1,
                services=env.services,
                log=logging.getLogger("test"),
                stop=threading.Event(),
            )
            params = check_params(conf, pipeline=facts)
            told[step.step] = operator.run_step(context, operator.parse_config(), params).to_dict()
        return told

    return work
