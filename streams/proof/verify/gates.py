"""I8, I9, I10, I16: what must have been true before a request, from events, commands and control."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from streams.proof.verify.authors import Authors
from streams.proof.verify.control import Control
from streams.proof.verify.facts import EXACT, ZERO, Raw, amount
from streams.proof.verify.lives import Account, Life
from streams.proof.verify.report import Tally

_SAME = ("portfolio", "symbol", "incarnation", "decision_number", "ordinal", "decided_at_ms")
_SAME_ORDER = (*_SAME, "side", "quantity_base", "price_limit_quote", "price_mid_quote")


class Commands:
    """The commands of each account that were not answered yet, in the order of their topic."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Raw]] = defaultdict(deque)

    def take(self, raw: Raw) -> None:
        """One more command, or something that claims to be one."""
        self._waiting[raw.key.decode(errors="replace")].append(raw)

    def answered(self, account: str, offset: int) -> Raw | None:
        """The record at this offset, if it is one of the account; what lies before it will never be answered."""
        waiting = self._waiting[account]
        while waiting and waiting[0].offset < offset:
            waiting.popleft()
        return waiting.popleft() if waiting and waiting[0].offset == offset else None


def i8_decided(control: Control, raw: Raw) -> Iterator[str]:
    """A decision looked at nothing older than its policy allows."""
    fields = raw.fields
    allowed_ms = control.input_age_ms_max(fields["portfolio"], fields["at_ms"])
    age_ms = fields["at_ms"] - fields["oldest_received_at_ms"]
    if allowed_ms is not None and age_ms > allowed_ms:
        yield f"decided on an input {age_ms} ms old, {allowed_ms} are allowed"


def i8(control: Control, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """Every input of an order was fresh when it was decided, admitted, and intended."""
    if life is None or life.is_cancel or life.told is None:
        return
    told = life.told.fields
    oldest_ms, allowed_ms = told["oldest_received_at_ms"], told["input_age_ms_max"]
    policy_ms = control.input_age_ms_max(life.portfolio, told["decided_at_ms"])
    if raw.kind == "admitted":
        if policy_ms is not None and allowed_ms > policy_ms:
            yield f"the command allows inputs {allowed_ms} ms old, its policy {policy_ms}"
        if told["decided_at_ms"] - oldest_ms > allowed_ms:
            yield f"decided on an input {told['decided_at_ms'] - oldest_ms} ms old, {allowed_ms} are allowed"
    if raw.fields["at_ms"] - oldest_ms > allowed_ms:
        yield f"{raw.kind} on an input {raw.fields['at_ms'] - oldest_ms} ms old, {allowed_ms} are allowed"


def i9(control: Control, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """Each request had been admitted, and neither it nor what it came to with all others was above a limit."""
    fields = raw.fields
    if life is None:
        yield f"command {fields['command_id']} was never admitted"
        return
    if life.is_cancel:
        return
    at_ms = life.admitted["at_ms"]
    known = control.limits(account.name, at_ms)
    if not known:
        yield f"no limits were set for {account.name}"
    broken = [_above(limits, account, life, raw) for limits in known]
    if broken and all(broken):
        yield str(broken[-1])


def _above(limits: Mapping[str, Any], account: Account, life: Life, raw: Raw) -> str | None:
    """The limit that this order is above, or None. `raw` is its admission or its INTENT: the latter stands for itself alone."""
    order = raw.fields
    price, mid = order.get("price_limit_quote"), amount(life.admitted["price_mid_quote"])
    if price is None:
        return "an order without a limit price has no collar"
    quantity = amount(order["quantity_base"])
    notional = EXACT.multiply(quantity, max(amount(price), mid))
    if life.symbol not in limits["symbols"]:
        return f"{life.symbol} is not among the allowed symbols"
    if notional > amount(limits["order_notional_max_quote"]):
        return f"notional {notional} is above {limits['order_notional_max_quote']}"
    worse = EXACT.subtract(amount(price), mid) if order["side"] == "buy" else EXACT.subtract(mid, amount(price))
    if worse > EXACT.multiply(mid, amount(limits["price_collar"])):
        return f"{price} is worse than the mid {mid} by more than the collar {limits['price_collar']}"
    if raw.kind == "intended":
        return None if quantity <= amount(life.admitted["quantity_base"]) else f"{quantity} is more than was admitted"
    return _above_together(limits, account, notional, order["at_ms"])


def _above_together(limits: Mapping[str, Any], account: Account, notional: Decimal, at_ms: int) -> str | None:
    others = [other for other in account.lives.values() if not other.is_cancel]
    if len(others) + 1 > limits["open_orders_max"]:
        return f"{len(others) + 1} open orders are more than {limits['open_orders_max']}"
    pending = notional
    for other in others:
        pending = EXACT.add(pending, max(EXACT.subtract(other.reserved_quote, other.traded_quote), ZERO))
    for name, turnover in (("5min", account.turnover_5min), ("day", account.turnover_day)):
        together = EXACT.add(turnover.until(at_ms), pending)
        if together > amount(limits[f"turnover_{name}_max_quote"]):
            return f"turnover {together} in {name} is above {limits[f'turnover_{name}_max_quote']}"
    return None


def i10(authors: Authors, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """Each order traces to one command that its author signed, that says the same, and that had not expired."""
    if life is None or life.admitted.get("own_cause"):
        return
    told = life.told
    if told is None:
        if raw.kind == "admitted":
            yield f"no command of {account.name} lies at offset {raw.fields['commands_offset']} that was not answered before"
        return
    if raw.kind == "admitted":
        doubt = authors.doubt(told, "commands", raw.fields["at_ms"])
        if doubt is not None:
            yield f"its command at {told.place}: {doubt}"
        if told.fields.get("command_id") != life.command_id or told.fields.get("account") != account.name:
            yield f"{told.place} is another command"
            return
        names = _SAME if life.is_cancel else _SAME_ORDER
        for name in names:
            if told.fields.get(name) != life.admitted.get(name):
                yield f"{name} is {life.admitted.get(name)}, the command at {told.place} says {told.fields.get(name)}"
    if not life.is_cancel:
        expires_ms = min(told.fields["admit_by_ms"], told.fields["expires_at_ms"])
        if raw.fields["at_ms"] > expires_ms:
            yield f"{raw.kind} {raw.fields['at_ms'] - expires_ms} ms after its command had expired"


def i16(control: Control, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """In doubt, no new order: not while an order of unknown fate blocks the symbol, not while anybody has stopped trading."""
    if account.halts:
        yield f"intended while {account.name} is halted: {next(iter(account.halts))}"
    symbol = raw.fields["symbol"]
    for other in account.lives.values():
        if other.state == "unknown" and not other.is_cancel and other.symbol == symbol and other is not life:
            yield f"intended while command {other.command_id} on {symbol} is UNKNOWN"
    halt_id = control.stopped(account.name, raw.fields["portfolio"], raw.fields["at_ms"])
    if halt_id is not None:
        yield f"intended while halt {halt_id} was in force"


def unsigned_note(authors: Authors, tally: Tally) -> None:
    """Say how much was believed without proof."""
    if authors.accepted:
        tally.notes.append(f"unsigned accepted: dev ({authors.accepted} commands and control events)")
