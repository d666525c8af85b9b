"""Clients of Amazon Web Services that use what they are given and nothing of this machine.

An access key or a role comes from the org's credential; a role is assumed with the installation's
own key from our settings. Environment, profiles, configuration files, proxies and the metadata
service of this machine are never asked, and a request goes to AWS or, outside production, to the
one stand-in of `AWS_API_BASE_URL`.
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
    """A long-lived key; its secret shows nowhere."""

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"AccessKey({self.key_id!r})"


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the customer's that trusts us while we name its external id."""

    arn: str
    external_id: str

    def __repr__(self) -> str:
        return f"Role({self.arn!r})"


def parse_credential(text: str) -> AccessKey | Role:
    """The credential of a checked form (`forms.check_form`).

    Raises:
        IntegrationInvalidError: it is of neither form; nothing of it is told.
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
    """The installation's own key, with which customers' roles are assumed.

    Raises:
        ConfigurationError: the settings hold none.
    """
    key_id, secret = settings.aws_platform_access_key_id, settings.aws_platform_secret_access_key
    if not key_id or not secret:
        raise ConfigurationError(
            "A role can only be assumed by an installation with an AWS key of its own",
            settings=["AWS_PLATFORM_ACCESS_KEY_ID", "AWS_PLATFORM_SECRET_ACCESS_KEY"],
        )
    return AccessKey(key_id, secret.get_secret_value())


def check_region(region: str) -> str:
    """The region, if AWS has it.

    Raises:
        ConfigurationError: it has not; the accepted regions are among the facts.
    """
    session = _isolated(Credentials("", ""))
    known = [name for part in _PARTITIONS for name in session.get_available_regions("s3", part)]
    if region not in known:
        raise ConfigurationError("AWS has no such region", region=region, accepted=sorted(known))
    return region


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsTimeouts:
    """How long and how often a client tries; seconds."""

    connect: float = 5.0
    read: float = 30.0
    attempts: int = 4


class AwsSession:
    """Clients for one credential; not shared between threads."""

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
        self._session = boto3.Session(botocore_session=_isolated(credentials))

    @classmethod
    def with_key(
        cls,
        key: AccessKey,
        *,
        settings: Settings,
        region: str = HOME_REGION,
        timeouts: AwsTimeouts | None = None,
    ) -> Self:
        """A session with a long-lived key."""
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
        """A session with a customer's role, assumed now and again before it runs out.

        Args:
            role: what to assume.
            settings: hold the installation's own key.
            session_name: who we are in the customer's CloudTrail.
            region: of the regional STS and of the clients.
            policy: narrows the role further (IAM JSON).
            timeouts: of every client.

        Raises:
            ConfigurationError: the installation has no key.
            botocore.exceptions.ClientError: STS refuses.
        """
        own = cls.with_key(
            platform_key(settings), settings=settings, region=region, timeouts=timeouts
        )
        asked: dict[str, Any] = {
            "RoleArn": role.arn,
            "RoleSessionName": session_name[:64],
            "ExternalId": role.external_id,
            "DurationSeconds": ROLE_SECONDS,
        }
        if policy is not None:
            asked["Policy"] = policy
        sts = own.sts()

        def assume() -> dict[str, str]:
            given = sts.assume_role(**asked)["Credentials"]
            return {
                "access_key": given["AccessKeyId"],
                "secret_key": given["SecretAccessKey"],
                "token": given["SessionToken"],
                "expiry_time": given["Expiration"].isoformat(),
            }

        credentials = RefreshableCredentials.create_from_metadata(
            assume(),
            refresh_using=assume,
            method="assume-role",
            advisory_timeout=_ADVISORY_SECONDS,
            mandatory_timeout=_MANDATORY_SECONDS,
        )
        return cls(credentials, settings=settings, region=region, timeouts=timeouts)

    def s3(self) -> S3Client:
        """A client of S3 in the session's region."""
        client: S3Client = self._session.client("s3", **self._options(path_style=self._stands_in))
        self._guard(client)
        return client

    def sts(self) -> STSClient:
        """A client of the regional STS."""
        client: STSClient = self._session.client("sts", **self._options(path_style=False))
        self._guard(client)
        return client

    @property
    def _override(self) -> str | None:
        return self._settings.emulators.get(BASE_URL_VARIABLE)

    @property
    def _stands_in(self) -> bool:
        return self._override is not None

    def _options(self, *, path_style: bool) -> dict[str, Any]:
        told: dict[str, Any] = {
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
        return {"config": Config(**told), "endpoint_url": self._override, "verify": True}

    def _guard(self, client: S3Client | STSClient) -> None:
        allowed = None if self._override is None else urlsplit(self._override)

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
    """What a session with the role may do at most: list a bucket and read under the prefixes."""
    whole = f"arn:{role.arn.split(':')[1]}:s3:::{bucket}"
    objects = [f"{whole}/{prefix}*" for prefix in prefixes]
    statements = [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": whole},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": objects},
        # Exports may be encrypted with a key of the customer's; S3 decrypts as the session.
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _isolated(credentials: Credentials) -> botocore.session.Session:
    """A session that reads no profile and no file of this machine."""
    nowhere = os.devnull
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, nowhere, None),
            "credentials_file": (None, None, nowhere, None),
            "metadata_service_num_attempts": (None, None, 0, int),
        }
    )
    core.register_component("credential_provider", CredentialResolver([_Given(credentials)]))
    return core


class _Given(CredentialProvider):
    """The one credential there is: the environment, files and metadata service have no place."""

    METHOD = "given"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials
