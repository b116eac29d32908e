"""`python -m bench [NAME ...]`: run the named benchmarks, or all, and print a line for each thing measured.

BENCH_SECONDS is how long each window lasts (60; a few are enough to see that it works), VERIFY how many messages are
verified. `--report FILE` keeps a copy.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from bench.report import Line, conditions, document, load
from streams.domain.errors import TrimtabError
from streams.local.server import LocalStackError

NAMES = ("fold", "wire", "orders", "budget", "throughput", "halt", "journal", "start", "recovery", "takeover", "verify")


def main() -> int:
    """Run and print; exit status 1 when a benchmark could not be run, after the others."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none means all")
    parser.add_argument("--report", type=Path, help="write what is printed to this file, as Markdown")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: not a benchmark; there are {', '.join(NAMES)}")
    given = os.environ.get("BENCH_SECONDS", "60")
    seconds = int(given) if given.isdigit() else 0
    if seconds < 1:
        parser.error(f"BENCH_SECONDS={given}: give whole seconds, 1 or more")
    if not Path("/proc/self/stat").exists():
        sys.exit("bench reads CPU and memory of processes from /proc: run it on Linux")
    facts = conditions(seconds)
    print("\n".join(facts), end="\n\n")
    lines: list[Line] = []
    failed = False
    for name in [name for name in NAMES if name in chosen.names or not chosen.names]:
        module = importlib.import_module("bench.fold_lines" if name == "fold" else f"bench.{name}")
        facts.append(f"{name}: {load()}")
        try:
            measured = module.measure(seconds)
        except (LocalStackError, TrimtabError) as error:
            print(f"{name} could not be measured: {error}", file=sys.stderr)
            failed = True
            continue
        lines += measured
        print("\n".join(line.text() for line in measured), flush=True)
    facts.append(f"at the end: {load()}")
    print("\n".join(facts[3:]))
    if chosen.report is not None:
        command = " ".join((f"BENCH_SECONDS={seconds}", "python -m bench", *chosen.names))
        chosen.report.write_text(document(facts, lines, command))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
