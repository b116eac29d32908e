"""One verification under way: each record, table row and journal line goes to the checks that it concerns, and is forgotten.

The control topic comes first, the rest in any order that keeps each source's own: what is compared across sources waits for
its like. Only an execution event must not come before the command that it names; `merge` sees to that.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from streams.proof.verify import gates, orders
from streams.proof.verify.authors import Authors, Key
from streams.proof.verify.chain import Chains
from streams.proof.verify.compact import Digests, Waiting
from streams.proof.verify.control import Control
from streams.proof.verify.facts import EXACT, Raw, amount
from streams.proof.verify.intake import Intake
from streams.proof.verify.lives import ENDED, ENDED_KEPT, ENDINGS, KINDS, Account, Attempt, Life, Lives
from streams.proof.verify.money import OURS, Money
from streams.proof.verify.projection import Projection
from streams.proof.verify.report import Report, Tally
from streams.proof.verify.unfinished import Halts, i2_unfinished

CONTROL = "operator.control.v1"
JOURNAL = "portfolio.journal.v1"
SIGNALS = "rebalance.signals.v1"
COMMANDS = "orders.commands.v1"
EVENTS = "orders.events.v1"
LEDGER = "orders.ledger.v1"
TOPICS = (CONTROL, JOURNAL, SIGNALS, COMMANDS, EVENTS, LEDGER)
"""What is read, causes before effects."""

_WAITING_MAX = 200_000
_UNREADABLE = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)
_ENDING_KINDS = {what.partition("-")[0] if what.startswith("closed-") else what for what in ENDINGS}

Judge = Callable[[Account, Life | None, Raw], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a verification must know besides what it reads.

    `trusted` are the keys of a local file, None without one. `projected` is how far the tables follow each ledger partition,
    `cut_ms` when it was cut while everything ran (None: all had come to rest). `venue_accounts` names our account on the venue
    where the names differ. `ended_kept` ended commands are remembered whole.
    """

    environment: str = "dev"
    dev: bool = False
    trusted: Mapping[str, Key] | None = None
    projected: Mapping[int, int] = field(default_factory=dict)
    cut_ms: int | None = None
    venue_accounts: Mapping[str, str] = field(default_factory=dict)
    ended_kept: int = ENDED_KEPT


