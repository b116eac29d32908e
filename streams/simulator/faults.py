"""Faults that can be switched on: what happens to a request, or to a message of the user stream, besides being handled.

Requests, by default orders:

- `request_lost`: the connection ends, the core never sees the request.
- `reply_lost`: the core accepts, the connection ends without a reply.
- `late_order`: as `reply_lost`, and for `late_ms` the venue's queries do not know the order: it is in the book and
  may trade, but query, open orders, own trades, cancel and user stream answer as if it were not there. A request held
  back for so long instead would be refused by the window check just before the core, so this is how an order "appears"
  after an honest "not found": the venue's read side lags behind its core.
- `reply_html`, `reply_empty`, `reply_cut`, `reply_5xx`: the core accepts, and the reply is a page of HTML with status 200, a
  body of nothing, a body that ends in the middle, or a gateway's 502.
- `refused_429`, `refused_418`: the limiter refuses before the core, with a Retry-After of a second; 418 bans the address as
  long. (`/control/limits` makes real ones of both. `/control/clock` makes -1021.)

Cancels:

- `cancel_crossed`: what is left of the order trades just before the cancel reaches the core, which refuses it.
- `fill_after_cancel`: half of it trades just before the cancel, which is confirmed without it: for `late_ms` the read side does
  not know that trade.

Messages of the user stream:

- `stream_missing`, `stream_twice`: one message is left out, or sent again.
- `stream_silent`: from here on that subscription says nothing, while the connection lives and answers pings.

Refused requests are answered as always: a fault strikes what the venue accepted (or never saw).
"""

from enum import StrEnum
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LATE_MS = 3_000
"""How long a late order or trade stays invisible, unless its rule says otherwise."""

Struck = Literal["order", "cancel", "stream"]


class Fault(StrEnum):
    """What goes wrong."""

    REQUEST_LOST = "request_lost"
    REPLY_LOST = "reply_lost"
    LATE_ORDER = "late_order"
    REPLY_HTML = "reply_html"
    REPLY_EMPTY = "reply_empty"
    REPLY_CUT = "reply_cut"
    REPLY_5XX = "reply_5xx"
    REFUSED_429 = "refused_429"
    REFUSED_418 = "refused_418"
    CANCEL_CROSSED = "cancel_crossed"
    FILL_AFTER_CANCEL = "fill_after_cancel"
    STREAM_MISSING = "stream_missing"
    STREAM_TWICE = "stream_twice"
    STREAM_SILENT = "stream_silent"


_ALWAYS: dict[Fault, tuple[Struck, ...]] = {
    Fault.LATE_ORDER: ("order",),
    Fault.CANCEL_CROSSED: ("cancel",),
    Fault.FILL_AFTER_CANCEL: ("cancel",),
    Fault.STREAM_MISSING: ("stream",),
    Fault.STREAM_TWICE: ("stream",),
    Fault.STREAM_SILENT: ("stream",),
}


class FaultRule(BaseModel):
    """One fault: for the next N requests, or with a probability (drawn from the plan's seed) for each.

    `requests` chooses between orders and cancels where a fault can strike both. `hang_ms` is how long the client waits before
    the connection ends, `late_ms` how long something late stays invisible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: Fault
    next: int = Field(default=0, ge=0, le=1_000_000)
    probability: float = Field(default=0.0, ge=0, le=1)
    requests: tuple[Literal["order", "cancel"], ...] = ("order",)
    hang_ms: int = Field(default=0, ge=0, le=60_000)
    late_ms: int = Field(default=LATE_MS, ge=0, le=60_000)

    def strikes(self, what: Struck) -> bool:
        """Whether this rule is about that kind of request or message."""
        return what in _ALWAYS.get(self.fault, self.requests)


class FaultPlan(BaseModel):
    """What the settings and the control port take: the rules that hold from now on, in order of precedence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faults: tuple[FaultRule, ...] = Field(default=(), max_length=20)
    seed: int = 0


class Faults:
    """Chooses the fault of each request. Equal plans choose equally for an equal sequence of requests."""

    def __init__(self, plan: FaultPlan | None = None):
        self.done: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.install(plan or FaultPlan())

    def install(self, plan: FaultPlan) -> None:
        """Replace all rules; what was done so far stays counted."""
        self.plan = plan
        self._random = Random(plan.seed)
        self._left = [rule.next for rule in plan.faults]

    def choose(self, what: Struck) -> FaultRule | None:
        """The first rule that strikes this request or message, counted as done. The caller gives back what did not come to
        pass."""
        for index, rule in enumerate(self.plan.faults):
            if not rule.strikes(what):
                continue
            struck_by_count = self._left[index] > 0
            if struck_by_count or (rule.probability and self._random.random() < rule.probability):
                self._left[index] -= struck_by_count
                self.done[rule.fault] += 1
                return rule
        return None

    def give_back(self, rule: FaultRule) -> None:
        """The request was refused, so the fault did not happen: it waits for another one."""
        self.done[rule.fault] -= 1
        for index, installed in enumerate(self.plan.faults):
            if installed is rule and rule.next:
                self._left[index] += 1
