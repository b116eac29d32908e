"""3.3 on the real stack: an operator without Kafka and database, and one who wants the venue asked now."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.control import KeyPurpose, LookRequested
from schemas.orders import AccountHalted, CommandAdmitted, CommandNotAdmitted, FlowObserved
from streams.agents.executor.control import HALT_FILE
from streams.domain import halts
from tests.stack.executor.installation import CLOCK, ENVIRONMENT, QUICK, Installation, ended, opened, until

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
dev = true
shards = 1
[kafka]
bootstrap = "127.0.0.1:1"
[database]
url = "postgresql://127.0.0.1:1/none"
[venues.sim]
dialect = "binance"
symbols = ["BTC/USDT", "ETH/USDT"]
[accounts.alice]
venue = "sim"
[accounts.alice.limits]
order_notional_max_quote = 1
turnover_5min_max_quote = 1
turnover_day_max_quote = 1
open_orders_max = 1
price_collar = "0.01"
symbols = ["BTC/USDT", "ETH/USDT"]
"""

STANDING = ["admitted", "intended", "accepted"]


def reachable(installation: Installation) -> dict[str, str]:
    """What the command line must know to reach the broker and be believed."""
    return {
        "TRIMTAB_ENVIRONMENT": ENVIRONMENT,
        "TRIMTAB_KAFKA__BOOTSTRAP": installation.connection.bootstrap,
        "TRIMTAB_KAFKA__TOPIC_PREFIX": installation.connection.topic_prefix,
        "TRIMTAB_KEYS__TRUSTED_FILE": str(installation.trusted),
        "TRIMTAB_KEYS__CONTROL_KEY_FILE": str(installation.state_dir / f"{KeyPurpose.CONTROL}.pem"),
    }


