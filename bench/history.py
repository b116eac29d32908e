"""A history of any length for the checker: valid, synthetic, and made while it is read, so that it needs no memory.

100 accounts order in turn, one each 50 ms. About each order: its market batch, decision, signed command, events, entries of
the books with their hash chain, the entries again as the sequencer journals them, the venue's lines, and the rows of the
tables. Each eighth order is lost once and proven absent, each fiftieth is not admitted.
"""

import hashlib
from base64 import b32encode
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.signing import signed_bytes
from schemas.values import plain
from streams.proof.verify.authors import Key
from streams.proof.verify.facts import Raw, read_value
from streams.proof.verify.projection import KEYS, Fold
from streams.proof.verify.verification import COMMANDS, CONTROL, EVENTS, JOURNAL, LEDGER, SIGNALS, Setting

ACCOUNTS, PARTITIONS = 100, 4
BEGIN_MS, STEP_MS = 1_764_000_000_000, 50
RECORDS_AN_ORDER = 18
LATE_TABLES = ("heads", "balances")
ENVIRONMENT = "bench"
LINES = "venue"

_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
_KEYS = {purpose: Key(_PRIVATE.public_key(), purpose, 0, 1 << 50) for purpose in ("commands", "control")}
_PRICE, _QUANTITY = Decimal(50_000), Decimal("0.01")
_FEE = "0.5"
_LIMIT = {"buy": "50100", "sell": "49900"}

SETTING = Setting(environment=ENVIRONMENT, trusted=_KEYS, projected=dict.fromkeys(range(PARTITIONS), 1 << 60))
"""How this history is to be verified."""


