"""Dead letters: the original bytes and headers of what could not be read, with the reason in added headers."""

from streams.domain.intake.validate import GarbageError
from streams.ports import Output, Record
from streams.topics import PORTFOLIO_JOURNAL, dead_letter

GROUP = "sequencer"


def dead_letter_output(shard: int, record: Record, reason: GarbageError) -> Output:
    """The dead letter of a source record; header names are those of Kafka Connect where it has one."""
    added = {
        "trimtab-error": f"{reason.name}: {reason}",
        "trimtab-journal": f"{PORTFOLIO_JOURNAL}:{shard}",
        "__connect.errors.topic": record.topic,
        "__connect.errors.partition": str(record.partition),
        "__connect.errors.offset": str(record.offset),
        "__connect.errors.exception.class.name": reason.name,
        "__connect.errors.exception.message": str(reason),
    }
    return Output(
        topic=dead_letter(record.topic, GROUP),
        key=record.key or b"",
        value=record.value or b"",
        headers=(*record.headers, *((name, text.encode(errors="replace")) for name, text in added.items())),
        partition=0,
        timestamp_ms=record.timestamp_ms,
    )
