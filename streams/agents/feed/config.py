"""What the feed of one venue is told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """One venue, its symbols and accounts, and every interval in milliseconds.

    `stall_after_ms`: a symbol without news for so long is compared with the venue's REST answer. `fallback_after_ms`: without
    a live socket for so long, REST polling takes over, each symbol every `fallback_every_ms` but at most
    `polls_per_second_max` requests for all. `outstanding_max` bounds unacknowledged records: beyond it the newest for each
    key wins. `unacked_ms_max` ends the role.
    """

    venue: str
    symbols: tuple[str, ...]
    accounts: tuple[str, ...] = ()
    probe_every_ms: int = 1000
    probe_timeout_ms: int = 2000
    balances_every_ms: int = 5000
    books_every_ms: int = 1000
    book_levels: int = 20
    stall_after_ms: int = 5000
    fallback_after_ms: int = 30_000
    fallback_every_ms: int = 1000
    polls_per_second_max: int = 4
    status_check_ms: int = 5000
    status_every_ms: int = 60_000
    rules_check_ms: int = 300_000
    rules_every_ms: int = 86_400_000
    outstanding_max: int = 1000
    dead_letters_max: int = 1000
    unacked_ms_max: int = 60_000
