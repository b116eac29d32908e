"""A fold of the shape of the portfolio agent's, in which every mistake of a shell shows in later bytes.

A hash chain runs over the whole shard and counters of each portfolio read those of their neighbour, so a record that is
lost, repeated or taken out of order changes every output after it. The state is what a shard really holds: 100 portfolios
with 5 assets, each with a short history of exact prices.
"""

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal

import orjson

from streams.ports.log import Output, Record

PORTFOLIOS = 100
ASSETS = 5
HISTORY = 12
ID_HEADER = "ce_id"


class ReferenceFold:
    """`padding_bytes` adds that much incompressible text to the state, to make it larger than one record."""

    def __init__(self, output_topic: str, snapshot: bytes | None, padding_bytes: int = 0) -> None:
        self._topic = output_topic
        if snapshot is not None:
            state = orjson.loads(snapshot)
            self._chain: str = state["chain"]
            self._folded: int = state["folded"]
            self._portfolios: list[dict] = state["portfolios"]
            self._padding: str = state["padding"]
            return
        self._chain = ""
        self._folded = 0
        self._portfolios = [
            {"count": 0, "total": "0", "prices": [["0"] * HISTORY for _ in range(ASSETS)]} for _ in range(PORTFOLIOS)
        ]
        self._padding = _noise(padding_bytes)

    def step(self, record: Record) -> Sequence[Output]:
        assert record.value is not None
        event = orjson.loads(record.value)
        self._chain = hashlib.sha256(self._chain.encode() + record.value).hexdigest()
        self._folded += 1
        number = event["portfolio"]
        portfolio = self._portfolios[number]
        neighbour = self._portfolios[(number + 1) % PORTFOLIOS]
        portfolio["count"] += 1 + neighbour["count"] % 3
        prices = portfolio["prices"][event["asset"]]
        portfolio["total"] = str(Decimal(portfolio["total"]) + Decimal(event["price"]) - Decimal(prices[0]))
        prices.pop(0)
        prices.append(event["price"])
        kinds = ["signal"] if portfolio["count"] % 2 else ["signal", "command"]
        return [self._output(kind, number, portfolio) for kind in kinds]

    def snapshot(self) -> bytes:
        state = {
            "chain": self._chain,
            "folded": self._folded,
            "portfolios": self._portfolios,
            "padding": self._padding,
        }
        return orjson.dumps(state, option=orjson.OPT_SORT_KEYS)

    def _output(self, kind: str, number: int, portfolio: dict) -> Output:
        # The id is a function of the cause alone: were it a hash of the content, a wrong repeat would look like news.
        output_id = f"{kind}-{self._folded}"
        value = {
            "id": output_id,
            "portfolio": number,
            "count": portfolio["count"],
            "total": portfolio["total"],
            "chain": self._chain,
        }
        key = f"portfolio-{number}".encode()
        return Output(self._topic, key, json.dumps(value).encode(), ((ID_HEADER, output_id.encode()),))


def event_value(number: int) -> bytes:
    """The n-th input of a shard; prices wander without randomness so that every run is the same."""
    seed = int.from_bytes(hashlib.sha256(number.to_bytes(8, "big")).digest()[:8], "big")
    price = Decimal(20_000 + seed % 10_000) + Decimal(seed % 97) / 100
    return orjson.dumps({"n": number, "portfolio": seed % PORTFOLIOS, "asset": seed % ASSETS, "price": str(price)})


def _noise(size: int) -> str:
    blocks = (hashlib.sha256(number.to_bytes(8, "big")).hexdigest() for number in range(size // 64 + 1))
    return "".join(blocks)[:size]
