"""What the framework does to a record before the fold sees it: nothing."""

from types import SimpleNamespace
from typing import Any

from streams.gateways.faust.shard import FoldObserver
from streams.gateways.faust.shell import FoldShell
from streams.gateways.faust.transport import make_app
from streams.ports.folds import Fold, FoldSpec
from streams.ports.log import KafkaConnection

NO_TEXT = b"\xff\x00 no message"


async def test_6_what_is_no_json_reaches_the_fold_as_its_bytes():
    """An exception while decoding would skip the record: the next one is an offset gap, which ends the process."""
    spec = FoldSpec(application="test", source_topic="source", partitions=1, version="1", output_topics=("out",))
    kafka = KafkaConnection("127.0.0.1:1")
    app = make_app(spec, kafka)

    def factory(partition: int, snapshot: bytes | None) -> Fold:
        raise AssertionError("nothing is owned")

    FoldShell(app, spec, factory, kafka, FoldObserver())
    (agent,) = app.agents.values()
    message: Any = SimpleNamespace(key=NO_TEXT, value=NO_TEXT)
    for decode in (agent.channel.schema.loads_key, agent.channel.schema.loads_value):
        assert decode(app, message) == NO_TEXT
