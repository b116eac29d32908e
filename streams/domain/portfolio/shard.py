"""The fold of one shard: `step(shard, record) -> messages`.

A shard is one journal partition and the portfolios that live on it. Its journal is everything a decision can see, in one
order: prices (as market batches), ledger entries, venue rules and status, and what operators set. A step reads one record:

    1. the record changes what all portfolios see (`World`), or one portfolio's own state (`evolve`);
    2. every portfolio that this can matter to takes a look (`decide.consider`) and says what follows: a rebalance with its
       orders, why it holds one back, a halt with its cancels, or how it stands.

Where it refuses to trade, the most binding first: `gates` (halted or quarantined, account not opened, money that moved by
itself, no targets or rules, a price that is missing, stale or crossed, no account left to trade through), `threshold` (what is
not worth a trade), `plan` and `limits` (what is too small, too large or cannot be paid). Each refusal of a wanted trade is a
RebalanceHeldBack with its `Reason`, said once. Past this point the executor refuses on its own.

There is no clock here: the time is the record's `sequenced_at_ms`. There is no randomness and no I/O: the same journal gives
the same messages, to the byte, on every machine. Holdings are what the ledger booked, never what we hope an order did.

A step is total for portfolios: when folding an event or deciding on it fails for one of them, its state stays as it was, it
is quarantined with the reason, and the others go on. What breaks the shard itself raises InvariantError, and the process stops.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import localcontext

from schemas.account import AccountBalances
from schemas.codec import DecodeError, decode
from schemas.control import (
    ControlEvent,
    MaintenanceScheduled,
    PolicySet,
    PortfolioCreated,
    PortfolioLimitsSet,
    ShardAssigned,
    TargetsSet,
    TradingResumed,
    TradingStopped,
)
from schemas.envelope import Message
from schemas.journal import (
    Input,
    JournalRecord,
    MarketBatch,
    PortfolioAdopted,
    PortfolioReleased,
    WriterStarted,
)
from schemas.ledger import LedgerEntry
from schemas.venue import VenueRules, VenueStatus
from streams.domain.errors import InvariantError
from streams.domain.numbers import DECISION
from streams.domain.portfolio import evolve, signals, snapshot
from streams.domain.portfolio.decide import consider
from streams.domain.portfolio.gates import concerns, is_crossed
from streams.domain.portfolio.screen import Moves, is_quiet
from streams.domain.portfolio.state import Account, PortfolioState, Quoted, Shard, TimeInBand, World
from streams.domain.portfolio.valuation import mid

Change = Callable[[PortfolioState], PortfolioState]


def step(shard: Shard, record: JournalRecord) -> list[Message]:
    """Fold one accepted journal record into `shard`, in place, and return what its portfolios say, in order.

    Raises InvariantError when the record cannot belong into this shard's journal.
    """
    if isinstance(record, WriterStarted):
        return []  # its time is its host's clock, which may be behind records that still land before it
    shard.world.time_ms = record.sequenced_at_ms
    with localcontext(DECISION):
        match record:
            case MarketBatch():
                return _looked(shard, _take_prices(shard, record))
            case Input():
                return _take_input(shard, _decoded(record))
            case PortfolioAdopted():
                return _adopted(shard, record)
            case PortfolioReleased():
                return _released(shard, record)
            case _:
                return []  # Positions and SourceGap: what is missing shows as prices that grow old


# Prices.


def _take_prices(shard: Shard, batch: MarketBatch) -> list[str]:
    """Take the batch into the world; the portfolios that must look, by name. The others would find nothing changed.

    `batch.quotes` holds the symbols whose price changed enough to be said; `batch.news` when each symbol was last received,
    also without a new price: that keeps a quiet price fresh and lets a dead one age.
    """
    quotes = shard.world.quotes
    for key, news in batch.news.items():
        quoted = quotes.get(key)
        if quoted is not None and news.received_at_ms > quoted.received_at_ms:
            quotes[key] = Quoted(quoted.bid_price_quote, quoted.ask_price_quote, news.received_at_ms)
    for key, quote in batch.quotes.items():
        news = batch.news.get(key)
        quotes[key] = Quoted(quote.bid_price_quote, quote.ask_price_quote, news.received_at_ms if news else 0)
    changed = {key: quotes[key] for key in batch.quotes}
    moves = Moves(
        {key: mid(quoted) for key, quoted in changed.items()},
        frozenset(key for key, quoted in changed.items() if is_crossed(quoted.bid_price_quote, quoted.ask_price_quote)),
    )
    watches, now_ms = shard.watches, shard.world.time_ms
    return [name for name in shard.portfolios if name not in watches or not is_quiet(watches[name], moves, now_ms)]


# Inputs: one source record each.


def _decoded(record: Input) -> Message:
    try:
        return decode(record.source_type, record.source_value.encode())
    except DecodeError as error:
        raise InvariantError(f"journalled input {record.source}@{record.source_offset}: {error}") from None


def _take_input(shard: Shard, message: Message) -> list[Message]:
    world = shard.world
    match message:
        case LedgerEntry():
            fact = f"{message.account} entry {message.sequence}"
            return _changed(shard, _owners(shard, message.account), lambda s: evolve.booked(s, message, world.time_ms), fact)
        case VenueRules():
            world.rules[f"{message.venue}:{message.symbol}"] = message
            return _looked(shard, _on_venue(shard, message.venue))
        case VenueStatus():
            world.statuses[message.venue] = message
            return _looked(shard, _on_venue(shard, message.venue))
        case AccountBalances():
            return []  # a venue's snapshot only checks; holdings come from the ledger
        case ControlEvent():
            return _take_control(shard, message)
        case _:
            raise InvariantError(f"a {type(message).__name__} is not an input of portfolios")


def _take_control(shard: Shard, event: ControlEvent) -> list[Message]:
    world = shard.world
    match event:
        case PortfolioCreated():
            return _created(shard, event)
        case TradingStopped():
            world.stops[event.halt_id] = event
            return _looked(shard, [name for name, state in shard.portfolios.items() if concerns(event, state)])
        case TradingResumed():
            return _resumed(shard, event)
        case MaintenanceScheduled():
            world.maintenance = (*(window for window in world.maintenance if window.to_ms > world.time_ms), event)
            return _looked(shard, _on_venue(shard, event.venue))
        case TargetsSet() | PolicySet() | PortfolioLimitsSet() | ShardAssigned():
            names = [event.portfolio] if event.portfolio in shard.portfolios else []
            return _changed(shard, names, lambda state: evolve.steered(state, event, shard.number))
        case _:
            return []  # account limits, flows and keys are the executor's


def _created(shard: Shard, event: PortfolioCreated) -> list[Message]:
    """A portfolio begins with no books; one that exists is made anew only under a new incarnation and at rest. What stopped it
    stops it still: its halts and its quarantine until a resume names them, flows until somebody says what they were.

    An account stays with whom it belongs to: a newcomer that names it is quarantined, and stands here without it.
    """
    known = shard.portfolios.get(event.portfolio)
    if event.shard != shard.number or (known is not None and known.incarnation == event.incarnation):
        return []
    now_ms = shard.world.time_ms
    accounts = {account: Account(venue) for account, venue in sorted(event.accounts.items())}
    fresh = PortfolioState(event.portfolio, event.incarnation, event.quote, accounts, now_ms, TimeInBand(now_ms))
    taken = {account: name for account in accounts for name in _owners(shard, account) if name != event.portfolio}

    def make(state: PortfolioState) -> PortfolioState:
        if taken:
            account, owner = min(taken.items())
            raise ValueError(f"{account} belongs to {owner}")
        if state.missed is not None:
            raise ValueError(f"{event.portfolio} missed {state.missed}; mended code must fold the journal anew")
        if state.orders:
            raise ValueError(f"{event.portfolio} is created anew with {len(state.orders)} open orders")
        kept = {name: state.accounts[name] for name in fresh.accounts if name in state.accounts}
        return replace(
            fresh,
            accounts=fresh.accounts | kept,
            halts={halt_id: halt for halt_id, halt in state.halts.items() if halt.account in (None, *kept)},
            quarantine=state.quarantine,
            flows_open={name: flow_ids for name, flow_ids in state.flows_open.items() if name in kept},
        )

    if known is None:
        own = {name: account for name, account in accounts.items() if name not in taken}
        shard.portfolios[event.portfolio] = replace(fresh, accounts=own)
        shard.portfolios = dict(sorted(shard.portfolios.items()))
    return _changed(shard, [event.portfolio], make)


def _resumed(shard: Shard, event: TradingResumed) -> list[Message]:
    """Lift exactly the named halts, of operators and of portfolios, and look again wherever one of them held."""
    lifted = [shard.world.stops.pop(halt_id) for halt_id in event.halt_ids if halt_id in shard.world.stops]
    said: list[Message] = []
    for name, state in shard.portfolios.items():
        liftable = state.halts.keys() | ({state.quarantine} if state.missed is None else set())
        own = {halt_id for halt_id in event.halt_ids if halt_id in liftable}
        held = own | {stop.halt_id for stop in lifted if concerns(stop, state)}
        if held:
            signal = signals.resumed(shard.world, state, held)
            shard.portfolios[name] = evolve.told(state, signal)
            said += [signal, *_looked(shard, [name])]
    return said


# Moves between shards.


def _released(shard: Shard, record: PortfolioReleased) -> list[Message]:
    state = shard.portfolios.pop(record.portfolio, None)
    shard.watches.pop(record.portfolio, None)
    if state is not None and state.orders:
        raise InvariantError(f"{record.portfolio} was released with {len(state.orders)} open orders")
    return []


def _adopted(shard: Shard, record: PortfolioAdopted) -> list[Message]:
    state = snapshot.adopt(record.state, record.state_version)
    if state.portfolio != record.portfolio or record.portfolio in shard.portfolios or state.orders:
        raise InvariantError(f"{record.portfolio} cannot be adopted: it is another, is here already, or has open orders")
    shard.portfolios = dict(sorted({**shard.portfolios, state.portfolio: replace(state, leaving_to=None)}.items()))
    return _looked(shard, [state.portfolio])


# One portfolio at a time.


def _looked(shard: Shard, names: Iterable[str]) -> list[Message]:
    return _changed(shard, names, lambda state: state)


def _changed(shard: Shard, names: Iterable[str], change: Change, fact: str | None = None) -> list[Message]:
    """Change each of these portfolios and let it look; a failure quarantines it.

    A change that fails leaves the portfolio as it was, and marks the `fact` that it could not take. A look that fails takes
    nothing back of the change: what the ledger booked has happened, whatever can be decided about it.
    """
    said: list[Message] = []
    for name in names:
        state, changed = shard.portfolios[name], None
        try:
            changed = change(state)
            after, messages, watch = consider(shard.world, changed)
        except InvariantError:
            raise
        except Exception as error:  # noqa: BLE001 - a step is total: whatever failed, only this portfolio stops, and says so
            left = changed or replace(state, missed=state.missed or fact)
            after, messages, watch = _quarantined(shard.world, left, error)
        shard.portfolios[name] = after
        said += messages
        if watch is None:
            shard.watches.pop(name, None)
        else:
            shard.watches[name] = watch
    return said


def _quarantined(world: World, state: PortfolioState, error: Exception) -> tuple[PortfolioState, list[Message], None]:
    if state.quarantine is not None:
        return state, [], None
    signal = signals.quarantined(world, state, error)
    return evolve.told(state, signal), [signal], None


def _owners(shard: Shard, account: str) -> list[str]:
    return [name for name, state in shard.portfolios.items() if account in state.accounts]


def _on_venue(shard: Shard, venue: str) -> list[str]:
    return [
        name for name, state in shard.portfolios.items() if any(account.venue == venue for account in state.accounts.values())
    ]
