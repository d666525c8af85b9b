from __future__ import annotations

import logging
import threading
from typing import Any, cast

from convergence.errors import ExpectationsNotMetError
from convergence.processors.batch import StepRun, _OrgLog
from convergence.processors.context import PipelineInfo


def test_what_a_failed_step_has_to_tell_is_kept_with_its_failure() -> None:
    report = {"quality": {"not_met": 1}}
    run = StepRun(
        step="validate_quality",
        processor="quality.expectations",
        pipeline=PipelineInfo(pipeline_id="p", dag_id="a.p"),
        services=cast("Any", None),
        attempt=1,
        max_tries=3,
        run_org=cast("Any", None),
        stop=threading.Event(),
        log=logging.getLogger("test"),
    )
    log = _OrgLog(logging.getLogger("test"), {"org": "acme"})
    outcome = run._build_error_outcome(
        "acme", ExpectationsNotMetError("one is not met", report=report), log
    )
    assert outcome.failed
    assert not outcome.retryable
    assert outcome.result.to_dict() == {"status": "FAILED", **report}
