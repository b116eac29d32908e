"""The settings file of the crash run: portfolios that trade often, and nothing that holds them back."""

from dataclasses import dataclass
from pathlib import Path

_HEAD = """
environment = "crash"
dev = true
shards = {shards}
heartbeat_ms = 200

[kafka]
replication_floor = 1
min_insync_floor = 1

[venues.sim]
dialect = "binance"
symbols = ["BTC/USDT", "ETH/USDT"]
weight_per_minute = 1000000
"""

# Ages are long: what was decided before a kill may be sent after it, on a slow machine too.
_PORTFOLIO = """
[accounts.a{number:03}]
venue = "sim"
orders_per_second = "unlimited"
[accounts.a{number:03}.limits]
order_notional_max_quote = 1000000
turnover_5min_max_quote = 1000000000
turnover_day_max_quote = 1000000000
open_orders_max = 100
price_collar = "0.5"
symbols = ["BTC/USDT", "ETH/USDT"]

[portfolios.p{number:03}]
shard = {shard}
quote = "USDT"
accounts = ["a{number:03}"]
weights = {{ BTC = "{btc}", ETH = "{eth}", USDT = "{usdt}" }}
[portfolios.p{number:03}.policy]
band = "0.01"
threshold = "0.001"
price_cap = "0.01"
mark_age_ms_max = 180000
admit_within_ms = 180000
observe_every_ms = {observe_every_ms}
[portfolios.p{number:03}.limits]
order_notional_max = "0.9"
turnover_5min_max = 1000
turnover_day_max = 10000
loss_day_max = "0.9"
transition_order_max = 1
"""


@dataclass(frozen=True, slots=True)
class Portfolios:
    """How many portfolios there are in how many shards, and how often each says how it stands."""

    count: int
    shards: int
    observe_every_ms: int

    def write(self, path: Path, *, shifted: bool = False) -> Path:
        """Write the settings file; `shifted` moves two points of every target from BTC to ETH, so that all have to trade."""
        head = _HEAD.format(shards=self.shards)
        path.write_text(head + "".join(self._portfolio(number, shifted) for number in range(self.count)))
        return path

    def _portfolio(self, number: int, shifted: bool) -> str:
        """Between them the targets of BTC and ETH differ by a fifth, so that not all cross their thresholds at once."""
        btc, eth = 3000 + 2000 * number // self.count, 4000 - 2000 * number // self.count
        if shifted:
            btc, eth = btc - 200, eth + 200
        usdt = 10_000 - btc - eth
        return _PORTFOLIO.format(
            number=number,
            shard=number % self.shards,
            observe_every_ms=self.observe_every_ms,
            btc=btc / 10_000,
            eth=eth / 10_000,
            usdt=usdt / 10_000,
        )
