"""One file and the environment, read once into one frozen object.

The file (`trimtab.toml`) proposes; the control topic is the truth for portfolios, targets, policy and limits. Environment
variables start with TRIMTAB_ and reach nested keys by two underscores: TRIMTAB_KAFKA__BOOTSTRAP=host:9092. Secrets come only
from the environment or from files that `*_file` keys name: one in the settings file is refused.
"""

import os
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from schemas.values import Asset, Name, Price, Symbol, Weight, plain
from streams.domain.errors import RefusedError
from streams.ports.log import KafkaConnection

PREFIX = "TRIMTAB_"
FILE_VARIABLE = "TRIMTAB_CONFIG"
FILE_DEFAULT = "trimtab.toml"
BAND_NARROW = Decimal("0.005")
CONFLATION_PARTS = 40


def _text_or_integer(value: Any) -> Any:
    """A whole number may stand in the file without quotes; a fraction may not, since TOML would make it a float."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _digits(value: Any) -> Any:
    """Variables of the environment are text, whatever they mean."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _lifted(value: Any) -> Any:
    return None if value == "unlimited" else value


Fraction = Annotated[Weight, BeforeValidator(_text_or_integer)]
Money = Annotated[Price, BeforeValidator(_text_or_integer)]
Milliseconds = Annotated[int, BeforeValidator(_digits), Field(strict=True, ge=1, le=366 * 86_400_000)]


class Section(BaseModel):
    """Base of sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """The broker. Money roles refuse less than the two floors unless `dev = true`."""

    bootstrap: str = "127.0.0.1:9092"
    topic_prefix: str = Field(default="", pattern=r"^[a-z0-9._-]{0,40}$")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    sasl_token_file: Path | None = None
    tls_cafile: Path | None = None
    tls_certfile: Path | None = None
    tls_keyfile: Path | None = None
    replication_floor: int = 3
    min_insync_floor: int = 2

    @model_validator(mode="after")
    def _complete(self) -> "KafkaSettings":
        if self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism is None:
                raise ValueError(f"{self.security_protocol} needs sasl_mechanism")
            if self.sasl_mechanism == "OAUTHBEARER":
                if self.sasl_token_file is None:
                    raise ValueError("OAUTHBEARER needs sasl_token_file")
            elif self.sasl_username is None or (self.sasl_password is None and self.sasl_password_file is None):
                raise ValueError(f"{self.sasl_mechanism} needs sasl_username, and sasl_password_file or sasl_password")
        elif self.sasl_mechanism or self.sasl_username or self.sasl_password or self.sasl_password_file or self.sasl_token_file:
            raise ValueError(f"sasl_ keys are not used with {self.security_protocol}; name a SASL security_protocol")
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise ValueError("tls_certfile and tls_keyfile belong together")
        if not self.security_protocol.endswith("SSL") and (self.tls_cafile or self.tls_certfile):
            raise ValueError(f"tls_ keys are not used with {self.security_protocol}; name one that ends in SSL")
        return self

    def connection(self) -> KafkaConnection:
        """The same in the words of the ports."""
        return KafkaConnection(
            bootstrap=self.bootstrap,
            security_protocol=self.security_protocol,
            sasl_mechanism=self.sasl_mechanism,
            sasl_username=self.sasl_username,
            sasl_password=secret(self.sasl_password, self.sasl_password_file, "kafka.sasl_password"),
            sasl_token_file=_path(self.sasl_token_file),
            ssl_cafile=_path(self.tls_cafile),
            ssl_certfile=_path(self.tls_certfile),
            ssl_keyfile=_path(self.tls_keyfile),
            topic_prefix=self.topic_prefix,
        )


class DatabaseSettings(Section):
    """PostgreSQL. Leases have their own address (`lease_url`), so that production can give them synchronous replication."""

    url: SecretStr = SecretStr("postgresql://127.0.0.1:5432/trimtab")
    url_file: Path | None = None
    lease_url: SecretStr | None = None

    def dsn(self) -> str:
        """The address of the projection."""
        return secret(None, self.url_file, "database.url") or self.url.get_secret_value()

    def lease_dsn(self) -> str:
        """The address of the leases; the projection's own when none is given."""
        return self.lease_url.get_secret_value() if self.lease_url else self.dsn()


class WeightShares(Section):
    """How the request weight that a venue allows one address is shared out; together at most 1."""

    feed: Fraction = Decimal("0.4")
    executor: Fraction = Decimal("0.5")
    operator: Fraction = Decimal("0.1")

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        total = self.feed + self.executor + self.operator
        if total > 1:
            raise ValueError(f"the shares sum to {total}; make them sum to 1 or less")
        return self


