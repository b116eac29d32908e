"""The request budget: orders of ten sources that want more than the venue allows, with the budget and with it lifted.

Executor, broker, database and simulated venue run; nobody decides. Each source gives its next command when its last has ended,
so that there always is demand. The orders are immediate ones that find no other side: each counts for the venue's limit, which
gives back what fills. One account has RATE tokens a second, of which the venue's limit is made; then the same sources ask for
another account whose budget is lifted: the baseline.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bench.commands import TICK, Commands, incarnations, opened, orders, quote
from bench.report import Line
from bench.stack import LIFTED, connection, flow, open_log, pause, settings_text, start_roles
from bench.stack import say as tell
from schemas.codec import encode
from schemas.control import KeyPurpose
from schemas.envelope import Envelope
from schemas.orders import CommandExpiredUnsent, CommandNotAdmitted, OrderClosed, OrderRejected, PlaceOrder, Side
from streams.domain.numbers import price_down
from streams.gateways.kafka import KafkaReader
from streams.local.flow import Flow
from streams.ports.log import Output
from streams.topics import ORDERS_COMMANDS, ORDERS_EVENTS, partition_of, partitions_of

SOURCES = 10
RATE = 3
ALLOWED_10S = 12 * RATE
"""The rate, the second of it that a bucket holds, and another one that may be held up on its way."""
WEIGHT_1M = 6_000
SHARDS = 1
BUDGETED, LIFTED_ACCOUNT = "a0000", "a0001"
USED_TARGET = 0.95
_FAR = Decimal("0.9")
_ENDS = {kind.ce_type().encode() for kind in (OrderClosed, OrderRejected, CommandNotAdmitted, CommandExpiredUnsent)}


def tokens_used(accepted_ms: Sequence[int], rate: int) -> float:
    """The part of an account's tokens that its orders used, by when the venue accepted them; the first second's lay ready."""
    if len(accepted_ms) <= rate:
        return 0.0
    elapsed_s = (accepted_ms[-1] - accepted_ms[0]) / 1000
    return (len(accepted_ms) - rate) / (elapsed_s * rate)


def most_in_10_s(at_ms: Sequence[int]) -> int:
    """The most of these times within any ten seconds."""
    return max((sum(start <= at < start + 10_000 for at in at_ms) for start in at_ms), default=0)


def measure(seconds: int) -> list[Line]:
    """The account with a budget for `seconds`, then the one without for as long."""
    text = settings_text(2, SHARDS).replace('"unlimited"', f'"{RATE}"', 1)
    text = text.replace("weight_per_minute = 100000000", f"weight_per_minute = {WEIGHT_1M}")
    with flow("budget", text, speed=1) as stack:
        stack.start_servers()
        stack.prepare()
        start_roles(stack, ("executor",))
        stack.wait_until(lambda: asyncio.run(_opened(stack)) == 2, "not every account opened")
        pause(2.0, stack)
        with_budget, without = (_window(stack, account, seconds) for account in (BUDGETED, LIFTED_ACCOUNT))
    return [_line(with_budget, without)]


@dataclass(frozen=True, slots=True)
class Window:
    """What one account asked and got, by the venue's own books."""

    asked: int
    accepted_ms: tuple[int, ...]
    refused: int
    bans: int


def _window(stack: Flow, account: str, seconds: int) -> Window:
    """The venue begins to count anew, then ten sources push."""
    tell(f"ten sources push {account} for {seconds} s")
    stack.control("limits", LIFTED | {"orders_10s_max": ALLOWED_10S, "weight_1m_max": WEIGHT_1M})
    before = stack.control("state")
    asked = asyncio.run(_push(stack, account, seconds))
    after = stack.control("state")
    with stack.journal_path.open("rb") as journal:
        lines = [json.loads(line) for line in journal]
    accepted = tuple(line["at_ms"] for line in lines if line["kind"] == "order_accepted" and line["account"] == account)
    refused, bans = (after[name] - before[name] for name in ("requests_refused", "bans"))
    return Window(asked, accepted, refused, bans)


async def _push(stack: Flow, account: str, seconds: int) -> int:
    """How many commands the sources gave."""
    reader = KafkaReader(connection(stack))
    async with open_log(stack) as log:
        places = [(ORDERS_EVENTS, partition) for partition in range(partitions_of(ORDERS_EVENTS, SHARDS))]
        await reader.assign({place: await log.end_offset(*place) for place in places})
        portfolio = f"p{account[1:]}"
        signer, known = stack.signer(KeyPurpose.COMMANDS), (await incarnations(log))[portfolio]
        following = orders(account, portfolio, known)
        commands = Commands(account, portfolio, known, signer, SHARDS)
        quoting = asyncio.create_task(quote(log))
        await asyncio.sleep(1.0)
        asked, waiting, until = 0, 0, time.monotonic() + seconds
        while time.monotonic() < until:
            while waiting < SOURCES:
                log.append_nowait(commands.sign(_output(next(following))))
                asked, waiting = asked + 1, waiting + 1
            for record in await reader.poll(50):
                waiting -= record.key == account.encode() and record.header("ce_type") in _ENDS
        quoting.cancel()
    await reader.close()
    return asked


def _output(order: PlaceOrder) -> Output:
    """The order as one that finds no other side, unsigned."""
    far = {"side": Side.BUY, "price_limit_quote": price_down(order.price_mid_quote * _FAR, TICK)}
    order = order.model_copy(update=far)
    headers = Envelope(order.command_id, order.ce_type(), "portfolio/0", order.decided_at_ms).headers()
    key = order.account.encode()
    partition = partition_of(key, partitions_of(ORDERS_COMMANDS, SHARDS))
    return Output(ORDERS_COMMANDS, key, encode(order), headers, partition)


async def _opened(stack: Flow) -> int:
    async with open_log(stack) as log:
        return await opened(log, SHARDS)


def _line(budget: Window, lifted: Window) -> Line:
    return Line(
        name="the request budget, while there is more demand than it allows",
        figure=_told(budget) + f", {100 * tokens_used(budget.accepted_ms, RATE):.1f} % of the tokens used",
        baseline=f"the same demand with the budget lifted: {_told(lifted)}",
        target=f"at least {USED_TARGET:.0%} of the tokens used, no request refused, no ban",
        details=(
            f"{RATE} tokens a second, {SOURCES} sources; the venue allows an account {ALLOWED_10S} orders in 10 s, an address "
            f"{WEIGHT_1M} of weight in a minute",
        ),
        limit="the tokens: a bucket holds those of one second. Without them the venue's refusals, each of which stops all "
        "for as long as the venue says.",
        not_shown="other roles at the same address (`tests/stack/executor/test_budget.py` has one); a venue that changes its "
        "limits.",
    )


def _told(window: Window) -> str:
    most = most_in_10_s(window.accepted_ms)
    accepted = f"{len(window.accepted_ms)} accepted by the venue (at most {most} in any 10 s, {ALLOWED_10S} are allowed)"
    return f"{window.asked} orders asked, {accepted}, {window.refused} requests refused, {window.bans} bans"
