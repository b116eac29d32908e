"""6: no crash loop in the log: a bounded number of lines for each cause."""

import logging

from streams.gateways.faust.ending import LineLimiter


class Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_each_cause_has_a_few_lines_and_then_a_count() -> None:
    # Given a limiter of three lines a minute on one library
    now = [0.0]
    ear, limiter = Ear(), LineLimiter(lines_max=3, window_seconds=60.0, clock=lambda: now[0])
    library, child = logging.getLogger("noisy"), logging.getLogger("noisy.client")
    library.propagate = False
    library.addHandler(limiter)
    logging.getLogger().addHandler(ear)
    try:
        # When one cause repeats and another comes once
        for number in range(1000):
            child.warning("node %d is away", number)
        library.warning("something else")
        now[0] = 61.0
        child.warning("node %d is away", 1000)
    finally:
        logging.getLogger().removeHandler(ear)
        library.removeHandler(limiter)
    # Then the first lines pass, the other cause passes, and the next window begins with the count
    assert ear.lines == [
        "node 0 is away",
        "node 1 is away",
        "node 2 is away",
        "something else",
        "997 more lines like this were left out: node %d is away",
        "node 1000 is away",
    ]
