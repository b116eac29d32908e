"""Every topic in one table: key, partitions, cleanup, retention, who writes, who reads.

Creation, start-up checks, documentation and access rules derive from it. Names end in a version; an installation may put a
prefix before all of them, which only gateways know.
"""

from dataclasses import dataclass, field, replace

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOR_EVER = -1

MARKET_TICKERS = "market.tickers.v1"
MARKET_BOOKS = "market.books.v1"
VENUE_LATENCY = "venue.latency.v1"
VENUE_STATUS = "venue.status.v1"
VENUE_RULES = "venue.rules.v1"
ACCOUNT_BALANCES = "account.balances.v1"
OPERATOR_CONTROL = "operator.control.v1"
PORTFOLIO_JOURNAL = "portfolio.journal.v1"
PORTFOLIO_CHECKPOINTS = "portfolio.checkpoints.v1"
REBALANCE_SIGNALS = "rebalance.signals.v1"
ORDERS_COMMANDS = "orders.commands.v1"
ORDERS_EVENTS = "orders.events.v1"
ORDERS_LEDGER = "orders.ledger.v1"

PORTFOLIO_APPLICATION = "trimtab-portfolio"
LEDGER_APPLICATION = "trimtab-ledger"

# Faust keeps a fold's checkpoints here. These settings make the log cleaner really run: the 60 s roll decides.
CHANGELOG_CONFIG = {
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": "60000",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "60000",
    "delete.retention.ms": "600000",
}

# Records carry the time when the broker took them, whatever time their writer gives: operators' clocks may be off, or lie.
DATED_BY_BROKER = {"message.timestamp.type": "LogAppendTime"}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it must be. `partitions` None takes the installation's shard count; `retention_ms` -1 keeps for ever.

    Writers and readers are the roles of `app.py`; besides them `operator` is the command line, and `replay` a later tool. The
    command line and other people's consumers may read everything. Journal records go to partition = shard number.
    """

    name: str
    key: str
    says: str
    partitions: int | None
    retention_ms: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    cleanup: str = "delete"
    config: dict[str, str] = field(default_factory=dict)

    def wanted_config(self) -> dict[str, str]:
        """The topic-level configuration to create it with."""
        kept = {} if self.cleanup == "compact" else {"retention.ms": str(self.retention_ms)}
        return {"cleanup.policy": self.cleanup, **kept, **self.config}


@dataclass(frozen=True, slots=True)
class Problem:
    """One difference between a topic as found and as wanted. `fatal` ones make a role refuse to start."""

    topic: str
    what: str
    found: str
    wanted: str
    fatal: bool

    def __str__(self) -> str:
        """The sentence an operator reads."""
        return f"topic {self.topic}: {self.what} is {self.found}, wanted {self.wanted}"


def dead_letter(topic: str, group: str) -> str:
    """The dead-letter topic of one reader of `topic`."""
    return f"{topic}.{group}.dlq"


def changelog(application: str) -> str:
    """The changelog of a fold's checkpoint table, as Faust names it."""
    return f"{application}-checkpoints-changelog"


