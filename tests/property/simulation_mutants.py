"""Programs that differ from ours in one line each, the line that a hurried engineer would write. Each must be caught."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ORDERS, EXECUTOR = "streams/domain/orders", "streams/agents/executor"


@dataclass(frozen=True)
class Mutant:
    """`line` of `file`, which must stand there exactly once, becomes `instead`. `seed` is a run that meets it soon, and
    `breaks` the invariant that names it there."""

    name: str
    file: str
    line: str
    instead: str
    breaks: str
    seed: int = 1


MUTANTS = (
    Mutant(
        "an unknown outcome is simply tried again",
        f"{ORDERS}/attempts.py",
        "            turn.say(OrderUnknown(**turn.about_attempt(order), cause=outcome.cause[:500]))",
        "            turn.say(OrderUnsent(**turn.about_attempt(order), cause=outcome.cause[:500]))",
        "I1",
    ),
    Mutant(
        "no reply is no order",
        f"{ORDERS}/outcome.py",
        "        if reply.failure in (Failure.NOT_SENT, Failure.NOT_CONNECTED):",
        "        if reply.failure is not Failure.UNUSABLE:",
        "I1",
    ),
    Mutant(
        "a page instead of a document is a refusal",
        f"{ORDERS}/outcome.py",
        '        return Outcome(Proof.UNKNOWN, f"http {reply.http_status} without proof")',
        '        return Outcome(Proof.REFUSED, f"http {reply.http_status} without proof")',
        "I2",
    ),
    Mutant(
        "any HTTP 200 is an acceptance",
        f"{ORDERS}/outcome.py",
        "    if not order.venue_order_id or order.symbol != symbol or order.client_order_id != client_order_id:",
        "    if not order.venue_order_id:",
        "I13",
        seed=3,
    ),
    Mutant(
        "not found is absent",
        f"{ORDERS}/attempts.py",
        "    if look.venue_time_ms <= provable_ms:",
        "    if look.venue_time_ms <= intent.timestamp_ms:",
        "I1",
    ),
    Mutant(
        "the second attempt goes under the first one's id",
        f"{ORDERS}/attempts.py",
        "        client_order_id=client_order_id(order.command_id, attempt),",
        "        client_order_id=client_order_id(order.command_id, 1),",
        "I1",
    ),
    Mutant(
        "the request is stamped when it leaves",
        f"{ORDERS}/attempts.py",
        "        timestamp_ms=intent.timestamp_ms,",
        "        timestamp_ms=turn.state.venue_time.estimate_ms(now.boot_ms),",
        "I11",
    ),
    Mutant(
        "a trade is booked as often as it is shown",
        f"{ORDERS}/fills.py",
        "        if known and trade.trade_id not in order.traded:",
        "        if known:",
        "I4",
    ),
    Mutant(
        "a late trade is booked as often as it is shown",
        f"{ORDERS}/fills.py",
        "    if trade.trade_id in ended.trade_ids or trade.symbol != ended.symbol:",
        "    if trade.symbol != ended.symbol:",
        "I4",
    ),
    Mutant(
        "a command that is read again is done again",
        f"{ORDERS}/protocol.py",
        "    if former or turn.books.answers(command):",
        "    if former:",
        "I2",
    ),
    Mutant(
        "an order that ended is closed before its fills are booked",
        f"{ORDERS}/attempts.py",
        "    if order.filled_base < view.filled_base:",
        "    if order.filled_base > view.filled_base:",
        "I4",
    ),
    Mutant(
        "orders that ended are soon forgotten",
        f"{ORDERS}/checkpoint.py",
        "ENDED_KEPT = 500",
        "ENDED_KEPT = 1",
        "I4",
        seed=7,
    ),
    Mutant(
        "an inherited intent is left alone",
        f"{ORDERS}/protocol.py",
        "        if order.state is OrderState.INTENDED:",
        "        if order.state is OrderState.INTENDED and order.is_cancel:",
        "I13",
    ),
    Mutant(
        "a resume lets old decisions live",
        f"{ORDERS}/gate.py",
        "    if command.decided_at_ms < state.authority.voided_before_ms:",
        "    if command.decided_at_ms < 0:",
        "I16",
        seed=6,
    ),
    Mutant(
        "a freeze is no halt",
        f"{ORDERS}/gate.py",
        "    if authority.stop is not None:",
        "    if authority.stop is StopKind.HALT:",
        "I16",
        seed=6,
    ),
    Mutant(
        "a freeze by the file is no stop",
        f"{ORDERS}/gate.py",
        "    if now.freeze_file is not None:",
        "    if now.freeze_file is not None and now.halt_file is not None:",
        "I16",
    ),
    Mutant(
        "decisions on old inputs are as good as fresh ones",
        f"{ORDERS}/gate.py",
        "    return command.oldest_received_at_ms + command.input_age_ms_max",
        "    return command.oldest_received_at_ms + 60_000",
        "I8",
    ),
    Mutant(
        "a request may leave for as long as the lease holds",
        f"{ORDERS}/gate.py",
        "    deadline_boot_ms = lease.deadline_boot_ms - state.rules.window_ms",
        "    deadline_boot_ms = lease.deadline_boot_ms",
        "I11",
        seed=6,
    ),
    Mutant(
        "the lease is taken for granted",
        f"{ORDERS}/protocol.py",
        "            proof = LeaseProof(event.asked_boot_ms + event.ttl_ms, event.asked_wall_ms - event.asked_boot_ms)",
        "            proof = LeaseProof(event.asked_boot_ms + event.ttl_ms * 100, event.asked_wall_ms - event.asked_boot_ms)",
        "I11",
        seed=4,
    ),
    Mutant(
        "the database alone knows the epoch",
        f"{EXECUTOR}/takeover.py",
        "    epoch = max(lease.epoch if lease is not None else 0, past.books.epoch) + 1",
        "    epoch = (lease.epoch if lease is not None else 0) + 1",
        "I11",
    ),
    Mutant(
        "a higher owner in the log is overlooked",
        f"{EXECUTOR}/fence.py",
        "        return started.epoch >= self._epoch and not ours",
        "        return False",
        "I11",
    ),
    Mutant(
        "what could not be written is taken as written",
        f"{EXECUTOR}/fence.py",
        "    if error is not None:",
        "    if error is not None and not error:",
        "I13",
    ),
    Mutant(
        "what forbids an order is overlooked at the last look",
        f"{EXECUTOR}/fence.py",
        "    if cause is not None:",
        "    if cause is not None and not cause:",
        "I16",
    ),
    Mutant(
        "an operator's cancel is for orders that stand",
        f"{ORDERS}/gate.py",
        '    return "canceled" if state.authority.withdraws(command.command_id, command.decided_at_ms) else None',
        "    return None",
        "I16",
    ),
    Mutant(
        "the venue's limiter is ignored",
        f"{ORDERS}/attempts.py",
        "        turn.change(budget=budget.pause(turn.state.budget, turn.now.boot_ms, reply.retry_after_ms))",
        "        pass",
        "I9",
        seed=3,
    ),
)


def breed(mutant: Mutant, folder: Path) -> None:
    """Copy the program into `folder` with the one line changed. Raises ValueError when the line is not there exactly once."""
    for package in ("schemas", "streams"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("static", "published"))
    path = folder / mutant.file
    lines = path.read_text().split("\n")
    if lines.count(mutant.line) != 1:
        raise ValueError(f"{mutant.name}: its line stands {lines.count(mutant.line)} times in {mutant.file}, not once")
    path.write_text("\n".join(mutant.instead if line == mutant.line else line for line in lines))


def hunt(folder: Path, seed: int, size: int, orders: int, shrink_s: int = 0) -> subprocess.CompletedProcess[str]:
    """Simulate the program in `folder` until something breaks, or so many orders were given; then look for a shorter history
    that breaks for so many seconds."""
    asked = {"--seed": seed, "--size": size, "--orders": orders, "--workers": 1, "--shrink": shrink_s}
    return subprocess.run(
        [sys.executable, "-m", "streams.lab.simulate", *(str(word) for pair in asked.items() for word in pair)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
