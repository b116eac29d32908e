"""A record whose header has a name that is no UTF-8 is read, and so is what lies beside it. Found once: nobody read past it."""

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from streams.gateways.kafka_access import client_args
from streams.ports.log import KafkaConnection

client_args(KafkaConnection("localhost:9092"))  # as every client of ours begins
UNCOMPRESSED, GZIP, ZSTD = 0, 1, 4
NAMED = b"NAME"


def batch(offset: int, names: tuple[str, ...], codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 100_000)
    for number, name in enumerate(names):
        builder.append(number, 1, b"key", b"value %d" % number, [(name, b"text"), ("none", None)])
    return offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def test_2_2_a_name_that_is_no_text_keeps_nobody_from_reading_on() -> None:
    raw = (
        batch(7, ("a", "b"), GZIP)
        + batch(9, ("c", "NAME", "d"), UNCOMPRESSED).replace(NAMED, b"\xff\xfe\x00!")
        + batch(12, ("é",), ZSTD)
    )
    records = fetcher.MemoryRecords(raw)
    assert records.size_in_bytes() == len(raw)
    read = fetcher.PartitionRecords(TopicPartition("t", 0), records, [], 8, None, None, False, fetcher.READ_UNCOMMITTED)
    found = [(record.offset, record.headers[0][0], record.key, record.value) for record in read]
    assert found == [
        (8, "b", b"key", b"value 1"),
        (9, "c", b"key", b"value 0"),
        (10, "\ufffd\ufffd\x00!", b"key", b"value 1"),
        (11, "d", b"key", b"value 2"),
        (12, "é", b"key", b"value 0"),
    ]
    assert read.next_fetch_offset == 13
    assert not records.has_next()


def test_2_2_bytes_that_were_changed_on_their_way_are_told_all_the_same() -> None:
    broken = batch(0, ("NAME",), UNCOMPRESSED).replace(NAMED, b"\xff\xfe\x00!")
    read = fetcher.PartitionRecords(
        TopicPartition("t", 0), fetcher.MemoryRecords(broken), [], 0, None, None, True, fetcher.READ_UNCOMMITTED
    )
    with pytest.raises(fetcher.Errors.CorruptRecordException):
        next(read)
