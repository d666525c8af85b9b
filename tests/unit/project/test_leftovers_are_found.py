"""What a module leaves running fails that module, by name."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

from stack import guarded

ROOT = Path(__file__).resolve().parents[3]
PATHS = os.pathsep.join(str(ROOT / name) for name in ("plugins", "tools", "sandbox/src", "tests"))
START = """
    import asyncio, socket, sys, threading, time
    import pytest
    from stack.guarded import GuardedProcess
    kept = []

    def thread():
        kept.append(threading.Thread(target=time.sleep, args=(60,), name="forgotten", daemon=True))
        kept[-1].start()

    def process():
        kept.append(GuardedProcess(["sleep", "61"]))

    def listener():
        kept.append(socket.create_server(("127.0.0.1", 0)))

    def event_loop():
        kept.append(asyncio.new_event_loop())
"""


def child_pytest(folder: Path, test: str) -> str:
    """The output of a pytest over one module."""
    path = folder / "test_child.py"
    path.write_text(textwrap.dedent(START) + textwrap.dedent(test))
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment |= {"PYTHONPATH": PATHS, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    timeouts = "from support import leftovers; import pytest, sys; leftovers.GRACE_SECONDS = 0.5;"
    code = f"{timeouts} sys.exit(pytest.main(sys.argv[1:]))"
    options = ("-p", "support.leftovers", "-p", "no:cacheprovider", "--rootdir", str(folder), "-rA")
    done = guarded.run(
        [sys.executable, "-c", code, *options, str(path)], env=environment, timeout=100
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("thread", "thread forgotten"),
        ("process", "sleep 61"),
        ("listener", "LISTEN"),
        ("event_loop", "event loop with descriptor"),
    ],
)
def test_what_a_module_leaves_fails_it(tmp_path: Path, what: str, text: str) -> None:
    output = child_pytest(tmp_path, f"def test_one():\n    {what}()\n\ndef test_two():\n    pass\n")
    assert "ERROR at teardown of test_two" in output, output
    assert "test_child.py leaves running:" in output
    assert text in output
    assert "2 passed" in output
    assert "1 error" in output


def test_what_a_module_ends_and_what_the_session_keeps_is_fine(tmp_path: Path) -> None:
    output = child_pytest(
        tmp_path,
        """
        @pytest.fixture(scope="session")
        def kept_by_the_session():
            thread(); process(); listener(); event_loop()
            yield
            kept[1].end(); kept[2].close(); kept[3].close()

        @pytest.fixture(scope="module")
        def ended_by_the_module():
            server = socket.create_server(("127.0.0.1", 0))
            yield
            server.close()

        def test_one(kept_by_the_session, ended_by_the_module):
            pass
        """,
    )
    assert "1 passed" in output, output
    assert "leaves running" not in output
