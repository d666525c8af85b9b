"""Connecting an organization to its providers: validated, then encrypted, then stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from convergence.api.airflow.operations import Operation, Outcome
from convergence.api.http.models import ImportRun, IntegrationAnswer
from convergence.api.http.services import Services
from convergence.api.integrations.imports import Imports
from convergence.api.schedules import scheduler
from convergence.errors import (
    ConvergenceError,
    CredentialRejectedError,
    LimitError,
    NotFoundError,
)
from convergence.providers.forms import check_form
from convergence.providers.registry import Provider, ProviderRegistry, load_registry
from convergence.providers.validation import list_hints, validate_credential_async
from convergence.security.redaction import register_secret
from convergence.state.leases import hold_lease
from convergence.tenants import quotas
from convergence.tenants.audit import Actor
from convergence.tenants.credentials import Credential, compute_fingerprint

log = logging.getLogger(__name__)


class Integrations:
    """One organization's connections."""

    def __init__(self, services: Services, *, org_slug: str, by: Actor) -> None:
        self._services = services
        self._org = org_slug
        self._by = by

    @property
    def _registry(self) -> ProviderRegistry:
        return load_registry(self._services.settings)

    async def connect(
        self,
        name: str,
        given: str | dict[str, Any],
        *,
        credential_name: str | None,
        import_history: bool,
    ) -> IntegrationAnswer:
        """Ask the provider about a credential, then encrypt and store it.

        One that is refused is not stored, and the one before it stays. One that the provider
        could not be asked about is stored as PENDING: nothing runs with it until it is valid.
        With a valid one, defaults and history are imported by runs that the answer names, unless
        `import_history` is false.

        Raises:
            NotFoundError: there is no such provider.
            CredentialRejectedError: the provider refuses it, or it has no accepted form.
            LimitError: the plan allows no further provider.
        """
        provider, now = self._registry.get(name), datetime.now(UTC)
        secret = given if isinstance(given, str) else json.dumps(given)
        register_secret(secret)
        secret = check_form(provider, secret)
        await run_in_threadpool(self._check_plan, provider)
        found = await validate_credential_async(
            provider, secret, settings=self._services.settings, now=now
        )
        if found.status == "INVALID":
            raise CredentialRejectedError(
                f"{provider.name} refuses the credential.",
                validation_status=found.status,
                error=found.error,
                fingerprint=compute_fingerprint(secret),
                last_validated_at=now,
                credential_id=None,
                accepted=list_hints(provider),
            )
        put = partial(
            self._services.credentials.store_credential,
            self._org,
            provider.table_id,
            secret,
            credential_name=credential_name or provider.name,
            validation_status=found.status,
            validation_error=found.error,
            by=self._by,
            now=now,
        )
        stored = await run_in_threadpool(self._put_within_plan, provider, put)
        self._services.gate.forget_org(self._org)
        answer = _integration(stored, provider.id)
        if found.status == "VALID" and import_history:
            answer.import_runs = await self._import(provider, now)
        return answer

    async def every(self) -> list[IntegrationAnswer]:
        """Every connected provider."""
        found = await run_in_threadpool(self._services.credentials.list_credentials, self._org)
        known = self._registry
        return [_integration(one, known.id_of_table(one.provider)) for one in found]

    async def one(self, name: str) -> IntegrationAnswer:
        """One connected provider.

        Raises:
            NotFoundError: it is not connected, or there is no such provider.
        """
        provider = self._registry.get(name)
        found = await run_in_threadpool(
            self._services.credentials.get_credential, self._org, provider.table_id
        )
        return _integration(found, provider.id)

    async def validate(self, name: str) -> tuple[IntegrationAnswer, Outcome]:
        """Have a worker decrypt the stored credential and ask the provider about it again.

        Returns:
            The integration as it stands, and the operation, which may still be at work.

        Raises:
            NotFoundError: it is not connected, or there is no such provider.
        """
        before = await self.one(name)
        provider = self._registry.get(name)
        outcome = await self._services.operations.run(
            Operation.VALIDATE,
            about=self._org,
            values={"org_slug": self._org, "provider": provider.id},
            seconds=self._services.settings.admin_call_wait_seconds,
        )
        self._services.gate.forget_org(self._org)
        after = await self.one(name)
        if (before.validation_status, after.validation_status) == ("PENDING", "VALID"):
            after.import_runs = await self._import(provider, datetime.now(UTC))
        return after, outcome

    async def disconnect(self, name: str) -> IntegrationAnswer:
        """Drop the stored credential.

        Raises:
            NotFoundError: it is not connected, or there is no such provider.
        """
        provider, last = self._registry.get(name), await self.one(name)
        await run_in_threadpool(
            partial(
                self._services.credentials.delete_credential,
                self._org,
                provider.table_id,
                by=self._by,
                now=datetime.now(UTC),
            )
        )
        self._services.gate.forget_org(self._org)
        return last.model_copy(update={"status": "DELETED"})

    async def _import(self, provider: Provider, now: datetime) -> list[ImportRun]:
        """Queue what connecting runs and start it; what can't be now, the next minute does.

        The credential is stored by then: no failure here makes the connection one.
        """
        runs: list[ImportRun] = []
        try:
            imports = Imports(self._services, self._org, self._by)
            runs = await run_in_threadpool(imports.queue, provider, now=now)
            if runs:
                await scheduler.process(self._services, self._org, now=now)
        except ConvergenceError as error:
            log.warning("%s: the import from %s waits: %s", self._org, provider.id, error)
        return runs

    def _put_within_plan(self, provider: Provider, put: Callable[[], Credential]) -> Credential:
        """Count and store as one, so that two at once can't both be the last that is allowed."""
        with hold_lease(self._services.store, f"integrations|{self._org}"):
            self._check_plan(provider)
            return put()

    def _check_plan(self, provider: Provider) -> None:
        """Refuse a provider beyond the plan's number; a new credential for one is none."""
        connected = {one.provider for one in self._services.credentials.list_credentials(self._org)}
        try:
            quota = quotas.get_quota(self._services.warehouse, self._org)
        except NotFoundError:
            return
        if provider.table_id not in connected and len(connected) >= quota.max_providers:
            raise LimitError(
                f"The plan allows {quota.max_providers} providers.",
                limit="max_providers",
                maximum=quota.max_providers,
                used=len(connected),
                plan=quota.plan,
            )


def _integration(found: Credential, provider_id: str) -> IntegrationAnswer:
    return IntegrationAnswer(
        org_slug=found.org_slug,
        provider=provider_id,
        validation_status=found.validation_status,
        credential_id=found.credential_id,
        credential_name=found.credential_name,
        fingerprint=found.fingerprint,
        last_validated_at=found.last_validated_at,
        error=found.validation_error,
        connected_on=found.connected_on,
    )
