"""4 settings: nonsense is refused with file, key and remedy; secrets come only from the environment or files."""

from decimal import Decimal
from pathlib import Path

import pytest

from streams import settings
from streams.domain.errors import RefusedError
from streams.settings import KafkaSettings

GOOD = (Path(__file__).parents[2] / "trimtab.toml").read_text()
ALLOWED = 'price_collar = "0.01"\nsymbols = ["BTC/USDT", "ETH/USDT"]'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "trimtab.toml"
    path.write_text(GOOD)
    monkeypatch.setenv("TRIMTAB_CONFIG", str(path))
    return path


def test_the_shipped_file_is_good(file: Path):
    loaded = settings.load()
    assert loaded.portfolios["balanced"].policy.edge == Decimal("0.0021")
    assert loaded.portfolios["even"].symbol_of("ETH") == "ETH/USDT"
    assert sorted(loaded.accounts) == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('BTC = "0.5"', 'BTC = "0.51"', r"portfolios.balanced.weights: they sum to 1.01; make them sum to 1"),
        ('accounts = ["beta"]', 'accounts = ["alpha"]', r"'alpha' already belongs to portfolio 'balanced'"),
        ('accounts = ["beta"]', 'accounts = ["delta"]', r"'delta' is not an account of this file; add \[accounts.delta\]"),
        ('ETH = "0.3", USDT = "0.2"', 'DOGE = "0.3", USDT = "0.2"', r"symbols.DOGE: DOGE/USDT is not among venues.sim.symbols"),
        ('USDT = "0.3"', 'BNB = "0.3"', r"portfolios.even.weights: the quote asset USDT has no weight"),
        ('band = "0.005"\n', "", r"portfolios.balanced.policy.band: is required and has no default; add it"),
        ("open_orders_max = 20\n", "", r"accounts.alpha.limits.open_orders_max: is required"),
        ('loss_day_max = "0.1"\n', "", r"portfolios.balanced.limits.loss_day_max: is required"),
        (f"{ALLOWED}\n", 'price_collar = "0.01"\n', r"accounts.alpha.limits.symbols: is required and has no default; add it"),
        (
            ALLOWED,
            f'{ALLOWED[:-1]}, "DOGE/USDT"]',
            r"accounts.alpha.limits.symbols: DOGE/USDT is not among venues.sim.symbols; add it there or remove it here",
        ),
        (ALLOWED, f'{ALLOWED[:-1]}, "BTC/USDT"]', r"accounts.alpha.limits.symbols: BTC/USDT is named more than once"),
        (
            ALLOWED,
            'price_collar = "0.01"\nsymbols = ["BTC/USDT"]',
            r"portfolios.balanced.symbols.ETH: ETH/USDT is not among accounts.alpha.limits.symbols; add it",
        ),
        (
            "turnover_5min_max_quote = 100000",
            "turnover_5min_max_quote = 100001",
            r"balanced.limits.turnover_5min_max: allows 100000 of 200000, but .* allows 100001; lower those of alpha",
        ),
        ("order_notional_max_quote = 10000", "order_notional_max_quote = 10001", r"balanced.limits.order_notional_max: allows"),
        (
            'nav_max_quote = 200000\naccounts = ["alpha"]',
            'accounts = ["alpha", "delta"]',
            r"portfolios.balanced.nav_max_quote: is required with several accounts",
        ),
        ('threshold = "0.0042"', 'threshold = "0.006"', r"needs 0 < edge_inner < threshold <= band"),
        ('band = "0.005"', "band = 0.005", r"policy.band: .*not a JSON float"),
        ('band = "0.005"', 'band = "NaN"', r"policy.band: .*finite"),
        ("shard = 1", "shard = 2", r"portfolios.even.shard: 2 does not exist; shards are 0 to 1"),
        ('[accounts.alpha]\nvenue = "sim"', '[accounts.alpha]\nvenue = "moon"', r"accounts.alpha.venue: 'moon' is not a venue"),
        ("heartbeat_ms = 200", "heartbeat = 200", r"heartbeat: is not a setting; remove or correct it"),
        ('dialect = "binance"', 'dialect = "mtgox"', r"venues.sim.dialect: "),
        ("dev = true", "dev = ", r"not TOML"),
        ('venue = "sim"', 'venue = "sim"\nfeed.api_key = "k"', r"is a secret; set TRIMTAB_ACCOUNTS__ALPHA__FEED__API_KEY"),
        (
            "[kafka]",
            '[database]\nurl = "postgresql://u:pw@h/db"\n[kafka]',
            r"database.url is a secret; set TRIMTAB_DATABASE__URL",
        ),
    ],
)
def test_nonsense_is_refused_with_file_key_and_remedy(file: Path, old: str, new: str, words: str):
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(RefusedError, match=words) as refused:
        settings.load()
    assert str(file) in str(refused.value)
    assert refused.value.exit_code == 2


