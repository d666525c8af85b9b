"""`python -m convergence.api.openapi` prints the OpenAPI document."""

from __future__ import annotations

import json
import sys

from convergence.api.app import create_app
from convergence.settings import Settings


def rendered() -> str:
    """The document as it is committed: the same bytes whatever the environment says."""
    app = create_app(Settings.model_construct(_fields_set=set()))
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())
