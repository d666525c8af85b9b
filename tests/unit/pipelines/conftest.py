from __future__ import annotations

from support import sample_pipelines

sample_pipelines.install_processors()
