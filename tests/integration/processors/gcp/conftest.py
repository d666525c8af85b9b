"""A customer of Google Cloud for each test, and its org."""

from __future__ import annotations

from uuid import uuid4

import pytest

from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.gcp_customer import Customer


@pytest.fixture
def customer(sandbox: SandboxProcess) -> Customer:
    return Customer(sandbox, f"t{uuid4().hex[:10]}")


@pytest.fixture
def account(org: OrgEnv, customer: Customer) -> OrgEnv:
    customer.connect(org)
    return org
