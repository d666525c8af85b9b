"""A small client of our own API, as the demo and the end-to-end tests use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from stack.errors import StackError

ENDED = ("SUCCESS", "FAILED", "CANCELLED")
MAX_WAITS = 5
LONGEST_WAIT_SECONDS = 60.0


class ApiClient:
    """A client of `/api/v1` with one key; a rejected request raises an error with its response."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str]) -> None:
        self._http = httpx.Client(
            base_url=base_url, headers=dict(headers), timeout=180, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Read one document."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send one document; a response 202 to a long call is followed to its end."""
        return self._ask("POST", path, json=dict(body or {}))

    def put(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Replace one document."""
        return self._ask("PUT", path, json=dict(body))

    def wait_for_run(
        self,
        status_url: str,
        *,
        seconds: float,
        on_change: Callable[[dict[str, Any]], None] = lambda _run: None,
    ) -> dict[str, Any]:
        """Poll a run until it has ended.

        Raises:
            StackError: it had not ended within `seconds`.
        """
        deadline = time.monotonic() + seconds
        seen: object = None
        while time.monotonic() < deadline:
            run = self.get(status_url)
            state = (
                run["status"],
                [(each["step"], each["status"]) for each in run.get("steps", [])],
            )
            if state != seen:
                seen = state
                on_change(run)
            if run["status"] in ENDED:
                return run
            time.sleep(1)
        raise StackError(f"{status_url} had not ended within {seconds:.0f} s")

    def wait_for_runs(
        self,
        org_slug: str,
        run_ids: Sequence[str],
        *,
        seconds: float,
        on_change: Callable[[dict[str, Any]], None] = lambda _run: None,
    ) -> list[dict[str, Any]]:
        """Poll an organization's runs by one call until all have ended, in the order given.

        Raises:
            StackError: one had not ended within `seconds`.
        """
        deadline = time.monotonic() + seconds
        runs: dict[str, dict[str, Any]] = {run_id: {"status": None} for run_id in run_ids}
        while pending := [one for one, run in runs.items() if run["status"] not in ENDED]:
            if time.monotonic() > deadline:
                raise StackError(f"{', '.join(pending)} had not ended within {seconds:.0f} s")
            page = self.get(f"/pipelines/runs/{org_slug}", limit="100")
            for summary in page["runs"]:
                run_id = summary["run_id"]
                if run_id in pending and summary["status"] != runs[run_id]["status"]:
                    runs[run_id] = self.get(summary["status_url"])
                    on_change(runs[run_id])
            time.sleep(1)
        return list(runs.values())

    def _ask(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        """Return the response; retry after the time that the API names."""
        for _ in range(MAX_WAITS):
            response = self._http.request(method, path, **sent)
            wait = float(response.headers.get("Retry-After", "inf"))
            if response.status_code not in (429, 503) or wait > LONGEST_WAIT_SECONDS:
                break
            time.sleep(wait)
        return self._read_document(response)

    def _read_document(self, response: httpx.Response) -> dict[str, Any]:
        request = f"{response.request.method} {response.request.url.path}"
        if response.is_success:
            document: dict[str, Any] = response.json()
            return document
        raise ApiRequestError(request, response)


class ApiRequestError(StackError):
    """Raised when the API returns anything but success."""

    def __init__(self, request: str, response: httpx.Response) -> None:
        super().__init__(f"{request} answered {response.status_code}: {response.text[:600]}")
        self.status = response.status_code
        try:
            self.problem: dict[str, Any] = response.json()
        except ValueError:
            self.problem = {}
