"""The keys behind the KMS stand-in: AES-256-GCM material in one file that only its owner reads.

Every change is on disk before it is returned, so a kill loses nothing.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ENABLED = "ENABLED"
DESTROY_SCHEDULED = "DESTROY_SCHEDULED"
DESTROYED = "DESTROYED"

# Google's default between DestroyCryptoKeyVersion and the end of the material.
DESTROY_DELAY = timedelta(days=30)

_MAGIC = b"SKM1"
_HEAD = struct.Struct(">4sI")
_NONCE_BYTES = 12


class UndecipherableError(Exception):
    """Raised when a ciphertext is damaged, foreign, or sent with other additional data."""


class AlreadyThereError(Exception):
    """Raised when a key ring or key to be created exists."""


@dataclass
class Version:
    """One version of a key; `material` is base64, empty once destroyed."""

    number: int
    created_at: str
    state: str = ENABLED
    material: str = ""
    destroy_at: str | None = None


@dataclass
class Key:
    """A symmetric key: its versions, and the number of the one that encrypts (0: none)."""

    name: str
    created_at: str
    primary: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    versions: dict[int, Version] = field(default_factory=dict)


class KeyFile:
    """All key rings and keys, held in memory and in `path` alike. Safe for several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._rings: dict[str, str] = {}
        self._keys: dict[str, Key] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._load()

    def ring(self, name: str) -> str | None:
        """When the ring was created, or None."""
        with self._lock:
            return self._rings.get(name)

    def key(self, name: str) -> Key | None:
        """Return the key, or None."""
        with self._lock:
            self._expire(datetime.now(UTC))
            return self._keys.get(name)

    def create_ring(self, name: str) -> str:
        """Create a ring; raises AlreadyThereError."""
        with self._changing():
            if name in self._rings:
                raise AlreadyThereError(name)
            self._rings[name] = _now()
            return self._rings[name]

    def create_key(self, name: str, *, labels: dict[str, str], with_version: bool) -> Key:
        """Create a key, as a rule with a first version that is its primary."""
        with self._changing():
            if name in self._keys:
                raise AlreadyThereError(name)
            key = self._keys[name] = Key(name=name, created_at=_now(), labels=labels)
            if with_version:
                key.primary = self._append_version(key).number
            return key

    def add_version(self, key: Key) -> Version:
        """Return a further enabled version; the primary stays what it was, as with Google."""
        with self._changing():
            return self._append_version(key)

    def make_primary(self, key: Key, number: int) -> None:
        """Encrypt with this version from now on."""
        with self._changing():
            key.primary = number

    def destroy(self, version: Version) -> None:
        """Schedule the end of a version's material; it stops working at once."""
        with self._changing():
            version.state = DESTROY_SCHEDULED
            version.destroy_at = (datetime.now(UTC) + DESTROY_DELAY).isoformat()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            yield
            self._save()

    @staticmethod
    def _append_version(key: Key) -> Version:
        number = max(key.versions, default=0) + 1
        material = base64.b64encode(secrets.token_bytes(32)).decode()
        version = Version(number=number, created_at=_now(), material=material)
        key.versions[number] = version
        return version

    def _expire(self, now: datetime) -> None:
        due = [
            version
            for key in self._keys.values()
            for version in key.versions.values()
            if version.state == DESTROY_SCHEDULED
            and version.destroy_at is not None
            and datetime.fromisoformat(version.destroy_at) <= now
        ]
        for version in due:
            version.state, version.material = DESTROYED, ""
        if due:
            self._save()

    def _load(self) -> None:
        stored = json.loads(self._path.read_text())
        self._rings = stored["rings"]
        for row in stored["keys"]:
            versions = {item["number"]: Version(**item) for item in row.pop("versions")}
            self._keys[row["name"]] = Key(**row, versions=versions)

    def _save(self) -> None:
        keys = [
            {**asdict(key), "versions": [asdict(item) for item in key.versions.values()]}
            for key in self._keys.values()
        ]
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"rings": self._rings, "keys": keys}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def seal(version: Version, plaintext: bytes, *, aad: bytes) -> bytes:
    """Encrypt; the envelope says which version did it."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    body = _cipher(version).encrypt(nonce, plaintext, aad)
    return _HEAD.pack(_MAGIC, version.number) + nonce + body


def sealing_version(key: Key, envelope: bytes) -> Version:
    """Return the version of `key` that an envelope names; raises UndecipherableError."""
    if len(envelope) < _HEAD.size + _NONCE_BYTES:
        raise UndecipherableError
    magic, number = _HEAD.unpack_from(envelope)
    if magic != _MAGIC or number not in key.versions:
        raise UndecipherableError
    return key.versions[number]


def unseal(version: Version, envelope: bytes, *, aad: bytes) -> bytes:
    """Decrypt; raises UndecipherableError unless version, data and `aad` all match."""
    nonce, body = envelope[_HEAD.size :][:_NONCE_BYTES], envelope[_HEAD.size + _NONCE_BYTES :]
    try:
        return _cipher(version).decrypt(nonce, body, aad)
    except InvalidTag:
        raise UndecipherableError from None


def _cipher(version: Version) -> AESGCM:
    return AESGCM(base64.b64decode(version.material))


def _now() -> str:
    return datetime.now(UTC).isoformat()
