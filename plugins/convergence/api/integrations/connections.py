"""Connecting an organization to its providers: validated, then encrypted, then stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from convergence.api.airflow.operations import OperationKind, OperationState
from convergence.api.http.services import ApiServices
from convergence.api.integrations.imports import Imports
from convergence.api.integrations.models import ImportRun, IntegrationResponse
from convergence.api.schedules import dispatching
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
    """The integrations of one organization."""

    def __init__(self, services: ApiServices, *, org_slug: str, by: Actor) -> None:
        self._services = services
        self._org = org_slug
        self._by = by

    @property
    def _registry(self) -> ProviderRegistry:
        return load_registry(self._services.settings)

    async def connect(
        self,
        name: str,
        credential: str | dict[str, Any],
        *,
        credential_name: str | None,
        import_history: bool,
    ) -> IntegrationResponse:
        """Validate a credential with its provider, then encrypt and store it.

        An invalid credential is not stored, and the previous one stays. When the provider can't
        be reached, the credential is stored as PENDING: nothing runs with it until it is valid.
        A valid credential queues runs that import defaults and history, listed in the response,
        unless `import_history` is false.

        Raises:
            NotFoundError: the provider is unknown.
            CredentialRejectedError: the provider rejects the credential, or its form is invalid.
            LimitError: the plan allows no further provider.
        """
        provider, now = self._registry.get(name), datetime.now(UTC)
        secret = credential if isinstance(credential, str) else json.dumps(credential)
        register_secret(secret)
        secret = check_form(provider, secret)
        await run_in_threadpool(self._check_plan, provider)
        validation = await validate_credential_async(
            provider, secret, settings=self._services.settings, now=now
        )
        if validation.status == "INVALID":
            raise CredentialRejectedError(
                f"{provider.name} rejects the credential.",
                validation_status=validation.status,
                error=validation.error,
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
            validation_status=validation.status,
            validation_error=validation.error,
            by=self._by,
            now=now,
        )
        stored = await run_in_threadpool(self._store_within_plan, provider, put)
        self._services.gate.forget_org(self._org)
        response = _build_response(stored, provider.id)
        if validation.status == "VALID" and import_history:
            response.import_runs = await self._start_import(provider, now)
        return response

    def list_connected(self) -> list[IntegrationResponse]:
        """Return every connected provider."""
        known = self._registry
        return [
            _build_response(each, known.id_of_table(each.provider))
            for each in self._services.credentials.list_credentials(self._org)
        ]

    def get_connected(self, name: str) -> IntegrationResponse:
        """Return a connected provider.

        Raises:
            NotFoundError: the provider is unknown or not connected.
        """
        provider = self._registry.get(name)
        found = self._services.credentials.get_credential(self._org, provider.table_id)
        return _build_response(found, provider.id)

    async def validate(self, name: str) -> tuple[IntegrationResponse, OperationState]:
        """Start an operation that decrypts the stored credential and validates it again.

        Returns:
            The present integration, and the operation, which may still be running.

        Raises:
            NotFoundError: the provider is unknown or not connected.
        """
        before = await run_in_threadpool(self.get_connected, name)
        provider = self._registry.get(name)
        state = await self._services.operations.run_operation(
            OperationKind.VALIDATE,
            about=self._org,
            values={"org_slug": self._org, "provider": provider.id},
            seconds=self._services.settings.admin_call_wait_seconds,
        )
        self._services.gate.forget_org(self._org)
        after = await run_in_threadpool(self.get_connected, name)
        if (before.validation_status, after.validation_status) == ("PENDING", "VALID"):
            after.import_runs = await self._start_import(provider, datetime.now(UTC))
        return after, state

    def disconnect(self, name: str) -> IntegrationResponse:
        """Delete the stored credential.

        Raises:
            NotFoundError: the provider is unknown or not connected.
        """
        provider, last = self._registry.get(name), self.get_connected(name)
        self._services.credentials.delete_credential(
            self._org, provider.table_id, by=self._by, now=datetime.now(UTC)
        )
        self._services.gate.forget_org(self._org)
        return last.model_copy(update={"status": "DELETED"})

    async def _start_import(self, provider: Provider, now: datetime) -> list[ImportRun]:
        """Queue the import's runs and start them; the minute task starts those that must wait.

        The credential is stored already, so a failure here does not fail the connection.
        """
        runs: list[ImportRun] = []
        try:
            imports = Imports(self._services, self._org, self._by)
            runs = await run_in_threadpool(imports.enqueue_runs, provider, now=now)
            if runs:
                await dispatching.process_queue(self._services, self._org, now=now)
        except ConvergenceError as error:
            log.warning("%s: the import from %s is delayed: %s", self._org, provider.id, error)
        return runs

    def _store_within_plan(self, provider: Provider, put: Callable[[], Credential]) -> Credential:
        """Check the limit and store under a lease: two requests could else both pass the check."""
        with hold_lease(self._services.store, f"integrations|{self._org}"):
            self._check_plan(provider)
            return put()

    def _check_plan(self, provider: Provider) -> None:
        """Reject a further provider above the plan's limit; a connected one may be replaced."""
        connected = {
            each.provider for each in self._services.credentials.list_credentials(self._org)
        }
        try:
            quota = quotas.get_quota(self._services.warehouse, self._org)
        except NotFoundError:
            return
        if provider.table_id not in connected and len(connected) >= quota.max_providers:
            raise LimitError(
                f"The plan allows at most {quota.max_providers} providers.",
                limit="max_providers",
                maximum=quota.max_providers,
                used=len(connected),
                plan=quota.plan,
            )


def _build_response(found: Credential, provider_id: str) -> IntegrationResponse:
    return IntegrationResponse(
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
