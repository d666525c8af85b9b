"""Read an export's bucket: list, read the manifest, download; translate AWS's errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from convergence.errors import (
    ConvergenceError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
    RetryableError,
    SpoolError,
)
from convergence.metering import Resource, Use, record_usage
from convergence.processors.aws.export import Export, File, Found, sort_out
from convergence.processors.context import OrgContext
from convergence.providers.aws import code_of
from convergence.providers.aws_session import (
    AwsSession,
    AwsTimeouts,
    Role,
    check_region,
    parse_credential,
    reading_policy,
)
from convergence.providers.registry import load_registry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROVIDER: Final = "aws"
CHUNK_BYTES: Final = 1024 * 1024
MAX_MANIFEST_BYTES: Final = 8 * 1024 * 1024
DOWNLOAD_TRIES: Final = 3
_PASSING: Final = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError"}
    | {"ServiceUnavailable", "RequestLimitExceeded", "503", "500", "429"}
)
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
# Somebody rewrote the object since it was listed.
_CHANGED: Final = frozenset({"PreconditionFailed", "412", *_MISSING})


class Manifest(NamedTuple):
    """The manifest of a period's last delivery; `keys` is None when it names no files."""

    keys: list[str] | None
    modified_at: datetime


class Bucket:
    """One export's bucket, with the org's credential."""

    def __init__(
        self, client: S3Client, export: Export, *, stopped: Callable[[], bool], max_files: int
    ) -> None:
        self._client = client
        self._export = export
        self._stopped = stopped
        self._max_files = max_files

    @classmethod
    def of(cls, org: OrgContext, export: Export, *, max_files: int) -> Bucket:
        """Open the bucket with the org's stored credential.

        Raises:
            ConfigurationError: AWS has no such region, or we have no key to assume a role with.
            ProviderRejectedError, ProviderUnavailableError: the role can't be assumed.
        """
        credential = parse_credential(org.credential(PROVIDER))
        region, settings = check_region(export.region), org.settings
        retry = load_registry(settings).get(PROVIDER).retry
        timeouts = AwsTimeouts(attempts=retry.attempts) if retry else None
        with _named(export):
            if isinstance(credential, Role):
                session = AwsSession.with_role(
                    credential,
                    settings=settings,
                    session_name=f"convergence-{org.org_slug}",
                    region=region,
                    policy=reading_policy(credential, bucket=export.bucket, prefixes=[export.root]),
                    timeouts=timeouts,
                )
            else:
                session = AwsSession.with_key(
                    credential, settings=settings, region=region, timeouts=timeouts
                )
            client = session.s3()
        return cls(client, export, stopped=org.stop.is_set, max_files=max_files)

    def look(self, first: date | None = None) -> Found:
        """List the files of the export, or of its period that begins on a day.

        Raises:
            ProviderRejectedError, ProviderUnavailableError: as AWS says.
            ProviderProtocolError: there are more files than any honest export has.
        """
        export = self._export
        prefix = export.data_prefix if first is None else export.period_prefix(first)
        files: list[File] = []
        with _named(export, prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=export.bucket, Prefix=prefix
            )
            for page in pages:
                files.extend(_file(one) for one in page.get("Contents", ()))
                if len(files) > self._max_files:
                    raise ProviderProtocolError(
                        "The export has too many files",
                        at=export.url(prefix),
                        limit=self._max_files,
                    )
        return sort_out(export, files)

    def manifest(self, first: date) -> Manifest | None:
        """Return the manifest of a period, or None."""
        key = self._export.manifest_key(first)
        try:
            with _named(self._export, key):
                response = self._client.get_object(Bucket=self._export.bucket, Key=key)
                text = response["Body"].read(MAX_MANIFEST_BYTES)
        except (ProviderRejectedError, ProviderUnavailableError) as error:
            # Without the right to list, S3 denies access to a missing object too.
            if error.details.get("reason") in {*_MISSING, "AccessDenied"}:
                return None
            raise
        return Manifest(_named_keys(text, self._export), response["LastModified"].astimezone(UTC))

    def download(self, file: File, path: Path) -> None:
        """Download a file, in the version that was listed, to the disk.

        Raises:
            ProviderUnavailableError: it was rewritten meanwhile, or S3 does not respond.
            ProviderRejectedError: AWS denies the request.
            SpoolError: the disk is full or fails.
            RetryableError: the task is being stopped.
        """
        for attempt in range(1, DOWNLOAD_TRIES + 1):
            try:
                self._download(file, path)
            except ProviderUnavailableError as error:
                if attempt == DOWNLOAD_TRIES or error.details.get("reason") in _CHANGED:
                    raise
            else:
                return

    def _download(self, file: File, path: Path) -> None:
        written = 0
        with _named(self._export, file.key):
            response = self._client.get_object(
                Bucket=self._export.bucket, Key=file.key, IfMatch=file.etag
            )
            with _disk(path), path.open("wb") as target:
                for chunk in response["Body"].iter_chunks(CHUNK_BYTES):
                    if self._stopped():
                        raise RetryableError("The task was stopped", at=self._export.url(file.key))
                    written += target.write(chunk)
        record_usage(Resource.PROVIDER, Use(bytes_received=written))
        if written != file.size:
            raise ProviderUnavailableError(
                "A file has another size than its listing says",
                at=self._export.url(file.key),
            )


def _file(one: Any) -> File:  # noqa: ANN401  # a TypedDict of the stubs
    modified = one["LastModified"].astimezone(UTC)
    return File(one["Key"], one["ETag"], one["Size"], modified)


def _named_keys(text: bytes, export: Export) -> list[str] | None:
    """Return the keys of the data files that a manifest names."""
    try:
        keys = json.loads(text)["dataFiles"]
        prefix = f"s3://{export.bucket}/"
        return [str(one).removeprefix(prefix).lstrip("/") for one in keys] or None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        if isinstance(error, ConnectionError | TimeoutError):
            raise
        raise SpoolError(
            "A file could not be written to the disk", file=path.name, reason=error.strerror
        ) from None


@contextmanager
def _named(export: Export, key: str = "") -> Iterator[None]:
    """Translate AWS's errors: keep the code, drop the text, which may quote what was sent."""
    at = export.url(key)
    try:
        yield
    except ClientError as error:
        raise _translate_error(error, at) from None
    except ParamValidationError:
        raise ProviderRejectedError("AWS does not accept a name of the export", at=at) from None
    except (BotoCoreError, ConnectionError, TimeoutError) as error:
        raise ProviderUnavailableError(
            "AWS could not be reached", at=at, error=type(error).__name__
        ) from None


def _translate_error(error: ClientError, at: str) -> ConvergenceError:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if error.operation_name == "GetObject" and code in _CHANGED:
        return ProviderUnavailableError(
            "A file was rewritten or removed while its period was read", at=at, reason=code
        )
    if code in _PASSING or status >= 500:
        return ProviderUnavailableError("AWS has a temporary error", at=at, reason=code)
    if error.operation_name == "AssumeRole":
        return ProviderRejectedError("AWS denied assuming the role", reason=code)
    return ProviderRejectedError("AWS denied the request", at=at, reason=code)