class KeySettings(Section):
    """Signatures. `trusted_file` holds the public keys whose commands and control events are obeyed here.

    The two private keys sign: the portfolio role its commands, the command line control events. Each is PEM text, by
    environment or from a file; give a process only the one it needs.
    """

    trusted_file: Path | None = None
    commands_key: SecretStr | None = None
    commands_key_file: Path | None = None
    control_key: SecretStr | None = None
    control_key_file: Path | None = None


class VenueSettings(Section):
    """One venue: its dialect (a ccxt id), its addresses when they are not the dialect's own, and the symbols we use.

    `weight_per_minute` is what the venue allows our address until it says so itself; the dialect's own figure unless given.
    """

    dialect: Literal["binance"]
    symbols: tuple[Symbol, ...] = Field(min_length=1)
    urls: dict[str, str] = {}
    weight_share: WeightShares = WeightShares()
    weight_per_minute: int | None = Field(default=None, strict=True, ge=1)
    probe_every_ms: Milliseconds = 1000
    balances_every_ms: Milliseconds = 5000
    books_every_ms: Milliseconds = 1000


class KeyPair(Section):
    """One API key. Give the two values by environment, or the two files."""

    api_key: SecretStr | None = None
    api_secret: SecretStr | None = None
    api_key_file: Path | None = None
    api_secret_file: Path | None = None


class AccountLimits(Section):
    """What the executor never exceeds, in quote units, and the symbols that it may trade at all; every one is required."""

    order_notional_max_quote: Money
    turnover_5min_max_quote: Money
    turnover_day_max_quote: Money
    open_orders_max: int = Field(strict=True, ge=1, le=10_000)
    price_collar: Fraction
    symbols: tuple[Symbol, ...]


class AccountSettings(Section):
    """One venue account. The feed's key may only read; the executor's may trade and must not withdraw.

    `orders_per_second` "unlimited" lifts the budget (tests and benchmarks only). `adopted` takes over an account whose past
    holds orders of ours that the log does not know.
    """

    venue: Name
    feed: KeyPair = KeyPair()
    trade: KeyPair = KeyPair()
    orders_per_second: Annotated[Money | None, BeforeValidator(_lifted)] = Decimal(3)
    adopted: bool = False
    limits: AccountLimits


class PolicySettings(Section):
    """How a portfolio is steered, as fractions of net asset value. `band` has no default on purpose."""

    band: Fraction
    threshold: Fraction
    edge_inner: Fraction | None = None
    price_cap: Fraction = Decimal("0.002")
    mark_age_ms_max: Milliseconds = 60_000
    admit_within_ms: Milliseconds = 10_000
    order_life_ms: Milliseconds = 3_600_000
    observe_every_ms: Milliseconds = 60_000

    @model_validator(mode="after")
    def _ordered(self) -> "PolicySettings":
        if not 0 < self.edge < self.threshold <= self.band:
            raise ValueError("needs 0 < edge_inner < threshold <= band")
        return self

    @property
    def edge(self) -> Decimal:
        """The inner edge: half the threshold unless given."""
        return self.threshold / 2 if self.edge_inner is None else self.edge_inner


class PortfolioLimits(Section):
    """What the fold never exceeds, as fractions of net asset value; every one is required, but those of transitions."""

    order_notional_max: Fraction
    turnover_5min_max: Money
    turnover_day_max: Money
    loss_day_max: Fraction
    transition_order_max: Fraction = Decimal("0.01")
    transition_hour_max: Fraction = Decimal("0.1")


class PortfolioSettings(Section):
    """One portfolio: its accounts, target weights (quote included) and how each risky asset is traded.

    `nav_max_quote` is what it is worth at most: with it the limits of its accounts, in quote units, are compared with its own,
    which are fractions of net asset value. It may be left out where the portfolio has one account.
    """

    nav_max_quote: Money | None = None
    shard: int = Field(strict=True, ge=0)
    quote: Asset
    accounts: tuple[Name, ...] = Field(min_length=1)
    weights: dict[Asset, Fraction]
    symbols: dict[Asset, Symbol] = {}
    policy: PolicySettings
    limits: PortfolioLimits

    def symbol_of(self, asset: str) -> str:
        """The pair that trades an asset: as configured, else asset/quote."""
        return self.symbols.get(asset, f"{asset}/{self.quote}")


