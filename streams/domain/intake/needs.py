"""What a shard needs, as control events say: its portfolios, their accounts, and the symbols they trade.

Needs only grow: a symbol that left the targets may still be held. A portfolio stays with the shard it was created on until
its state is carried over in the journals themselves; an announced move alone changes nothing here.
"""

from collections import defaultdict

from schemas.control import ControlEvent, PortfolioCreated, ShardAssigned, TargetsSet, TradingResumed, TradingStopped


class Needs:
    """What shard number `shard` needs of each source."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self._shards_of_portfolio: dict[str, set[int]] = defaultdict(set)
        self._shards_of_account: dict[str, set[int]] = defaultdict(set)
        self._venues: dict[str, set[str]] = defaultdict(set)
        self._symbols: dict[str, set[str]] = defaultdict(set)
        self._market: set[str] = set()

    def learn(self, event: ControlEvent) -> None:
        """Take in one control event, in the order of the topic."""
        match event:
            case PortfolioCreated():
                self._shards_of_portfolio[event.portfolio].add(event.shard)
                for account, venue in event.accounts.items():
                    self._shards_of_account[account].add(event.shard)
                    self._venues[event.portfolio].add(venue)
            case TargetsSet():
                self._symbols[event.portfolio].update(event.symbols.values())
            case _:
                return
        if self.shard in self._shards_of_portfolio.get(event.portfolio, ()):
            venues, symbols = self._venues[event.portfolio], self._symbols[event.portfolio]
            self._market.update(f"{venue}:{symbol}" for venue in venues for symbol in symbols)

    def market(self, venue: str, symbol: str) -> bool:
        """Whether prices of that symbol are needed."""
        return f"{venue}:{symbol}" in self._market

    def account(self, account: str) -> bool:
        """Whether that account belongs to a portfolio of this shard."""
        return self.shard in self._shards_of_account.get(account, ())

    def account_known(self, account: str) -> bool:
        """Whether control has named that account, for any shard."""
        return account in self._shards_of_account

    def control(self, event: ControlEvent) -> bool:
        """Whether a control event is needed, after `learn` has taken it.

        Only what is known to concern another shard alone is not: a halt that comes before its portfolio must not be lost. Halts
        and resumes every shard hears: a resume lifts whatever it names, and a portfolio that moves is stopped where it arrives.
        """
        if isinstance(event, TradingStopped | TradingResumed):
            return True
        if isinstance(event, ShardAssigned) and event.shard == self.shard:
            return True
        kind, _, name = event.scope.partition(":")
        portfolio = getattr(event, "portfolio", name if kind == "portfolio" else None)
        account = getattr(event, "account", name if kind == "account" else None)
        if portfolio is not None:
            shards = self._shards_of_portfolio.get(portfolio)
        elif account is not None:
            shards = self._shards_of_account.get(account)
        else:
            return True
        return not shards or self.shard in shards
