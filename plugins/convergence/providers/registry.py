"""The providers of `system/providers.yml`, checked.

A provider goes by its id (`openai`) or an alias in paths and YAML, and by its `table_id`
(`OPENAI`) in tables.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from convergence.config_files import Strict, read_config
from convergence.errors import NotFoundError
from convergence.settings import Settings

ProviderId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,29}$")]
TableId = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,29}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]
ParamName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$")]
TableName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Basis = Literal["computed", "billed"]
Form = Literal[
    "api_key", "google_service_account", "aws_role", "aws_access_key", "azure_client_secret"
]
Exchange = Literal["google_service_account", "aws_signature", "azure_client_credentials"]


class Auth(Strict):
    """Where a credential goes in a request.

    Attributes:
        header: that carries it, after `prefix`.
        param: of the query that carries it instead; `header` is then not used.
        encoding: `base64` for HTTP's basic scheme, whose credential is `user:password`.
        exchange: how a credential is used that is no token.
    """

    header: HeaderName = "Authorization"
    prefix: str = ""
    param: ParamName | None = None
    encoding: Literal["plain", "base64"] = "plain"
    exchange: Exchange | None = None


class CredentialForm(Strict):
    """A form of credential that is accepted; `pattern` is matched against the whole of a key."""

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
                raise ValueError(f"is no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _key_has_pattern(self) -> Self:
        if self.form == "api_key" and self.pattern is None:
            raise ValueError("an api_key needs a pattern")
        return self


class ValidationCall(Strict):
    """A GET that costs nothing and that only a good credential may make."""

    path: Annotated[str, Field(pattern=r"^/")]
    query: dict[str, str] = Field(default_factory=dict)
    refusals: dict[Literal["401", "403"], str] = Field(min_length=2)


class CostSources(Strict):
    """On which basis the provider's cost is told when nobody says otherwise."""

    default: Basis
    available: tuple[Basis, ...]

    @model_validator(mode="after")
    def _default_is_available(self) -> Self:
        if self.default not in self.available:
            raise ValueError("default must be one of available")
        return self


class ConnectRun(Strict):
    """A pipeline that runs when a provider is connected.

    Attributes:
        pipeline: its address, such as `openai/cost/usage_cost`.
        debited: whether its run counts against the org's plan.
        needs: params without which it can't work; it runs once the org has set them.
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
    cost_sources: CostSources
    lookback_days: NonNegativeInt
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
        lookback_days: for how long a day's figures may still change.
        data_tables: what its pipelines fill in an org's dataset.
        on_connect: what runs once it is connected, one after the other.
    """

    id: ProviderId

    def url(self, settings: Settings) -> str:
        """Where its API is for this process, without a slash at the end."""
        override = settings.provider_base_urls.get(self.id) or settings.emulators.get(
            self.base_url_variable or ""
        )
        return (override or self.base_url).rstrip("/")


class ProvidersFile(Strict):
    """`system/providers.yml`."""

    """`system/providers.yml`."""

    providers: dict[ProviderId, _Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [*self.providers, *(alias for p in self.providers.values() for alias in p.aliases)]
        tables = [entry.table_id for entry in self.providers.values()]
        for kind, found in (("provider", names), ("table_id", tables)):
            if twice := sorted({name for name in found if found.count(name) > 1}):
                raise ValueError(f"two providers have the {kind} {', '.join(twice)}")
        return self


class Registry:
    """The providers by id, alias or table id."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)
        self._names = {
            name: provider
            for provider in self._providers.values()
            for name in (provider.id, *provider.aliases)
        }
        self._by_table = {provider.table_id: provider for provider in self._providers.values()}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            ConfigurationError: it is wrong; the fact `faults` has every fault at its place.
        """
        entries = read_config(path, ProvidersFile).providers
        return cls({name: Provider(id=name, **dict(entry)) for name, entry in entries.items()})

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def get(self, name: str) -> Provider:
        """The provider of this id or alias.

        Raises:
            NotFoundError: there is none; the known ids are among the facts.
        """
        if (found := self._names.get(name)) is not None:
            return found
        close = difflib.get_close_matches(name[:60], self._names, n=1)
        hint = {"did_you_mean": close[0]} if close else {}
        raise NotFoundError("There is no such provider", **hint, accepted=sorted(self._providers))

    def named(self, name: str) -> Provider:
        """The provider of this id, alias or table id, such as `vendor_api` or `VENDOR_API`.

        Raises:
            NotFoundError: there is none.
        """
        return self._by_table[name] if name in self._by_table else self.get(name)

    def by_table_id(self, table_id: str) -> Provider:
        """The provider that tables name so.

        Raises:
            NotFoundError: there is none.
        """
        if table_id not in self._by_table:
            raise NotFoundError("There is no such provider", accepted=sorted(self._by_table))
        return self._by_table[table_id]


def registry(settings: Settings) -> Registry:
    """The registry of this process' configuration, read once."""
    return _load(settings.configs_dir / "system" / "providers.yml")


@lru_cache(maxsize=4)
def _load(path: Path) -> Registry:
    return Registry.load(path)
