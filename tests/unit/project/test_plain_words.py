"""The code and the prose use the field's words: a private vocabulary may only become smaller.

`tests/data/project/plain_words.json` holds the upper limits of what is left, which may only fall,
and the identifiers that stay for a reason, one in one file, at most 25.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from unit.project.plain_words import (
    DATA,
    LIMITS,
    NEVER,
    PRODUCT,
    ROOT,
    SANDBOX,
    TESTS,
    TOOLS,
    Use,
    find_repeated_names,
    list_functions,
    list_uses,
    parse_modules,
    split_identifier,
)

ALLOWED: list[dict[str, str]] = DATA["allowed"]
EVERYTHING = (PRODUCT, SANDBOX, TOOLS, "tests", "scripts")
MAX_ALLOWED = 25
MAX_FILES_IN_A_FOLDER = 20
MAX_LINES_OF_A_FILE = 400

# Names that another system fixes: of its messages, its methods or its tables.
OUTSIDE: frozenset[str] = frozenset()
# An injected error of the sandbox is called a fault, as in fault injection.
FAULT_WORDS = {"fault", "faults"}

PROSE = {
    "told": re.compile(r"\b[Uu]?n?told\b"),
    "tell": re.compile(r"\b[Tt]ell(s|ing)?\b"),
    "anew": re.compile(r"\banew\b"),
    "whoever": re.compile(r"\b[Ww]hoever\b"),
    "mend": re.compile(r"\bmend(s|ed|ing)?\b"),
    "of whom": re.compile(r"\bof whom\b"),
    "beside": re.compile(r"\b[Bb]eside\b"),
}
PROSE_FILES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "docs/*.md", "include/**/*.yml")


def is_exempt(use: Use) -> bool:
    """Say whether a rule permits this use: injected faults, or a name from outside."""
    in_sandbox = use.path.startswith(("sandbox/", "tests/support/vendors/providers_server"))
    return (in_sandbox and use.word in FAULT_WORDS) or use.identifier in OUTSIDE


def list_remaining() -> list[Use]:
    """List the uses of product, sandbox and tools that no rule and no entry permits."""
    permitted = {(entry["file"], entry["identifier"]) for entry in ALLOWED}
    return sorted(
        use
        for use in list_uses(PRODUCT, f"{SANDBOX}/src", TOOLS)
        if not is_exempt(use) and (use.path, use.identifier) not in permitted
    )


def test_identifiers_use_no_banned_word_beyond_the_limit() -> None:
    remaining = list_remaining()
    exempt = [use for use in list_uses(PRODUCT, SANDBOX, TOOLS) if is_exempt(use)]
    print(f"{len(exempt)} identifiers are exempt by rule, {len(ALLOWED)} by an entry")  # noqa: T201
    shown = "\n".join(f"{use.path}: {use.identifier} ({use.word})" for use in remaining)
    assert len(remaining) <= LIMITS["identifiers"], f"rename them:\n{shown}"


@pytest.mark.parametrize("word", sorted(NEVER))
def test_the_worst_words_disappear(word: str) -> None:
    found = [use for use in list_remaining() if use.word == word]
    assert len(found) <= LIMITS["never"][word], found


def test_every_entry_has_a_reason_and_a_use() -> None:
    assert len(ALLOWED) <= MAX_ALLOWED
    assert all(entry["reason"] for entry in ALLOWED)
    uses = {(use.path, use.identifier) for use in list_uses(PRODUCT, f"{SANDBOX}/src", TOOLS)}
    stale = [entry for entry in ALLOWED if (entry["file"], entry["identifier"]) not in uses]
    assert stale == [], "remove the entries that nothing uses"


def test_prose_is_plain() -> None:
    found = list_prose()
    counts = Counter(word for _, word, _ in found)
    limits = LIMITS["prose"]
    over = [line for line in found if counts[line[1]] > limits.get(line[1], 0)]
    assert over == [], "write these sentences again"


def list_prose() -> list[tuple[str, str, str]]:
    """List place, word and line of every sentence with a word that is never plain."""
    lines = [
        (f"{module.path}:{number}", line)
        for module in parse_modules(*EVERYTHING)
        if not module.path.endswith("test_plain_words.py")
        if not module.path.endswith("project/plain_words.py")
        if any(pattern.search(module.text) for pattern in PROSE.values())
        for number, line in _list_texts(module.text)
    ]
    for pattern in PROSE_FILES:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            lines += [
                (f"{place}:{number}", line)
                for number, line in enumerate(path.read_text().splitlines(), start=1)
            ]
    return [
        (place, word, line.strip())
        for place, line in lines
        for word, pattern in PROSE.items()
        if pattern.search(line)
    ]


def _list_texts(source: str) -> list[tuple[int, str]]:
    """List the comments of a file, and its strings that hold a sentence."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found.append((token.start[0], token.string))
        elif token.type == tokenize.STRING and " " in token.string:
            start = token.start[0]
            found += [(start + at, line) for at, line in enumerate(token.string.splitlines())]
    return found


def test_few_functions_have_a_name_of_one_word() -> None:
    names = list_functions(*EVERYTHING)
    short = [name for name in names if "_" not in name.strip("_")]
    share = 100 * len(short) / len(names)
    assert share <= LIMITS["one_word_percent"], Counter(short).most_common(60)


def test_few_names_are_defined_in_four_modules() -> None:
    repeated = find_repeated_names(*EVERYTHING)
    assert len(repeated) <= LIMITS["repeated_names"], repeated


def test_no_folder_has_more_than_twenty_python_files() -> None:
    folders = Counter(
        Path(module.path).parent.as_posix()
        for module in parse_modules(*EVERYTHING)
        if Path(module.path).name != "__init__.py"
    )
    limits: dict[str, int] = LIMITS["folders"]
    over = {
        folder: number
        for folder, number in folders.items()
        if number > limits.get(folder, MAX_FILES_IN_A_FOLDER)
    }
    assert over == {}, "divide them by subject"


def test_no_python_file_has_more_than_400_lines() -> None:
    lines = {
        module.path: len(module.text.splitlines()) for module in parse_modules(*EVERYTHING, "dags")
    }
    over = {path: number for path, number in lines.items() if number > MAX_LINES_OF_A_FILE}
    assert over == {}, "divide them by subject"


def test_no_test_module_is_imported() -> None:
    importing = re.compile(r"^\s*(?:from|import) (?:\w+\.)*(?:test_\w+|conftest)\b", re.MULTILINE)
    found = {
        module.path: importing.findall(module.text)
        for module in parse_modules(*TESTS)
        if importing.search(module.text)
    }
    assert sorted(found) == LIMITS["imports_of_tests"], "move what they share to tests/support"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("left_open", ["left", "open"]),
        ("MalformedAnswerError", ["malformed", "answer", "error"]),
        ("HTTPFault", ["http", "fault"]),
        ("_told", ["told"]),
    ],
)
def test_identifiers_are_split_at_underscores_and_capitals(name: str, words: list[str]) -> None:
    assert split_identifier(name) == words
