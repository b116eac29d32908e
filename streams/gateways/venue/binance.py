"""The words of the Binance spot dialect: which raw field is which of ours, which stream is subscribed how.

Values pass untouched, as the text the venue wrote; whether they make sense is decided by whoever takes them.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.values import exact
from streams.domain.errors import UnknownOutcomeError
from streams.domain.numbers import MONEY
from streams.domain.orders.outcome import FlowView
from streams.ports.venue import KeyRights

STREAMS_PER_SOCKET = 200
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
FLOWS_PAGE = 1000
_CREDITED = frozenset({"1", "6"})  # success; credited but cannot withdraw
_GIVEN_BACK = frozenset({"1", "3", "5"})  # canceled, rejected, failed
MINUTE_WEIGHT = "REQUEST_WEIGHT"
_ASSET = re.compile(r"[A-Z0-9]{1,20}")
_STATUS = {"TRADING": "trading", "CANCEL_ONLY": "cancel_only"}


def subscription(request_id: int, streams: Sequence[str]) -> dict[str, Any]:
    """The request that subscribes streams on a market socket."""
    return {"method": "SUBSCRIBE", "params": list(streams), "id": request_id}


def quote_stream(market_id: str) -> str:
    """The stream of best bid and ask."""
    return f"{market_id.lower()}@bookTicker"


def book_stream(market_id: str) -> str:
    """The stream of book changes."""
    return f"{market_id.lower()}@depth@100ms"


def event_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event itself; combined streams wrap it."""
    data = message.get("data")
    return data if "stream" in message and isinstance(data, Mapping) else message


def is_reply(message: Mapping[str, Any]) -> bool:
    """Whether it answers a request of ours: an acknowledgement or an error."""
    return "error" in message or ("id" in message and "result" in message)


def is_quote(event: Mapping[str, Any]) -> bool:
    """Best bid and ask come without an event name and without a time."""
    return "e" not in event and "a" in event and "b" in event


def is_book_change(event: Mapping[str, Any]) -> bool:
    """A change of a book."""
    return event.get("e") == "depthUpdate"


def is_farewell(event: Mapping[str, Any]) -> bool:
    """The server says that it will close this socket soon."""
    return event.get("e") == "serverShutdown"


def quote_fields(event: Mapping[str, Any]) -> dict[str, object]:
    """A socket's best bid and ask in our names."""
    return {
        "bid_price_quote": event.get("b"),
        "bid_quantity_base": event.get("B"),
        "ask_price_quote": event.get("a"),
        "ask_quantity_base": event.get("A"),
        "venue_sequence": event.get("u"),
    }


def depth_quote_fields(depth: Mapping[str, Any]) -> dict[str, object]:
    """The best bid and ask of a depth reply in our names; its number counts in the same sequence as the sockets'."""
    bid, ask = (_first_level(depth.get(side)) for side in ("bids", "asks"))
    return {
        "bid_price_quote": bid[0],
        "bid_quantity_base": bid[1],
        "ask_price_quote": ask[0],
        "ask_quantity_base": ask[1],
        "venue_sequence": depth.get("lastUpdateId"),
    }


def rules_fields(market: Mapping[str, Any], fee_maker: str, fee_taker: str) -> dict[str, object]:
    """One symbol of the exchange information in our names; what the venue left out is None."""
    filters = {entry.get("filterType"): entry for entry in market.get("filters") or () if isinstance(entry, Mapping)}
    price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    return {
        "base": market.get("baseAsset"),
        "quote": market.get("quoteAsset"),
        "status": _STATUS.get(str(market.get("status")), "closed"),
        "price_tick_quote": price.get("tickSize"),
        "quantity_step_base": lot.get("stepSize"),
        "quantity_min_base": lot.get("minQty"),
        "quantity_max_base": lot.get("maxQty"),
        "notional_min_quote": notional.get("minNotional"),
        "notional_max_quote": notional.get("maxNotional"),
        "fee_maker": fee_maker,
        "fee_taker": fee_taker,
    }


