"""I3 and I4: money is conserved for each asset, exactly; every fill counts once and never beyond its order.

The closing balances are computed from the venue's own journal: what was put in, plus its fills, minus its fees; and compared
with the books, and with what the venue says of itself when it was asked. Where all runs on, a fill of an order that has not
ended may still be on its way into the books, and so may, for a while, what others than we did at the venue.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from streams.proof.verify.compact import Digests, Waiting
from streams.proof.verify.facts import EXACT, ZERO, Place, Raw, amount
from streams.proof.verify.lives import ENDED
from streams.proof.verify.report import Tally

OURS = re.compile(r"^[a-z2-7]{26}$")
FLOW_WITHIN_MS = 120_000
"""How long a deposit, a withdrawal or a trade by hand may take into the books."""

_WAITING_MAX = 200_000
_PARKED_MAX = 10_000

Totals = dict[tuple[str, str], Decimal]
Figures = tuple[str, str, str, str, str, str]
"""Side, price, quantity, quote amount, fee asset, fee."""


@dataclass(slots=True)
class _Fill:
    """One trade of ours as one side tells it; `where` is a place or a line of the venue's journal."""

    account: str
    symbol: str
    client: str
    figures: Figures
    where: Place | str


@dataclass(slots=True)
class _Filled:
    """The cumulative fill of a command."""

    base: Decimal = ZERO
    quote: Decimal = ZERO


