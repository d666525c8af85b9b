"""The wire itself, where the official client does not go; and what is rejected by name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from conformance.client import Client, Make
from support.sandbox_process import SandboxProcess


@pytest.fixture
def http(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.bigquery) as client:
        yield client


def error(response: httpx.Response) -> dict[str, Any]:
    """The error body, checked to be in Google's form."""
    body: dict[str, Any] = response.json()["error"]
    assert body["code"] == response.status_code
    assert body["errors"][0]["reason"]
    assert body["errors"][0]["message"] == body["message"]
    assert body["status"]
    return body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/bigquery/v2/projects/p/datasets/d/routines"),
        ("POST", "/bigquery/v2/projects/p/datasets/d/tables/t:getIamPolicy"),
        ("GET", "/bigquery/v2/projects/p/datasets/d/models"),
        ("DELETE", "/bigquery/v2/projects"),
        ("GET", "/discovery/v1/apis"),
    ],
)
def test_a_method_that_is_not_covered_is_501_and_named(
    http: httpx.Client, method: str, path: str
) -> None:
    response = http.request(method, path)
    assert response.status_code == 501
    body = error(response)
    assert f"{method} {path}" in body["message"]
    assert body["errors"][0]["reason"] == "notImplemented"


JOBS = "/bigquery/v2/projects/wire-project/jobs"


@pytest.mark.parametrize(
    ("configuration", "named"),
    [
        ({"extract": {"sourceTable": {}}}, "extract"),
        ({"query": {"query": "SELECT 1"}}, "legacy SQL"),
        ({"query": {"query": "SELECT 1", "useLegacySql": True}}, "legacy SQL"),
        (
            {"query": {"query": "SELECT 1", "useLegacySql": False, "tableDefinitions": {"a": {}}}},
            "tableDefinitions",
        ),
        (
            {"query": {"query": "SELECT 1", "useLegacySql": False, "createSession": True}},
            "createSession",
        ),
        (
            {
                "query": {
                    "query": "SELECT 1",
                    "useLegacySql": False,
                    "connectionProperties": [{"key": "time_zone", "value": "UTC"}],
                }
            },
            "connectionProperties",
        ),
        ({"load": {"sourceUris": ["gs://b/f"], "destinationTable": {}}}, "sourceUris"),
        (
            {"load": {"autodetect": True, "destinationTable": {"datasetId": "d", "tableId": "t"}}},
            "autodetect",
        ),
        ({"load": {"hivePartitioningOptions": {"mode": "AUTO"}}}, "hivePartitioningOptions"),
        ({"copy": {"operationType": "SNAPSHOT"}}, "SNAPSHOT"),
        ({"query": {"query": "SELECT 1", "useLegacySql": False}, "madeUp": 1}, "madeUp"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_configuration_that_is_not_covered_is_501_and_named(
    http: httpx.Client, configuration: dict[str, Any], named: str
) -> None:
    response = http.post(JOBS, json={"configuration": configuration})
    assert response.status_code == 501
    assert named in error(response)["message"]


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000],
    ids=["cut", "list", "text", "not UTF-8", "deep"],
)
def test_a_body_that_is_no_json_object_is_400(http: httpx.Client, content: bytes) -> None:
    response = http.post(JOBS, content=content)
    assert response.status_code == 400
    assert error(response)["errors"][0]["reason"] == "parseError"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"configuration": {}},
        {"configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}, "copy": {}}},
        {"configuration": {"query": {"useLegacySql": False}}},
        {"configuration": {"load": {"sourceFormat": "CSV"}}},
        {"configuration": {"copy": {"destinationTable": {"datasetId": "d", "tableId": "t"}}}},
        {
            "configuration": {
                "query": {"query": "SELECT 1", "useLegacySql": False, "maximumBytesBilled": "-1"}
            }
        },
        {
            "configuration": {
                "query": {
                    "query": "SELECT 1",
                    "useLegacySql": False,
                    "writeDisposition": "WRITE_SOMETIMES",
                    "destinationTable": {"datasetId": "d", "tableId": "t"},
                }
            }
        },
        {"configuration": {"query": "SELECT 1"}},
        {"configuration": []},
        {
            "configuration": {
                "query": {"query": "SELECT @p", "useLegacySql": False, "queryParameters": "x"}
            }
        },
        {
            "configuration": {
                "query": {"query": "SELECT 1", "useLegacySql": False, "defaultDataset": "d"}
            }
        },
    ],
)
def test_a_job_that_makes_no_sense_is_400(http: httpx.Client, body: dict[str, Any]) -> None:
    response = http.post(JOBS, json=body)
    assert response.status_code == 400, response.text
    error(response)


def test_a_gzipped_body_is_read(http: httpx.Client) -> None:
    body = json.dumps({"query": "SELECT 1 AS a", "useLegacySql": False}).encode()
    response = http.post(
        "/bigquery/v2/projects/wire-project/queries",
        content=gzip.compress(body),
        headers={"content-encoding": "gzip", "content-type": "application/json"},
    )
    assert response.json()["rows"] == [{"f": [{"v": "1"}]}]
    broken = http.post(
        "/bigquery/v2/projects/wire-project/queries",
        content=b"not gzip",
        headers={"content-encoding": "gzip"},
    )
    assert broken.status_code == 400


