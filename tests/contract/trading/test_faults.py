"""4.3: each fault of a venue through the whole executor, with the venue's own journal as the truth."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.ledger import EntryKind, Flag
from schemas.orders import ClosedAs, OrderAbsent, OrderClosed, OrderIntended, OrderRejected
from streams.domain.ids import client_order_id
from streams.matching.orders import Kind, Order, OrderRequest, Side
from streams.simulator.binance.rest import FAULT_PAUSE_S
from streams.simulator.faults import FaultPlan
from streams.simulator.server import Server
from tests.contract.trading.house import ACCOUNT, CLOCK, QUICK, House, addresses, until

FOUND = ["admitted", "intended", "unknown", "found", "filled", "closed"]
AGAIN = ["admitted", "intended", "unknown", "absent", "intended", "accepted", "filled", "closed"]


class Faulty:
    """A house at a simulated venue whose faults are ours to choose."""

    def __init__(self, server: Server, state_dir: Path) -> None:
        self.server = server
        self.house = House(addresses(server.port), ("sim-alice", "sim-alice-secret"), state_dir, {"BTC": "2", "USDT": "200000"})

    def fault(self, fault: str, **rule: Any) -> None:
        self.server.venue.faults.install(FaultPlan.model_validate({"faults": [{"fault": fault, "next": 1, **rule}]}))

    def journal(self, kind: str) -> list[dict[str, Any]]:
        return [entry.body for entry in self.server.venue.market.journal.since(1) if entry.kind == kind]

    def struck(self) -> int:
        return sum(self.server.venue.faults.done.values())

    def settled(self, struck: int = 1) -> None:
        """The fault happened, and in the end nothing is doubled, lost, open or wrong."""
        assert self.struck() == struck
        funds = self.server.venue.market.funds
        holds = {asset: balance.free + balance.locked for asset, balance in funds.balances(ACCOUNT)}
        self.house.settled([body["client_order_id"] for body in self.journal("order_accepted")], holds)


def once(story: list[str]) -> list[str]:
    """The story with its fills told as one."""
    return [step for step, before in zip(story, ["", *story], strict=False) if (step, before) != ("filled", "filled")]


@pytest.fixture
async def faulty(venue_server: Server, tmp_path: Path) -> Faulty:
    return Faulty(venue_server, tmp_path)


async def test_4_3_a_lost_reply_leaves_an_order_that_is_found_and_not_sent_again(faulty: Faulty) -> None:
    faulty.fault("reply_lost")
    async with faulty.house.executor():
        command = faulty.house.command(faulty.house.place())
        assert once(await faulty.house.ended(command, "closed")) == FOUND
    faulty.settled()


async def test_4_3_a_lost_request_is_proven_absent_before_the_next_attempt_leaves_under_its_own_id(faulty: Faulty) -> None:
    faulty.fault("request_lost")
    async with faulty.house.executor():
        command = faulty.house.command(faulty.house.place())
        assert once(await faulty.house.ended(command, "closed")) == AGAIN
    (absent,), (first, second) = faulty.house.events(OrderAbsent), faulty.house.events(OrderIntended)
    assert absent.venue_time_ms > first.timestamp_ms + first.window_ms + QUICK["margin_ms"]
    assert absent.queries >= 2
    assert first.client_order_id != second.client_order_id
    faulty.settled()


async def test_4_3_an_order_that_appears_after_an_honest_not_found_is_adopted(faulty: Faulty) -> None:
    faulty.fault("late_order", late_ms=1200)
    async with faulty.house.executor():
        command = faulty.house.command(faulty.house.place())
        await faulty.house.reached(command, "unknown")
        assert faulty.journal("order_accepted")
        assert once(await faulty.house.ended(command, "closed")) == FOUND
    faulty.settled()


@pytest.mark.parametrize("fault", ["reply_html", "reply_empty", "reply_cut", "reply_5xx"])
async def test_4_3_a_reply_that_proves_nothing_is_no_reply(faulty: Faulty, fault: str) -> None:
    faulty.fault(fault)
    async with faulty.house.executor():
        command = faulty.house.command(faulty.house.place())
        assert once(await faulty.house.ended(command, "closed")) == FOUND
    faulty.settled()


@pytest.mark.parametrize(("fault", "bans"), [("refused_429", 0), ("refused_418", 1)])
async def test_4_3_a_refusal_of_the_limiter_ends_the_command_and_silences_all_requests_as_long_as_asked(
    faulty: Faulty, fault: str, bans: int
) -> None:
    faulty.fault(fault)
    limits = faulty.server.venue.limits
    async with faulty.house.executor():
        refused = faulty.house.command(faulty.house.place())
        assert await faulty.house.ended(refused, "rejected") == ["admitted", "intended", "rejected"]
        (refusal,), knocks = faulty.house.events(OrderRejected), limits.knocks
        command = faulty.house.command(faulty.house.place())
        await faulty.house.ended(command, "closed")
        (taken,) = [entry for entry in faulty.server.venue.market.journal.since(1) if entry.kind == "order_accepted"]
        assert (refusal.code, limits.bans) == ("-1003", bans)
        assert taken.at_ms - refusal.at_ms >= 1000 * FAULT_PAUSE_S
        assert limits.knocks == knocks  # nobody knocked while the door was shut
    faulty.settled()


async def test_4_3_a_timestamp_outside_the_window_is_refused_and_the_time_is_read_anew(faulty: Faulty) -> None:
    """-1021 is a definite no: bytes of an intent that was overtaken by the venue's clock are never taken."""
    async with faulty.house.executor(time_every_ms=60_000, clock_offset_ms_max=60_000):
        first = faulty.house.command(faulty.house.place())
        await faulty.house.ended(first, "closed")
        faulty.server.venue.clock.offset_ms = 5_000
        refused = faulty.house.command(faulty.house.place())
        assert await faulty.house.ended(refused, "rejected") == ["admitted", "intended", "rejected"]
        (refusal,) = faulty.house.events(OrderRejected)
        assert refusal.code == "-1021"
        await faulty.house.ended(faulty.house.command(faulty.house.place()), "closed")
        assert faulty.house.halts() == []
    faulty.settled(struck=0)


