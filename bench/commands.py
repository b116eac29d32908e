"""Commands as a portfolio agent would sign them, for benchmarks that drive an executor without one."""

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal

from bench.stack import START_MS
from schemas.codec import decode, encode
from schemas.control import PortfolioCreated
from schemas.envelope import Envelope
from schemas.market import Ticker
from schemas.orders import AccountOpened, PlaceOrder
from streams.domain.ids import command_id, digest_id
from streams.domain.numbers import price_down, price_up
from streams.gateways.kafka import KafkaLog
from streams.ports.log import Output, Signer
from streams.simulator.tapes.tape import price_at
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_COMMANDS, ORDERS_EVENTS, partition_of, partitions_of

VENUE = "sim"
UP, DOWN, TICK = Decimal("1.005"), Decimal("0.995"), Decimal("0.01")
QUANTITIES = {"BTC/USDT": Decimal("0.001"), "ETH/USDT": Decimal("0.02")}


class Commands:
    """Orders for one account: small, filled at once, both symbols in turn, bought and then sold."""

    def __init__(self, account: str, portfolio: str, incarnation: str, signer: Signer, shards: int) -> None:
        self.account = account
        self._signer = signer
        self._partition = partition_of(account.encode(), partitions_of(ORDERS_COMMANDS, shards))
        self._orders = orders(account, portfolio, incarnation)

    def next(self) -> tuple[str, Output]:
        """The id of one more order, and its record for `orders.commands`, unsigned."""
        order = next(self._orders)
        headers = Envelope(order.command_id, order.ce_type(), "portfolio/0", order.decided_at_ms).headers()
        return order.command_id, Output(ORDERS_COMMANDS, order.account.encode(), encode(order), headers, self._partition)

    def next_signed(self) -> Output:
        """One more order, signed."""
        return self.sign(self.next()[1])

    def sign(self, output: Output) -> Output:
        """The record with its signature, as the portfolio agent appends it."""
        return self._signer.sign(output)


async def quote(log: KafkaLog) -> None:
    """Say both symbols' prices each second, for ever, as a feed would: an executor trades on none that is old."""
    while True:
        now_ms = time.time_ns() // 1_000_000
        for symbol, quantity in QUANTITIES.items():
            mid = price_at(symbol, START_MS)
            ticker = Ticker(
                venue=VENUE,
                symbol=symbol,
                bid_price_quote=price_down(mid - TICK, TICK),
                bid_quantity_base=quantity,
                ask_price_quote=price_up(mid + TICK, TICK),
                ask_quantity_base=quantity,
                received_at_ms=now_ms,
                venue_sequence=now_ms,
            )
            headers = Envelope(digest_id("bench", symbol, str(now_ms)), ticker.ce_type(), f"feed/{VENUE}", now_ms).headers()
            await log.append(Output(MARKET_TICKERS, f"{VENUE}:{symbol}".encode(), encode(ticker), headers))
        await asyncio.sleep(1.0)


async def incarnations(log: KafkaLog) -> dict[str, str]:
    """What control says each portfolio is: commands of another incarnation are refused."""
    records = await log.read(OPERATOR_CONTROL, 0, 0, await log.end_offset(OPERATOR_CONTROL, 0))
    events = (decode(Envelope.read(record.headers).type, record.value) for record in records)
    return {event.portfolio: event.incarnation for event in events if isinstance(event, PortfolioCreated)}


async def opened(log: KafkaLog, shards: int) -> int:
    """How many accounts are open."""
    found = 0
    for partition in range(partitions_of(ORDERS_EVENTS, shards)):
        records = await log.read(ORDERS_EVENTS, partition, 0, await log.end_offset(ORDERS_EVENTS, partition))
        found += sum(Envelope.read(record.headers).type == AccountOpened.ce_type() for record in records)
    return found


def orders(account: str, portfolio: str, incarnation: str) -> Iterator[PlaceOrder]:
    """Small orders that fill at once: both symbols in turn, bought and then sold."""
    number = 0
    while True:
        number += 1
        symbol = ("BTC/USDT", "ETH/USDT")[number % 2]
        side = ("buy", "sell")[number // 2 % 2]
        mid = price_at(symbol, START_MS)
        cap = price_up(mid * UP, TICK) if side == "buy" else price_down(mid * DOWN, TICK)
        now_ms, signal_id = time.time_ns() // 1_000_000, digest_id("bench", account, str(number))
        yield PlaceOrder.model_validate(
            {
                "command_id": command_id(signal_id, 0),
                "signal_id": signal_id,
                "portfolio": portfolio,
                "incarnation": incarnation,
                "decision_number": number,
                "ordinal": 0,
                "account": account,
                "venue": VENUE,
                "symbol": symbol,
                "decided_at_ms": now_ms,
                "admit_by_ms": now_ms + 10_000,
                "expires_at_ms": now_ms + 60_000,
                "side": side,
                "order_type": "limit",
                "time_in_force": "ioc",
                "quantity_base": QUANTITIES[symbol],
                "price_limit_quote": cap,
                "price_mid_quote": mid,
                "oldest_received_at_ms": now_ms,
                "input_age_ms_max": 60_000,
            }
        )
