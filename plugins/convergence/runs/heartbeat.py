"""The heartbeat of a process that works on slices: a thread renews it until the work ends.

A process that is killed or frozen renews nothing, and `HEARTBEAT_STALE` later no other attempt
waits for it any more.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection

from convergence.errors import ConvergenceError
from convergence.state import attempts
from convergence.state.attempts import HEARTBEAT_EVERY, Holder
from convergence.state.store import StateStore

MAX_RENEWAL_SECONDS: Final = 5.0
"""Seconds that the end of the block waits for a renewal in progress."""

log = logging.getLogger(__name__)


@contextmanager
def hold_heartbeat(
    store: StateStore, run_id: str, *, every: float = HEARTBEAT_EVERY.total_seconds()
) -> Iterator[Holder]:
    """Renew the heartbeat of all attempts taken with the holder, as long as the block runs.

    Args:
        store: where attempts are.
        run_id: the org run that works.
        every: seconds between two renewals.
    """
    holder = Holder(uuid.uuid4().hex, run_id)
    ended = threading.Event()
    thread = threading.Thread(
        target=_renew_until_ended,
        args=(store, holder, ended, every),
        name="attempt-heartbeat",
        daemon=True,
    )
    thread.start()
    try:
        yield holder
    finally:
        ended.set()
        thread.join(MAX_RENEWAL_SECONDS)
        _update_heartbeat(store, holder, "released", attempts.release_heartbeat)


def _renew_until_ended(
    store: StateStore, holder: Holder, ended: threading.Event, every: float
) -> None:
    while not ended.wait(every):
        _update_heartbeat(store, holder, "renewed", attempts.renew_heartbeat)


def _update_heartbeat(
    store: StateStore, holder: Holder, verb: str, change: Callable[[Connection, str], None]
) -> None:
    try:
        with store.begin() as conn:
            change(conn, holder.holder_id)
    except ConvergenceError as error:
        # The work continues without it; at worst another attempt takes a higher number.
        log.warning("the heartbeat of %s was not %s: %s", holder.run_id, verb, error)