def test_the_environment_wins_and_reaches_nested_keys(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRIMTAB_KAFKA__BOOTSTRAP", "broker:9093")
    monkeypatch.setenv("TRIMTAB_VENUES", '{"sim": {"urls": {"rest": "http://127.0.0.1:1"}}}')
    loaded = settings.load()
    assert loaded.kafka.connection().bootstrap == "broker:9093"
    assert loaded.kafka.replication_floor == 1
    assert loaded.venues["sim"].urls == {"rest": "http://127.0.0.1:1"}
    assert loaded.venues["sim"].symbols == ("BTC/USDT", "ETH/USDT")


def test_durations_may_come_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRIMTAB_COLLAR_WINDOW_MS", "3000")
    monkeypatch.setenv("TRIMTAB_VENUES__SIM__BOOKS_EVERY_MS", "250")
    loaded = settings.load()
    assert (loaded.collar_window_ms, loaded.venues["sim"].books_every_ms) == (3000, 250)
    monkeypatch.setenv("TRIMTAB_COLLAR_WINDOW_MS", "1.5")
    with pytest.raises(RefusedError, match="collar_window_ms"):
        settings.load()


def test_secrets_come_from_the_environment_or_files_and_are_not_shown(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRIMTAB_ACCOUNTS__ALPHA__FEED__API_KEY", "canary-1")
    monkeypatch.setenv("TRIMTAB_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("TRIMTAB_KAFKA__SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("TRIMTAB_KAFKA__SASL_USERNAME", "trimtab")
    monkeypatch.setenv("TRIMTAB_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    (tmp_path / "password").write_text("canary-2\n")
    loaded = settings.load()
    assert loaded.kafka.connection().sasl_password == "canary-2"
    shown = f"{loaded!r} {loaded.kafka.connection()!r} {loaded.model_dump_json()}"
    assert "canary" not in shown
    (tmp_path / "password").unlink()
    with pytest.raises(RefusedError, match=r"kafka.sasl_password_file: .*cannot be read: No such file"):
        loaded.kafka.connection()


def test_a_named_file_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TRIMTAB_CONFIG", str(tmp_path / "absent.toml"))
    with pytest.raises(RefusedError, match="does not exist"):
        settings.load()


def test_crash_points_are_refused_where_money_is(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """4.1: a no-op in production."""
    monkeypatch.setenv("TRIMTAB_CRASH_POINTS", str(tmp_path))
    assert settings.load().crash_points == tmp_path
    file.write_text(GOOD.replace("dev = true", "dev = false", 1))
    with pytest.raises(RefusedError, match="crash_points: for tests alone"):
        settings.load()


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs sasl_mechanism"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}, "OAUTHBEARER needs sasl_token_file"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u"}, "PLAIN needs sasl_username, and"),
        ({"security_protocol": "SSL", "sasl_username": "u"}, "sasl_ keys are not used with SSL"),
        ({"security_protocol": "SSL", "tls_certfile": "/c"}, "tls_certfile and tls_keyfile belong together"),
        ({"tls_cafile": "/c"}, "tls_ keys are not used with PLAINTEXT"),
    ],
)
def test_1_4_half_a_login_is_refused_before_any_broker_is_asked(kafka: dict[str, str], said: str):
    with pytest.raises(ValueError, match=said):
        KafkaSettings.model_validate(kafka)
