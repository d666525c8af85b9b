from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = (REPOSITORY / "SECURITY.md").read_text()
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# Sections of claims; the others have the contact, what is defended and what is not.
CLAIMS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[3:-1]


def _tests_of(path: str) -> set[str]:
    tree = ast.parse((REPOSITORY / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_security_page_names_exists() -> None:
    named = set(REFERENCE.findall(TEXT))
    assert len(named) > 30
    missing = [
        f"{path}::{name}"
        for path, name in sorted(named)
        if not (REPOSITORY / path).is_file() or name not in _tests_of(path)
    ]
    assert missing == []


def test_every_claim_of_the_security_page_names_its_test() -> None:
    bullet = re.compile(r"^- ", re.MULTILINE)
    claims = [claim for section in CLAIMS for claim in bullet.split(section)[1:]]
    assert len(claims) > 20
    assert [claim for claim in claims if not REFERENCE.search(claim)] == []
