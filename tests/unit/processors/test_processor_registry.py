from __future__ import annotations

import sys

import pytest

from convergence.processors import registry
from convergence.processors.registry import UnknownProcessorError, find_config
from convergence.processors.step_config import StepConfig
from convergence.settings import PROJECT_ROOT
from stack import guarded
from support import sample_pipelines

sample_pipelines.install_processors()


def test_a_ps_type_leads_to_its_configuration() -> None:
    config = find_config("sample.fetch")
    assert issubclass(config, StepConfig)
    assert config.ps_type == "sample.fetch"
    assert config.get_summary() == "Fetches usage, page by page."
    assert "sample.fetch" in registry.list_ps_types()


@pytest.mark.parametrize(
    "ps_type",
    ["", "sample", "sample.fetsh", "sample.config", "os.path", "Sample.Fetch", "a..b", "."],
)
def test_what_is_no_processor_is_refused_with_what_there_is(ps_type: str) -> None:
    with pytest.raises(UnknownProcessorError) as raised:
        find_config(ps_type)
    assert "sample.fetch" in raised.value.details["accepted"]  # type: ignore[operator]  # a tuple


def test_the_nearest_name_is_suggested() -> None:
    assert registry.suggest_ps_type("sample.fetsh") == "sample.fetch"
    assert registry.suggest_ps_type("nothing.like.it") is None


def test_looking_configurations_up_never_imports_airflow() -> None:
    program = (
        "import sys\n"
        "from convergence.processors import registry\n"
        "assert registry.list_ps_types()\n"
        "sys.exit('airflow' in sys.modules)\n"
    )
    done = guarded.run([sys.executable, "-c", program], cwd=PROJECT_ROOT / "plugins", timeout=110)
    assert done.returncode == 0
