"""Customers' service accounts: one for every seed, always the same, each with its own project.

The key is derived from the seed and is as secret as the seed: it signs for this sandbox alone.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from google.auth import exceptions, jwt

from convergence_sandbox.providers.derive import keyword

PROJECT_PREFIX = "customer-"
AUDIENCE = "https://oauth2.googleapis.com/token"
TOKEN_SECONDS = 3600
TOKEN_PREFIX = "ya29.sandbox."  # noqa: S105  # how Google's tokens begin
WITHOUT_RIGHTS = "-norights"
"""A seed that ends so has an account which may do nothing."""

_EMAIL = re.compile(r"exports@(customer-[a-z0-9-]+)\.iam\.gserviceaccount\.com")
_TOKEN = re.compile(r"ya29\.sandbox\.(customer-[a-z0-9-]+)\.([0-9]+)\.([0-9a-f]{24})")
_EXPONENT = 65537
_SMALL_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


class InvalidGrantError(Exception):
    """Raised when a signed grant is not good; its text is Google's `error_description`."""


def project_of(seed: str) -> str:
    """Return the customer's project: `acme_corp` has `customer-acme-corp`."""
    return PROJECT_PREFIX + re.sub(r"[^a-z0-9]+", "-", seed.lower()).strip("-")[:50]


def service_account(seed: str) -> dict[str, str]:
    """Return the JSON key of a customer's service account, as Google's console would give it."""
    project = project_of(seed)
    pem = _key(project).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": keyword(project, "key", length=40),
        "private_key": pem.decode(),
        "client_email": f"exports@{project}.iam.gserviceaccount.com",
        "client_id": str(int(keyword(project, "client", length=16), 16)),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": AUDIENCE,
        "universe_domain": "googleapis.com",
    }


def project_that_signed(assertion: str) -> str:
    """Return the project of the account that signed a grant.

    Raises:
        InvalidGrantError: no account of the sandbox did, it is out of date, or for others.
    """
    try:
        email = _EMAIL.fullmatch(str(jwt.decode(assertion, verify=False).get("iss")))
        if email is None:
            raise InvalidGrantError("Invalid grant: account not found")
        public = _key(email[1]).public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        jwt.decode(assertion, certs=pem, audience=AUDIENCE, clock_skew_in_seconds=60)
    except (ValueError, exceptions.GoogleAuthError):
        raise InvalidGrantError("Invalid JWT Signature.") from None
    return email[1]


@dataclass(frozen=True)
class Bearer:
    """Who sent a token.

    Attributes:
        project: the only project it has rights in.
        expired: whether its hour is over.
    """

    project: str
    expired: bool

    def may_use(self, project: str) -> bool:
        """Return whether it has rights in a project."""
        return project == self.project and not project.endswith(WITHOUT_RIGHTS)


def make_token(project: str, *, now: float) -> str:
    """Return an access token of the project's account; `now` in Unix seconds."""
    issued = int(now)
    return f"{TOKEN_PREFIX}{project}.{issued}.{keyword(project, issued, 'token', length=24)}"


def read_token(token: str, *, now: float) -> Bearer | None:
    """Whose token it is; None when the sandbox never made it."""
    found = _TOKEN.fullmatch(token)
    if found is None or keyword(found[1], int(found[2]), "token", length=24) != found[3]:
        return None
    return Bearer(found[1], expired=now >= int(found[2]) + TOKEN_SECONDS)


@lru_cache(maxsize=64)
def _key(project: str) -> rsa.RSAPrivateKey:
    # 1024 bits, which is too few anywhere else, take a tenth of a second to find.
    p, q = _prime(f"{project} p"), _prime(f"{project} q")
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, p * q),
    ).private_key()


def _prime(seed: str) -> int:
    """A number of 512 bits that is almost surely prime; the key's loader checks that it works."""
    numbers = random.Random(seed)  # noqa: S311  # the same every time is what is requested
    while True:
        number = numbers.getrandbits(512) | (3 << 510) | 1
        if number % _EXPONENT == 1 or any(number % small == 0 for small in _SMALL_PRIMES):
            continue
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5)):
            return number
