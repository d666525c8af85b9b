"""A customer of AWS for each test."""

from __future__ import annotations

from datetime import timedelta

import pytest

from convergence.processors.aws import period
from support.processor_env import OrgEnv
from support.vendors.aws_customer import Customer


@pytest.fixture(autouse=True)
def _deliveries_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's clock is the machine's, whatever day the tests live on."""
    monkeypatch.setattr(period, "DELIVERY_TIMEOUT", timedelta(days=-36_500))


@pytest.fixture
def customer(org: OrgEnv) -> Customer:
    return Customer(org)
