"""What an account holds, as the venue says it."""

from typing import ClassVar

from schemas.envelope import Message, Part
from schemas.values import Asset, Holding, Name, TimeMs


class Balance(Part):
    """Units of one asset: free to trade, and used by open orders."""

    free: Holding
    used: Holding


class AccountBalances(Message):
    """A full snapshot of one account. Assets that are absent are zero."""

    TYPE: ClassVar[str] = "account.balances"
    account: Name
    venue: Name
    balances: dict[Asset, Balance]
    venue_time_ms: TimeMs | None = None
    received_at_ms: TimeMs
