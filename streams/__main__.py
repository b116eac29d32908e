"""The command line: `trimtab COMMAND`.

Each command's module is imported only when that command is called: `trimtab verify` or `trimtab status` never loads an
exchange library, so a replay cannot trade.
"""

import importlib
import sys

import click

from streams import settings
from streams.domain.errors import TrimtabError

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("streams.cli.run", "Run one role of the flow until it is stopped."),
    "demo": ("streams.cli.demo", "Start everything here on real Kafka and PostgreSQL, and watch it trade."),
    "status": ("streams.cli.inspect", "How each portfolio stands, and why it does or does not trade."),
    "orders": ("streams.cli.inspect", "The newest orders with their state and fills."),
    "ledger": ("streams.cli.inspect", "The books."),
    "config": ("streams.cli.control", "Check the settings file; apply it to the control topic."),
    "keys": ("streams.cli.keys", "Make, show and rotate the keys that sign commands and control events."),
    "limits": ("streams.cli.accounts", "What is allowed, how much of it is used, and which halts stand."),
    "halt": ("streams.cli.stops", "No new orders within a scope, and open ones off the book, at once."),
    "freeze": ("streams.cli.stops", "No new orders within a scope."),
    "cancel": ("streams.cli.stops", "Take one order, or all, off the book; stop nothing."),
    "resume": ("streams.cli.stops", "Lift halts by name."),
    "unknown": ("streams.cli.accounts", "Orders of which nobody knows whether the venue has them."),
    "reconcile": ("streams.cli.accounts", "Compare an account's books with its venue now."),
    "flows": ("streams.cli.flows", "Money that moved without an order of ours, and what it was."),
    "topics": ("streams.cli.contracts", "Create and check topics."),
    "contracts": ("streams.cli.contracts", "Write and check the published schemas."),
    "db": ("streams.cli.database", "Migrate, rebuild and dump the database."),
    "recover": ("streams.cli.recover", "Rebuild a shard whose checkpoints are gone, sending nothing twice."),
    "verify": ("streams.cli.audit", "Prove from raw topics, database and venue journal that nothing went wrong."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called or when its own help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        return getattr(module, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_module, words) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trimtab", prog_name="trimtab")
def cli() -> None:
    """Keep crypto portfolios on their target weights with the least trading.

    Settings come from trimtab.toml (or the file TRIMTAB_CONFIG names) and from TRIMTAB_ variables.
    Exit codes: 0 done, 1 failed or a violation was found, 2 refused (settings, rights, schema), 70 a broken invariant,
    75 something could not be reached.
    """


def main() -> None:
    """Run the command line; an error of ours is one sentence and its exit code, never a trace."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TrimtabError as error:
        unread = settings.unread()
        click.echo(f"trimtab: {error}{f' ({unread})' if unread else ''}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
