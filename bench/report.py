"""What a benchmark says, on a terminal and in a report: the figure, its baseline, what limits it, what it does not show."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from streams.local.install import KAFKA_VERSION

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Line:
    """One measured thing. `details` are further figures of the same run; `not_shown` is what must not be read into it; `target`
    is what we want it to be, printed beside it and never asserted."""

    name: str
    figure: str
    baseline: str
    limit: str
    not_shown: str
    details: tuple[str, ...] = ()
    target: str = ""

    def text(self) -> str:
        """As the terminal shows it."""
        rows = [self.name, f"  measured        {self.figure}", f"  baseline        {self.baseline}"]
        rows += [f"                  {detail}" for detail in self.details]
        rows += [f"  target          {self.target}"] * bool(self.target)
        return "\n".join([*rows, f"  what limits it  {self.limit}", f"  not shown       {self.not_shown}", ""])

    def markdown(self) -> str:
        """As the report shows it."""
        rows = [f"## {self.name}", "", f"- **measured** {self.figure}", f"- **baseline** {self.baseline}"]
        rows += [f"- {detail}" for detail in self.details]
        rows += [f"- target: {self.target}"] * bool(self.target)
        return "\n".join([*rows, f"- **what limits it** {self.limit}", f"- **not shown** {self.not_shown}", ""])


def conditions(seconds: int) -> list[str]:
    """Where, when and of what: the facts without which a figure means nothing."""
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}, windows of {seconds} s",
        f"{os.cpu_count()} cores ({_processor()}), {_memory_gib():.0f} GiB, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, aiokafka {version('aiokafka')}, Faust {version('faust-streaming')}, "
        f"ccxt {version('ccxt')}, Apache Kafka {KAFKA_VERSION} (one broker, page cache, no fsync), PostgreSQL with fsync",
    ]


def commit(root: Path = ROOT) -> str:
    """The commit that is measured, with `-dirty` where tracked files differ from it: other reports that were written meanwhile
    do not count."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)

    described = git("describe", "--always").stdout.strip()
    if not described:
        return "unknown"
    differs = git("diff", "--quiet", "HEAD", "--", ".", ":!docs/evidence").returncode
    return f"{described}-dirty" if differs else described


def load() -> str:
    """The load averages now, with the time: above the number of cores others wanted the machine too."""
    one, five, quarter = os.getloadavg()
    return f"load average at {datetime.now(UTC):%H:%M:%S} UTC: {one:.1f} {five:.1f} {quarter:.1f}"


def document(facts: Sequence[str], lines: Sequence[Line], command: str) -> str:
    """The whole report."""
    head = ["# Benchmarks", "", f"Printed by `{command}`. A target is a wish beside a figure, never a verdict.", ""]
    return "\n".join([*head, *(f"- {fact}" for fact in facts), "", *(line.markdown() for line in lines)])


def quantiles(values: Sequence[float], unit: str = "ms") -> str:
    """p50 and p99, the extremes' largest, and how many."""
    if not values:
        return "nothing was measured"
    p50, p99 = (quantile(values, part) for part in (0.5, 0.99))
    return f"p50 {p50:.2f} {unit}, p99 {p99:.2f} {unit}, max {max(values):.2f} {unit} (n = {len(values)})"


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def spread(values: Sequence[float], unit: str = "s") -> str:
    """The median, the extremes, and how many: for things measured only a few times."""
    if not values:
        return "nothing was measured"
    ordered = sorted(values)
    return f"{median(ordered):.2f} {unit} ({ordered[0]:.2f} to {ordered[-1]:.2f}, n = {len(ordered)})"


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float:
    return int(next(line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) / 2**20


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
