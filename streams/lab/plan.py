"""What a history is made of: commands and happenings, each at its time, from one seed. Leaving one out leaves the others."""

from dataclasses import dataclass
from random import Random

ACCOUNTS = ("alice", "bob", "carol")
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
BEGIN_MS = 12_000
NIGHT_MS = 50 * 3_600_000


@dataclass(frozen=True, slots=True)
class Item:
    """Something that happens at `at_ms` of virtual time; `number` is its name, `fields` say the rest."""

    number: int
    at_ms: int
    kind: str
    fields: tuple[int | str, ...] = ()

    def words(self) -> str:
        """As a story tells it."""
        return " ".join((self.kind, *map(str, self.fields)))


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole history before it is played. `processes` compete for every account; mishaps happen until `end_ms`."""

    seed: int
    accounts: tuple[str, ...]
    processes: int
    venue_offset_ms: int
    end_ms: int
    items: tuple[Item, ...]

    @property
    def orders(self) -> int:
        """How many commands to place an order are given."""
        return sum(item.kind == "place" for item in self.items)


# Each kind of happening, how many there are in a thousand orders, and what it says.
_HAPPENINGS = (
    ("kill", 2),
    ("sleep", 2),
    ("clocks stand still", 1),
    ("boot stands still", 1),
    ("wall steps", 1),
    ("venue's time steps", 1),
    ("row lost", 1),
    ("row expired", 1),
    ("log away", 1),
    ("database away", 1),
    ("feed silent", 1),
    ("halt", 2),
    ("freeze", 1),
    ("halt file", 2),
    ("cancel all", 2),
    ("all down", 1),
    ("worst hour", 1),
    ("deposit", 1),
)


def plan(seed: int, orders: int) -> Plan:
    """The history of a seed."""
    chance = Random(seed)
    accounts = ACCOUNTS[: chance.choice((1, 2, 3))]
    processes = chance.choice((2, 2, 3))
    items: list[tuple[int, str, tuple[int | str, ...]]] = []
    at_ms, places = BEGIN_MS, 0
    night = chance.randrange(orders)  # after which order everything is down for longer than the books remember
    while places < orders:
        if places == night:
            night = -1
            items.append((at_ms, "all down", (NIGHT_MS,)))
            at_ms += NIGHT_MS + 4000
        at_ms += chance.choice((20, 60, 150, 400)) if chance.random() < 0.99 else chance.randint(1000, 8000)
        kind = chance.random()
        account = chance.choice(accounts)
        if kind < 0.03:
            items.append((at_ms, "cancel", (account, chance.randint(1, 6))))
        elif kind < 0.035:
            items.append((at_ms, "repeat", (account, chance.randint(1, 40))))
        elif kind < 0.037:
            items.append((at_ms, "garbage", (account,)))
        else:
            places += 1
            items.append((at_ms, "place", _place(chance, account)))
    times = [at_ms for at_ms, _, _ in items]
    for kind, in_a_thousand in _HAPPENINGS:
        for _ in range(max(1, orders * in_a_thousand // 1000)):
            items.append((chance.choice(times) + chance.randint(0, 400), kind, _fields(chance, kind, accounts, processes)))
    items.sort(key=lambda item: item[0])
    numbered = tuple(Item(number, *item) for number, item in enumerate(items, 1))
    return Plan(seed, accounts, processes, chance.choice((0, 0, 900, -900)), at_ms + 1000, numbered)


def _place(chance: Random, account: str) -> tuple[int | str, ...]:
    """(account, symbol, side, time in force, price off the middle in hundredths, quantity in thousandths, life ms)."""
    force = chance.choices(("ioc", "gtc", "post_only", "fok"), (62, 24, 8, 6))[0]
    off = chance.choice((0, 3, 8, 8, 12)) if force in ("ioc", "fok") else chance.choice((-30, -4, -2, 1, 6))
    life_ms = chance.choice((1500, 3000, 6000, 15_000))
    return account, chance.choice(SYMBOLS), chance.choice(("buy", "sell")), force, off, chance.randint(1, 300), life_ms


def _fields(chance: Random, kind: str, accounts: tuple[str, ...], processes: int) -> tuple[int | str, ...]:
    account, process = chance.choice(accounts), chance.randrange(processes)
    match kind:
        case "kill" | "log away" | "database away" | "feed silent":
            return process, chance.choice((300, 2500, 7000, 11_000))
        case "sleep" | "clocks stand still" | "boot stands still":
            return process, chance.choice((400, 1500, 6000, 11_000, 20_000))
        case "wall steps":
            return process, chance.choice((-10_000, -900, 900, 10_000))
        case "venue's time steps":
            return (chance.choice((-600, -200, 300, 700)),)
        case "row lost" | "row expired":
            return (account,)
        case "halt" | "freeze" | "cancel all":
            return chance.choice(("all", f"account:{account}", f"portfolio:{account}")), chance.choice((500, 2000, 5000))
        case "halt file":
            return process, chance.choice((800, 3000, 6000))
        case "worst hour":
            return (chance.choice((1500, 4000)),)
        case "all down":
            return (chance.choice((5000, 20_000)),)
        case _:
            return account, chance.choice(("USDT", "BTC")), chance.choice((-3, 5, 7))
