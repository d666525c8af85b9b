"""`python -m stack up` runs the stack in the foreground; `python -m stack demo` shows it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

from pydantic import ValidationError

from stack.errors import StackError
from stack.settings import CeleryStackSettings, StackSettings
from stack.stack import Stack


class Stopped(KeyboardInterrupt):
    """Raised in the main thread when a signal stops the launcher."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when it did what it says, 1 when a step failed, 2 when it could not start.
    """
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    parser.add_argument("command", choices=("up", "demo"))
    parser.add_argument(
        "--celery", action="store_true", help="PostgreSQL, Redis, two API servers, a Celery worker"
    )
    options = parser.parse_args(arguments)
    command = options.command
    # A second signal during the stop must not cut it short.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        stack = _celery_stack() if options.celery else partial(Stack, StackSettings())
        return up(stack(say=say)) if command == "up" else _demo(stack)
    except ValidationError as error:
        for violation in error.errors(include_url=False):
            print(f"{violation['loc'][0]}: {violation['msg']}".upper(), file=sys.stderr)
        return 2
    except StackError as error:
        print(f"\n{error}\n{error.log_tail()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if command == "up" else 1


def up(stack: Stack) -> int:
    """Run the stack until a signal stops it."""
    settings = stack.settings
    servers = " ".join(settings.base_urls)
    with stack:
        print(
            f"\nready\n"
            f"  Airflow   {servers}  (admin / {stack.secrets.admin_password})\n"
            f"  API       {settings.api_url}/docs\n"
            f"  root key  {stack.secrets.root_api_key}\n"
            f"  logs      {settings.log_dir}\n"
            f"stop with Ctrl-C",
            flush=True,
        )
        pause = threading.Event()
        while not pause.wait(1):
            stack.restart_dead()
    return 0


def _demo(make_stack: Callable[..., Stack]) -> int:
    from stack.demo import run_demo

    # A scheduled run would import a month of history next to the three days shown.
    return run_demo(make_stack(say=say, on_schedule=False), say=say)


def _celery_stack() -> Callable[..., Stack]:
    from stack.celery import CeleryStack

    return partial(CeleryStack, CeleryStackSettings())


def say(line: str) -> None:
    """Print progress for the person at the terminal."""
    print(f"==> {line}", flush=True)


def _stop(_number: int, _frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
