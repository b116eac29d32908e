"""Who owns what: free and locked amounts for each account and asset.

Every movement has two ends, so the sum over all accounts changes only by `put`. The venue's own accounts (background
liquidity, fees) may go below zero; a customer's never does: that would be a broken invariant and raises ValueError.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from streams.matching.amounts import ZERO

BACKGROUND = "venue:background"
"""The account of the liquidity that the venue itself provides."""
FEES = "venue:fees"
"""The account that receives all fees."""


@dataclass(slots=True)
class Balance:
    """Amounts of one asset; `locked` is bound by open orders."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


class Funds:
    """All balances of a venue. Amounts are at or above zero."""

    def __init__(self):
        self._accounts: dict[str, dict[str, Balance]] = {BACKGROUND: {}, FEES: {}}

    def open(self, account: str) -> None:
        """Make an account without funds; one that exists stays as it is."""
        self._accounts.setdefault(account, {})

    def accounts(self) -> list[str]:
        """Every account, the venue's own included."""
        return list(self._accounts)

    def balances(self, account: str) -> Iterator[tuple[str, Balance]]:
        """Each asset that the account ever held, with its balance."""
        return iter(self._accounts[account].items())

    def balance(self, account: str, asset: str) -> Balance:
        """The balance of one asset, made when it is missing. Raises KeyError for an unknown account."""
        return self._accounts[account].setdefault(asset, Balance())

    def put(self, account: str, asset: str, free: Decimal) -> Decimal:
        """Set the free amount and return the change: money that enters or leaves the venue."""
        balance = self.balance(account, asset)
        change = free - balance.free
        balance.free = free
        return change

    def lock(self, account: str, asset: str, amount: Decimal) -> bool:
        """Bind free funds; False, and nothing done, when there is less."""
        balance = self.balance(account, asset)
        if balance.free < amount:
            return False
        balance.free -= amount
        balance.locked += amount
        return True

    def unlock(self, account: str, asset: str, amount: Decimal) -> None:
        """Give bound funds back."""
        balance = self.balance(account, asset)
        self._require(balance.locked >= amount, account, asset)
        balance.locked -= amount
        balance.free += amount

    def spend_locked(self, account: str, asset: str, amount: Decimal) -> None:
        """Bound funds leave the account."""
        balance = self.balance(account, asset)
        self._require(balance.locked >= amount, account, asset)
        balance.locked -= amount

    def spend_free(self, account: str, asset: str, amount: Decimal) -> None:
        """Free funds leave the account."""
        balance = self.balance(account, asset)
        self._require(balance.free >= amount or account in (BACKGROUND, FEES), account, asset)
        balance.free -= amount

    def receive(self, account: str, asset: str, amount: Decimal) -> None:
        """Funds arrive, free."""
        self.balance(account, asset).free += amount

    @staticmethod
    def _require(holds: bool, account: str, asset: str) -> None:
        if not holds:
            raise ValueError(f"{account} would spend {asset} that it does not have")