class Verification:
    """All checks of one run."""

    def __init__(self, setting: Setting) -> None:
        self._authors = Authors(setting.environment, setting.dev, setting.trusted)
        self._control = Control(self._authors)
        self._lives = Lives(self._attempt_leaves, setting.ended_kept)
        self._commands = gates.Commands()
        self._intake, self._chains, self._halts = Intake(), Chains(), Halts()
        self._projection = Projection(setting.projected, setting.ended_kept)
        self._money = Money(self._control.symbols, setting.cut_ms, setting.ended_kept, self._on_its_way)
        self._booked_ended = Digests()
        self._ours = {venue: ours for ours, venue in setting.venue_accounts.items()}
        self._accounts: set[str] = set()
        self._accepted: Waiting[str, tuple[str, Mapping[str, Any]]] = Waiting(_WAITING_MAX, self._never_intended)
        self._i1 = Tally("I1", "at most one accepted order for each attempt, a second attempt only after proof of absence")
        self._i2 = Tally("I2", "each admitted command ends once, or is open, or UNKNOWN with an alarm")
        self._i5 = Tally("I5", "only steps of the life cycle")
        self._i8 = Tally("I8", "inputs were fresh at decision, at admission and at the INTENT")
        self._i9 = Tally("I9", "each request was admitted, and within all limits")
        self._i10 = Tally("I10", "each order traces to one signed, unexpired command")
        self._i11 = Tally("I11", "nothing sent with an old epoch, or outside its window, was accepted")
        self._i16 = Tally("I16", "no new order while its symbol is UNKNOWN, its account halted, or trading stopped")
        self._judges = self._judges_by_kind()
        self._takes: dict[str, Callable[[Raw], None]] = {
            CONTROL: self._control.take,
            JOURNAL: self._intake.take,
            SIGNALS: self._signal,
            COMMANDS: self._commands.take,
            EVENTS: self._event,
            LEDGER: self._entry,
        }
        # Whom a record is held against that is not what it claims to be; strangers may write commands and control events.
        self._readers = {JOURNAL: self._intake.tally, SIGNALS: self._i8, EVENTS: self._i5, LEDGER: self._chains.tally}

    def take(self, raw: Raw) -> None:
        """One record of a topic."""
        try:
            self._takes[raw.topic](raw)
        except _UNREADABLE as error:
            if raw.topic in self._readers:
                self._readers[raw.topic].at(raw.place, f"not what it claims to be: {type(error).__name__}: {error}")

    def row(self, table: str, row: Mapping[str, Any]) -> None:
        """One row of a table of the schema `ledger`: amounts as plain text, times as UTC milliseconds."""
        self._projection.row(table, row)

    def line(self, line: Mapping[str, Any]) -> None:
        """One line of the venue's journal."""
        if "account" not in line:
            return
        account = self._ours.get(line["account"]) or line["account"]
        if line["kind"] != "order_accepted":
            self._money.line(account, line)
        elif OURS.match(line["client_order_id"]):
            attempt = self._lives.attempts.get(line["client_order_id"])
            if attempt is None or attempt.account != account:
                self._accepted.put(line["client_order_id"], (account, line))
            else:
                self._accept(attempt, line)

    def close(self, balances: Mapping[str, Mapping[str, Decimal]] | None = None) -> Report:
        """Nothing comes any more. `balances` are the venue's own closing totals by account and asset, when it was asked."""
        self._accepted.close()
        i2_unfinished(self._lives, self._control, self._halts, self._intake, self._i2)
        ours = None
        if balances is not None:
            ours = {self._ours.get(account, account): assets for account, assets in balances.items()}
        self._money.close(ours)
        self._projection.close()
        self._lives.close()
        gates.unsigned_note(self._authors, self._i10)
        tallies = (
            self._i1,
            self._i2,
            self._money.i3,
            self._money.i4,
            self._i5,
            self._projection.tally,
            self._i8,
            self._i9,
            self._i10,
            self._i11,
            self._intake.tally,
            self._i16,
            self._chains.tally,
            self._money.fills,
        )
        return Report(tuple(tally.row() for tally in tallies))

    # Records

    def _signal(self, raw: Raw) -> None:
        if not raw.ce_type.startswith("trimtab.rebalance."):
            return
        self._halts.take(raw)
        if raw.ce_type.startswith("trimtab.rebalance.decided."):
            self._i8.items += 1
            for what in gates.i8_decided(self._control, raw):
                self._i8.at(raw.place, what)

    def _entry(self, raw: Raw) -> None:
        if not self._chains.take(raw):
            return
        fields = raw.fields
        self._accounts.add(fields["account"])
        self._money.take(raw)
        self._projection.take(raw)
        if fields.get("state") in ENDED and fields["kind"] != "filled":
            self._booked_ended.add(fields["command_id"])

    def _event(self, raw: Raw) -> None:
        """One execution event: judged against everything before it, then taken in. What is no event goes to dead letters."""
        if not raw.ce_type.startswith("trimtab.orders.") or "account" not in raw.fields:
            return
        fields, kind = raw.fields, raw.kind
        account = self._lives.account(fields["account"])
        self._accounts.add(account.name)
        if self._lives.is_repeat(raw):
            return
        if kind == "owner-started":
            if fields["epoch"] > account.epoch:
                account.epoch, account.owned_ms = fields["epoch"], fields["at_ms"]
            return
        if kind == "intended":
            self._attempted(account, raw)
        if fields["epoch"] < account.epoch:
            return
        life = account.lives.get(fields.get("command_id", ""))
        if kind == "admitted":
            life = self._admitted(account, life, raw)
        for tally, judge in self._judges.get(kind, ()):
            tally.items += 1
            for what in judge(account, life, raw):
                tally.at(raw.place, what)
        self._lives.evolve(account, life, raw)

    def _admitted(self, account: Account, known: Life | None, raw: Raw) -> Life:
        """The life that begins with this event, with the command behind it; one that has begun goes on."""
        fields = raw.fields
        told = None if fields.get("own_cause") else self._commands.answered(account.name, fields["commands_offset"])
        if known is not None:
            return known
        is_cancel = fields.get("target_command_id") is not None
        life = Life(
            fields["command_id"], fields["portfolio"], fields["symbol"], is_cancel, fields, told, raw.place, fields["at_ms"]
        )
        if not is_cancel:
            price = max(amount(fields.get("price_limit_quote", "0")), amount(fields["price_mid_quote"]))
            life.reserved_quote = EXACT.multiply(price, amount(fields["quantity_base"]))
        return life

    def _judges_by_kind(self) -> dict[str, list[tuple[Tally, Judge]]]:
        lives, control, authors = self._lives, self._control, self._authors
        rules: tuple[tuple[Tally, set[str], Judge], ...] = (
            (self._i1, {"intended"}, lambda *seen: orders.i1(lives, *seen)),
            (self._i1, {"absent", "unsent", "rejected"}, lambda *seen: orders.i1_disproved(lives, *seen)),
            (self._i2, {"admitted", *_ENDING_KINDS}, lambda *seen: orders.i2(lives, *seen)),
            (self._i5, KINDS, lambda *seen: orders.i5(lives, *seen)),
            (self._i8, {"admitted", "intended"}, lambda *seen: gates.i8(control, *seen)),
            (self._i9, {"admitted", "intended", "cancel-intended"}, lambda *seen: gates.i9(control, *seen)),
            (self._i10, {"admitted", "intended"}, lambda *seen: gates.i10(authors, *seen)),
            (self._i11, {"account-halted", "account-resumed", *KINDS}, lambda *seen: orders.i11(lives, *seen)),
            (self._i16, {"intended"}, lambda *seen: gates.i16(control, *seen)),
        )
        kinds = set().union(*(kinds for _, kinds, _ in rules))
        return {kind: [(tally, judge) for tally, its_kinds, judge in rules if kind in its_kinds] for kind in kinds}

    # The venue's word on attempts

    def _attempted(self, account: Account, raw: Raw) -> None:
        attempt = self._lives.attempted(account, raw)
        waiting = self._accepted.pop(raw.fields["client_order_id"])
        if waiting is not None:
            self._accept(attempt, waiting[1])

    def _accept(self, attempt: Attempt, line: Mapping[str, Any]) -> None:
        self._i1.items += 1
        attempt.accepted.append(line)
        for what in orders.i1_accepted(self._lives, attempt, line["client_order_id"]):
            self._i1.at(attempt.place, what)

    def _never_intended(self, client: str, accepted: tuple[str, Mapping[str, Any]]) -> None:
        account, line = accepted
        if self._is_ours(account):
            self._i1.items += 1
            self._i1.elsewhere(f"venue's journal:{line['sequence']}", f"{client} of {account} was accepted without an INTENT")

    def _attempt_leaves(self, client: str, attempt: Attempt) -> None:
        for what in orders.i11_accepted(attempt, client):
            self._i11.at(attempt.place, what)

    def _is_ours(self, account: str) -> bool:
        return account in self._accounts or account in self._control.owners

    def _on_its_way(self, account: str, client: str) -> bool:
        """Whether the books may lack a fill of this order: we intended it, and they do not say that it has ended. A
        stranger's are no matter of ours."""
        attempt = self._lives.attempts.get(client)
        is_open = attempt is not None and attempt.command_id not in self._booked_ended
        return is_open or not self._is_ours(account)