TABLE: tuple[Topic, ...] = (
    Topic(MARKET_TICKERS, "venue:symbol", "best bid and ask with sizes, times, venue sequence", 4, 6 * HOUR_MS, ("feed",), ("sequencer", "executor")),
    Topic(MARKET_BOOKS, "venue:symbol", "depth: the levels that routing will need; no role reads it yet", 4, 6 * HOUR_MS, ("feed",), ()),
    Topic(VENUE_LATENCY, "venue", "probes, socket age, budget left, clock offset", 1, 7 * DAY_MS, ("feed",), ("projector",)),
    Topic(VENUE_STATUS, "venue", "trading status, maintenance, key rights", 1, 7 * DAY_MS, ("feed",), ("sequencer",)),
    Topic(VENUE_RULES, "venue:symbol", "tick, step, minima, fees; versioned", 1, FOR_EVER, ("feed",), ("sequencer",), "compact"),
    Topic(ACCOUNT_BALANCES, "account", "full snapshot: free and used for each asset", 4, 7 * DAY_MS, ("feed",), ("sequencer",)),
    Topic(OPERATOR_CONTROL, "scope", "targets, policy, limits, halts, shard map", 1, FOR_EVER, ("operator",), ("sequencer", "executor"), config=DATED_BY_BROKER),
    Topic(PORTFOLIO_JOURNAL, "shard", "the sequenced inputs of a shard", None, FOR_EVER, ("sequencer",), ("portfolio", "replay")),
    Topic(PORTFOLIO_CHECKPOINTS, "shard", "archived checkpoints of a shard", None, FOR_EVER, ("portfolio",), ("replay",)),
    Topic(REBALANCE_SIGNALS, "portfolio", "what was decided or held back, and why", 4, 180 * DAY_MS, ("portfolio",), ("projector",)),
    Topic(ORDERS_COMMANDS, "account", "place and cancel commands with expiry", 4, 180 * DAY_MS, ("portfolio",), ("executor",)),
    Topic(ORDERS_EVENTS, "account", "intents, requests, replies, fills, unknowns", 4, FOR_EVER, ("executor",), ("ledger",)),
    Topic(ORDERS_LEDGER, "account", "the books: gapless, hash-chained, balanced", 4, FOR_EVER, ("ledger",), ("sequencer", "projector")),
)  # fmt: skip
"""The topics, in the order of the flow. A writer may read its own topic back: the sequencer its journal, the executor its events."""

DEAD_LETTERS: tuple[tuple[str, str], ...] = (
    (MARKET_TICKERS, "feed"),
    (MARKET_TICKERS, "sequencer"),
    (VENUE_STATUS, "sequencer"),
    (VENUE_RULES, "sequencer"),
    (ACCOUNT_BALANCES, "sequencer"),
    (OPERATOR_CONTROL, "sequencer"),
    (OPERATOR_CONTROL, "executor"),
    (ORDERS_LEDGER, "sequencer"),
    (ORDERS_COMMANDS, "executor"),
    (ORDERS_EVENTS, "ledger"),
    (ORDERS_LEDGER, "projector"),
    (REBALANCE_SIGNALS, "projector"),
    (VENUE_LATENCY, "projector"),
)
"""(topic, reader): each has a dead-letter topic for what that reader cannot read; the feed's are frames of the venue."""


def partitions_of(name: str, shards: int) -> int:
    """How many partitions a topic of the table has in an installation with `shards` shards."""
    topic = next(topic for topic in TABLE if topic.name == name)
    return topic.partitions or shards


def all_topics(shards: int) -> tuple[Topic, ...]:
    """Every topic an installation with `shards` shards needs: the table, its dead letters and the folds' changelogs."""
    table = {topic.name: replace(topic, partitions=topic.partitions or shards) for topic in TABLE}
    dead = tuple(
        Topic(
            dead_letter(name, reader),
            table[name].key,
            f"what {reader} could not read of {name}, with its original bytes",
            1,
            365 * DAY_MS,
            (reader,),
            ("operator",),
        )
        for name, reader in DEAD_LETTERS
    )
    folds = ((PORTFOLIO_APPLICATION, "portfolio", shards), (LEDGER_APPLICATION, "ledger", partitions_of(ORDERS_EVENTS, shards)))
    changelogs = tuple(
        Topic(
            changelog(application),
            "checkpoint",
            f"checkpoints of the {role} fold",
            count,
            FOR_EVER,
            (role,),
            (role,),
            "compact",
            CHANGELOG_CONFIG,
        )
        for application, role, count in folds
    )
    return (*table.values(), *dead, *changelogs)


def topics_of(role: str, shards: int) -> tuple[Topic, ...]:
    """The topics that `role` writes or reads."""
    return tuple(topic for topic in all_topics(shards) if role in topic.writers or role in topic.readers)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: murmur2, as the Java client does, so that every producer agrees."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    length, mix, mask = len(data), 0x5BD1E995, 0xFFFFFFFF
    value = (0x9747B28C ^ length) & mask
    for index in range(0, length & ~3, 4):
        word = int.from_bytes(data[index : index + 4], "little") * mix & mask
        word = (word ^ (word >> 24)) * mix & mask
        value = (value * mix & mask) ^ word
    rest = data[length & ~3 :]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * mix & mask
    value = (value ^ (value >> 13)) * mix & mask
    return value ^ (value >> 15)
