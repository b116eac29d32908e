"""The settings file of the crash run: twenty portfolios that trade often, nothing that holds them back."""

from pathlib import Path

COUNT = 20
SHARDS = 2

_HEAD = f"""
environment = "crash"
dev = true
shards = {SHARDS}
heartbeat_ms = 200

[kafka]
replication_floor = 1
min_insync_floor = 1

[venues.sim]
dialect = "binance"
symbols = ["BTC/USDT", "ETH/USDT"]
"""

# Ages are long: what was decided before a kill may be sent after it, on a slow machine too.
_PORTFOLIO = """
[accounts.a{number:02}]
venue = "sim"
orders_per_second = "unlimited"
[accounts.a{number:02}.limits]
order_notional_max_quote = 1000000
turnover_5min_max_quote = 1000000000
turnover_day_max_quote = 1000000000
open_orders_max = 100
price_collar = "0.1"

[portfolios.p{number:02}]
shard = {shard}
quote = "USDT"
accounts = ["a{number:02}"]
weights = {{ BTC = "{btc}", ETH = "{eth}", USDT = "{usdt}" }}
[portfolios.p{number:02}.policy]
band = "0.01"
threshold = "0.001"
price_cap = "0.01"
mark_age_ms_max = 180000
admit_within_ms = 180000
observe_every_ms = 1000
[portfolios.p{number:02}.limits]
order_notional_max = "0.9"
turnover_5min_max = 1000
turnover_day_max = 10000
loss_day_max = "0.9"
"""


def write(path: Path, *, shifted: bool = False) -> Path:
    """Write the settings file; `shifted` moves two points of every target from BTC to ETH, so that all have to trade."""
    path.write_text(_HEAD + "".join(_portfolio(number, shifted) for number in range(COUNT)))
    return path


def _portfolio(number: int, shifted: bool) -> str:
    btc, eth = 30 + number, 40 - number
    if shifted:
        btc, eth = btc - 2, eth + 2
    usdt = 100 - btc - eth
    return _PORTFOLIO.format(number=number, shard=number % SHARDS, btc=btc / 100, eth=eth / 100, usdt=usdt / 100)
