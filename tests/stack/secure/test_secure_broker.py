"""1.4: every client of ours gets into a real broker by SASL, TLS and mTLS, and a refusal is one sentence with its remedy."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from streams.gateways.kafka import KafkaLog
from streams.gateways.kafka_access import knock
from streams.local.broker import Broker
from streams.local.server import HOST, free_port
from streams.ports.log import KafkaConnection
from streams.topics import PORTFOLIO_APPLICATION, PORTFOLIO_JOURNAL, changelog
from tests.stack.secure.certificates import Authority

ROOT = Path(__file__).resolve().parents[3]
PASSWORD, COMMAND_S, FLOW_S = "canary-of-the-broker", 90, 180
PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class Secure:
    """A broker with a listener for logins over TLS and one for client certificates; `plain` is the test's own way in."""

    plain: str
    login: str
    mutual: str
    authority: Authority
    directory: Path


@dataclass(frozen=True)
class Installation:
    """The command line with settings of its own."""

    settings_file: Path
    environment: Mapping[str, str]

    def given(self, **kafka: str | Path) -> "Installation":
        """The same with other settings of the broker."""
        changed = {f"TRIMTAB_KAFKA__{key.upper()}": str(value) for key, value in kafka.items()}
        return replace(self, environment={**self.environment, **changed})

    def _start(self, *words: str) -> subprocess.Popen[str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRIMTAB_")}
        return subprocess.Popen(
            [sys.executable, "-m", "streams", *words],
            env={**inherited, "TRIMTAB_CONFIG": str(self.settings_file), **self.environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *words: str) -> tuple[int, str]:
        """Exit code and everything said."""
        with self._start(*words) as process:
            try:
                said, _ = process.communicate(timeout=COMMAND_S)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail(f"{words} does not end: {process.communicate()[0]}")
            return process.returncode, said

    @contextlib.contextmanager
    def running(self, role: str) -> Iterator[subprocess.Popen[str]]:
        """One role, stopped in order at the end."""
        with self._start("run", role) as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                said, _ = process.communicate(timeout=COMMAND_S)
            assert process.returncode == 0, said
            assert PASSWORD not in said


@pytest.fixture(scope="module")
def secure(stack_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory, "authority")
    certfile, keyfile = authority.issue("broker")
    keystore = directory / "broker.pem"
    keystore.write_text(keyfile.read_text() + certfile.read_text())
    plain, login, mutual, controller = (free_port() for _ in range(4))
    listeners = f"PLAINTEXT://{HOST}:{plain},LOGIN://{HOST}:{login},MUTUAL://{HOST}:{mutual}"
    settings = {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.cafile),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.login.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.login.scram-sha-512.sasl.jaas.config": f"{SCRAM_LOGIN} required;",
        "listener.name.login.plain.sasl.jaas.config": f'{PLAIN_LOGIN} required user_trimtab="{PASSWORD}";',
    }
    broker = Broker(
        stack_dir / "secure-kafka",
        port=plain,
        voters={1: controller},
        settings=settings,
        format_options=["--add-scram", f"SCRAM-SHA-512=[name=trimtab,password={PASSWORD}]"],
    )
    with broker:
        yield Secure(broker.bootstrap, f"{HOST}:{login}", f"{HOST}:{mutual}", authority, directory)


@pytest.fixture
def trimtab(secure: Secure, topic_prefix: str, tmp_path: Path, state_dir: Path) -> Installation:
    """An installation with a SCRAM login, which its settings file and a password file describe."""
    settings_file, password_file = tmp_path / "trimtab.toml", tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    section = f"""[kafka]
security_protocol = "SASL_SSL"
sasl_mechanism = "SCRAM-SHA-512"
sasl_username = "trimtab"
sasl_password_file = "{password_file}"
tls_cafile = "{secure.authority.cafile}"
"""
    settings_file.write_text((ROOT / "trimtab.toml").read_text().replace("[kafka]\n", section))
    environment = {"TRIMTAB_KAFKA__TOPIC_PREFIX": topic_prefix, "TRIMTAB_STATE_DIR": str(state_dir)}
    return Installation(settings_file, environment).given(bootstrap=secure.login)


@pytest.mark.timeout(400)
def test_1_4_commands_sequencer_and_folds_work_over_a_login_with_tls(
    secure: Secure, trimtab: Installation, topic_prefix: str, empty_database_url: str
) -> None:
    """1.4: the command line's clients, the aiokafka roles and the Faust transport, produce and consume, on SASL_SSL."""
    database = {**trimtab.environment, "TRIMTAB_DATABASE__URL": empty_database_url}
    trimtab = replace(trimtab, environment=database)
    assert trimtab("db", "migrate")[0] == 0
    code, said = trimtab("topics", "create")
    assert (code, "topics created, 0 were there" in said) == (0, True), said
    code, said = trimtab("topics", "check")
    assert (code, "topics checked, 0 refused" in said) == (0, True), said
    code, said = trimtab("config", "apply")
    assert (code, "wrote control.portfolio-created" in said) == (0, True), said
    with trimtab.running("sequencer") as sequencer, trimtab.running("portfolio") as portfolio:
        journal, checkpoints = PORTFOLIO_JOURNAL, changelog(PORTFOLIO_APPLICATION)
        ends = asyncio.run(_grown(KafkaConnection(secure.plain, topic_prefix=topic_prefix), journal, checkpoints))
        assert (sequencer.poll(), portfolio.poll()) == (None, None)
    assert ends[journal] > 0
    assert ends[checkpoints] > 0


@pytest.mark.timeout(400)
def test_1_4_a_plain_login_and_a_client_certificate_are_accepted_as_well(secure: Secure, trimtab: Installation) -> None:
    certfile, keyfile = secure.authority.issue("client")
    assert trimtab.given(sasl_mechanism="PLAIN")("topics", "create")[0] == 0
    by_certificate = {"security_protocol": "SSL", "tls_certfile": certfile, "tls_keyfile": keyfile}
    mutual = _without(trimtab, "sasl_").given(bootstrap=secure.mutual, **by_certificate)
    code, said = mutual("topics", "check")
    assert (code, "topics checked, 0 refused" in said) == (0, True), said


@pytest.mark.timeout(400)
def test_1_4_each_refusal_is_one_sentence_with_key_and_remedy_and_exit_status_2(secure: Secure, trimtab: Installation) -> None:
    stranger = Authority(secure.directory, "stranger").cafile
    wrong = secure.directory / "wrong-password"
    wrong.write_text("canary-that-is-wrong")
    refused: list[tuple[Installation, tuple[str, ...]]] = [
        (trimtab.given(sasl_password_file=wrong), ("kafka.sasl_password_file", "refuses trimtab", "correct")),
        (trimtab.given(tls_cafile=stranger), ("kafka.tls_cafile", "not trusted", "must stand in", str(stranger))),
        (trimtab.given(tls_cafile=wrong), ("kafka.tls_cafile", str(wrong), "correct the path")),
        (trimtab.given(sasl_mechanism="SCRAM-SHA-256"), ("kafka.sasl_mechanism", "does not offer SCRAM-SHA-256")),
    ]
    for installation, words in refused:
        _is_refused(installation("topics", "check"), words)
    _is_refused(refused[0][0]("run", "ledger"), refused[0][1])
    _is_refused(refused[1][0]("run", "feed"), refused[1][1])
    trimtab = _without(trimtab, "sasl_", "tls_")
    _is_refused(trimtab("topics", "check"), ("kafka.security_protocol", "speaks TLS, and PLAINTEXT does not", "correct"))
    nameless = trimtab.given(bootstrap=secure.mutual, security_protocol="SSL", tls_cafile=secure.authority.cafile)
    _is_refused(nameless("topics", "create"), ("kafka.tls_certfile", "client certificate", "now none"))
    unfinished = trimtab.given(security_protocol="SASL_SSL")
    _is_refused(unfinished("config", "check"), (str(trimtab.settings_file), "kafka", "needs sasl_mechanism"))


@pytest.mark.parametrize("listener", ["plain", "login"])
async def test_1_4_a_server_that_hangs_up_may_be_asked_in_the_wrong_protocol(secure: Secure, listener: str) -> None:
    """A broker that is going down looks the same, so this is waited for, with words that name the setting."""
    asked = KafkaConnection(getattr(secure, listener), security_protocol="SSL", ssl_cafile=str(secure.authority.cafile))
    with pytest.raises(KafkaError, match=r"or kafka\.security_protocol SSL is not what it speaks"):
        await knock(asked)


def _without(trimtab: Installation, *prefixes: str) -> Installation:
    """The same without such settings of the broker in its file."""
    lines = trimtab.settings_file.read_text().splitlines()
    gone = ("security_protocol", *prefixes)
    trimtab.settings_file.write_text("\n".join(line for line in lines if not line.startswith(gone)) + "\n")
    return trimtab


def _is_refused(outcome: tuple[int, str], words: tuple[str, ...]) -> None:
    code, said = outcome
    assert code == 2, said
    assert len(said.splitlines()) == 1, said
    assert all(word in said for word in words), said
    assert "canary" not in said


async def _grown(kafka: KafkaConnection, *topics: str) -> dict[str, int]:
    """The records of each topic, once every one of them has some."""
    log = KafkaLog(kafka)
    await log.start()
    try:
        async with asyncio.timeout(FLOW_S):
            while True:
                ends: dict[str, int] = {}
                for topic in topics:
                    numbers = range(await log.partitions(topic))
                    ends[topic] = sum([await log.end_offset(topic, number) for number in numbers])
                if all(ends.values()):
                    return ends
                await asyncio.sleep(0.2)
    finally:
        await log.close()
