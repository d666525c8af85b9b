"""A customer of Google Cloud for each test, and its org."""

from __future__ import annotations

from uuid import uuid4

import pytest

from gcp_customer import Customer
from processors_world import OrgWorld
from sandbox_process import SandboxProcess


@pytest.fixture
def customer(sandbox: SandboxProcess) -> Customer:
    return Customer(sandbox, f"t{uuid4().hex[:10]}")


@pytest.fixture
def account(org: OrgWorld, customer: Customer) -> OrgWorld:
    customer.connect(org)
    return org
