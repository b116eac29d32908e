"""1.4: the compose file says the same as the local stack, the settings file and the flow."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streams import settings
from streams.local.broker import SETTINGS
from streams.local.flow import ROLES, VenuePlan, on_target
from streams.local.install import KAFKA_VERSION
from streams.simulator.settings import load_settings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / "docker-compose.kafka.yml").read_text())


def test_broker_is_the_same_release_with_the_same_settings(compose: dict[str, Any]) -> None:
    kafka = compose["services"]["kafka"]
    assert kafka["image"] == f"apache/kafka:{KAFKA_VERSION}"
    environment = {f"KAFKA_{key.replace('.', '_').upper()}": value for key, value in SETTINGS.items()}
    assert environment.items() <= kafka["environment"].items()
    assert f">{KAFKA_VERSION}<" in (ROOT / "infra/kafka/pom.xml").read_text()


def test_every_role_is_there_watched_and_restarted(compose: dict[str, Any]) -> None:
    for role in ROLES:
        service = compose["services"][role]
        assert service["command"] == ["run", role]
        assert service["restart"] == "unless-stopped"
    for name, service in compose["services"].items():
        if name not in ("prepare", "start"):
            assert service["healthcheck"]["test"], name


def test_no_port_is_open_to_other_machines(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_settings_file_and_environment_together_are_accepted(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    venue = load_settings(ROOT / "infra/images/venue.toml")
    for role in ROLES:
        for key, value in compose["services"][role]["environment"].items():
            monkeypatch.setenv(key, value.replace("${TRIMTAB_DATABASE_PASSWORD:-trimtab}", "trimtab"))
    monkeypatch.setenv("TRIMTAB_CONFIG", str(ROOT / "trimtab.toml"))
    loaded = settings.load()
    assert loaded.kafka.bootstrap == "kafka:9092"
    for name, account in loaded.accounts.items():
        for use in (account.feed, account.trade):
            assert use.api_key is not None
            assert use.api_secret is not None
            key = venue.keys[use.api_key.get_secret_value()]
            assert (key.account, key.secret) == (name, use.api_secret.get_secret_value())
    assert loaded.venues["sim"].urls["rest"].endswith(f":{venue.port}")


def test_venue_opens_every_account_on_its_target() -> None:
    venue = load_settings(ROOT / "infra/images/venue.toml")
    plan = VenuePlan(start_ms=venue.tape.start_ms)
    for portfolio in settings.load(ROOT / "trimtab.toml").portfolios.values():
        for account in portfolio.accounts:
            balances = {asset: str(amount) for asset, amount in venue.accounts[account].balances.items()}
            assert balances == on_target(portfolio.weights, portfolio.quote, plan)
