"""What every part of one history shares. It knows none of them: parts are given it, and the few neighbours that they need."""

from collections import Counter

from schemas.control import ControlEvent
from streams.domain.orders.prices import Price
from streams.lab.chance import Chance, Key
from streams.lab.engine import Engine

WALL_MS = 1_700_000_000_000


class History:
    """Time, chance, the story, and what is the same for all: what operators said (`control`), what is seen of the market
    (`prices`), and until when a service is away. `seen` counts the rare states that were reached."""

    def __init__(self, seed: int, spared: frozenset[Key] = frozenset(), telling: bool = False) -> None:
        self.engine = Engine()
        self.chance = Chance(seed, spared)
        self.telling = telling
        self.story: list[str] = []
        self.seen: Counter[str] = Counter()
        self.control: list[ControlEvent] = []
        self.prices: dict[str, Price] = {}
        self.feed_silent_until_ms = self.log_away_until_ms = self.database_away_until_ms = 0

    def wall_ms(self) -> int:
        """True UTC."""
        return WALL_MS + self.engine.now_ms

    def tell(self, words: str) -> None:
        """A line of the story."""
        if self.telling:
            self.story.append(f"{self.engine.now_ms / 1000:10.3f} s  {words}")

    @property
    def log_is_away(self) -> bool:
        """Whether the broker takes and gives nothing."""
        return self.engine.now_ms < self.log_away_until_ms

    @property
    def database_is_away(self) -> bool:
        """Whether leases answer nobody."""
        return self.engine.now_ms < self.database_away_until_ms

    @property
    def feed_is_silent(self) -> bool:
        """Whether nobody hears of the market."""
        return self.engine.now_ms < self.feed_silent_until_ms

    def calm(self) -> None:
        """The last fault is over."""
        self.chance.quiet = True
        self.feed_silent_until_ms = self.log_away_until_ms = self.database_away_until_ms = 0