class History:
    """About `messages` records of topics, by source: (topic, partition), the venue's lines, and the tables' names."""

    def __init__(self, messages: int) -> None:
        self.records = 0
        self.lines = 0
        self.rows = 0
        self._orders = iter(range(max(1, messages // RECORDS_AN_ORDER)))
        self._queues: dict[Any, deque[Any]] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._books = [_Books(f"a{number:02}") for number in range(ACCOUNTS)]
        self._fold = Fold()
        self._done = False
        for partition in range(PARTITIONS):
            self._say(JOURNAL, partition, "journal.writer-started", "0", BEGIN_MS, _writer())
            for topic in (SIGNALS, COMMANDS, EVENTS, LEDGER):
                self._queues[topic, partition] = deque()
        for table in KEYS:
            self._queues[table] = deque()
        self._queues[LINES] = deque()
        self._begin()

    def sources(self) -> Iterator[Any]:
        """The names of what is read side by side, in the order of the flow."""
        for topic in (JOURNAL, SIGNALS, COMMANDS, EVENTS, LEDGER):
            yield from ((topic, partition) for partition in range(PARTITIONS))
        yield LINES
        yield from (table for table in KEYS if table not in LATE_TABLES)

    async def batches(self, source: Any) -> AsyncIterator[Sequence[Any]]:
        """What a source says, as fast as it is asked."""
        queue = self._queues[source]
        if source == (CONTROL, 0):
            yield list(queue)
            return
        while True:
            while not queue and not self._done:
                self._more()
            if not queue:
                return
            batch = list(queue)
            queue.clear()
            yield batch

    def _more(self) -> None:
        number = next(self._orders, None)
        if number is not None:
            return self._order(number)
        self._done = True
        for table, row, _ in self._fold.close():
            self._queues[table].append(row)
        self.rows += sum(len(self._queues[table]) for table in LATE_TABLES)
        return None

    # What is said

    def _begin(self) -> None:
        """Portfolios, policies, limits; accounts with an owner, opened with what the venue was given."""
        for number, books in enumerate(self._books):
            account, portfolio, at_ms = books.account, f"p{number:02}", BEGIN_MS
            about = {"at_ms": at_ms - 60_000, "who": "bench", "portfolio": portfolio, "scope": f"portfolio:{portfolio}"}
            self._say(CONTROL, 0, "control.portfolio-created", portfolio, at_ms, about | {"accounts": {account: "sim"}})
            self._say(CONTROL, 0, "control.policy-set", portfolio, at_ms, about | {"mark_age_ms_max": 5000})
            self._say(CONTROL, 0, "control.account-limits-set", account, at_ms, about | {"account": account} | _limits())
            partition = number % PARTITIONS
            self._event(partition, account, "owner-started", at_ms, {"owner": "bench"})
            for asset, held in (("BTC", "100"), ("USDT", "10000000")):
                self._line("balance_set", at_ms, account=account, asset=asset, change=held)
            totals = {"BTC": "100", "USDT": "10000000"}
            self._event(partition, account, "account-opened", at_ms, {"portfolio": portfolio, "totals": totals})
            moves = [(f"assets:{account}", "equity:opening", asset, held) for asset, held in totals.items()]
            self._entry(partition, books, "account_opened", at_ms, {"portfolio": portfolio}, moves)

    def _order(self, number: int) -> None:
        """Everything about one order."""
        index, at_ms = number % ACCOUNTS, BEGIN_MS + (number + 1) * STEP_MS
        books, portfolio, partition = self._books[index], f"p{index:02}", index % PARTITIONS
        books.orders += 1
        side = "buy" if books.orders % 2 else "sell"
        command_id = _id("command", number)
        order = {
            "command_id": command_id,
            "portfolio": portfolio,
            "symbol": "BTC/USDT",
            "incarnation": _id("incarnation", index),
            "decision_number": books.orders,
            "ordinal": 0,
        }
        figures = {
            "side": side,
            "quantity_base": plain(_QUANTITY),
            "price_limit_quote": _LIMIT[side],
            "price_mid_quote": plain(_PRICE),
            "decided_at_ms": at_ms,
        }
        self._market(partition, number, at_ms)
        signal = {
            "signal_id": _id("signal", number),
            "reason": "drift",
            "nav_quote": "15000000",
            "oldest_received_at_ms": at_ms - 100,
        }
        self._say(SIGNALS, partition, "rebalance.decided", portfolio, at_ms, order | signal | {"at_ms": at_ms})
        offset = self._say(
            COMMANDS, partition, "orders.place", books.account, at_ms, order | figures | _command(books.account, at_ms)
        )
        answer = {**order, "commands_offset": offset}
        if number % 50 == 49:
            self._event(partition, books.account, "not-admitted", at_ms + 3, answer | {"cause": "too_late"})
            state = {"state": "not_admitted", "filled_base": "0", "filled_quote": "0", "cause": "too_late"}
            self._entry(partition, books, "not_admitted", at_ms + 3, _of(order) | state)
        else:
            self._event(partition, books.account, "admitted", at_ms + 3, answer | figures | {"command_type": "orders.place"})
            self._book(partition, books, "admitted", at_ms + 3, order, figures, "admitted")
            attempt = 1
            if number % 8 == 7:
                self._lost(partition, books, at_ms + 5, order, figures)
                at_ms, attempt = at_ms + 4000, 2
            self._filled(partition, books, at_ms + 5, order, figures, attempt)
        for key, row in list(self._fold.ripe(0)):
            self._fold.drop(key)
            self._row("orders", row)

    def _lost(self, partition: int, books: "_Books", at_ms: int, order: dict[str, Any], figures: dict[str, Any]) -> None:
        attempt = self._intended(partition, books, at_ms, order, figures, 1)
        self._event(partition, books.account, "unknown", at_ms + 1, _of(order) | attempt | {"cause": "timeout"})
        self._book(partition, books, "unknown", at_ms + 1, order, figures | attempt, "unknown")
        self._event(partition, books.account, "absent", at_ms + 3900, _of(order) | attempt | {"queries": 2})
        self._book(partition, books, "absent", at_ms + 3900, order, figures | attempt, "absent")

    def _intended(
        self, partition: int, books: "_Books", at_ms: int, order: dict[str, Any], figures: dict[str, Any], number: int
    ) -> dict[str, Any]:
        attempt = {"attempt": number, "client_order_id": _client(order["command_id"], number)}
        request = {"order_type": "limit", "time_in_force": "ioc", "timestamp_ms": at_ms, "window_ms": 2000}
        self._event(partition, books.account, "intended", at_ms, _of(order) | attempt | figures | request)
        self._book(partition, books, "intended", at_ms, order, figures | attempt, "intended")
        return attempt

    def _filled(
        self, partition: int, books: "_Books", at_ms: int, order: dict[str, Any], figures: dict[str, Any], number: int
    ) -> None:
        attempt = self._intended(partition, books, at_ms, order, figures, number)
        account, quote = books.account, plain(_PRICE * _QUANTITY)
        venue_order = {"venue_order_id": str(self.lines)}
        ids = {"account": account, "symbol": "BTCUSDT", "client_order_id": attempt["client_order_id"]}
        self._line("order_accepted", at_ms + 2, **ids)
        self._event(partition, account, "accepted", at_ms + 4, _of(order) | attempt | venue_order)
        self._book(partition, books, "accepted", at_ms + 4, order, figures | attempt | venue_order, "open")
        trade = {"trade_id": str(self.lines), "quote_amount": quote, "fee_asset": "USDT", "fee_amount": _FEE}
        traded = {"price_quote": plain(_PRICE), "quantity_base": plain(_QUANTITY), "side": figures["side"]}
        fee = {"fee_asset": "USDT", "fee_amount": _FEE}
        self._line("fill", at_ms + 2, **ids, **traded, **fee, trade_id=self.lines, amount_quote=quote)
        self._event(
            partition, account, "filled", at_ms + 5, _of(order) | attempt | traded | trade | {"venue_time_ms": at_ms + 2}
        )
        done = figures | attempt | venue_order | {"filled_base": plain(_QUANTITY), "filled_quote": quote}
        names = {"fill_price_quote": plain(_PRICE), "fill_quantity_base": plain(_QUANTITY), "fill_quote_amount": quote}
        assets, trading = f"assets:{account}", f"trading:{account}"
        moves = [(assets, trading, "BTC", plain(_QUANTITY)), (trading, assets, "USDT", quote)]
        if figures["side"] == "sell":
            moves = [(target, source, asset, amount) for source, target, asset, amount in moves]
        moves.append((f"fees:{account}", assets, "USDT", _FEE))
        self._book(
            partition, books, "filled", at_ms + 5, order, done | names | fee | {"trade_id": trade["trade_id"]}, "open", moves
        )
        self._line("order_closed", at_ms + 2, **ids)
        end = {"closed_as": "filled", "filled_base": plain(_QUANTITY), "filled_quote": quote}
        self._event(partition, account, "closed", at_ms + 6, _of(order) | attempt | end)
        self._book(partition, books, "closed", at_ms + 6, order, done, "filled")

    # How it is said

    def _market(self, partition: int, number: int, at_ms: int) -> None:
        ticker = "market.tickers.v1:0"
        books = self._books[0]
        begin, books.tickers[partition] = books.tickers.get(partition, 0), books.tickers.get(partition, 0) + 3
        counted = {"offset_from": begin, "offset_to": begin + 3, "journalled": 1, "conflated": 2}
        quote = {"bid_price_quote": "49999", "ask_price_quote": "50001", "source": ticker, "source_offset": begin + 2}
        batch = {"quotes": {"sim:BTC/USDT": quote}, "ranges": {ticker: counted}, "news": {}}
        self._say(JOURNAL, partition, "journal.market-batch", "0", at_ms, _writer() | batch | {"sequenced_at_ms": at_ms})

    def _event(self, partition: int, account: str, kind: str, at_ms: int, fields: dict[str, Any]) -> None:
        self._say(
            EVENTS, partition, f"orders.{kind}", account, at_ms, {"account": account, "epoch": 1, "at_ms": at_ms} | fields
        )

    def _book(
        self,
        partition: int,
        books: "_Books",
        kind: str,
        at_ms: int,
        order: dict[str, Any],
        fields: dict[str, Any],
        state: str,
        moves: Sequence[tuple[str, str, str, str]] = (),
    ) -> None:
        told = (
            {"filled_base": "0", "filled_quote": "0"} | _of(order) | {k: v for k, v in fields.items() if k != "decided_at_ms"}
        )
        self._entry(partition, books, kind, at_ms, told | {"state": state}, moves)

    def _entry(
        self,
        partition: int,
        books: "_Books",
        kind: str,
        at_ms: int,
        fields: dict[str, Any],
        moves: Sequence[tuple[str, str, str, str]] = (),
    ) -> None:
        """An entry, the rows that it makes, and the same once more as the sequencer journals it."""
        value = books.entry(kind, at_ms, fields, moves)
        offset = self._say(LEDGER, partition, "ledger.entry", books.account, at_ms, value)
        raw = self._queues[LEDGER, partition][-1]
        for table, row in self._fold.take(raw):
            self._row(table, row)
        source = f"{LEDGER}:{partition}"
        counted = {"offset_from": offset, "offset_to": offset + 1, "journalled": 1}
        told = {"source": source, "source_offset": offset, "source_value": raw.value.decode(), "ranges": {source: counted}}
        self._say(JOURNAL, partition, "journal.input", "0", at_ms, _writer() | told | {"sequenced_at_ms": at_ms})

    def _say(self, topic: str, partition: int, kind: str, key: str, at_ms: int, fields: Mapping[str, Any]) -> int:
        """One record, encoded and read again as a reader of the topic does; its offset."""
        offset = self._offsets.get((topic, partition), 0)
        self._offsets[topic, partition] = offset + 1
        value, ce_type = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS), f"trimtab.{kind}.v1"
        signature, key_id = b"", {COMMANDS: "commands", CONTROL: "control"}.get(topic, "")
        if key_id:
            signature = _PRIVATE.sign(signed_bytes(ENVIRONMENT, topic, ce_type, key.encode(), value))
        ce_id = f"{topic}:{partition}:{offset}"
        raw = Raw(topic, partition, offset, key.encode(), value, ce_type, read_value(value), at_ms, ce_id, signature, key_id)
        self._queues.setdefault((topic, partition), deque()).append(raw)
        self.records += 1
        return offset

    def _line(self, kind: str, at_ms: int, **fields: Any) -> None:
        self.lines += 1
        self._queues[LINES].append({"sequence": self.lines, "at_ms": at_ms, "kind": kind, **fields})

    def _row(self, table: str, row: dict[str, Any]) -> None:
        self.rows += 1
        self._queues[table].append(row)


class _Books:
    """An account's chain."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.orders = 0
        self.tickers: dict[int, int] = {}
        self._sequence = 0
        self._hash = "0" * 64

    def entry(
        self, kind: str, at_ms: int, fields: dict[str, Any], moves: Sequence[tuple[str, str, str, str]]
    ) -> dict[str, Any]:
        """The next entry; each move is (to, from, asset, amount)."""
        self._sequence += 1
        postings = [
            {"ledger_account": account, "asset": asset, "amount": sign + amount}
            for to, source, asset, amount in moves
            for account, sign in ((to, ""), (source, "-"))
        ]
        common = {"account": self.account, "sequence": self._sequence, "kind": kind, "at_ms": at_ms}
        rest = {"event_id": _id(self.account, self._sequence), "postings": postings, "flags": [], "halt_ids": []}
        body = common | rest | fields
        sealed = hashlib.sha256(self._hash.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        entry = body | {"previous_hash": self._hash, "entry_hash": sealed}
        self._hash = sealed
        return entry


def _id(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _client(command_id: str, attempt: int) -> str:
    return b32encode(hashlib.blake2b(f"{command_id}{attempt}".encode(), digest_size=16).digest()).decode().rstrip("=").lower()


def _writer() -> dict[str, Any]:
    return {"epoch": 1, "writer": "w", "expected_offset": 0}


def _of(order: Mapping[str, Any]) -> dict[str, Any]:
    return {name: order[name] for name in ("command_id", "portfolio", "symbol")}


def _command(account: str, at_ms: int) -> dict[str, Any]:
    ages = {"oldest_received_at_ms": at_ms - 100, "input_age_ms_max": 5000}
    return {"account": account, "venue": "sim", "admit_by_ms": at_ms + 10_000, "expires_at_ms": at_ms + 60_000, **ages}


def _limits() -> dict[str, Any]:
    names = ("order_notional_max_quote", "turnover_5min_max_quote", "turnover_day_max_quote")
    return dict.fromkeys(names, "1000000000") | {"open_orders_max": 10, "price_collar": "0.01", "symbols": ["BTC/USDT"]}