class Money:
    """The books of all accounts beside the venue's journal.

    `on_its_way` tells of an account and a client order id whether a fill may still be missing in the books.
    """

    def __init__(
        self, symbols: Mapping[str, str], cut_ms: int | None, ended_kept: int, on_its_way: Callable[[str, str], bool]
    ) -> None:
        self.i3 = Tally("I3", "opening + flows + fills - fees = the venue's closing balance; postings sum to zero")
        self.i4 = Tally("I4", "fills unique, cumulative fill never shrinks nor exceeds the order")
        self.fills = Tally("fills", "fills in the venue's journal = fills in the ledger, with all their figures")
        self._symbols = symbols
        self._recent_from_ms = None if cut_ms is None else cut_ms - FLOW_WITHIN_MS
        self._ended_kept = ended_kept
        self._on_its_way = on_its_way
        self._held: Totals = defaultdict(Decimal)
        self._figured: Totals = defaultdict(Decimal)
        self._venue: Totals = defaultdict(Decimal)
        self._unbooked: Totals = defaultdict(Decimal)
        self._recent: dict[tuple[str, str], deque[Decimal]] = defaultdict(deque)
        self._opened: set[str] = set()
        self._trades = Digests()
        self._commands: dict[str, _Filled] = {}
        self._leaving: deque[str] = deque()
        self._booked: Waiting[str, _Fill] = Waiting(_WAITING_MAX, self._booked_alone)
        self._traded: Waiting[str, _Fill] = Waiting(_WAITING_MAX, self._traded_alone)
        self._parked: list[tuple[str, Mapping[str, Any]]] = []

    def take(self, raw: Raw) -> None:
        """One entry of the ledger, the first of its account and sequence."""
        fields = raw.fields
        for what in i3_entry(raw):
            self.i3.at(raw.place, what)
        self.i3.items += len(fields.get("postings", ()))
        self._post(fields)
        if fields.get("command_id") is not None and fields["kind"] != "fill_unplaced":
            for what in i4(self._trades, self._commands, raw):
                self.i4.at(raw.place, what)
            if fields["kind"] != "filled" and fields.get("state") in ENDED:
                self._forget_later(fields["command_id"])
        if fields["kind"] == "filled":
            self.i4.items += 1
            self._fill_booked(raw)

    def line(self, account: str, line: Mapping[str, Any]) -> None:
        """One line of the venue's journal about one of our accounts (by our name)."""
        if line["kind"] == "balance_set":
            self._move(account, line["asset"], amount(line["change"]), line["at_ms"])
        elif line["kind"] == "fill":
            ours = bool(OURS.match(line["client_order_id"]))
            symbol = self._symbol(line["symbol"])
            if symbol is None and len(self._parked) < _PARKED_MAX:
                self._parked.append((account, line))
                return
            self._traded_at_venue(account, symbol or line["symbol"], line, ours)

    def close(self, balances: Mapping[str, Mapping[str, Decimal]] | None) -> None:
        """Nothing comes any more; `balances` are the venue's own closing totals by our account's name, when it was asked."""
        for account, line in self._parked:
            symbol = self._symbol(line["symbol"]) or line["symbol"]
            self._traded_at_venue(account, symbol, line, bool(OURS.match(line["client_order_id"])))
        self._booked.close()
        self._traded.close()
        for where, what in i3(self, balances):
            self.i3.elsewhere(where, what)

    def _forget_later(self, command_id: str) -> None:
        """A fill may come after the end: what was filled stays for a while."""
        self._leaving.append(command_id)
        if len(self._leaving) > self._ended_kept:
            self._commands.pop(self._leaving.popleft(), None)

    # Sums

    def _post(self, fields: Mapping[str, Any]) -> None:
        """What the books hold by their postings, and what they should hold by the other fields of their entries."""
        account, kind = fields["account"], fields["kind"]
        if kind == "account_opened":
            self._opened.add(account)
        for posting in fields.get("postings", ()):
            where, asset = posting["ledger_account"], posting["asset"]
            if where == f"assets:{account}":
                _add(self._held, account, asset, amount(posting["amount"]))
            elif where in ("equity:opening", "equity:unclassified") and kind in ("account_opened", "flow_observed"):
                _add(self._figured, account, asset, amount(posting["amount"]).copy_negate())
        if kind == "filled" and account in self._opened:
            for asset, change in _changes(fields["symbol"], _of_ledger(fields)):
                _add(self._figured, account, asset, change)

    def _move(self, account: str, asset: str, change: Decimal, at_ms: int) -> None:
        """Money that moved at the venue without an order of ours."""
        _add(self._venue, account, asset, change)
        if self._recent_from_ms is not None and at_ms >= self._recent_from_ms:
            self._recent[account, asset].append(change)

    def _traded_at_venue(self, account: str, symbol: str, line: Mapping[str, Any], ours: bool) -> None:
        figures = _of_journal(line)
        if not ours:
            for asset, change in _changes(symbol, figures):
                self._move(account, asset, change, line["at_ms"])
            return
        for asset, change in _changes(symbol, figures):
            _add(self._venue, account, asset, change)
        self.fills.items += 1
        fill = _Fill(account, symbol, line["client_order_id"], figures, f"venue's journal:{line['sequence']}")
        self._pair(_trade(account, line), fill, self._traded, self._booked)

    def _fill_booked(self, raw: Raw) -> None:
        fields = raw.fields
        fill = _Fill(fields["account"], fields["symbol"], fields["client_order_id"], _of_ledger(fields), raw.place)
        self._pair(_trade(fields["account"], fields), fill, self._booked, self._traded)

    def _pair(self, key: str, fill: _Fill, mine: Waiting[str, _Fill], others: Waiting[str, _Fill]) -> None:
        other = others.pop(key)
        if other is None:
            mine.put(key, fill)
        elif not _equal(fill.figures, other.figures):
            place, there = (fill, other) if isinstance(fill.where, Place) else (other, fill)
            assert isinstance(place.where, Place)
            self.fills.at(place.where, f"ledger says {place.figures}, {there.where} says {there.figures}")

    def _booked_alone(self, key: str, fill: _Fill) -> None:
        assert isinstance(fill.where, Place)
        self.fills.at(fill.where, f"trade {key} is in the ledger, not in the venue's journal")

    def _traded_alone(self, key: str, fill: _Fill) -> None:
        if self._on_its_way(fill.account, fill.client):
            for asset, change in _changes(fill.symbol, fill.figures):
                _add(self._unbooked, fill.account, asset, change)
        else:
            self.fills.elsewhere(str(fill.where), f"trade {key} is in the venue's journal, not in the ledger")

    def _symbol(self, name: str) -> str | None:
        return name if "/" in name else self._symbols.get(name)

    def sums(self, balances: Mapping[str, Mapping[str, Decimal]] | None) -> Iterator[tuple[str, Totals, str, Totals]]:
        """The pairs of totals that must be equal, for opened accounts."""
        booked = dict(self._venue)
        for key, change in self._unbooked.items():
            booked[key] = EXACT.subtract(booked[key], change)
        yield "books", self._held, "venue's journal", booked
        yield "figures", self._figured, "books", self._held
        if balances is not None:
            stated = {(account, asset): held for account, assets in balances.items() for asset, held in assets.items()}
            yield "venue's journal", self._venue, "venue's statement", stated

    def is_late(self, key: tuple[str, str], here: Decimal, there: Decimal) -> bool:
        """Whether the newest moves at the venue, still on their way into the books, explain the difference."""
        for change in reversed(self._recent.get(key, ())):
            there = EXACT.subtract(there, change)
            if here == there:
                return True
        return False

    @property
    def opened(self) -> set[str]:
        """The accounts whose books are open."""
        return self._opened


