"""The portfolio agent: journal records in, signals and order commands out. It decodes, lets the shard decide, and encodes.

Nothing unreadable is skipped here: the sequencer validated whatever it journalled, so a journal that cannot be read means a
defect, and the process stops.
"""

from collections.abc import Sequence

from schemas.envelope import TRACEPARENT, Message, trace_child
from schemas.orders import OrderCommand
from schemas.rebalance import Signal
from streams.agents.envelopes import enveloped
from streams.domain.errors import InvariantError
from streams.domain.intake.acceptance import Verdict, accept, journal_record
from streams.domain.portfolio.shard import step
from streams.domain.portfolio.snapshot import STATE_VERSION, dump, load
from streams.domain.portfolio.state import Shard, World
from streams.ports.folds import FoldSpec
from streams.ports.log import Output, Record
from streams.topics import ORDERS_COMMANDS, PORTFOLIO_APPLICATION, PORTFOLIO_JOURNAL, REBALANCE_SIGNALS


class PortfolioFold:
    """The fold of one journal partition (the port `Fold`); `functools.partial(PortfolioFold, environment)` makes them.

    `verdicts` counts what became of the journal's records since this object was made: ignored ones are a former writer's.
    `screened` False looks at every portfolio at every record; the outputs are the same bytes, only later.
    """

    def __init__(self, environment: str, partition: int, snapshot: bytes | None, screened: bool = True):
        """The fold as of `snapshot`, or of the journal's beginning. Raises ValueError on a snapshot that is not its own."""
        self._shard = Shard(partition, World(environment)) if snapshot is None else load(snapshot)
        found = (self._shard.world.environment, self._shard.number)
        if found != (environment, partition):
            raise ValueError(f"the snapshot is of environment and shard {found}, not of {(environment, partition)}")
        self._source = f"portfolio/{partition}"
        self._screened = screened
        self.verdicts = dict.fromkeys(Verdict, 0)

    def step(self, record: Record) -> Sequence[Output]:
        """What the record makes the shard's portfolios say. Raises InvariantError."""
        ce_type = record.header("ce_type")
        if ce_type is None:
            raise InvariantError(f"journal offset {record.offset}: header ce_type is missing")
        message = journal_record(ce_type.decode(errors="replace"), record.value)
        verdict = accept(self._shard.acceptance, message, record.offset)
        self.verdicts[verdict] += 1
        if verdict is not Verdict.ACCEPTED:
            return ()
        if not self._screened:
            self._shard.watches.clear()
        said = step(self._shard, message)
        traceparent = (record.header(TRACEPARENT) or b"").decode(errors="replace") if said else ""
        return [self._output(one, message.sequenced_at_ms, traceparent) for one in said]

    def snapshot(self) -> bytes:
        """The whole shard as canonical bytes."""
        return dump(self._shard)

    def _output(self, message: Message, time_ms: int, traceparent: str) -> Output:
        match message:
            case OrderCommand():
                topic, key, message_id = ORDERS_COMMANDS, message.account, message.command_id
            case Signal():
                topic, key, message_id = REBALANCE_SIGNALS, message.portfolio, message.signal_id
            case _:
                raise InvariantError(f"a portfolio has no topic for {type(message).__name__}")
        trace = trace_child(traceparent, message_id)
        return enveloped(topic, key, message, ce_id=message_id, source=self._source, time_ms=time_ms, traceparent=trace)


def portfolio_spec(partitions: int, code_version: str, instance: str = "0") -> FoldSpec:
    """How the portfolio fold stands on its transport."""
    return FoldSpec(
        application=PORTFOLIO_APPLICATION,
        source_topic=PORTFOLIO_JOURNAL,
        partitions=partitions,
        version=f"{code_version}/{STATE_VERSION}",
        output_topics=(REBALANCE_SIGNALS, ORDERS_COMMANDS),
        instance=instance,
    )
