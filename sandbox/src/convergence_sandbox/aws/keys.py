"""Access: keys and roles derived from a customer's name, and the check of signatures.

moto takes any key. Here a key id begins with AKIASANDBOX and its secret is the id written twice; a
customer `acme` has the key id `key_id("acme")`, the role `sandbox-acme` with the external id
`external-acme`, which only the installation's key `PLATFORM` may assume, and the bucket
`exports-acme`, which no one else may read.
"""

from __future__ import annotations

import hmac
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from typing import Final

ACCOUNT: Final = "123456789012"
PLATFORM: Final = "AKIASANDBOXPLATFORM0"
BUCKET_PREFIX: Final = "exports-"
_KNOWN: Final = re.compile(r"AKIASANDBOX[0-9A-Z]{9}")
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, "
    r"?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


def key_id(seed: str) -> str:
    """Return the access key id of a customer."""
    digest = blake2b(seed.encode(), digest_size=5).hexdigest()
    return f"AKIASANDBOX{digest.upper()[:9]}"


def secret_of(access_key_id: str) -> str:
    """Return the secret that goes with a key id."""
    return access_key_id * 2


def credential(seed: str) -> dict[str, str]:
    """Return a customer's access key, in the form that an org gives it."""
    return {"access_key_id": key_id(seed), "secret_access_key": secret_of(key_id(seed))}


def role(seed: str) -> dict[str, str]:
    """Return a customer's role, in the form that an org gives it."""
    return {
        "role_arn": f"arn:aws:iam::{ACCOUNT}:role/sandbox-{seed}",
        "external_id": f"external-{seed}",
    }


def bucket(seed: str) -> str:
    """Return a customer's bucket; bucket names have no underscore."""
    return BUCKET_PREFIX + seed.replace("_", "-")


class AwsError(Exception):
    """Raised when a request is denied; `code` is AWS's error code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was sent.

    Attributes:
        path: not decoded.
        headers: by lowercase name.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller: a key, or a session with a role of the customer `seed`."""

    key_id: str
    service: str
    seed: str | None = None

    def may_use(self, name: str) -> bool:
        """Return whether a bucket of this name is the caller's; other names are anybody's."""
        if not name.startswith(BUCKET_PREFIX):
            return True
        if self.seed is not None:
            return name == bucket(self.seed)
        seed = name.removeprefix(BUCKET_PREFIX)
        return self.key_id in {key_id(seed), key_id(seed.replace("-", "_"))}


@dataclass(frozen=True, slots=True)
class _Session:
    secret: str
    token: str
    seed: str
    until: datetime


class Keys:
    """The known keys, and sessions while they last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def open_session(
        self, access_key_id: str, *, secret: str, token: str, seed: str, until: datetime
    ) -> None:
        """Remember a session that STS has given out."""
        with self._lock:
            self._sessions[access_key_id] = _Session(secret, token, seed, until)

    def check(self, request: Request) -> Caller:
        """Identify the caller.

        Raises:
            AwsError: no one that is known, or the signature does not fit the request.
        """
        found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            raise AwsError("AccessDenied")
        caller_key, day, region, service, names, signature = found.groups()
        secret, seed = self._secret(caller_key, service, request)
        scope = f"{day}/{region}/{service}/aws4_request"
        expected = _signature(request, names.split(";"), scope=scope, secret=secret)
        if not hmac.compare_digest(expected, signature):
            raise AwsError("SignatureDoesNotMatch")
        return Caller(caller_key, service, seed)

    def _secret(self, caller_key: str, service: str, request: Request) -> tuple[str, str | None]:
        if _KNOWN.fullmatch(caller_key):
            return secret_of(caller_key), None
        with self._lock:
            session = self._sessions.get(caller_key)
        token = request.headers.get("x-amz-security-token")
        if session is None or token != session.token:
            raise AwsError("InvalidAccessKeyId" if service == "s3" else "InvalidClientTokenId")
        if session.until < datetime.now(UTC):
            raise AwsError("ExpiredToken")
        return session.secret, session.seed


def assumed_seed(caller: Caller, role_arn: str, external_id: str) -> str:
    """Return the customer whose role the caller assumes.

    Raises:
        AwsError: the role does not trust the caller with this external id.
    """
    seed = role_arn.rpartition(":role/sandbox-")[2]
    if caller.key_id != PLATFORM or {"role_arn": role_arn, "external_id": external_id} != role(
        seed
    ):
        raise AwsError("AccessDenied")
    return seed


def _signature(request: Request, names: list[str], *, scope: str, secret: str) -> str:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html."""
    headers = "".join(f"{n}:{' '.join(request.headers.get(n, '').split())}\n" for n in names)
    pairs = [pair if "=" in pair else f"{pair}=" for pair in request.query.split("&") if pair]
    payload = request.headers.get("x-amz-content-sha256") or sha256(request.body).hexdigest()
    canonical = "\n".join(
        (request.method, request.path, "&".join(sorted(pairs)), headers, ";".join(names), payload)
    )
    signed_text = "\n".join(
        (
            "AWS4-HMAC-SHA256",
            request.headers.get("x-amz-date", ""),
            scope,
            sha256(canonical.encode()).hexdigest(),
        )
    )
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), sha256).digest()
    return hmac.new(key, signed_text.encode(), sha256).hexdigest()
