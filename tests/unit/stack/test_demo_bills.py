"""The demo's first organization has bills that tie out, its second has not."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from convergence_sandbox.providers import create_app
from stack.customers import ORGS
from stack.environment import DEMO_BILLS, sandbox_environment
from stack.settings import StackSettings

AMOUNTS = "/_sandbox/bill_effects/amounts"
DAYS = {"first_day": "2026-11-17", "last_day": "2026-11-23"}


def test_the_sandbox_of_a_stack_reads_the_demos_bills() -> None:
    environment = sandbox_environment(StackSettings())
    assert environment["SANDBOX_BILL_EFFECTS"] == str(DEMO_BILLS)
    assert DEMO_BILLS.is_file()


def test_every_declared_effect_changes_the_second_orgs_bills_and_no_other(tmp_path: Path) -> None:
    first, second = (org.slug for org in ORGS)
    with TestClient(create_app(tmp_path, bill_effects=DEMO_BILLS)) as client:
        effects = client.get("/_sandbox/bill_effects").json()
        assert {one["org"] for one in effects} == {second}
        for provider in ("openai", "anthropic"):
            query = {"provider": provider, **DAYS}
            declared = {one["name"] for one in effects if one["provider"] == provider}
            caused = client.get(AMOUNTS, params={**query, "org": second}).json()["amounts"]
            assert {row["effect"] for row in caused} == declared
            assert client.get(AMOUNTS, params={**query, "org": first}).json()["amounts"] == []


def test_no_two_effects_of_the_demo_touch_the_same_usage(tmp_path: Path) -> None:
    with TestClient(create_app(tmp_path, bill_effects=DEMO_BILLS)) as client:
        for provider in ("openai", "anthropic"):
            query = {"org": ORGS[1].slug, "provider": provider, **DAYS}
            rows = client.get(AMOUNTS, params=query).json()["amounts"]
            by_meter: dict[tuple[object, str], set[str]] = {}
            for row in rows:
                place = (row["model"], row["meter"].partition(", ")[0])
                by_meter.setdefault(place, set()).add(row["effect"])
            assert all(len(effects) == 1 for effects in by_meter.values()), by_meter
