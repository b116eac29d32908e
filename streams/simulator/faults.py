"""Faults that can be switched on: what happens to a request besides being handled.

- `request_lost`: the connection ends, the core never sees the request.
- `reply_lost`: the core accepts, the connection ends without a reply.
- `late_order`: as `reply_lost`, and for three seconds the venue's queries do not know the order: it is in the book and
  may trade, but query, open orders, own trades, cancel and user stream answer as if it were not there. A request held
  back for three seconds instead would be refused by the window check just before the core, so this is how an order
  "appears" after an honest "not found": the venue's read side lags behind its core.

Refused requests are answered as always: a fault strikes what the venue accepted (or never saw).
"""

from enum import StrEnum
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LATE_MS = 3_000
"""How long a late order stays invisible."""


class Fault(StrEnum):
    """What goes wrong."""

    REQUEST_LOST = "request_lost"
    REPLY_LOST = "reply_lost"
    LATE_ORDER = "late_order"


class FaultRule(BaseModel):
    """One fault: for the next N requests, or with a probability (drawn from the plan's seed) for each.

    `hang_ms` is how long the client waits before the connection ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: Fault
    next: int = Field(default=0, ge=0, le=1_000_000)
    probability: float = Field(default=0.0, ge=0, le=1)
    requests: tuple[Literal["order", "cancel"], ...] = ("order",)
    hang_ms: int = Field(default=0, ge=0, le=60_000)


class FaultPlan(BaseModel):
    """What the control port takes: the rules that hold from now on, in order of precedence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faults: tuple[FaultRule, ...] = Field(default=(), max_length=20)
    seed: int = 0


class Faults:
    """Chooses the fault of each request. Equal plans choose equally for an equal sequence of requests."""

    def __init__(self):
        self.done: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.install(FaultPlan())

    def install(self, plan: FaultPlan) -> None:
        """Replace all rules; what was done so far stays counted."""
        self.plan = plan
        self._random = Random(plan.seed)
        self._left = [rule.next for rule in plan.faults]

    def choose(self, request: str) -> FaultRule | None:
        """The first rule that strikes this request, counted as done. The caller gives back what did not come to pass."""
        for index, rule in enumerate(self.plan.faults):
            if request not in rule.requests:
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
