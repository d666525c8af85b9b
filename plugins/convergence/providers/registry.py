"""The registry of providers, read from `system/providers.yml`.

Paths and YAML name a provider by its id (`openai`) or an alias, tables by its `table_id`
(`OPENAI`).
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    ValidationError,
    field_validator,
    model_validator,
)

from convergence.config_files import Strict, read_entries
from convergence.errors import NotFoundError
from convergence.providers.broken import (
    FILE,
    BrokenEntry,
    find_conflicts,
    format_entry_error,
    misconfigured_error,
)
from convergence.providers.cost_streams import CostStream, StreamName
from convergence.settings import Settings

log = logging.getLogger(__name__)

ProviderId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,29}$")]
TableId = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,29}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]
ParamName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$")]
TableName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Form = Literal[
    "api_key", "google_service_account", "aws_role", "aws_access_key", "azure_client_secret"
]
Exchange = Literal["google_service_account", "aws_signature", "azure_client_credentials"]


class Auth(Strict):
    """The place of the credential in a request.

    Attributes:
        header: the header with the credential, after `prefix`.
        param: the query parameter with the credential; replaces `header`.
        encoding: `base64` for HTTP's basic scheme, whose credential is `user:password`.
        exchange: how a credential that is not a token is exchanged for one.
    """

    header: HeaderName = "Authorization"
    prefix: str = ""
    param: ParamName | None = None
    encoding: Literal["plain", "base64"] = "plain"
    exchange: Exchange | None = None


class CredentialForm(Strict):
    """An accepted form of credential; `pattern` must match the whole key."""

    form: Form
    hint: str
    pattern: str | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _key_has_pattern(self) -> Self:
        if self.form == "api_key" and self.pattern is None:
            raise ValueError("an api_key needs a pattern")
        return self


class ValidationCall(Strict):
    """A free GET request that needs a valid credential."""

    path: Annotated[str, Field(pattern=r"^/")]
    query: dict[str, str] = Field(default_factory=dict)
    refusals: dict[Literal["401", "403"], str] = Field(min_length=2)


class RetryConfig(Strict):
    """How often and how long a page is requested again after a temporary failure."""

    attempts: int = Field(default=6, ge=1, le=20)
    """Maximum number of requests for one page, the first one included."""

    base_seconds: float = Field(default=0.5, gt=0, le=60)
    """Upper bound of the first random pause; it doubles with each failure."""

    max_seconds: float = Field(default=30, gt=0, le=600)
    """Upper bound of every random pause."""


class ConnectRun(Strict):
    """A pipeline that runs when a provider is connected.

    Attributes:
        pipeline: the address, such as `openai/cost/usage_cost`.
        debited: whether the run counts against the org's plan.
        needs: required params; the pipeline runs once the org has set them.
    """

    pipeline: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){1,2}$")]
    debited: bool = True
    needs: tuple[ParamName, ...] = ()


class _Entry(Strict):
    name: str
    table_id: TableId
    kind: Literal["llm", "cloud", "saas"]
    aliases: tuple[ProviderId, ...] = ()
    base_url: Annotated[str, Field(pattern=r"^https://[a-z0-9.-]+(/[A-Za-z0-9/._-]*)?$")]
    base_url_variable: str | None = None
    auth: Auth
    headers: dict[HeaderName, str] = Field(default_factory=dict)
    credentials: tuple[CredentialForm, ...] = Field(min_length=1)
    validation: ValidationCall
    cost_streams: dict[StreamName, CostStream] = Field(default_factory=dict)
    lookback_days: NonNegativeInt
    retry: RetryConfig | None = None
    data_tables: tuple[TableName, ...] = ()
    on_connect: tuple[ConnectRun, ...] = ()

    @field_validator("base_url_variable")
    @classmethod
    def _is_a_setting(cls, value: str | None) -> str | None:
        if value is not None and value.lower() not in Settings.model_fields:
            raise ValueError(f"{value} is not a setting")
        return value


class Provider(_Entry):
    """One provider.

    Attributes:
        id: as paths and YAML name it, such as `gcp`.
        table_id: as tables name it, such as `GCP_SA`.
        lookback_days: number of days in which the figures of a day may still change.
        retry: replaces the default retry policy of the client of its API.
        cost_streams: what each of its bills covers, by name.
        data_tables: the tables of an org's dataset that its pipelines fill.
        on_connect: the pipelines that run in this order once it is connected.
    """

    id: ProviderId

    def url(self, settings: Settings) -> str:
        """Return the base URL of its API for this process, without a trailing slash."""
        override = settings.provider_base_urls.get(self.id) or settings.emulators.get(
            self.base_url_variable or ""
        )
        return (override or self.base_url).rstrip("/")


class ProvidersFile(Strict):
    """The whole of `system/providers.yml`, for the linter."""

    providers: dict[ProviderId, _Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [*self.providers, *(alias for p in self.providers.values() for alias in p.aliases)]
        tables = [entry.table_id for entry in self.providers.values()]
        for kind, found in (("provider", names), ("table_id", tables)):
            if twice := sorted({name for name in found if found.count(name) > 1}):
                raise ValueError(f"two providers have the {kind} {', '.join(twice)}")
        return self


class ProviderRegistry:
    """The providers by id, alias or table id; an invalid entry affects its provider only.

    Attributes:
        edition: identifies the content of the file, equal in every process.
        errors: every error of the file, as `path:line:column: key: message`.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        broken: Mapping[str, BrokenEntry] | None = None,
        file_errors: tuple[str, ...] = (),
        edition: str = "",
    ) -> None:
        self.edition = edition
        self._providers = dict(providers)
        self._broken = dict(broken or {})
        self._file_errors = file_errors
        self._names = {
            name: provider
            for provider in self._providers.values()
            for name in (*provider.aliases, provider.id)
        }
        self._by_table = {provider.table_id: provider for provider in self._providers.values()}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file; its errors are in `errors` and raised when an invalid entry is used."""
        read = read_entries(path, under="providers", model=_Entry)
        broken = {
            name: BrokenEntry.from_entries(name, errors, read)
            for name, errors in read.broken.items()
        }
        for name, message in find_conflicts(read):
            errors = (
                *(broken[name].errors if name in broken else ()),
                format_entry_error(path, name, message, read),
            )
            broken[name] = BrokenEntry.from_entries(name, errors, read)
        sound: dict[str, Provider] = {}
        for name, entry in read.sound.items():
            if name in broken:
                continue
            try:
                sound[name] = Provider(id=name, **dict(entry))
            except ValidationError as error:
                wrong = tuple(
                    format_entry_error(path, name, one["msg"], read) for one in error.errors()
                )
                broken[name] = BrokenEntry.from_entries(name, wrong, read)
        return cls(sound, broken=broken, file_errors=read.errors, edition=read.edition)

    @property
    def errors(self) -> tuple[str, ...]:
        """Return every error of the file."""
        return (
            *self._file_errors,
            *(error for one in self._broken.values() for error in one.errors),
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the id of every provider in the file, with invalid entries."""
        return tuple(sorted({*self._providers, *self._broken}))

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def get(self, name: str) -> Provider:
        """Return the provider with this id or alias.

        Raises:
            NotFoundError: it does not exist; the details have the known ids.
            ConfigurationError: its entry, or the whole file, is invalid.
        """
        if (found := self._names.get(name)) is not None:
            return found
        for one in self._broken.values():
            if name == one.name or name in one.aliases:
                raise one.build_error()
        self._raise_if_unreadable()
        close = difflib.get_close_matches(name[:60], self._names, n=1)
        hint = {"did_you_mean": close[0]} if close else {}
        raise NotFoundError("Unknown provider", **hint, accepted=sorted(self._providers))

    def get_by_any_name(self, name: str) -> Provider:
        """Return the provider with this id, alias or table id, such as `VENDOR_API`.

        Raises:
            NotFoundError: it does not exist.
            ConfigurationError: its entry, or the whole file, is invalid.
        """
        if any(name in one.table_ids for one in self._broken.values()):
            return self.by_table_id(name)
        return self._by_table[name] if name in self._by_table else self.get(name)

    def by_table_id(self, table_id: str) -> Provider:
        """Return the provider with this table id.

        Raises:
            NotFoundError: it does not exist.
            ConfigurationError: its entry, or the whole file, is invalid.
        """
        if table_id in self._by_table:
            return self._by_table[table_id]
        for one in self._broken.values():
            if table_id in one.table_ids:
                raise one.build_error()
        self._raise_if_unreadable()
        raise NotFoundError("Unknown provider", accepted=sorted(self._by_table))

    def id_of_table(self, table_id: str) -> str:
        """Return the id of the provider with this table id, also if its entry is invalid.

        Raises:
            NotFoundError: it does not exist.
            ConfigurationError: the file is invalid, or two entries have this table id.
        """
        named = [one.name for one in self._broken.values() if table_id in one.table_ids]
        return named[0] if len(named) == 1 else self.by_table_id(table_id).id

    def _raise_if_unreadable(self) -> None:
        """Raise the errors of a file from which no entry could be read."""
        if not self._providers and not self._broken:
            raise misconfigured_error("The providers", self._file_errors)


def load_registry(settings: Settings) -> ProviderRegistry:
    """Return the registry of the configured folder; read it again after the file has changed."""
    return load_registry_at(settings.configs_dir)


def load_registry_at(configs_dir: Path) -> ProviderRegistry:
    """Return the registry of a folder; read it again after the file has changed."""
    path = configs_dir / FILE
    return _load_cached(path, _file_stamp(path))


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    """Return the times and size of the file, which change with its content."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=4)
def _load_cached(path: Path, stamp: tuple[int, int, int] | None) -> ProviderRegistry:
    loaded = ProviderRegistry.load(path)
    log.info("%s: edition %s, %d providers", FILE, loaded.edition, len(list(loaded)))
    for error in loaded.errors if stamp else ():
        log.error("%s", error)
    return loaded
