"""I3 and I4: money is conserved for each asset, exactly; every fill counts once and never beyond its order.

The closing balances are computed from the venue's own journal: what was put in, plus its fills, minus its fees; and compared
with what the venue says of itself, when it was asked.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from streams.proof.verify.facts import EXACT, Facts, Raw, amount, entries, total
from streams.proof.verify.report import Row, Violation, row

Totals = dict[tuple[str, str], Decimal]

FILL_FIGURES = ("side", "price_quote", "quantity_base", "quote_amount", "fee_asset", "fee_amount")


def i3(facts: Facts) -> Row:
    """The books against the venue, asset by asset, and every entry in itself."""
    violations: list[Violation] = []
    lines = 0
    held: Totals = defaultdict(Decimal)
    for raw in entries(facts):
        postings = raw.fields.get("postings", [])
        lines += len(postings)
        violations += _balanced(raw, postings)
        for posting in postings:
            if posting["ledger_account"] == f"assets:{raw.fields['account']}":
                _add(held, (raw.fields["account"], posting["asset"]), amount(posting["amount"]))
    venue = _venue(facts)
    opened = _opened(facts)
    violations += _compare("books", held, "venue's journal", venue, opened)
    violations += _compare("figures", _figures(facts), "books", held, opened)
    if facts.balances is not None:
        ours = facts.our_accounts()
        stated = {
            (ours[account], asset): value
            for account, assets in facts.balances.items()
            if account in ours
            for asset, value in assets.items()
        }
        violations += _compare("venue's journal", venue, "venue's statement", stated, opened)
    return row("I3", "opening + flows + fills - fees = the venue's closing balance; postings sum to zero", lines, violations)


def i4(facts: Facts) -> Row:
    """Fills are unique, cumulative figures never shrink, and never exceed the order unless flagged."""
    fills = [raw for raw in entries(facts) if raw.fields.get("kind") == "filled"]
    return row("I4", "fills unique, cumulative fill never shrinks nor exceeds the order", len(fills), _fills(facts))


def same_fills(facts: Facts) -> Row:
    """Fills in the venue's journal = fills in the ledger topic = rows in Postgres, with all their figures."""
    ours = facts.our_accounts()
    venue = {_trade(line, ours[line["account"]]): _of_journal(line) for line in _journal(facts, "fill", ours)}
    ledger = {
        _trade(raw.fields, raw.fields["account"]): _of_ledger(raw.fields)
        for raw in entries(facts)
        if raw.fields.get("kind") == "filled"
    }
    rows = {
        _trade(fill, fill["account"]): tuple(fill[name] for name in FILL_FIGURES)
        for fill in facts.tables.get("fills", ())
        if fill["kind"] == "filled"
    }
    violations = [*_missing("journal", venue, "ledger", ledger), *_missing("ledger", ledger, "postgres", rows)]
    return row("fills", "venue's journal = ledger topic = rows in Postgres", len(venue), violations)


def _balanced(raw: Raw, postings: list[Mapping[str, str]]) -> Iterator[Violation]:
    assets: dict[str, Decimal] = defaultdict(Decimal)
    for posting in postings:
        assets[posting["asset"]] = EXACT.add(assets[posting["asset"]], amount(posting["amount"]))
    for asset, rest in assets.items():
        if rest:
            yield Violation(raw.where, f"postings in {asset} sum to {rest}")


def _figures(facts: Facts) -> Totals:
    """What the books should hold by the fields of their entries, without their postings."""
    held: Totals = defaultdict(Decimal)
    opened: set[str] = set()
    for raw in entries(facts):
        fields, account = raw.fields, raw.fields["account"]
        if fields["kind"] == "account_opened":
            opened.add(account)
            for posting in fields["postings"]:
                if posting["ledger_account"] == "equity:opening":
                    _add(held, (account, posting["asset"]), amount(posting["amount"]).copy_negate())
        elif account in opened and fields["kind"] == "filled":
            _fill(held, account, fields["symbol"], _of_ledger(fields))
        elif account in opened and fields["kind"] == "flow_observed":
            for posting in fields["postings"]:
                if posting["ledger_account"] == "equity:unclassified":
                    _add(held, (account, posting["asset"]), amount(posting["amount"]).copy_negate())
    return held


def _venue(facts: Facts) -> Totals:
    held: Totals = defaultdict(Decimal)
    ours = facts.our_accounts()
    for line in _journal(facts, "balance_set", ours):
        _add(held, (ours[line["account"]], line["asset"]), amount(line["change"]))
    for line in _journal(facts, "fill", ours):
        _fill(held, ours[line["account"]], line["symbol"], _of_journal(line))
    return held


