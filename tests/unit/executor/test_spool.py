"""3.3: events kept on this machine while the log is away, and published once when it is back."""

from pathlib import Path

from schemas.orders import OwnerStarted
from streams.agents.executor.letters import event_output
from streams.agents.executor.spool import SPOOL_DIR, Kept, Spool
from streams.agents.executor.takeover import publish_kept
from streams.topics import ORDERS_EVENTS, partition_of
from tests.unit.executor.memory import PARTITIONS, Broker
from tests.unit.executor.test_parts import ACCOUNT, near
from tests.unit.orders.desk import desk, place, view


def kept(table_epoch: int = 3) -> list[Kept]:
    """The events of a cancel under the HALT file."""
    table = desk()
    command, client = table.sent(place(time_in_force="gtc"))
    table.accept(command, view(client))
    table.halt_file = "pulled"
    table.events.clear()
    table.wait(100)
    outputs = [event_output(event.model_copy(update={"epoch": table_epoch})) for event in table.events]
    return [Kept(ce_id, ACCOUNT, table_epoch, 0, output) for ce_id, output in outputs]


def test_3_3_what_is_kept_is_read_again_by_the_next_process_exactly(tmp_path: Path) -> None:
    before, events = Spool(tmp_path), kept()
    for number, event in enumerate(events):
        before.keep(event, sync=number > 0)
    assert before.left(ACCOUNT) == [], "its own tenure is alive: its producer still holds them"
    assert Spool(tmp_path).left(ACCOUNT) == events
    for event in events:
        before.acknowledged(ACCOUNT, 3, event.ce_id)
    assert Spool(tmp_path).left(ACCOUNT) == []
    assert list((tmp_path / SPOOL_DIR).iterdir()) == []


def test_3_3_a_line_that_a_dying_machine_cut_is_left_out(tmp_path: Path) -> None:
    before, events = Spool(tmp_path), kept()
    for event in events:
        before.keep(event)
    path = tmp_path / SPOOL_DIR / f"{ACCOUNT}.3"
    path.write_bytes(path.read_bytes()[:-20])
    assert Spool(tmp_path).left(ACCOUNT) == events[:-1]


async def test_3_3_what_the_log_lacks_is_published_and_what_it_holds_is_not(tmp_path: Path) -> None:
    around, broker, _, _ = near(tmp_path)
    events = kept()
    await around.log.append(event_output(OwnerStarted(account=ACCOUNT, epoch=3, at_ms=1, owner="one"))[1])
    await around.log.append(events[0].output)
    dead = Spool(tmp_path)
    for event in events:
        dead.keep(event)
    for _ in range(2):
        await publish_kept(around, ACCOUNT)
    assert ids(broker) == [event.ce_id for event in events]
    assert around.spool.left(ACCOUNT) == []


async def test_3_3_where_another_owner_came_between_nothing_is_published(tmp_path: Path) -> None:
    around, broker, _, _ = near(tmp_path)
    dead = Spool(tmp_path)
    for event in kept():
        dead.keep(event)
    await around.log.append(event_output(OwnerStarted(account=ACCOUNT, epoch=4, at_ms=1, owner="two"))[1])
    await publish_kept(around, ACCOUNT)
    assert ids(broker) == []
    assert around.spool.left(ACCOUNT) == []


def ids(broker: Broker) -> list[str]:
    """The ids of the account's events in the log, in order, but for OwnerStarted."""
    records = broker.partition(ORDERS_EVENTS, partition_of(ACCOUNT.encode(), PARTITIONS))
    told = [record for record in records if record.header("ce_type") != OwnerStarted.ce_type().encode()]
    return [(record.header("ce_id") or b"").decode() for record in told]
