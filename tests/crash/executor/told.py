"""What the log says about one account, put where the next question looks for it: no answer gets dearer as a run gets longer."""

from collections import Counter, defaultdict

from schemas.codec import decode
from schemas.envelope import Envelope
from schemas.executor import ExecutorCheckpoint
from schemas.orders import (
    AccountOpened,
    CancelEnded,
    CommandEvent,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    ExecutionEvent,
    OrderClosed,
    OrderIntended,
    OrderRejected,
    OwnerStarted,
)
from streams.domain.ledger.books import Books
from streams.ports.log import Record

TOO_LATE = "-1021"  # the venue's code for a timestamp outside the window
ENDS = (OrderClosed, OrderRejected, CommandNotAdmitted, CommandExpiredUnsent, CancelEnded)


class Told:
    """The events of one account, in the order of the log, with their offsets where order matters.

    `stories` holds the types of the events about each command, `ended` the commands that came to an end, `missed` those
    among them that nobody got to the venue in time, as when no lease could be proven, or the window was over on arrival; what
    a former owner still says after a higher one is void in all.
    """

    def __init__(self) -> None:
        self.opened = False
        self.owner = ""
        self.owners: list[tuple[OwnerStarted, int]] = []
        self.intents: list[tuple[OrderIntended, int]] = []
        self.intent_of_command: dict[str, OrderIntended] = {}
        self.intents_of_order: dict[str, list[tuple[OrderIntended, int]]] = defaultdict(list)
        self.stories: dict[str, list[str]] = defaultdict(list)
        self.ended: set[str] = set()
        self.missed: set[str] = set()
        self._epoch = 0
        self._books = Books()
        self._unbooked: list[tuple[ExecutionEvent, str]] = []
        self._ends: Counter[str] = Counter()
        self._trades: set[str] = set()

    def hear(self, record: Record) -> None:
        """The next record of the account. Raises DecodeError. Checkpoints, long and many, say nothing new."""
        envelope = Envelope.read(record.headers)
        if envelope.type == ExecutorCheckpoint.ce_type():
            return
        event = decode(envelope.type, record.value)
        assert isinstance(event, ExecutionEvent)
        self._unbooked.append((event, envelope.id))
        match event:
            case OwnerStarted():
                self.owners.append((event, record.offset))
                if event.epoch > self._epoch:
                    self._epoch, self.owner = event.epoch, event.owner
            case OrderIntended():
                self.intents.append((event, record.offset))
                self.intent_of_command[event.command_id] = event
                self.intents_of_order[event.client_order_id].append((event, record.offset))
            case AccountOpened():
                self.opened = True
        if isinstance(event, CommandEvent) and event.epoch >= self._epoch:
            self._hear_of_command(event)

    def _hear_of_command(self, event: CommandEvent) -> None:
        self.stories[event.command_id].append(event.TYPE.removeprefix("orders."))
        if isinstance(event, ENDS):
            self.ended.add(event.command_id)
        late = isinstance(event, OrderRejected) and event.code == TOO_LATE
        if late or isinstance(event, CommandNotAdmitted | CommandExpiredUnsent):
            self.missed.add(event.command_id)

    def booked(self) -> tuple[Counter[str], set[str]]:
        """How often each command ended in the books made of the events, and the trades that stand there.

        Raises InvariantError when the events contradict each other.
        """
        for event, event_id in self._unbooked:
            entry = self._books.book(event, event_id)
            if entry is not None and isinstance(event, ENDS):
                self._ends[event.command_id] += 1
            if entry is not None and entry.trade_id is not None:
                self._trades.add(entry.trade_id)
        self._unbooked.clear()
        return self._ends, self._trades