def _fill(held: Totals, account: str, symbol: str, figures: tuple[str, ...]) -> None:
    side, _, quantity, quote_amount, fee_asset, fee = figures
    base, _, quote = symbol.partition("/")
    gained, paid = amount(quantity), amount(quote_amount)
    if side == "sell":
        gained, paid = gained.copy_negate(), paid.copy_negate()
    _add(held, (account, base), gained)
    _add(held, (account, quote), paid.copy_negate())
    _add(held, (account, fee_asset), amount(fee).copy_negate())


def _opened(facts: Facts) -> set[str]:
    return {raw.fields["account"] for raw in entries(facts) if raw.fields.get("kind") == "account_opened"}


def _compare(
    name: str, left: Totals, other: str, right: Mapping[tuple[str, str], Decimal], accounts: set[str]
) -> Iterator[Violation]:
    for account, asset in sorted(set(left) | set(right)):
        here, there = left.get((account, asset), Decimal(0)), right.get((account, asset), Decimal(0))
        if account in accounts and here != there:
            yield Violation(f"{account} {asset}", f"{name}: {here}, {other}: {there}")


def _fills(facts: Facts) -> Iterator[Violation]:
    trades: dict[tuple[str, ...], str] = {}
    filled: dict[str, tuple[Decimal, Decimal]] = {}
    for raw in entries(facts):
        fields = raw.fields
        if "command_id" not in fields or fields["kind"] == "fill_unplaced":
            continue
        base, quote = filled.get(fields["command_id"], (Decimal(0), Decimal(0)))
        if fields["kind"] == "filled":
            trade = (fields["account"], fields["symbol"], fields["trade_id"], fields["side"])
            if trade in trades:
                yield Violation(raw.where, f"trade {trade[2]} was booked before at {trades[trade]}")
            trades.setdefault(trade, raw.where)
            base = EXACT.add(base, amount(fields["fill_quantity_base"]))
            quote = EXACT.add(quote, amount(fields["fill_quote_amount"]))
        filled[fields["command_id"]] = base, quote
        said = (amount(fields["filled_base"]), amount(fields["filled_quote"]))
        if said != (base, quote):
            yield Violation(raw.where, f"cumulative fill is {said[0]} for {said[1]}, its fills sum to {base} for {quote}")
        ordered = fields.get("quantity_base")
        if ordered and base > amount(ordered) and fields["kind"] == "filled" and "overfill" not in fields.get("flags", []):
            yield Violation(raw.where, f"{base} filled of {ordered} ordered, without a flag")


def _journal(facts: Facts, kind: str, ours: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    return (line for line in facts.journal if line.get("kind") == kind and line.get("account") in ours)


def _trade(fields: Mapping[str, Any], account: str) -> tuple[str, ...]:
    return account, fields["symbol"], str(fields["trade_id"]), fields["client_order_id"]


def _of_journal(line: Mapping[str, Any]) -> tuple[str, ...]:
    return line["side"], line["price_quote"], line["quantity_base"], line["amount_quote"], line["fee_asset"], line["fee_amount"]


def _of_ledger(fields: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("side", "fill_price_quote", "fill_quantity_base", "fill_quote_amount", "fee_asset", "fee_amount")
    return tuple(fields[name] for name in names)


def _missing(
    name: str, left: Mapping[tuple[str, ...], tuple[str, ...]], other: str, right: Mapping[tuple[str, ...], tuple[str, ...]]
) -> Iterator[Violation]:
    for trade in sorted(set(left) | set(right)):
        where = f"trade {trade[2]} of {trade[0]} {trade[1]}"
        if trade not in right:
            yield Violation(where, f"is in the {name}, not in the {other}")
        elif trade not in left:
            yield Violation(where, f"is in the {other}, not in the {name}")
        elif not _equal(left[trade], right[trade]):
            yield Violation(where, f"{name} says {left[trade]}, {other} says {right[trade]}")


def _equal(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    texts = (0, 4)  # side and fee asset; the others are amounts
    return all(
        one == two if place in texts else amount(one) == amount(two)
        for place, (one, two) in enumerate(zip(left, right, strict=True))
    )


def _add(totals: Totals, key: tuple[str, str], value: Decimal) -> None:
    totals[key] = total((totals.get(key, Decimal(0)), value))
