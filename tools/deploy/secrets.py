"""`python -m deploy.secrets DIRECTORY` makes every secret that docker-compose.yaml needs.

A file that exists is left alone, so that running it again adds what is new and replaces nothing.
The Google credentials and AWS's key can't be made here: empty files keep their places.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def make_secrets(directory: Path) -> list[str]:
    """Write what is missing in `directory`.

    The directory admits its owner alone. The files are readable to all, since Compose hands them
    into containers as they are, where a service's own user must read them.

    Returns:
        Names of the files that were made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    made: list[str] = []
    for name, text in _values(_passwords(directory)).items():
        if not (directory / name).exists():
            _write(directory / name, text)
            made.append(name)
    return made


def _passwords(directory: Path) -> dict[str, str]:
    # The URLs repeat these, so one that is kept decides.
    kept = {name: directory / name for name in ("postgres_password", "state_postgres_password")}
    found = {
        name: path.read_text().strip() if path.is_file() else secrets.token_urlsafe(32)
        for name, path in kept.items()
    }
    conf = directory / "redis_conf"
    lines = conf.read_text().splitlines() if conf.is_file() else []
    keywords = [line.removeprefix("requirepass ") for line in lines if "requirepass " in line]
    return found | {"redis": keywords[0] if keywords else secrets.token_urlsafe(32)}


def _values(passwords: Mapping[str, str]) -> dict[str, str]:
    airflow = f"airflow:{passwords['postgres_password']}@postgres/airflow"
    state = f"convergence:{passwords['state_postgres_password']}@postgres/convergence"
    redis = f"redis://:{passwords['redis']}@redis:6379"
    return {
        "postgres_password": passwords["postgres_password"],
        "state_postgres_password": passwords["state_postgres_password"],
        "redis_conf": f"dir /data\nappendonly yes\nrequirepass {passwords['redis']}\n",
        "airflow_database_url": f"postgresql+psycopg2://{airflow}",
        "state_database_url": f"postgresql+psycopg://{state}",
        "celery_broker_url": f"{redis}/0",
        "celery_result_backend": f"db+postgresql://{airflow}",
        "redis_url": f"{redis}/1",
        "airflow_jwt_secret": secrets.token_urlsafe(64),
        "airflow_session_secret": secrets.token_urlsafe(48),
        "airflow_fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "ca_root_api_key": "root_" + secrets.token_urlsafe(36),
        "airflow_admin_password": secrets.token_urlsafe(18),
        "airflow_viewer_password": secrets.token_urlsafe(18),
        "airflow_api_password": secrets.token_urlsafe(32),
        "aws_platform_secret_access_key": "",
        "google_credentials_api": "",
        "google_credentials_worker": "",
    }


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "w") as file:
        file.write(text)


def main() -> None:
    """Make the secrets of one deployment and print the names of the files."""
    parser = argparse.ArgumentParser(prog="python -m deploy.secrets", description=__doc__)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    for name in make_secrets(directory):
        print(f"made {directory / name}")


if __name__ == "__main__":
    main()
