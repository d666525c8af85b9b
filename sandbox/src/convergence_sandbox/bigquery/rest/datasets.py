"""projects, datasets: list, insert, get, patch, update, delete.

https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets
"""

from __future__ import annotations

import threading

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import not_implemented
from convergence_sandbox.bigquery.resources.model import DatasetMeta
from convergence_sandbox.bigquery.rest.wire import Json, body_json, check_etag, flag, page_of, reply


class DatasetRoutes:
    """The HTTP side of projects and datasets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changing = threading.Lock()

    def routes(self) -> list[Route]:
        """Everything under `/projects` down to one dataset."""
        datasets = "/projects/{project}/datasets"
        one = f"{datasets}/{{dataset}}"
        return [
            Route("/projects", self.projects, methods=["GET"]),
            Route("/projects/{project}/serviceAccount", self.service_account, methods=["GET"]),
            Route(datasets, self.listing, methods=["GET"]),
            Route(datasets, self.insert, methods=["POST"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.change, methods=["PATCH", "PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]

    async def projects(self, request: Request) -> Response:
        """Return the projects that have a dataset; any other name is a project too."""
        names = await run_in_threadpool(self._engine.list_projects)
        page, rest = page_of([_project(name) for name in names], request)
        response = {"kind": "bigquery#projectList", "projects": page, "totalItems": len(names)}
        return reply(response | rest)

    async def service_account(self, request: Request) -> Response:
        """Return the account BigQuery itself would act as."""
        email = f"bq-{request.path_params['project']}@sandbox.invalid"
        return reply({"kind": "bigquery#getServiceAccountResponse", "email": email})

    async def listing(self, request: Request) -> Response:
        """Return a page of a project's datasets, by name."""
        if request.query_params.get("filter"):
            raise not_implemented("datasets.list with a filter")
        found = await run_in_threadpool(self._engine.list_datasets, request.path_params["project"])
        page, rest = page_of([_list_item(meta) for meta in found], request)
        return reply({"kind": "bigquery#datasetList", "datasets": page} | rest)

    async def insert(self, request: Request) -> Response:
        """Make a dataset."""
        resource = await body_json(request)
        project = request.path_params["project"]
        meta = await run_in_threadpool(self._engine.create_dataset, project, resource)
        return reply(_resource(meta))

    async def get(self, request: Request) -> Response:
        """Return one dataset."""
        meta = await run_in_threadpool(self._engine.get_dataset, *_names(request))
        return reply(_resource(meta))

    async def change(self, request: Request) -> Response:
        """Patch (what is given changes) or update (what is not given goes)."""
        resource = await body_json(request)
        meta = await run_in_threadpool(self._change, request, resource)
        return reply(_resource(meta))

    def _change(self, request: Request, resource: Json) -> DatasetMeta:
        with self._changing:
            current = self._engine.get_dataset(*_names(request))
            check_etag(request, _resource(current))
            partial = request.method == "PATCH"
            return self._engine.update_dataset(*_names(request), resource, partial=partial)

    async def delete(self, request: Request) -> Response:
        """Drop a dataset, and its tables if that is said."""
        contents = flag(request, "deleteContents")
        await run_in_threadpool(
            self._engine.delete_dataset, *_names(request), delete_contents=contents
        )
        return reply()


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["project"], request.path_params["dataset"]


def _project(name: str) -> Json:
    return {
        "kind": "bigquery#project",
        "id": name,
        "numericId": "0",
        "friendlyName": name,
        "projectReference": {"projectId": name},
    }


def _resource(meta: DatasetMeta) -> Json:
    link = f"/bigquery/v2/projects/{meta.project}/datasets/{meta.dataset}"
    return meta.to_rest() | {"selfLink": link}


def _list_item(meta: DatasetMeta) -> Json:
    shown = ("kind", "id", "datasetReference", "location", "labels", "friendlyName")
    resource = meta.to_rest()
    return {name: resource[name] for name in shown if name in resource}
