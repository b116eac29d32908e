"""3.4 on the real stack: cash alone, a deposit, a withdrawal nobody announced, a trade made by hand on the venue; told on by
the real books to the real fold, which holds until each is classified."""

from decimal import Decimal
from typing import Any

from schemas.control import FlowClassificationSet, FlowKind, TransferAnnounced
from schemas.orders import AccountHalted, AccountOpened, CommandNotAdmitted, ExecutionEvent, FlowClassified, FlowObserved
from schemas.rebalance import Reason
from streams.agents.executor.letters import event_id
from streams.domain.ledger.books import Books
from streams.gateways.venue.budget import RequestBudget
from streams.gateways.venue.client import Credentials, make_client
from streams.gateways.venue.profile import VenueProfile
from streams.topics import ORDERS_LEDGER
from tests.stack.executor.installation import CLOCK, SYMBOLS, Installation, ended, opened, until
from tests.unit.portfolio.story import Story, created, limits, policy, reason_now, targets

FILLED = ["admitted", "intended", "accepted", "filled", "closed"]


async def observed(installation: Installation, count: int) -> list[FlowObserved]:
    async def enough() -> list[FlowObserved]:
        flows = await installation.events(kind=FlowObserved)
        return flows if len(flows) >= count else []

    return await until(enough)


async def acked(installation: Installation, flow: FlowObserved, kind: FlowKind) -> None:
    at: dict[str, Any] = {"scope": "account:alice", "at_ms": CLOCK.wall_ms(), "who": "tester", "account": "alice"}
    await installation.control(FlowClassificationSet(**at, flow_id=flow.flow_id, flow_kind=kind))

    async def classified() -> bool:
        return flow.flow_id in {said.flow_id for said in await installation.events(kind=FlowClassified)}

    await until(classified)


async def by_hand(installation: Installation) -> None:
    """What a person with the account's key does on the venue's own page."""
    rest = f"127.0.0.1:{installation.server.port}"
    urls = {"rest": f"http://{rest}", "stream": f"ws://{rest}/stream/ws", "ws_api": f"ws://{rest}/ws-api/v3"}
    key, budget = Credentials("sim-alice", "sim-alice-secret"), RequestBudget("sim", CLOCK, 6000)
    client = make_client(VenueProfile("sim", "binance", urls), key, False, budget)
    await client.load_markets()
    params = {"newClientOrderId": "web_by_hand", "timeInForce": "IOC"}
    await client.create_order("BTC/USDT", "limit", "buy", 0.05, 70_000, params)
    await client.close()


async def test_3_4_cash_a_deposit_a_withdrawal_and_a_trade_by_hand(installation: Installation) -> None:
    await installation.post("balances", {"alice": {"BTC": "0", "ETH": "0", "USDT": "100000"}})
    async with installation.executor("one"):
        await opened(installation)
        (opening,) = await installation.events(kind=AccountOpened)
        assert opening.totals == {"USDT": Decimal(100_000)}
        await ended(installation, await installation.command(installation.place()), "closed")

        announced: dict[str, Any] = {"scope": "account:alice", "at_ms": CLOCK.wall_ms(), "who": "tester", "account": "alice"}
        await installation.control(TransferAnnounced(**announced, asset="ETH", amount=Decimal(3)))
        await installation.post("balances", {"alice": {"ETH": "3"}})
        (deposit,) = await observed(installation, 1)
        assert (deposit.asset, deposit.amount) == ("ETH", Decimal(3))
        (said,) = await installation.events(kind=FlowClassified)
        assert (said.flow_id, said.flow_kind) == (deposit.flow_id, FlowKind.EXTERNAL)
        assert await ended(installation, await installation.command(installation.place()), "closed") == FILLED

        await installation.post("balances", {"alice": {"ETH": "1"}})
        withdrawal = (await observed(installation, 2))[1]
        assert (withdrawal.asset, withdrawal.amount) == ("ETH", Decimal(-2))
        refused = await installation.command(installation.place())
        await ended(installation, refused, "not-admitted", "expired-unsent")
        assert (await installation.events(kind=CommandNotAdmitted))[-1].cause == "unclassified_flow"
        await acked(installation, withdrawal, FlowKind.EXTERNAL)

        await by_hand(installation)
        flows = (await observed(installation, 4))[2:]
        assert {flow.asset for flow in flows} >= {"BTC", "USDT"}
    # A new owner goes on from the checkpoint: nothing is observed a second time, and the books agree with the venue.
    async with installation.executor("two"):
        for flow in flows:
            await acked(installation, flow, FlowKind.FOREIGN)
        assert await ended(installation, await installation.command(installation.place()), "closed") == FILLED
    events = await installation.events()
    assert len([event for event in events if isinstance(event, FlowObserved)]) == 2 + len(flows)
    assert not [event for event in events if isinstance(event, AccountHalted)]
    _told_to_the_fold(installation, events)


def _told_to_the_fold(installation: Installation, events: list[ExecutionEvent]) -> None:
    """From the venue to holdings: the real books of these events, the real fold of their entries. It is held from each flow
    that nobody announced to its classification, and in the end it holds what the venue says, to the last place."""
    books, story = Books(), Story()
    for event in (created("p-alice", accounts={"alice": "sim"}), targets("p-alice"), policy("p-alice"), limits("p-alice")):
        story.control(event)
    for symbol in SYMBOLS:
        story.rules(symbol, "sim")
    waiting: set[str] = set()
    for event in events:
        entry = books.book(event, event_id(event))
        if entry is None:
            continue
        story.input(entry, ORDERS_LEDGER)
        if isinstance(event, FlowObserved):
            waiting.add(event.flow_id)
        elif isinstance(event, FlowClassified):
            waiting.discard(event.flow_id)
        if story.portfolio("p-alice").accounts["alice"].opened:
            expected = Reason.UNCLASSIFIED_FLOW if waiting else Reason.NO_PRICE
            assert reason_now(story, "p-alice") is expected
    assert not waiting
    holdings = {asset: amount for asset, amount in story.portfolio("p-alice").accounts["alice"].holdings.items() if amount}
    funds = installation.server.venue.market.funds.balances("alice")
    assert holdings == {asset: balance.free + balance.locked for asset, balance in funds if balance.free or balance.locked}