async def test_4_3_an_order_under_our_id_that_is_older_than_its_intent_is_not_adopted(faulty: Faulty) -> None:
    """The venue takes a client id again once its first order is final: the id alone proves nothing."""
    venue, command = faulty.server.venue, faulty.house.place()
    ours = client_order_id(command.command_id, 1)
    for age_ms in (20_000, 10_000):
        request = OrderRequest(
            ACCOUNT, "BTCUSDT", Side.BUY, Kind.LIMIT, ours, quantity_base=Decimal("0.01"), price_quote=Decimal(70_000)
        )
        assert isinstance(venue.market.submit(request, CLOCK.wall_ms() - age_ms), Order)
    faulty.fault("request_lost")
    async with faulty.house.executor():
        faulty.house.command(command)
        await until(lambda: faulty.house.halts())
        later = faulty.house.command(faulty.house.place())
        await faulty.house.ended(later, "not-admitted")
    assert faulty.house.halts() == ["order_mismatch"]
    assert faulty.house.story(command.command_id) == ["admitted", "intended", "unknown"]
    assert len(faulty.journal("order_accepted")) == 2


async def test_4_3_a_cancel_that_crosses_a_fill_ends_with_the_fill(faulty: Faulty) -> None:
    async with faulty.house.executor():
        command = faulty.house.command(faulty.house.resting())
        await faulty.house.reached(command, "accepted")
        faulty.fault("cancel_crossed")
        cancel = faulty.house.command(faulty.house.cancel(command))
        assert await faulty.house.ended(cancel, "cancel-ended") == ["admitted", "cancel-intended", "cancel-ended"]
        assert await faulty.house.ended(command, "closed") == ["admitted", "intended", "accepted", "filled", "closed"]
    (closed,) = faulty.house.events(OrderClosed)
    assert (closed.closed_as, closed.filled_base) == (ClosedAs.FILLED, Decimal("0.01"))
    faulty.settled()


async def test_4_3_a_fill_that_shows_after_its_order_was_canceled_is_booked_and_flagged(faulty: Faulty) -> None:
    async with faulty.house.executor():
        command = faulty.house.command(faulty.house.resting())
        await faulty.house.reached(command, "accepted")
        faulty.fault("fill_after_cancel", late_ms=1000)
        cancel = faulty.house.command(faulty.house.cancel(command))
        await faulty.house.ended(cancel, "cancel-ended")
        told = await faulty.house.ended(command, "filled")
    assert told == ["admitted", "intended", "accepted", "closed", "filled"]
    (closed,), late = faulty.house.events(OrderClosed), faulty.house.entries()[-1]
    assert (closed.closed_as, closed.filled_base) == (ClosedAs.CANCELED, Decimal(0))
    assert (late.kind, late.flags, late.filled_base) == (EntryKind.FILLED, (Flag.LATE_FILL,), Decimal("0.005"))
    faulty.settled()


async def traded(faulty: Faulty, command: str) -> list[str]:
    """Somebody meets a standing order; its story to the end."""
    await faulty.house.reached(command, "accepted")
    (order,) = faulty.server.venue.market.register.open(ACCOUNT, "BTCUSDT")
    faulty.server.venue.meet(order, order.remaining_base / 2)
    faulty.server.venue.meet(order, order.remaining_base)
    return await faulty.house.ended(command, "closed")


@pytest.mark.parametrize("fault", ["stream_twice", "stream_missing"])
async def test_4_3_messages_of_the_stream_that_come_twice_or_not_at_all_change_nothing(faulty: Faulty, fault: str) -> None:
    faulty.fault(fault, next=1000)
    async with faulty.house.executor():
        await until(lambda: faulty.server.venue.readers_of(ACCOUNT))
        told = await traded(faulty, faulty.house.command(faulty.house.resting()))
        taken = await faulty.house.ended(faulty.house.command(faulty.house.place()), "closed")
    assert told == ["admitted", "intended", "accepted", "filled", "filled", "closed"]
    assert once(taken) == ["admitted", "intended", "accepted", "filled", "closed"]
    assert faulty.house.halts() == []
    faulty.settled(struck=faulty.struck())


async def test_4_3_a_stream_that_falls_silent_delays_nothing_and_is_dialled_anew(
    faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pongs go on: only a trade that requests have shown, and it has not told, gives it away."""
    faulty.fault("stream_silent")

    def noticed() -> int:
        return sum("the stream has not told of trade" in record.message for record in caplog.records)

    async with faulty.house.executor(stream_silence_ms=200):
        await until(lambda: faulty.server.venue.readers_of(ACCOUNT))
        for _ in range(50):
            await faulty.house.ended(faulty.house.command(faulty.house.place()), "closed")
            if noticed():
                break
        await until(noticed)
        await until(lambda: faulty.server.venue.readers_of(ACCOUNT) == 1)
        told = await traded(faulty, faulty.house.command(faulty.house.resting()))
    assert told == ["admitted", "intended", "accepted", "filled", "filled", "closed"]
    faulty.settled()
