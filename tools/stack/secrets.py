"""The secrets of a local stack: made once, kept in files that only their owner may read."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

ADMIN_USER = "admin"
SERVICE_USER = "convergence"


@dataclass(frozen=True)
class LocalSecrets:
    """Secrets of one local stack: keys and passwords."""

    root_api_key: str
    admin_password: str
    service_password: str
    jwt_secret: str
    session_secret: str
    fernet_key: str
    viewer_password: str
    database_password: str
    redis_password: str

    @classmethod
    def load_or_make(cls, directory: Path) -> LocalSecrets:
        """Read `stack.json` in `directory`, or make it and what it lacks, mode 0600."""
        path = directory / "stack.json"
        kept: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        fresh = cls(
            root_api_key="root_" + secrets.token_urlsafe(36),
            admin_password=secrets.token_urlsafe(12),
            service_password=secrets.token_urlsafe(24),
            jwt_secret=secrets.token_urlsafe(64),
            session_secret=secrets.token_urlsafe(48),
            fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            viewer_password=secrets.token_urlsafe(12),
            database_password=secrets.token_urlsafe(24),
            redis_password=secrets.token_urlsafe(24),
        )
        made = cls(**(fresh.__dict__ | kept))
        if made.__dict__ != kept:
            write_private(path, json.dumps(made.__dict__, indent=2))
        return made

    def write_airflow_passwords(self, path: Path) -> None:
        """Write the password file of Airflow's simple auth manager."""
        passwords = {ADMIN_USER: self.admin_password, SERVICE_USER: self.service_password}
        write_private(path, json.dumps(passwords))


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file of mode 0600 that was never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