def i3(money: Money, balances: Mapping[str, Mapping[str, Decimal]] | None) -> Iterator[tuple[str, str]]:
    """The books against the venue, asset by asset: (where, what) of each difference."""
    for name, left, other, right in money.sums(balances):
        for key in sorted(left.keys() | right.keys()):
            here, there = left.get(key, ZERO), right.get(key, ZERO)
            if key[0] not in money.opened or here == there:
                continue
            if name != "books" or not money.is_late(key, here, there):
                yield " ".join(key), f"{name}: {here}, {other}: {there}"


def i3_entry(raw: Raw) -> Iterator[str]:
    """The postings of one entry sum to zero for each asset."""
    assets: dict[str, Decimal] = {}
    for posting in raw.fields.get("postings", ()):
        assets[posting["asset"]] = EXACT.add(assets.get(posting["asset"], ZERO), amount(posting["amount"]))
    for asset, rest in assets.items():
        if rest:
            yield f"postings in {asset} sum to {rest}"


def i4(trades: Digests, commands: dict[str, _Filled], raw: Raw) -> Iterator[str]:
    """Fills are unique, cumulative figures are the sum of fills, and never exceed the order unless flagged.

    A fill that comes long after the end of its command is checked for uniqueness alone.
    """
    fields = raw.fields
    known = commands.get(fields["command_id"])
    if known is None and fields["kind"] in ("admitted", "not_admitted"):
        known = commands[fields["command_id"]] = _Filled()
    if fields["kind"] == "filled":
        key = f"{fields['account']} {fields['symbol']} {fields['trade_id']} {fields['side']}"
        if not trades.add(key):
            yield f"trade {key} was booked before"
    if known is None:
        return
    if fields["kind"] == "filled":
        known.base = EXACT.add(known.base, amount(fields["fill_quantity_base"]))
        known.quote = EXACT.add(known.quote, amount(fields["fill_quote_amount"]))
    said = (amount(fields["filled_base"]), amount(fields["filled_quote"]))
    if said != (known.base, known.quote):
        yield f"cumulative fill is {said[0]} for {said[1]}, its fills sum to {known.base} for {known.quote}"
    ordered = fields.get("quantity_base")
    if ordered and known.base > amount(ordered) and fields["kind"] == "filled" and "overfill" not in fields.get("flags", []):
        yield f"{known.base} filled of {ordered} ordered, without a flag"


def _changes(symbol: str, figures: Figures) -> Iterator[tuple[str, Decimal]]:
    """What a trade does to its account, asset by asset."""
    side, _, quantity, quote_amount, fee_asset, fee = figures
    base, _, quote = symbol.partition("/")
    gained, paid = amount(quantity), amount(quote_amount)
    if side == "sell":
        gained, paid = gained.copy_negate(), paid.copy_negate()
    yield base, gained
    yield quote, paid.copy_negate()
    yield fee_asset, amount(fee).copy_negate()


def _add(totals: Totals, account: str, asset: str, change: Decimal) -> None:
    totals[account, asset] = EXACT.add(totals[account, asset], change)


def _trade(account: str, fields: Mapping[str, Any]) -> str:
    """The name of one side of a trade: where two orders of ours meet, both sides have one trade id."""
    symbol, side = fields["symbol"].replace("/", ""), fields["side"].lower()
    return f"{account} {symbol} {fields['trade_id']} {side} {fields['client_order_id']}"


def _of_journal(line: Mapping[str, Any]) -> Figures:
    amounts = line["price_quote"], line["quantity_base"], line["amount_quote"]
    return (line["side"].lower(), *amounts, line["fee_asset"], line["fee_amount"])


def _of_ledger(fields: Mapping[str, Any]) -> Figures:
    amounts = fields["fill_price_quote"], fields["fill_quantity_base"], fields["fill_quote_amount"]
    return (fields["side"], *amounts, fields["fee_asset"], fields["fee_amount"])


def _equal(left: Figures, right: Figures) -> bool:
    texts = (0, 4)  # side and fee asset; the others are amounts
    return all(
        one == two or (place not in texts and amount(one) == amount(two))
        for place, (one, two) in enumerate(zip(left, right, strict=True))
    )