def weight_per_minute(info: Mapping[str, Any]) -> int | None:
    """The request weight that the exchange information allows each minute."""
    for limit in info.get("rateLimits") or ():
        if isinstance(limit, Mapping) and limit.get("rateLimitType") == MINUTE_WEIGHT and limit.get("interval") == "MINUTE":
            allowed = limit.get("limit")
            return allowed if isinstance(allowed, int) and allowed > 0 else None
    return None


def order_limits(info: Mapping[str, Any]) -> dict[str, int]:
    """How many new orders one account may make in each interval, named as in the headers: {"10s": 100, "1d": 200000}."""
    limits: dict[str, int] = {}
    for limit in info.get("rateLimits") or ():
        if isinstance(limit, Mapping) and limit.get("rateLimitType") == "ORDERS":
            unit, count, allowed = str(limit.get("interval"))[:1].lower(), limit.get("intervalNum"), limit.get("limit")
            if unit in _UNIT_MS and isinstance(count, int) and isinstance(allowed, int) and allowed > 0:
                limits[f"{count}{unit}"] = allowed
    return limits


def interval_ms(name: str) -> int:
    """The length of an interval as the venue's headers name it."""
    return int(name[:-1]) * _UNIT_MS[name[-1]]


def rights(reply: Mapping[str, Any]) -> KeyRights:
    """The key's rights. Raises UnknownOutcomeError unless each is said plainly."""
    names = ("enableReading", "enableSpotAndMarginTrading", "enableWithdrawals")
    said = [reply.get(name) for name in names]
    if not all(isinstance(value, bool) for value in said):
        raise UnknownOutcomeError(f"key permissions: the venue did not say {', '.join(names)} as true or false")
    return KeyRights(read=bool(said[0]), trade=bool(said[1]), withdraw=bool(said[2]))


def balances(reply: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    """Free and used of each asset. Raises UnknownOutcomeError on a list that is not whole: missing is not zero."""
    entries = reply.get("balances")
    if not isinstance(entries, list):
        raise UnknownOutcomeError("balances: the reply has no list of balances")
    found: dict[str, tuple[object, object]] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or not {"asset", "free", "locked"} <= entry.keys() or entry["asset"] in found:
            raise UnknownOutcomeError("balances: an entry is incomplete or named twice")
        found[str(entry["asset"])] = (entry["free"], entry["locked"])
    return found


def _first_level(side: object) -> tuple[object, object]:
    if isinstance(side, list) and side and isinstance(side[0], list) and len(side[0]) >= 2:
        return side[0][0], side[0][1]
    return None, None


def can_be_named(asset: str) -> bool:
    """Whether messages can carry this asset's name. Whoever knows an address may send what has another one, to any account;
    nobody can have given it a target."""
    return _ASSET.fullmatch(asset) is not None


def flows(deposits: Any, withdrawals: Any) -> list[FlowView]:
    """Deposits that are credited, withdrawals that took funds, and those that gave them back. Raises ValueError on what cannot
    be read or is cut.

    A withdrawal binds and then takes its amount and the fee on top, from when it was asked for; a refused one gives them back.
    """
    for page in (deposits, withdrawals):
        if not isinstance(page, list) or len(page) >= FLOWS_PAGE:
            raise ValueError("the list of deposits or withdrawals is not whole")
    found = [_deposit(raw) for raw in deposits if str(raw.get("status")) in _CREDITED]
    return found + [_withdrawal(raw) for raw in withdrawals]


def _deposit(raw: Mapping[str, Any]) -> FlowView:
    at_ms = raw.get("completeTime") or raw.get("insertTime")
    if not isinstance(at_ms, int):
        raise ValueError("a deposit without its time")
    return FlowView(f"deposit/{raw['id']}", str(raw["coin"]), exact(raw.get("amount")), at_ms)


def _withdrawal(raw: Mapping[str, Any]) -> FlowView:
    at = datetime.strptime(str(raw.get("applyTime")), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    taken = MONEY.add(exact(raw.get("amount")), exact(raw.get("transactionFee")))
    flow_id, coin, at_ms = f"withdrawal/{raw['id']}", str(raw["coin"]), int(at.timestamp() * 1000) + 999
    if str(raw.get("status")) in _GIVEN_BACK:
        return FlowView(f"{flow_id}/returned", coin, taken, at_ms, returns=flow_id)
    return FlowView(flow_id, coin, MONEY.minus(taken), at_ms)
