"""Extraction to the durable spool: rows per CPU-second, and memory at 10,000 and 200,000 rows.

Rows of 20 columns and about 300 bytes, in pages of 1,000, from a local HTTP server in a process of
its own; each size is read in a fresh process, whose CPU time and peak memory are its own.

    python tests/benchmarks/bench_extract.py [rows …]
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
PAGE_ROWS = 1_000
SIZES = (10_000, 200_000)
LEAST_ROWS_PER_CPU_SECOND = 30_000
MOST_MIB_BETWEEN_SIZES = 10
DAY = date(2026, 11, 20)


@dataclass(frozen=True)
class Measured:
    """One size. CPU seconds are user and system; memory is the peak of the process in MiB."""

    rows: int
    row_bytes: float
    spool_cpu_seconds: float
    seal_cpu_seconds: float
    base_mib: float
    peak_mib: float

    @property
    def rows_per_cpu_second(self) -> float:
        """To the durable spool."""
        return self.rows / self.spool_cpu_seconds


def measure(sizes: tuple[int, ...] = SIZES) -> list[Measured]:
    """Read each size in a fresh process."""
    found = []
    for size in sizes:
        with _server(size) as url:
            out = subprocess.run(
                [sys.executable, __file__, "--worker", url],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            found.append(Measured(**json.loads(out)))
    return found


def faults(found: list[Measured]) -> list[str]:
    """Which of the figures we hold ourselves to are missed."""
    slow = [
        f"{one.rows} rows: {one.rows_per_cpu_second:,.0f} rows per CPU-second"
        for one in found
        if one.rows >= 100_000 and one.rows_per_cpu_second < LEAST_ROWS_PER_CPU_SECOND
    ]
    spread = max(one.peak_mib for one in found) - min(one.peak_mib for one in found)
    grown = [f"peak memory differs by {spread:.1f} MiB"] if spread > MOST_MIB_BETWEEN_SIZES else []
    return slow + grown


def table(found: list[Measured]) -> str:
    """For a terminal."""
    head = (
        f"{'rows':>9} {'B/row':>6} {'rows/CPU-s':>11} {'spool s':>8} {'seal s':>7} {'peak MiB':>9}"
    )
    lines = [
        f"{one.rows:>9,} {one.row_bytes:>6.0f} {one.rows_per_cpu_second:>11,.0f}"
        f" {one.spool_cpu_seconds:>8.2f} {one.seal_cpu_seconds:>7.2f} {one.peak_mib:>9.1f}"
        for one in found
    ]
    return "\n".join([head, *lines])


def _row(number: int) -> dict[str, object]:
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
        page = {"data": [_row(number) for number in range(offset, end)], "total": self.rows}
        body = json.dumps(page, separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _serve(rows: int, told: Connection) -> None:
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


def _work(url: str) -> Measured:
    sys.path.insert(0, str(ROOT / "plugins"))
    from convergence.extract.egress import Egress
    from convergence.extract.http import OriginClient
    from convergence.extract.paginate import ListSource, OffsetPages
    from convergence.extract.spool import Spool
    from convergence.extract.stream import Query, extract

    base = _peak_mib()
    with (
        tempfile.TemporaryDirectory() as directory,
        OriginClient(url, egress=Egress.LOOPBACK) as client,
    ):
        spool = Spool.open(Path(directory), fingerprint="bench")
        pages = OffsetPages(ListSource("rows", total_path="total"), limit=PAGE_ROWS)
        began = time.process_time()
        report = extract(client, [Query("rows", pages)], spool)
        spooled = time.process_time()
        sealed = spool.seal(lambda _: DAY, [DAY])[DAY]
        ended = time.process_time()
    if sealed.row_count != report.rows:
        raise RuntimeError("rows were lost")
    return Measured(
        rows=report.rows,
        row_bytes=sum(record.raw_bytes for record in spool.records) / report.rows,
        spool_cpu_seconds=spooled - began,
        seal_cpu_seconds=ended - spooled,
        base_mib=base,
        peak_mib=_peak_mib(),
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: list[str]) -> int:
    """Print the table; 1 when a figure is missed."""
    if arguments[:1] == ["--worker"]:
        print(json.dumps(asdict(_work(arguments[1]))))  # noqa: T201 - to the parent process
        return 0
    found = measure(tuple(int(text) for text in arguments) or SIZES)
    missed = faults(found)
    print("\n".join([table(found), *missed]))  # noqa: T201 - a command's output
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
