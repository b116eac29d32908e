"""`trimtab config`, and how every command writes the operator's words to the control topic."""

import asyncio
import base64
import getpass
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import click
from aiokafka.errors import KafkaError

from schemas.codec import decode, encode
from schemas.control import (
    AccountLimitsSet,
    ControlEvent,
    KeyPurpose,
    KeyTrusted,
    PolicySet,
    PortfolioCreated,
    PortfolioLimitsSet,
    TargetsSet,
    TradingStopped,
)
from schemas.envelope import Envelope
from streams import settings
from streams.domain import control
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.gateways.kafka import KafkaLog
from streams.gateways.keys import TrustedFile
from streams.gateways.signing import signer_of, verifier_of
from streams.ports.log import Output, UntrustedError
from streams.settings import Settings
from streams.topics import OPERATOR_CONTROL

PATIENCE_S = 10.0
"""An operator's: with the broker away a command says so after this long."""
READING_S_MAX = 30.0
HASTE_S = 0.5
WHY_CHARACTERS_MAX = 500
SCOPE = r"^(all|(portfolio|account|venue):[a-z0-9][a-z0-9_-]{0,63})$"


@click.group()
def config() -> None:
    """Check the settings file; apply it to the control topic."""


@config.command("check")
def check_config() -> None:
    """Refuse nonsense, saying file, key and remedy; exit 2 when something is refused."""
    checked = settings.load()
    verifier_of(checked, KeyPurpose.COMMANDS, KeyPurpose.CONTROL)
    for name, portfolio in sorted(checked.portfolios.items()):
        weights = ", ".join(f"{asset} {weight}" for asset, weight in portfolio.weights.items())
        click.echo(f"portfolio {name}: {weights}; band {portfolio.policy.band}, threshold {portfolio.policy.threshold}")
    where = settings.unread() or settings.settings_path()
    click.echo(f"{where}: {len(checked.portfolios)} portfolios, {len(checked.accounts)} accounts: good")


@config.command()
@click.option("--dry-run", is_flag=True, help="Say what would be written and write nothing.")
@click.option("--why", default="config apply", show_default=True, help="The reason that goes on record.")
def apply(dry_run: bool, why: str) -> None:
    """Write the difference between the settings file and the control topic as control events."""
    checked = settings.load()
    events = asyncio.run(apply_settings(checked, why, dry_run=dry_run))
    for event in events:
        click.echo(f"{'would write' if dry_run else 'wrote'} {event.TYPE} for {event.scope}")
    if not events:
        click.echo("the control topic says the same already")


def spoken(why: str) -> dict[str, Any]:
    """Who says it, when and why: what every control event carries. Of the reason it keeps what it can: a stop must be said."""
    return {"at_ms": _now_ms(), "who": _who(), "why": why.encode(errors="replace").decode()[:WHY_CHARACTERS_MAX]}


def write_control(checked: Settings, *events: ControlEvent) -> None:
    """Sign these events and append them to the control topic. Raises RefusedError without a key, UnreachableError."""
    asyncio.run(_write(checked, events))


async def apply_settings(checked: Settings, why: str, *, dry_run: bool = False) -> list[ControlEvent]:
    """Append what the control topic lacks of these settings and return it. Raises RefusedError."""
    if dry_run:
        return control.difference(await read_control(checked), proposals(checked, why))
    async with ControlTopic(checked) as topic:
        events = control.difference(await topic.controls(), proposals(checked, why))
        await topic.append(events)
        return events


def proposals(checked: Settings, why: str) -> list[ControlEvent]:
    """What a settings file proposes, as control events."""
    said = spoken(why)
    events = _keys_on_record(checked, {"scope": "all", **said})
    for name, account in sorted(checked.accounts.items()):
        events.append(
            AccountLimitsSet(
                scope=f"account:{name}",
                **said,
                account=name,
                **account.limits.model_dump(),
            )
        )
    for name, portfolio in sorted(checked.portfolios.items()):
        base = {"scope": f"portfolio:{name}", **said, "portfolio": name}
        policy = portfolio.policy
        events += [
            PortfolioCreated(
                **base,
                incarnation=secrets.token_hex(16),
                shard=portfolio.shard,
                quote=portfolio.quote,
                accounts={account: checked.accounts[account].venue for account in portfolio.accounts},
            ),
            TargetsSet(
                **base,
                weights=portfolio.weights,
                symbols={asset: portfolio.symbol_of(asset) for asset in portfolio.weights if asset != portfolio.quote},
            ),
            PolicySet(**base, **policy.model_dump(exclude={"edge_inner"}), edge_inner=policy.edge),
            PortfolioLimitsSet(**base, **portfolio.limits.model_dump()),
        ]
    return events


def _keys_on_record(checked: Settings, common: dict[str, Any]) -> list[ControlEvent]:
    """The public keys trusted here, for whoever replays later; they make nobody trust them."""
    path = checked.keys.trusted_file
    return [
        KeyTrusted(
            **common,
            key_id=key_id,
            purpose=key.purpose,
            public_key=base64.b64encode(key.public_key).decode(),
            valid_from_ms=key.valid_from_ms,
            valid_until_ms=key.valid_until_ms,
        )
        for key_id, key in sorted(TrustedFile(path).keys().items() if path is not None else ())
    ]


async def read_control(checked: Settings, patience_s: float = PATIENCE_S) -> control.Controls:
    """What the control topic says up to now. Raises UnreachableError, and RefusedError where nobody could be believed."""
    async with ControlReading(checked, patience_s) as topic:
        return await topic.controls()


def stop_in_words(stop: TradingStopped) -> str:
    """An operator's stop: its kind, who said it, and the reason given."""
    return f"{stop.kind} by {stop.who}{': ' if stop.why else ''}{stop.why}"


