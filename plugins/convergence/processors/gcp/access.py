"""Access the customer's Google Cloud with the customer's service account only.

Tokens come through our own exchange, so a key is sent nowhere but to Google's token endpoint, and
a client of the customer's project has no way to our credentials, nor ours to theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.auth.credentials import Credentials

from convergence.errors import (
    ConfigurationError,
    CredentialRejectedError,
    IntegrationInvalidError,
    ProviderRejectedError,
    WarehouseError,
)
from convergence.extract.clock import Deadline
from convergence.extract.http import OriginClient
from convergence.extract.retry import Retrier
from convergence.extract.strict_json import parse_json
from convergence.processors.context import OrgContext
from convergence.providers.google import (
    BIGQUERY,
    PROVIDER,
    TOKEN_PATH,
    ServiceAccount,
    Token,
    token_origin,
)
from convergence.providers.registry import load_registry
from convergence.settings import Settings
from convergence.warehouse.client import Warehouse

if TYPE_CHECKING:
    from google.cloud.bigquery_storage import BigQueryReadClient

TOKEN_SECONDS = 60.0
_DENIALS = frozenset({"accessDenied", "authError"})


class AccountCredentials(Credentials):
    """A service account's tokens for Google's own clients, fetched again before they expire."""

    def __init__(
        self, account: ServiceAccount, *, scopes: Sequence[str], settings: Settings
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # google-auth's is not annotated
        self._account = account
        self._scopes = tuple(scopes)
        self._settings = settings

    def refresh(self, request: Any) -> None:  # noqa: ANN401  # google-auth's signature
        """Fetch a token; Google's own transport is not used, since it follows redirects."""
        del request
        found = fetch_token(self._account, self._scopes, settings=self._settings)
        self.token = found.value
        # google-auth compares with a naive time in UTC.
        self.expiry = found.expires_at.astimezone(UTC).replace(tzinfo=None)


def service_account(org: OrgContext) -> ServiceAccount:
    """Return the org's service account, decrypted in this process.

    Raises:
        IntegrationInvalidError: there is none, or its key can't be read.
    """
    try:
        return ServiceAccount.parse(org.credential(PROVIDER))
    except CredentialRejectedError as error:
        raise IntegrationInvalidError(error.message) from None


def fetch_token(account: ServiceAccount, scopes: Sequence[str], *, settings: Settings) -> Token:
    """Exchange a signed grant for a token.

    Raises:
        IntegrationInvalidError: Google does not accept the account's key.
        ProviderUnavailableError: Google does not respond in time.
        ProviderProtocolError: its response has no token.
    """
    deadline = Deadline.after(TOKEN_SECONDS)
    origin = token_origin(load_registry(settings).get(PROVIDER), settings)
    with OriginClient.for_settings(origin, settings=settings) as client:

        def attempt() -> Token:
            now = datetime.now(UTC)
            grant = account.grant(scopes, now=now)
            return Token.from_response(
                parse_json(client.post_form(TOKEN_PATH, grant, deadline=deadline).body), now=now
            )

        try:
            return Retrier().call_with_retries(attempt, deadline=deadline)
        except ProviderRejectedError as error:
            raise IntegrationInvalidError(
                "Google does not accept this service account's key; it may be deleted or disabled",
                status=error.details.get("status"),
            ) from None


def customer_warehouse(
    account: ServiceAccount,
    *,
    project: str,
    location: str | None,
    max_bytes: int,
    settings: Settings,
) -> Warehouse:
    """Return a client of the customer's BigQuery.

    Args:
        account: whose rights are used.
        project: where jobs run, and who pays for them.
        location: where jobs run; None while only names are listed.
        max_bytes: what one query may read.
        settings: say where BigQuery is.

    Raises:
        ConfigurationError: only one of BigQuery and Google's token endpoint is a stand-in; or the
            project's name is invalid.
    """
    from google.api_core.client_options import ClientOptions
    from google.cloud import bigquery

    if bool(settings.bigquery_emulator_host) != bool(settings.gcp_api_base_url):
        raise ConfigurationError("Set both BIGQUERY_EMULATOR_HOST and GCP_API_BASE_URL, or neither")
    options = (
        ClientOptions(api_endpoint=settings.bigquery_emulator_host)
        if settings.bigquery_emulator_host
        else None
    )
    client = bigquery.Client(
        project=project,
        location=location,
        credentials=AccountCredentials(account, scopes=[BIGQUERY], settings=settings),
        client_options=options,
    )
    return Warehouse(client, location=location or "", max_bytes_billed=max_bytes)


def storage_reader(account: ServiceAccount, *, settings: Settings) -> BigQueryReadClient | None:
    """Return a Storage Read client with the customer's account; None for a stand-in without one."""
    from google.cloud.bigquery_storage import BigQueryReadClient

    credentials = AccountCredentials(account, scopes=[BIGQUERY], settings=settings)
    if not settings.bigquery_emulator_host:
        return BigQueryReadClient(credentials=credentials)
    if not settings.bigquery_storage_emulator_host:
        return None
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
        BigQueryReadGrpcTransport,
    )

    from convergence.processors.gcp.channel import bearing_channel

    channel = bearing_channel(settings.bigquery_storage_emulator_host, credentials)
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


@contextmanager
def translate_denials(project: str) -> Iterator[None]:
    """Turn a denied access into an error of the integration, which the customer must correct.

    Raises:
        IntegrationInvalidError: Google denies the account access to the project.
    """
    try:
        yield
    except WarehouseError as error:
        if error.details.get("reason") not in _DENIALS:
            raise
        raise IntegrationInvalidError(
            "Google does not let this service account read the billing export",
            project=project,
            response=error.details.get("response"),
        ) from None
