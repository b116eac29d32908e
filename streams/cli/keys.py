"""`trimtab keys make|show|rotate`: the keys that sign commands and control events. A private key is never printed."""

import time
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from schemas.control import KeyPurpose
from streams import settings
from streams.cli import output
from streams.domain.errors import RefusedError
from streams.gateways.keys import TrustedFile, TrustedKey, key_id_of, make_pair, private_key_in
from streams.settings import KeySettings

MINUTE_MS = 60_000
DAY_MS = 86_400_000
OVERLAP_S_MIN = 15
PURPOSES = click.Choice([purpose.value for purpose in KeyPurpose])
days_option = click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3650), help="How long it is valid.")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One trusted key as it is shown; times are UTC, `signs_here` tells whether its private half is in our files."""

    key_id: str
    purpose: str
    valid_from: str
    valid_until: str
    state: str
    signs_here: bool


@click.group()
def keys() -> None:
    """Make, show and rotate the keys that sign commands and control events."""


@keys.command()
@click.argument("purpose", type=PURPOSES)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Put the private key here, where no signer reads it yet.",
)
@days_option
def make(purpose: str, key_file: Path | None, days: int) -> None:
    """Make a key for PURPOSE, commands or control, and trust it beside those there are, in the files that keys.* names."""
    private, trusted = _files(settings.load().keys, KeyPurpose(purpose), key_file)
    if private.exists():
        raise RefusedError(f"{private} holds a key already; replace it with `trimtab keys rotate {purpose}`")
    _say(make_pair(KeyPurpose(purpose), private, trusted, _now_ms(), days * DAY_MS, days * DAY_MS), private, trusted)


@keys.command()
@click.argument("purpose", type=PURPOSES)
@click.option(
    "--overlap",
    "overlap_s",
    default=600,
    show_default=True,
    type=click.IntRange(OVERLAP_S_MIN, 30 * 86_400),
    help="For how many seconds the former key is still trusted.",
)
@days_option
def rotate(purpose: str, overlap_s: int, days: int) -> None:
    """Replace the key for PURPOSE while everything runs: verifiers trust both keys for the overlap, the signer takes the new.

    With verifiers on other hosts: `keys make --key-file NEW`, copy the trusted file to them, then move NEW over the old key.
    """
    private, trusted = _files(settings.load().keys, KeyPurpose(purpose))
    if not private.exists():
        raise RefusedError(f"{private} does not exist; make the first key with `trimtab keys make {purpose}`")
    _say(make_pair(KeyPurpose(purpose), private, trusted, _now_ms(), days * DAY_MS, overlap_s * 1000), private, trusted)
    click.echo("put the new key on record with `trimtab config apply`; what the former one signs after its end is refused")


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines for scripts.")
def show(as_json: bool) -> None:
    """Whom this installation trusts, for what and until when, and whose private keys are here."""
    chosen = settings.load().keys
    if chosen.trusted_file is None:
        raise RefusedError("keys.trusted_file: missing; name the file of trusted keys")
    trusted = sorted(TrustedFile(chosen.trusted_file).keys().items(), key=lambda pair: (pair[1].purpose, pair[1].valid_from_ms))
    here = _held(chosen)
    rows = [
        KeyRow(
            key_id=key_id,
            purpose=key.purpose.value,
            valid_from=_moment(key.valid_from_ms),
            valid_until=_moment(key.valid_until_ms),
            state=state_of(key, _now_ms()),
            signs_here=key_id in here,
        )
        for key_id, key in trusted
    ]
    if as_json:
        return output.json_lines(rows)
    columns = ("key", "for", "valid from", "until (UTC)", "state", "private key")
    lines = [(*astuple(row)[:-1], "here" if row.signs_here else "") for row in rows]
    return output.console().print(output.table(f"Trusted keys in {chosen.trusted_file}", columns, lines))


def state_of(key: TrustedKey, now_ms: int) -> str:
    """Whether a key is valid, and for how long yet: in days, and in hours and minutes near its end."""
    if now_ms < key.valid_from_ms:
        return "not yet valid"
    if now_ms >= key.valid_until_ms:
        return "ended"
    left_ms = key.valid_until_ms - now_ms
    if left_ms >= 2 * DAY_MS:
        return f"valid, {left_ms // DAY_MS} days left"
    hours, minutes = divmod(left_ms // MINUTE_MS, 60)
    left = " ".join(words for words in (f"{hours} h" if hours else "", f"{minutes} min" if hours or minutes else "") if words)
    return f"valid, {left or 'less than a minute'} left"


def _files(chosen: KeySettings, purpose: KeyPurpose, other: Path | None = None) -> tuple[Path, Path]:
    private = other or {KeyPurpose.COMMANDS: chosen.commands_key_file, KeyPurpose.CONTROL: chosen.control_key_file}[purpose]
    if private is None or chosen.trusted_file is None:
        lacking = f"{purpose}_key_file" if private is None else "trusted_file"
        raise RefusedError(f"keys.{lacking}: missing; name the file that `trimtab keys` shall write")
    return private, chosen.trusted_file


def _held(chosen: KeySettings) -> set[str]:
    """The ids of the private keys in the files that these settings name, as far as they can be read."""
    found = [file for file in (chosen.commands_key_file, chosen.control_key_file) if file is not None and file.exists()]
    return {key_id_of(private_key_in(file)().public_key().public_bytes_raw()) for file in found}


def _say(key: TrustedKey, private: Path, trusted: Path) -> None:
    click.echo(f"key {key.key_id} signs {key.purpose} from now until {_moment(key.valid_until_ms)} UTC")
    click.echo(f"  private: {private} (for its signer alone; it is never shown)")
    click.echo(f"  public:  {trusted} (for everybody who verifies)")


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
