"""Write the generated pages of docs/: `python -m reference_pages`."""

from __future__ import annotations

from pathlib import Path

from reference_pages.configuration_page import render_configuration_page
from reference_pages.data_contract_page import render_data_contract_page
from reference_pages.errors_page import render_errors_page

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write docs/errors.md, docs/configuration.md and docs/data-contract.md."""
    for name, text in render_pages().items():
        (REPOSITORY / "docs" / name).write_text(text)


def render_pages() -> dict[str, str]:
    """Return each generated page's text by its file name under docs/."""
    return {
        "errors.md": render_errors_page(),
        "configuration.md": render_configuration_page(),
        "data-contract.md": render_data_contract_page(),
    }


if __name__ == "__main__":
    main()
