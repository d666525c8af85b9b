"""The pipelines that the API offers: the same YAML files from which Airflow's DAGs are built."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path, PurePosixPath

from convergence.errors import ConfigurationError, NotFoundError
from convergence.pipelines.files.loader import Catalogue, find_pipeline_files, load_all
from convergence.pipelines.files.spec import PipelineSpec
from convergence.providers.broken import FILE

_URL_PATH = re.compile(r"[a-z][a-z0-9_]{0,99}(/[a-z][a-z0-9_]{0,99}){1,2}")
_CHECK_SECONDS = 2.0

Stamps = tuple[tuple[Path, int, int], ...]


class Catalog:
    """Holds every pipeline, and reads the files again after one of them has changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._checked_at = 0.0
        self._stamps: Stamps | None = None
        self._catalogue = Catalogue(specs={}, violations=())

    def list_runnable(self) -> list[PipelineSpec]:
        """Return every valid pipeline that an org can run, by path."""
        return [spec for spec in self._get_current().specs.values() if spec.scope == "org"]

    def find_pipeline(self, url_path: str) -> PipelineSpec:
        """Return the pipeline at an address or at one of its aliases.

        Raises:
            NotFoundError: the address has no pipeline that an org can run.
            ConfigurationError: its file is invalid.
        """
        if not _URL_PATH.fullmatch(url_path):
            raise NotFoundError("no such pipeline", path=url_path[:200])
        catalogue = self._get_current()
        spec = catalogue.find(url_path)
        if spec is None:
            _reject_invalid(catalogue, url_path)
        if spec is None or spec.scope != "org":
            raise NotFoundError("no such pipeline", path=url_path)
        return spec

    def get_by_dag_id(self, dag_id: str) -> PipelineSpec:
        """Return the pipeline of a DAG, of any scope.

        Raises:
            NotFoundError: no file defines this DAG.
            ConfigurationError: its file is invalid.
        """
        catalogue = self._get_current()
        spec = catalogue.specs.get(dag_id)
        if spec is None:
            _reject_invalid(catalogue, dag_id.replace(".", "/"))
            raise NotFoundError("no such pipeline", dag_id=dag_id)
        return spec

    def _get_current(self) -> Catalogue:
        with self._lock:
            if time.monotonic() - self._checked_at > _CHECK_SECONDS or self._stamps is None:
                stamps = self._read_stamps()
                if stamps != self._stamps:
                    self._catalogue = load_all(self._root)
                    self._stamps = stamps
                self._checked_at = time.monotonic()
            return self._catalogue

    def _read_stamps(self) -> Stamps:
        # The registry of providers counts too: pipelines are validated against it.
        files = [*find_pipeline_files(self._root), self._root / FILE]
        found = ((path, path.stat()) for path in files if path.exists())
        return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _reject_invalid(catalogue: Catalogue, url_path: str) -> None:
    """Raise for an invalid file, so that it differs from a missing one; details are internal."""
    invalid = {str(PurePosixPath(each.path).with_suffix("")) for each in catalogue.violations}
    if url_path in invalid:
        raise ConfigurationError("This pipeline is misconfigured; the operator can see the reason.")
