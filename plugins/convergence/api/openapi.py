"""`python -m convergence.api.openapi`: print the OpenAPI document."""

from __future__ import annotations

import json
import sys

from convergence.api.app import create_app
from convergence.settings import Settings


def render_document() -> str:
    """Return the document as it is committed: the same bytes in every environment."""
    app = create_app(Settings.model_construct(_fields_set=set()))
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_document())
