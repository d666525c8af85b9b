"""The pipelines that the API offers: the same YAML files that Airflow's DAGs are made of."""

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
_LOOK_AGAIN_SECONDS = 2.0

Stamps = tuple[tuple[Path, int, int], ...]


class Catalog:
    """Holds every pipeline, and reads the files again once one of them has changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._looked = 0.0
        self._stamps: Stamps | None = None
        self._catalogue = Catalogue(specs={}, violations=())

    def runnable(self) -> list[PipelineSpec]:
        """Every sound pipeline that an org can run, by path."""
        return [spec for spec in self._current().specs.values() if spec.scope == "org"]

    def find(self, url_path: str) -> PipelineSpec:
        """The pipeline at an address or one of its aliases.

        Raises:
            NotFoundError: there is none that an org can run.
            ConfigurationError: its file has faults.
        """
        if not _URL_PATH.fullmatch(url_path):
            raise NotFoundError("no such pipeline", path=url_path[:200])
        catalogue = self._current()
        spec = catalogue.find(url_path)
        if spec is None:
            _refuse_faulty(catalogue, url_path)
        if spec is None or spec.scope != "org":
            raise NotFoundError("no such pipeline", path=url_path)
        return spec

    def by_dag_id(self, dag_id: str) -> PipelineSpec:
        """The pipeline of a DAG, of any scope.

        Raises:
            NotFoundError: no file makes this DAG.
            ConfigurationError: its file has faults.
        """
        catalogue = self._current()
        spec = catalogue.specs.get(dag_id)
        if spec is None:
            _refuse_faulty(catalogue, dag_id.replace(".", "/"))
            raise NotFoundError("no such pipeline", dag_id=dag_id)
        return spec

    def _current(self) -> Catalogue:
        with self._lock:
            if time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS or self._stamps is None:
                stamps = self._stamp()
                if stamps != self._stamps:
                    self._catalogue = load_all(self._root)
                    self._stamps = stamps
                self._looked = time.monotonic()
            return self._catalogue

    def _stamp(self) -> Stamps:
        # A pipeline is checked against the registry of providers too.
        files = [*find_pipeline_files(self._root), self._root / FILE]
        found = ((path, path.stat()) for path in files if path.exists())
        return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _refuse_faulty(catalogue: Catalogue, url_path: str) -> None:
    """Tell a broken file from none; what is wrong in it is its operator's to read."""
    faulty = {str(PurePosixPath(fault.path).with_suffix("")) for fault in catalogue.violations}
    if url_path in faulty:
        raise ConfigurationError("This pipeline is misconfigured; its operator can see why.")