async def _write(checked: Settings, events: Sequence[ControlEvent]) -> None:
    async with ControlTopic(checked) as topic:
        await topic.append(events)


class ControlReading:
    """The control topic, open for reading, which needs no private key. Nothing here waits for long: whoever asks must learn
    soon that nobody is there."""

    def __init__(self, checked: Settings, patience_s: float = PATIENCE_S, log: KafkaLog | None = None) -> None:
        self._verifier = verifier_of(checked, KeyPurpose.CONTROL)
        self._hearing = control.Hearing()
        self._read = False
        self._patience_s = patience_s
        self._log = log or KafkaLog(checked.kafka.connection(), patience_s=patience_s)

    async def __aenter__(self) -> Self:
        await self._log.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leave in order; with the broker away what is not acknowledged by now is not waited for again."""
        await (self._log.close() if kind is None else self._log.close(flush_s=HASTE_S, stop_s=HASTE_S))

    async def controls(self) -> control.Controls:
        """What the topic says, by the same rules by which the roles obey it. Raises UnreachableError."""
        self._read = True
        try:
            async with asyncio.timeout(READING_S_MAX):
                end = await self._log.end_offset(OPERATOR_CONTROL, 0)
                begin = await self._log.begin_offset(OPERATOR_CONTROL, 0)
                records = await self._log.read(OPERATOR_CONTROL, 0, begin, end)
        except TimeoutError:
            raise UnreachableError(f"{OPERATOR_CONTROL}: the broker gave no answer for {READING_S_MAX:g} s") from None
        controls = control.Controls()
        for record in records:
            try:
                event = decode((record.header("ce_type") or b"").decode(errors="replace"), record.value)
                if not isinstance(event, ControlEvent):
                    raise ValueError(f"a {type(event).__name__} is no control event")
                self._verifier.check(record, self._hearing.key_time_ms(event, record.timestamp_ms))
                self._hearing.hear(event, record.value or b"", record.timestamp_ms)
            except (ValueError, UntrustedError) as error:
                # Sequencer and executor put it aside and go on: an operator must still be heard.
                click.echo(f"{record.topic} offset {record.offset} is not obeyed and left out: {error}", err=True)
                continue
            controls.evolve(event)
        return controls


class ControlTopic(ControlReading):
    """The control topic, open for one command that signs what it says. Raises RefusedError without the key to do so."""

    def __init__(self, checked: Settings, patience_s: float = PATIENCE_S, log: KafkaLog | None = None) -> None:
        self._signer = signer_of(checked, KeyPurpose.CONTROL)
        super().__init__(checked, patience_s, log)

    async def append(self, events: Sequence[ControlEvent]) -> None:
        """Say it, never dated before what the topic says: our clock may be slow, and what is dated back nobody obeys. A stop
        counts at any date, and does not wait for the topic to be read.

        Raises UnknownOutcomeError when the broker does not acknowledge it soon: it may be heard all the same.
        """
        if not self._read and not all(isinstance(event, TradingStopped) for event in events):
            await self.controls()
        for event in events:
            said = event.model_copy(update={"at_ms": max(event.at_ms, self._hearing.newest_ms)})
            envelope = Envelope(
                id=secrets.token_hex(16),
                type=said.ce_type(),
                source=f"operator/{said.who}",
                time_ms=said.at_ms,
                subject=said.scope,
            )
            output = Output(OPERATOR_CONTROL, said.scope.encode(), encode(said), envelope.headers(), 0, said.at_ms)
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._log.append(self._signer.sign(output) if self._signer is not None else output)
            except (TimeoutError, KafkaError) as error:
                raise UnknownOutcomeError(
                    f"{said.TYPE} for {said.scope}: the broker did not acknowledge it ({error or 'no answer'}), so that nobody "
                    "may have heard it; `trimtab limits show` tells once the broker answers"
                ) from None


def check_scope(scope: str) -> None:
    """Raises RefusedError unless the text is a scope."""
    if not re.fullmatch(SCOPE, scope):
        raise RefusedError(f"{scope!r} is not a scope; use all, portfolio:NAME, account:NAME or venue:NAME")


def check_account(checked: Settings, account: str) -> None:
    """Raises RefusedError unless the settings have this account."""
    if account not in checked.accounts:
        raise RefusedError(
            f"there is no account {account!r}; the settings name {', '.join(sorted(checked.accounts)) or 'none'}"
        )


def check_concerned(checked: Settings, scope: str) -> None:
    """Raises RefusedError for a scope that concerns nobody: it would stop nothing, and say that it did. A settings file without
    any account cannot tell."""
    check_scope(scope)
    if scope != "all" and checked.accounts:
        accounts_within(checked, scope)


def accounts_within(checked: Settings, scope: str) -> list[str]:
    """The accounts of the settings that a scope concerns. Raises RefusedError when there is none."""
    kind, _, name = scope.partition(":")
    portfolio = checked.portfolios[name].accounts if kind == "portfolio" and name in checked.portfolios else ()
    found = [
        account
        for account, chosen in sorted(checked.accounts.items())
        if scope in ("all", f"account:{account}", f"venue:{chosen.venue}") or account in portfolio
    ]
    if not found:
        raise RefusedError(f"{scope}: no account of {settings.settings_path()} is concerned; correct it, or say all")
    return found


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _who() -> str:
    """The operator's login, in the letters of a Name."""
    try:
        name = os.environ.get("TRIMTAB_OPERATOR") or getpass.getuser()
    except (KeyError, OSError):
        name = Path.home().name
    return re.sub(r"[^a-z0-9_-]", "-", name.lower()).strip("-_")[:64] or "operator"
