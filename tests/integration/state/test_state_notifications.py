from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from convergence.state import notifications
from convergence.state.notifications import (
    CLAIM_DURATION,
    NotificationKey,
    NotificationStatus,
    claim_notification,
    finish_notification,
)
from convergence.state.retention import prune_store
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
KEY = NotificationKey("run_1", "acme_corp", "email", "failed")


def take(store: StateStore, *, now: datetime = NOW, key: NotificationKey = KEY) -> str | None:
    with store.begin() as conn:
        return claim_notification(conn, key, now=now, max_attempts=3)


def finish_claim(store: StateStore, owner: str | None, *, error: str | None = None) -> bool:
    assert owner is not None
    with store.begin() as conn:
        return finish_notification(conn, KEY, owner=owner, now=NOW, recipients=2, error=error)


def test_of_many_at_once_one_may_send(store: StateStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: take(store), range(16)))
    assert sum(owner is not None for owner in taken) == 1


def test_what_was_sent_is_never_sent_again(store: StateStore) -> None:
    assert finish_claim(store, take(store))
    assert take(store, now=NOW + CLAIM_DURATION * 100) is None
    with store.read() as conn:
        kept = notifications.get_notification(conn, KEY)
    assert kept is not None
    assert (kept.status, kept.recipients, kept.attempts) == (NotificationStatus.SENT, 2, 1)


def test_what_failed_is_tried_again_so_many_times(store: StateStore) -> None:
    for attempt in range(3):
        assert finish_claim(store, take(store), error=f"refused {attempt}")
    assert take(store) is None
    with store.read() as conn:
        (kept,) = notifications.list_for_run(conn, "run_1", "acme_corp")
    assert (kept.status, kept.error, kept.attempts) == (NotificationStatus.FAILED, "refused 2", 3)


def test_a_claim_whose_owner_is_gone_is_taken_over_and_the_first_owner_is_told(
    store: StateStore,
) -> None:
    first = take(store)
    assert take(store, now=NOW + CLAIM_DURATION - timedelta(seconds=1)) is None
    second = take(store, now=NOW + CLAIM_DURATION)
    assert not finish_claim(store, first)
    assert finish_claim(store, second)


def test_each_channel_event_and_org_has_a_claim_of_its_own(store: StateStore) -> None:
    for key in (
        KEY,
        KEY._replace(channel="slack"),
        KEY._replace(event="succeeded"),
        KEY._replace(org_slug="globex"),
        KEY._replace(run_id="run_2"),
    ):
        assert take(store, key=key) is not None


def test_old_ones_are_forgotten(store: StateStore) -> None:
    finish_claim(store, take(store))
    assert prune_store(store, now=NOW + timedelta(days=89)).notifications == 0
    assert prune_store(store, now=NOW + timedelta(days=91)).notifications == 1