class Settings(BaseSettings):
    """Everything a process is told, once."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, nested_model_default_partial_update=True
    )

    FILE: ClassVar[Path | None] = None
    """The settings file that `load` reads beside the environment."""

    environment: Name = "dev"
    dev: bool = False
    state_dir: Path = Path(".state")  # the HALT file and what must outlive a process: one for each machine
    shards: int = Field(default=8, ge=1, le=1024)
    heartbeat_ms: Milliseconds = 1000
    opening_gap_ms: Milliseconds = 5000  # between the two equal snapshots that open an account
    collar_window_ms: Milliseconds = 60_000  # of the median that the price collar stands on; on a tape divided by its speed
    crash_points: Path | None = None  # where a test harness arms crash points; refused unless dev
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    kafka: KafkaSettings = KafkaSettings()
    database: DatabaseSettings = DatabaseSettings()
    keys: KeySettings = KeySettings()
    venues: dict[Name, VenueSettings] = {}
    accounts: dict[Name, AccountSettings] = {}
    portfolios: dict[Name, PortfolioSettings] = {}

    def conflation_step(self) -> Decimal:
        """The smallest move of a price that is news: a fortieth of the narrowest band that this file proposes."""
        bands = [portfolio.policy.band for portfolio in self.portfolios.values()]
        return min(bands, default=BAND_NARROW) / CONFLATION_PARTS

    @classmethod
    def settings_customise_sources(  # noqa: D102  documented by the library
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = cls.FILE
        if file is None or not file.exists():
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        problems = [*self._account_problems(), *self._portfolio_problems()]
        if self.crash_points is not None and not self.dev:
            problems.append("crash_points: for tests alone, they end and pause the process; remove it (or say dev = true)")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _account_problems(self) -> list[str]:
        problems: list[str] = []
        for name, account in self.accounts.items():
            venue, allowed, key = self.venues.get(account.venue), account.limits.symbols, f"accounts.{name}.limits.symbols"
            if venue is None:
                problems.append(
                    f"accounts.{name}.venue: {account.venue!r} is not a venue of this file; add [venues.{account.venue}]"
                )
                continue
            problems += [
                f"{key}: {symbol} is not among venues.{account.venue}.symbols; add it there or remove it here"
                for symbol in allowed
                if symbol not in venue.symbols
            ]
            problems += [f"{key}: {symbol} is named more than once" for symbol in set(allowed) if allowed.count(symbol) > 1]
        return problems

    def _portfolio_problems(self) -> list[str]:
        problems: list[str] = []
        owner: dict[str, str] = {}
        for name, portfolio in self.portfolios.items():
            key = f"portfolios.{name}"
            if portfolio.shard >= self.shards:
                problems.append(f"{key}.shard: {portfolio.shard} does not exist; shards are 0 to {self.shards - 1}")
            total = sum(portfolio.weights.values())
            if total != 1:
                problems.append(f"{key}.weights: they sum to {total}; make them sum to 1")
            if portfolio.quote not in portfolio.weights:
                problems.append(f"{key}.weights: the quote asset {portfolio.quote} has no weight; add it (0 is allowed)")
            for account in portfolio.accounts:
                if account in owner:
                    problems.append(
                        f"{key}.accounts: {account!r} already belongs to portfolio {owner[account]!r}; an account has one"
                    )
                owner.setdefault(account, name)
                problems += self._symbol_problems(key, portfolio, account)
            problems += self._limit_problems(key, portfolio)
        return problems

    def _limit_problems(self, key: str, portfolio: PortfolioSettings) -> list[str]:
        """The accounts of a portfolio together may not be allowed more than the portfolio is."""
        if portfolio.nav_max_quote is None:
            several = len(portfolio.accounts) > 1
            return [f"{key}.nav_max_quote: is required with several accounts; say what it is worth at most"] if several else []
        problems: list[str] = []
        accounts = [self.accounts[name].limits for name in portfolio.accounts if name in self.accounts]
        for name in ("order_notional_max", "turnover_5min_max", "turnover_day_max"):
            together = [getattr(limits, f"{name}_quote") for limits in accounts]
            allowed = getattr(portfolio.limits, name) * portfolio.nav_max_quote
            # One order is of one account; what is traded over time adds up.
            total = max(together, default=Decimal(0)) if name == "order_notional_max" else sum(together, Decimal(0))
            if total > allowed:
                problems.append(
                    f"{key}.limits.{name}: allows {plain(allowed)} of {plain(portfolio.nav_max_quote)}, but "
                    f"{name}_quote of its accounts allows {plain(total)}; lower those of {', '.join(portfolio.accounts)}"
                )
        return problems

    def _symbol_problems(self, key: str, portfolio: PortfolioSettings, account: str) -> list[str]:
        if account not in self.accounts:
            return [f"{key}.accounts: {account!r} is not an account of this file; add [accounts.{account}]"]
        venue = self.venues.get(self.accounts[account].venue)
        if venue is None:
            return []
        allowed = self.accounts[account].limits.symbols
        problems: list[str] = []
        for asset in portfolio.weights:
            symbol, where = portfolio.symbol_of(asset), f"{key}.symbols.{asset}"
            if asset == portfolio.quote:
                continue
            if symbol not in venue.symbols:
                problems.append(
                    f"{where}: {symbol} is not among venues.{self.accounts[account].venue}.symbols; add it or correct it"
                )
            elif symbol not in allowed:
                problems.append(f"{where}: {symbol} is not among accounts.{account}.limits.symbols; add it, or no order passes")
            if symbol != f"{asset}/{portfolio.quote}":
                problems.append(f"{where}: {symbol} does not trade {asset} against {portfolio.quote}")
        return problems


def settings_path() -> Path:
    """The settings file: TRIMTAB_CONFIG, else trimtab.toml in the working directory."""
    return Path(os.environ.get(FILE_VARIABLE, FILE_DEFAULT))


def load(file: Path | None = None) -> Settings:
    """The settings of this process, from `file` (default: `settings_path`) and the environment.

    Raises RefusedError with file, key and remedy for each problem, and where there is neither file nor variable.
    """
    path = file or settings_path()
    _in_vain.clear()
    if (file is not None or FILE_VARIABLE in os.environ) and not path.exists():
        raise RefusedError(f"{path}: this settings file does not exist; correct {FILE_VARIABLE}")
    if not path.exists() and not any(_is_setting(name) for name in os.environ):
        raise RefusedError(
            f"nothing is configured: there is no {path.absolute()}, and no {PREFIX} variable names a setting; "
            f"go to where the settings file is, or name it in {FILE_VARIABLE}"
        )
    if not path.exists():
        _in_vain.append(path)
    try:
        _refuse_secrets(path)
        return type("FileSettings", (Settings,), {"FILE": path, "__module__": __name__})()
    except tomllib.TOMLDecodeError as error:
        raise RefusedError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        raise RefusedError("\n".join(_sentences(path, error))) from None


def unread() -> str | None:
    """Where `load` looked for a settings file in vain, to be said beside whatever failed then; None where it read one."""
    return next((f"no settings file was read: there is no {path.absolute()}" for path in _in_vain), None)


def secret(value: SecretStr | None, file: Path | None, key: str) -> str | None:
    """A secret from its value or its file, else None. Raises RefusedError when the file cannot be read."""
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        return file.read_text().strip()
    except OSError as error:
        raise RefusedError(f"{key}_file: {file} cannot be read: {error.strerror}") from None


def secrets_of(settings: Settings) -> list[str]:
    """Every secret value that these settings hold or point at, for redaction. Raises RefusedError."""
    found: list[str | None] = [settings.database.url.get_secret_value(), urlsplit(settings.database.dsn()).password]
    found.append(urlsplit(settings.database.lease_dsn()).password)
    found.append(settings.kafka.connection().sasl_password)
    for pem in (settings.keys.commands_key, settings.keys.control_key):
        found += [] if pem is None else [line for line in pem.get_secret_value().splitlines() if not line.startswith("-----")]
    for name, account in settings.accounts.items():
        for use, pair in (("feed", account.feed), ("trade", account.trade)):
            where = f"accounts.{name}.{use}"
            found.append(secret(pair.api_key, pair.api_key_file, f"{where}.api_key"))
            found.append(secret(pair.api_secret, pair.api_secret_file, f"{where}.api_secret"))
    return [value for value in found if value]


_in_vain: list[Path] = []
_SECRETS = {"api_key", "api_secret", "sasl_password", "commands_key", "control_key"}


def _refuse_secrets(path: Path) -> None:
    if not path.exists():
        return

    def walk(node: dict[str, Any], trail: tuple[str, ...]) -> None:
        for key, value in node.items():
            here = (*trail, key)
            if isinstance(value, dict):
                walk(value, here)
            elif key in _SECRETS or (key.endswith("url") and _has_password(value)):
                variable = PREFIX + "__".join(here).upper()
                raise RefusedError(f"{path}: {'.'.join(here)} is a secret; set {variable} or name a file in {key}_file")

    walk(tomllib.loads(path.read_text()), ())


def _has_password(value: Any) -> bool:
    return isinstance(value, str) and urlsplit(value).password is not None


def _sentences(path: Path, error: ValidationError) -> list[str]:
    sentences: list[str] = []
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            message = "is required and has no default; add it"
        elif problem["type"] == "extra_forbidden":
            message = "is not a setting; remove or correct it"
        sentences += [f"{path}: {key}{': ' if key else ''}{line}" for line in message.splitlines()]
    return sentences


def _is_setting(variable: str) -> bool:
    """Whether a variable of the environment is one of the settings, at whatever depth."""
    name = variable.upper().removeprefix(PREFIX)
    return name != variable.upper() and name.partition("__")[0].lower() in Settings.model_fields


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
