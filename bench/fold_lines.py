"""The figures of `bench.fold` as lines: steps a second of the portfolio fold, with and without a decision."""

from bench.fold import PORTFOLIOS, fold_figures
from bench.report import Line

STEPS = 1_000


def measure(seconds: int) -> list[Line]:
    """About 15 s of CPU in the full form; fewer steps and repeats when windows are shorter than 15 s."""
    short = seconds < 15
    steps, repeats = (200, 1) if short else (STEPS, 3)
    figures = fold_figures(PORTFOLIOS, steps, repeats)
    quiet_ms, exact_ms, deciding_ms = (
        1_000 / rate
        for rate in (
            figures.quiet_steps_per_second,
            figures.quiet_exact_steps_per_second,
            figures.deciding_steps_per_second,
        )
    )
    rest = "the send of what a step says and the checkpoint, both the shell's; how often a market makes portfolios decide."
    return [
        Line(
            name="fold: market batches a CPU second, no decision",
            figure=f"{figures.quiet_steps_per_second:,.0f} steps/s ({quiet_ms:.2f} ms a step), {PORTFOLIOS} portfolios with 5 "
            f"assets, decoding included (median of {repeats} x {steps} steps)",
            baseline=f"decoding the same records: {figures.decode_only_steps_per_second:,.0f}/s; every portfolio valued "
            f"exactly (no screen): {figures.quiet_exact_steps_per_second:,.0f}/s ({exact_ms:.1f} ms)",
            limit="decoding and validating the record, then the screen over all portfolios of the shard; one core of Python.",
            not_shown=rest,
        ),
        Line(
            name="fold: market batches a CPU second, with exact decisions",
            figure=f"{figures.deciding_steps_per_second:,.1f} steps/s ({deciding_ms:.1f} ms a step, "
            f"{deciding_ms / figures.decisions_per_step:.2f} ms a decision): a 4 % fall makes {figures.decisions_per_step:.0f} "
            f"of {PORTFOLIOS} portfolios decide in one step (median of {10 * repeats})",
            baseline=f"decoding alone: {figures.decode_only_steps_per_second:,.0f}/s; no decision: {quiet_ms:.2f} ms a step",
            details=(f"state of the shard: {figures.snapshot_bytes:,} bytes, {figures.snapshot_ms:.0f} ms to write down",),
            limit="exact decimal valuation and the plan of each portfolio, then the encoding of its signal and commands.",
            not_shown=rest,
        ),
    ]