@pytest.mark.parametrize(
    ("options", "value"),
    [({}, "1764032523.5"), ({"formatOptions": {"useInt64Timestamp": True}}, "1764032523500000")],
    ids=["seconds", "microseconds"],
)
def test_timestamps_come_in_the_requested_form(
    http: httpx.Client, options: dict[str, Any], value: str
) -> None:
    sql = "SELECT TIMESTAMP '2025-11-25 01:02:03.5+00'"
    body = {"query": sql, "useLegacySql": False, **options}
    response = http.post("/bigquery/v2/projects/wire-project/queries", json=body)
    [row] = response.json()["rows"]
    assert float(row["f"][0]["v"]) == float(value)


def test_a_query_that_takes_longer_than_its_timeout_is_reported_incomplete(
    http: httpx.Client, sandbox: SandboxProcess
) -> None:
    marker = "SELECT 'slow'"
    fault = {"match": {"query_regex": "slow"}, "action": "hold_job", "seconds": 0.5}
    sandbox.admin("POST", "faults", fault)
    path = "/bigquery/v2/projects/wire-project/queries"
    first = http.post(path, json={"query": marker, "useLegacySql": False, "timeoutMs": 1}).json()
    assert first["jobComplete"] is False
    assert "rows" not in first
    job = first["jobReference"]
    state = http.get(f"{JOBS}/{job['jobId']}").json()["status"]["state"]
    assert state in {"PENDING", "RUNNING"}
    done = http.get(f"{path}/{job['jobId']}", params={"timeoutMs": 5000}).json()
    assert done["jobComplete"] is True
    assert done["rows"] == [{"f": [{"v": "slow"}]}]


UPLOAD = "/upload/bigquery/v2/projects/{project}/jobs"


@pytest.fixture
def session(http: httpx.Client, make: Make) -> tuple[str, str]:
    """URL of a resumable upload that has begun, and the table it goes to."""
    table = make([("a", "STRING")])
    load = {
        "destinationTable": table.reference.to_api_repr(),
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
    }
    response = http.post(
        UPLOAD.format(project=table.project),
        params={"uploadType": "resumable"},
        json={"configuration": {"load": load}},
    )
    assert response.status_code == 200
    return response.headers["location"], str(table.reference)


ROWS = b'{"a":"x"}\n{"a":"y"}\n'


def put(http: httpx.Client, url: str, content: bytes, span: str) -> httpx.Response:
    return http.put(url, content=content, headers={"content-range": f"bytes {span}"})


def test_an_upload_goes_on_where_it_was_cut(
    http: httpx.Client, session: tuple[str, str], client: Client
) -> None:
    url, table = session
    size = len(ROWS)
    assert put(http, url, b"", "*/*").status_code == 308
    first = put(http, url, ROWS[:12], "0-11/*")
    assert (first.status_code, first.headers["range"]) == (308, "bytes=0-11")
    requested = put(http, url, b"", f"*/{size}")
    assert (requested.status_code, requested.headers["range"]) == (308, "bytes=0-11")
    assert put(http, url, ROWS[5:12], f"5-11/{size}").status_code == 308
    last = put(http, url, ROWS[12:], f"12-{size - 1}/{size}")
    assert last.status_code == 200
    assert last.json()["statistics"]["load"]["outputRows"] == "2"
    again = put(http, url, ROWS[12:], f"12-{size - 1}/{size}")
    assert again.json()["jobReference"] == last.json()["jobReference"]
    assert client.get_table(table).num_rows == 2


@pytest.mark.parametrize("span", ["50-60/100", "0-5", "bytes", "x-y/z"])
def test_a_chunk_that_does_not_fit_is_400(
    http: httpx.Client, session: tuple[str, str], span: str
) -> None:
    assert put(http, session[0], b"x" * 11, span).status_code == 400


def test_an_unknown_upload_is_404(http: httpx.Client) -> None:
    url = UPLOAD.format(project="p") + "?uploadType=resumable&upload_id=../../x"
    assert put(http, url, ROWS, f"0-{len(ROWS) - 1}/{len(ROWS)}").status_code == 404


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/related", b"x"),
        ("multipart/related; boundary=b", b"x"),
        ("multipart/related; boundary=b", b"--b\r\n\r\n{}\r\n--b--"),
        ("multipart/related; boundary=b", b"--b\r\n\r\nno json\r\n--b\r\n\r\nx\r\n--b--"),
    ],
)
def test_a_broken_multipart_body_is_400(http: httpx.Client, content_type: str, body: bytes) -> None:
    response = http.post(
        UPLOAD.format(project="p"),
        params={"uploadType": "multipart"},
        content=body,
        headers={"content-type": content_type},
    )
    assert response.status_code == 400
    error(response)


def test_a_page_token_of_someone_else_is_400(http: httpx.Client, client: Client) -> None:
    path = f"/bigquery/v2/projects/{client.project}/datasets"
    assert http.get(path, params={"pageToken": "???"}).status_code == 400
    assert http.get(path, params={"maxResults": "-1"}).status_code == 400