async def trimtab(
    installation: Installation, *words: str, answer: str = "", settings: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The command line where, without `settings`, nothing but the venue can be reached."""
    path = installation.state_dir / "trimtab.toml"
    path.write_text(SETTINGS)
    rest = f"127.0.0.1:{installation.server.port}"
    urls = {"rest": f"http://{rest}", "stream": f"ws://{rest}/stream/ws", "ws_api": f"ws://{rest}/ws-api/v3"}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRIMTAB_")} | {
        "TRIMTAB_CONFIG": str(path),
        "TRIMTAB_STATE_DIR": str(installation.state_dir),
        "TRIMTAB_VENUES": json.dumps({"sim": {"urls": urls}}),
        "TRIMTAB_ACCOUNTS__ALICE__TRADE__API_KEY": "sim-alice",
        "TRIMTAB_ACCOUNTS__ALICE__TRADE__API_SECRET": "sim-alice-secret",
        **(settings or {}),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams", *words),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate(answer.encode())
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.timeout(300)
async def test_3_3_with_everything_down_a_halt_lists_what_stands_and_an_operator_takes_it_off_the_book(
    installation: Installation,
) -> None:
    async with installation.executor():
        await opened(installation)
        standing = installation.place(time_in_force="gtc", price_limit_quote="30000", quantity_base="0.5")
        await ended(installation, await installation.command(standing), "accepted")
    # The executor is gone: nobody cancels by himself any more.
    code, said = await trimtab(installation, "halt", "all", "--offline", "--why", "everything is down")
    assert code == 1, said
    assert (installation.state_dir / HALT_FILE).read_text() == "all everything is down\n"
    (order,) = installation.accepted()
    assert f"account alice: {order['client_order_id']} buy 0.5 BTC/USDT still stands" in said

    code, said = await trimtab(installation, "cancel", "--all", "--offline", answer="n\n")
    assert (code, installation.canceled()) == (1, []), said
    code, said = await trimtab(installation, "cancel", "--all", "--offline", answer="y\n")
    assert code == 0, said
    assert f"{order['client_order_id']}: canceled, 0 filled" in said
    assert len(installation.canceled()) == 1
    code, said = await trimtab(installation, "cancel", "--all", "--offline", "--yes")
    assert (code, "no order of ours stands at the venues" in said) == (0, True), said
    code, said = await trimtab(installation, "halt", "all", "--offline")
    assert (code, "no order of ours stands at the venues" in said) == (0, True), said


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("how", "frozen", "halted", "cause"),
    [((), "frozen", "halted", "halted"), (("--offline",), "freeze_file", "halt_file", "halt_file: operator")],
    ids=["control", "file"],
)
async def test_3_3_a_freeze_leaves_what_rests_on_the_book_and_a_halt_takes_it_off_and_neither_lets_anything_new_out(
    installation: Installation, how: tuple[str, ...], frozen: str, halted: str, cause: str
) -> None:
    """By `trimtab` itself, through the control topic or by the HALT file, to a running executor."""
    near = {} if how else reachable(installation)
    async with installation.executor():
        await opened(installation)
        resting = [
            await installation.command(installation.place(time_in_force="gtc", price_limit_quote="30000")) for _ in range(2)
        ]
        for command in resting:
            await ended(installation, command, "accepted")

        code, said = await trimtab(installation, "freeze", "all", *how, settings=near)
        assert code == 0, said
        assert await refusal(installation) == frozen
        await asyncio.sleep(1)  # five times as long as the executor takes to read control
        assert (len(installation.canceled()), len(installation.accepted())) == (0, 2)
        assert [await installation.story(command) for command in resting] == [STANDING, STANDING]

        code, said = await trimtab(installation, "halt", "account:alice", *how, settings=near)
        assert code == 0, said
        for command in resting:
            assert (await ended(installation, command, "closed"))[-1] == "closed"
        assert await refusal(installation) == halted
    assert (len(installation.canceled()), len(installation.accepted())) == (2, 2)
    decided = [event for event in await installation.events(kind=CommandAdmitted) if event.own_cause]
    assert [(event.target_command_id, event.own_cause) for event in decided] == [(command, cause) for command in resting]


async def refusal(installation: Installation) -> str:
    """Why an order that is asked for now is not admitted."""
    command = await installation.command(installation.place())
    assert await ended(installation, command, "not-admitted", "closed") == ["not-admitted"]
    return next(event.cause for event in await installation.events(kind=CommandNotAdmitted) if event.command_id == command)


@pytest.mark.timeout(300)
async def test_3_1_3_3_an_operators_question_finds_a_withdrawal_now_and_what_nothing_explains_halts(
    installation: Installation,
) -> None:
    """Without the question the next look is ten minutes away."""

    async def look(number: int) -> None:
        fields: dict[str, Any] = {"scope": "account:alice", "at_ms": CLOCK.wall_ms() + number, "who": "tester"}
        await installation.control(LookRequested(**fields, account="alice"))

    await installation.post("balances", {"alice": {"BTC": "0", "ETH": "0", "USDT": "100000"}})
    async with installation.executor(config=QUICK | {"reconcile_every_ms": 600_000}):
        await opened(installation)
        await installation.post("balances", {"alice": {"USDT": "98000"}})
        await look(0)
        (flow,) = await until(lambda: installation.events(kind=FlowObserved))
        assert (flow.asset, flow.amount) == ("USDT", Decimal(-2000))

        silently(installation, "USDT", Decimal(97_000))
        number = 0

        async def halted() -> list[AccountHalted]:
            nonlocal number
            number += 1
            await look(number)
            return await installation.events(kind=AccountHalted)

        (halt,) = await until(halted)
        assert halt.cause == halts.LEDGER_DIFFERS
        assert halt.detail == "USDT: the venue holds 97000, the books say 98000"


def silently(installation: Installation, asset: str, amount: Decimal) -> None:
    """The venue's own books change, and none of its lists says why."""
    installation.server.venue.market.funds.put("alice", asset, amount)
