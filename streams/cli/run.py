"""`trimtab run ROLE`: one role of the flow as a process."""

import gc
import sys

import click

from streams import app, settings
from streams.gateways import logs


@click.command()
@click.argument("role", type=click.Choice(list(app.ROLES)))
@click.option("--instance", default="0", show_default=True, help="Which of several workers of this role; stable over restarts.")
def run(role: str, instance: str) -> None:
    """Run one role of the flow until SIGTERM: feed, sequencer, portfolio, executor, ledger or projector."""
    loaded = settings.load()
    logs.configure(role, loaded.log_format, loaded.log_level, settings.secrets_of(loaded))
    gc.freeze()
    sys.exit(app.run_role(role, loaded, instance))
