"""A worker killed for real, at whatever it was doing, then another one: the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from convergence.extract.spool import Spool
from stack import guarded
from support.vendors.providers_server import ProvidersServer

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 20)
WORKER = """
import sys
from datetime import date
from pathlib import Path
from convergence.extract.egress import Egress
from convergence.extract.http import OriginClient
from convergence.extract.paginate import ListSource, OffsetPages
from convergence.extract.spool import Spool
from convergence.extract.stream import Query, extract_pages

day = date(2026, 11, 20)
spool = Spool.open(Path(sys.argv[2]), fingerprint="f")
headers = {"x-api-key": "vendor-sandbox-killed"}
with OriginClient(sys.argv[1], headers=headers, egress=Egress.LOOPBACK) as client:
    pages = OffsetPages(ListSource("users", total_path="total"), limit=1)
    extract_pages(client, [Query("users", pages)], spool)
print(spool.write_day_files(lambda _: day, [day], unique_by=["id"])[day].path)
"""


def start_extraction(url: str, directory: Path) -> guarded.GuardedProcess:
    return guarded.GuardedProcess(
        [sys.executable, "-c", WORKER, f"{url}/vendor/v1/offset", str(directory)],
        env={"PYTHONPATH": str(ROOT / "plugins")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def extract_to_end(url: str, directory: Path) -> bytes:
    out, _ = start_extraction(url, directory).communicate(timeout=60)
    return Path(out.strip()).read_bytes()


@pytest.mark.parametrize("after", [1, 20, 90])
def test_a_killed_worker_loses_and_doubles_nothing(
    providers: ProvidersServer, tmp_path: Path, after: int
) -> None:
    killed = start_extraction(providers.url, tmp_path / "killed")
    while len(providers.requests()) < after and killed.poll() is None:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    found = extract_to_end(providers.url, tmp_path / "killed")
    asked = len(providers.requests())
    assert found == extract_to_end(providers.url, tmp_path / "whole")
    whole = len(providers.requests()) - asked
    assert asked <= whole + 1


def test_a_frozen_worker_that_comes_back_changes_nothing(
    providers: ProvidersServer, tmp_path: Path
) -> None:
    frozen = start_extraction(providers.url, tmp_path / "slice")
    while len(providers.requests()) < 5:
        time.sleep(0.005)
    frozen.send_signal(signal.SIGSTOP)
    found = extract_to_end(providers.url, tmp_path / "slice")
    frozen.send_signal(signal.SIGCONT)
    frozen.communicate()
    assert frozen.returncode == 1
    assert Spool.open(tmp_path / "slice", fingerprint="f").complete
    assert found == extract_to_end(providers.url, tmp_path / "whole")
