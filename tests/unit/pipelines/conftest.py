from __future__ import annotations

import sample_pipelines

sample_pipelines.install_processors()
