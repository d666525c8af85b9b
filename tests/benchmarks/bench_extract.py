"""Extraction to the durable spool: rows per CPU-second against dlt's, and memory as rows grow.

Rows of 20 columns and about 300 bytes, in pages of 1,000, from a local HTTP server in a process of
its own. Each measurement is a fresh process, whose CPU time and peak memory are its own. dlt reads
the same pages through its own REST client into normalised load packages on disk, which is what
its pipeline has done when a row is safe and could be loaded. Ours is measured to the durable spool,
from where nothing is requested again, and to the sealed day, which could be loaded.

    python tests/benchmarks/bench_extract.py [rows …]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.report import Report
from stack import guarded

ROOT = Path(__file__).resolve().parents[2]
PAGE_ROWS = 1_000
SIZES = (10_000, 200_000, 2_000_000)
BESIDE_DLT = 200_000
LEAST_ROWS_PER_CPU_SECOND = 30_000
LEAST_TIMES_DLT = 3.0
MOST_MIB_BETWEEN_SIZES = 10.0
MOST_MIB_ABOVE_BASE = 150.0
DAY = date(2026, 11, 20)


@dataclass(frozen=True)
class Measured:
    """One way and size. CPU seconds are user and system; memory is the process' peak in MiB.

    Attributes:
        fetch_cpu_seconds: until every page is durable.
        ready_cpu_seconds: from there until rows could be loaded.
        base_mib: before the first page.
    """

    rows: int
    fetch_cpu_seconds: float
    ready_cpu_seconds: float
    base_mib: float
    peak_mib: float

    @property
    def whole(self) -> float:
        """Rows per CPU-second, all the way."""
        return self.rows / (self.fetch_cpu_seconds + self.ready_cpu_seconds)


def main(arguments: list[str]) -> int:
    """Measure and print the table; 1 when a figure is missed."""
    if arguments[:1] == ["--worker"]:
        way, url = arguments[1:]
        print(json.dumps(asdict(WAYS[way](url))))  # noqa: T201 - to the parent process
        return 0
    sizes = tuple(int(text) for text in arguments) or SIZES
    report = Report("extract")
    ours = [measure_extraction("ours", size) for size in sizes]
    for one in ours:
        tell(report, one)
    spread = max(one.peak_mib for one in ours) - min(one.peak_mib for one in ours)
    between = f"peak memory, {min(sizes):,} to {max(sizes):,} rows, differs by"
    report.add(between, spread, "MiB", target=MOST_MIB_BETWEEN_SIZES)
    beside_dlt(report)
    return report.finish()


def tell(report: Report, one: Measured) -> None:
    """What one size came to; the CPU bound holds where start-up does not weigh."""
    rate = one.rows / one.fetch_cpu_seconds
    least = LEAST_ROWS_PER_CPU_SECOND if one.rows >= 100_000 else None
    name = f"{one.rows:,} rows"
    report.add(f"{name}, to the spool", rate, "rows/CPU-s", target=least, at_least=True)
    report.add(f"{name}, to the sealed day", one.whole, "rows/CPU-s")
    above = one.peak_mib - one.base_mib
    report.add(f"{name}, memory above the start's", above, "MiB", target=MOST_MIB_ABOVE_BASE)


def beside_dlt(report: Report) -> None:
    """The same rows by both, one after the other."""
    dlt, ours = measure_extraction("dlt", BESIDE_DLT), measure_extraction("ours", BESIDE_DLT)
    name = f"{BESIDE_DLT:,} rows by dlt"
    report.add(f"{name}, extracted", dlt.rows / dlt.fetch_cpu_seconds, "rows/CPU-s")
    report.add(f"{name}, extracted and normalised", dlt.whole, "rows/CPU-s")
    report.add(f"{name}, peak memory", dlt.peak_mib, "MiB")
    spooled = ours.rows / ours.fetch_cpu_seconds / dlt.whole
    bound = LEAST_TIMES_DLT
    report.add("to the spool, compared with dlt", spooled, "times", target=bound, at_least=True)
    report.add("to the sealed day, compared with dlt", ours.whole / dlt.whole, "times")


def measure_extraction(way: str, rows: int) -> Measured:
    """One way and size, in a fresh process."""
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    with _server(rows) as url, tempfile.TemporaryDirectory(prefix="bench-extract-") as home:
        done = guarded.run(
            [sys.executable, __file__, "--worker", way, url],
            check=True,
            env={**os.environ, **quiet, "DLT_DATA_DIR": home, "TMPDIR": home},
            timeout=1800,
        )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _ours(url: str) -> Measured:
    sys.path.insert(0, str(ROOT / "plugins"))
    from convergence.extract.egress import Egress
    from convergence.extract.http import OriginClient
    from convergence.extract.paginate import ListSource, OffsetPages
    from convergence.extract.spool import Spool
    from convergence.extract.stream import Query, extract_pages

    base = _peak_mib()
    with (
        tempfile.TemporaryDirectory() as directory,
        OriginClient(url, egress=Egress.LOOPBACK) as client,
    ):
        spool = Spool.open(Path(directory), fingerprint="bench")
        pages = OffsetPages(ListSource("rows", total_path="total"), limit=PAGE_ROWS)
        began = time.process_time()
        report = extract_pages(client, [Query("rows", pages)], spool)
        fetched = time.process_time()
        sealed = spool.write_day_files(lambda _: DAY, [DAY])[DAY]
        ended = time.process_time()
    if sealed.row_count != report.rows:
        raise RuntimeError("rows were lost")
    return Measured(report.rows, fetched - began, ended - fetched, base, _peak_mib())


def _dlt(url: str) -> Measured:
    import dlt
    from dlt.sources.helpers.rest_client.client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

    base = _peak_mib()
    with tempfile.TemporaryDirectory() as directory:
        pages = OffsetPaginator(limit=PAGE_ROWS, total_path="total")
        client = RESTClient(url, paginator=pages, data_selector="data")
        pipeline = dlt.pipeline(
            "bench",
            pipelines_dir=f"{directory}/work",
            destination=dlt.destinations.filesystem(f"file://{directory}/out"),
            dataset_name="bench",
        )
        began = time.process_time()
        pipeline.extract(dlt.resource(client.paginate("rows"), name="usage"))
        fetched = time.process_time()
        normalised = pipeline.normalize()
        ended = time.process_time()
    if normalised is None:
        raise RuntimeError("dlt normalised nothing")
    return Measured(
        normalised.row_counts["usage"], fetched - began, ended - fetched, base, _peak_mib()
    )


WAYS: dict[str, Callable[[str], Measured]] = {"ours": _ours, "dlt": _dlt}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _sample_row(number: int) -> dict[str, object]:
    return {
        "id": number,
        "org": "acme_corp",
        "project": f"proj_{number % 17:08d}",
        "model": f"gpt-5-{number % 7}",
        "key": f"key_{number % 301:06d}",
        "amount": number / 1000,
        "currency": "usd",
        "note": "x" * 40,
        **{f"n{column}": number * column % 9_973 for column in range(12)},
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rows = 0

    def do_GET(self) -> None:
        offset = int(parse_qs(urlsplit(self.path).query)["offset"][0])
        end = min(offset + PAGE_ROWS, self.rows)
        page = {"data": [_sample_row(number) for number in range(offset, end)], "total": self.rows}
        body = json.dumps(page, separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _serve(rows: int, told: Connection) -> None:
    guarded.die_with_parent()
    _Handler.rows = rows
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    told.send(server.server_port)
    server.serve_forever()


@contextmanager
def _server(rows: int) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(rows, there))
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
