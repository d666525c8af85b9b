"""Clients of Amazon Web Services that use only the given credential and nothing of this machine.

An access key or a role comes from the org's credential; a role is assumed with the installation's
key from our settings. The environment, profiles, configuration files, proxies and the metadata
service of this machine are never read. Requests go to AWS or, outside production, to the stand-in
of `AWS_API_BASE_URL`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    RefreshableCredentials,
)

from convergence.errors import ConfigurationError, IntegrationInvalidError
from convergence.metering import Resource, Use, record_usage
from convergence.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

BASE_URL_VARIABLE: Final = "AWS_API_BASE_URL"
HOME_REGION: Final = "us-east-1"
"""Where Data Exports live (https://docs.aws.amazon.com/cur/latest/userguide/what-is-data-exports.html)."""
ROLE_SECONDS: Final = 900
"""The shortest session that STS gives (AssumeRole, DurationSeconds)."""
_ADVISORY_SECONDS: Final = 300
_MANDATORY_SECONDS: Final = 120
_HOSTS: Final = (".amazonaws.com", ".amazonaws.com.cn")
_PARTITIONS: Final = ("aws", "aws-cn", "aws-us-gov")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A long-lived key; `repr` hides its secret."""

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"AccessKey({self.key_id!r})"


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the customer that trusts us if we send its external id."""

    arn: str
    external_id: str

    def __repr__(self) -> str:
        return f"Role({self.arn!r})"


def parse_credential(text: str) -> AccessKey | Role:
    """Parse a credential whose form was checked (`forms.check_form`).

    Raises:
        IntegrationInvalidError: it has neither form. The error has no part of the credential.
    """
    try:
        parts = json.loads(text)
        if "role_arn" in parts:
            return Role(parts["role_arn"], parts["external_id"])
        return AccessKey(parts["access_key_id"], parts["secret_access_key"])
    except (ValueError, TypeError, KeyError):
        pass
    raise IntegrationInvalidError("The stored AWS credential is neither a key nor a role")


def platform_key(settings: Settings) -> AccessKey:
    """Return the installation's key, with which the roles of customers are assumed.

    Raises:
        ConfigurationError: the settings have no key.
    """
    key_id, secret = settings.aws_platform_access_key_id, settings.aws_platform_secret_access_key
    if not key_id or not secret:
        raise ConfigurationError(
            "This installation has no AWS key, so it can't assume a role; set both variables",
            settings=["AWS_PLATFORM_ACCESS_KEY_ID", "AWS_PLATFORM_SECRET_ACCESS_KEY"],
        )
    return AccessKey(key_id, secret.get_secret_value())


def check_region(region: str) -> str:
    """Return a region that AWS has.

    Raises:
        ConfigurationError: AWS has no such region; the details have the accepted ones.
    """
    session = _isolated_session(Credentials("", ""))
    known = [name for part in _PARTITIONS for name in session.get_available_regions("s3", part)]
    if region not in known:
        raise ConfigurationError("AWS has no such region", region=region, accepted=sorted(known))
    return region


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsTimeouts:
    """The timeouts of a client in seconds, and the attempts of each call."""

    connect: float = 5.0
    read: float = 30.0
    attempts: int = 4


class AwsSession:
    """Clients for one credential; do not share it between threads."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        settings: Settings,
        region: str = HOME_REGION,
        timeouts: AwsTimeouts | None = None,
    ) -> None:
        self._settings = settings
        self._region = region
        self._timeouts = timeouts or AwsTimeouts()
        self._session = boto3.Session(botocore_session=_isolated_session(credentials))

    @classmethod
    def with_key(
        cls,
        key: AccessKey,
        *,
        settings: Settings,
        region: str = HOME_REGION,
        timeouts: AwsTimeouts | None = None,
    ) -> Self:
        """Return a session with a long-lived key."""
        credentials = Credentials(key.key_id, key.secret)
        return cls(credentials, settings=settings, region=region, timeouts=timeouts)

    @classmethod
    def with_role(
        cls,
        role: Role,
        *,
        settings: Settings,
        session_name: str,
        region: str = HOME_REGION,
        policy: str | None = None,
        timeouts: AwsTimeouts | None = None,
    ) -> Self:
        """Return a session with a customer's role, assumed now and renewed before it expires.

        Args:
            role: the role to assume.
            settings: have the installation's key.
            session_name: our name in the customer's CloudTrail.
            region: of the regional STS and of the clients.
            policy: narrows the rights of the role further (IAM JSON).
            timeouts: of every client.

        Raises:
            ConfigurationError: the installation has no key.
            botocore.exceptions.ClientError: STS rejects the request.
        """
        platform = cls.with_key(
            platform_key(settings), settings=settings, region=region, timeouts=timeouts
        )
        request: dict[str, Any] = {
            "RoleArn": role.arn,
            "RoleSessionName": session_name[:64],
            "ExternalId": role.external_id,
            "DurationSeconds": ROLE_SECONDS,
        }
        if policy is not None:
            request["Policy"] = policy
        sts = platform.sts()

        def assume_role() -> dict[str, str]:
            credentials = sts.assume_role(**request)["Credentials"]
            return {
                "access_key": credentials["AccessKeyId"],
                "secret_key": credentials["SecretAccessKey"],
                "token": credentials["SessionToken"],
                "expiry_time": credentials["Expiration"].isoformat(),
            }

        credentials = RefreshableCredentials.create_from_metadata(
            assume_role(),
            refresh_using=assume_role,
            method="assume-role",
            advisory_timeout=_ADVISORY_SECONDS,
            mandatory_timeout=_MANDATORY_SECONDS,
        )
        return cls(credentials, settings=settings, region=region, timeouts=timeouts)

    def s3(self) -> S3Client:
        """Return a client of S3 in the session's region."""
        client: S3Client = self._session.client(
            "s3", **self._client_options(path_style=self._uses_stand_in)
        )
        self._restrict_hosts(client)
        return client

    def sts(self) -> STSClient:
        """Return a client of the regional STS."""
        client: STSClient = self._session.client("sts", **self._client_options(path_style=False))
        self._restrict_hosts(client)
        return client

    @property
    def _endpoint(self) -> str | None:
        return self._settings.emulators.get(BASE_URL_VARIABLE)

    @property
    def _uses_stand_in(self) -> bool:
        return self._endpoint is not None

    def _client_options(self, *, path_style: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            "region_name": self._region,
            "connect_timeout": self._timeouts.connect,
            "read_timeout": self._timeouts.read,
            "retries": {"mode": "standard", "total_max_attempts": self._timeouts.attempts},
            # An empty mapping, not None: None asks the environment.
            "proxies": {},
            "ignore_configured_endpoint_urls": True,
            "use_fips_endpoint": False,
            "use_dualstack_endpoint": False,
            "s3": {"addressing_style": "path" if path_style else "auto"},
        }
        # An explicit True keeps AWS_CA_BUNDLE out.
        return {"config": Config(**options), "endpoint_url": self._endpoint, "verify": True}

    def _restrict_hosts(self, client: S3Client | STSClient) -> None:
        allowed = None if self._endpoint is None else urlsplit(self._endpoint)

        def check(request: Any, **_more: Any) -> None:  # noqa: ANN401  # botocore's own
            url = urlsplit(request.url)
            host = url.hostname or ""
            if allowed is not None:
                fits = (url.scheme, url.netloc) == (allowed.scheme, allowed.netloc)
            else:
                fits = url.scheme == "https" and url.port in {None, 443} and host.endswith(_HOSTS)
            if not fits:
                raise ConfigurationError("A request would leave AWS", host=host)
            record_usage(Resource.PROVIDER, Use(calls=1))

        client.meta.events.register("before-send", check)


def reading_policy(role: Role, *, bucket: str, prefixes: Sequence[str]) -> str:
    """Return the policy that limits a session to list a bucket and read below the prefixes."""
    whole = f"arn:{role.arn.split(':')[1]}:s3:::{bucket}"
    objects = [f"{whole}/{prefix}*" for prefix in prefixes]
    statements = [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": whole},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": objects},
        # Exports may be encrypted with a key of the customer's; S3 decrypts as the session.
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _isolated_session(credentials: Credentials) -> botocore.session.Session:
    """Return a session that reads no profile and no file of this machine."""
    nowhere = os.devnull
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, nowhere, None),
            "credentials_file": (None, None, nowhere, None),
            "metadata_service_num_attempts": (None, None, 0, int),
        }
    )
    core.register_component(
        "credential_provider", CredentialResolver([_FixedCredentials(credentials)])
    )
    return core


class _FixedCredentials(CredentialProvider):
    """Provide one credential; the environment, files and the metadata service are not used."""

    METHOD = "fixed"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials
