"""2.3: what nobody trusted signed is told and not done; keys are rotated under load, and nothing is lost or doubled."""

import asyncio
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.codec import encode
from schemas.control import ControlEvent, KeyPurpose, StopKind, TradingResumed, TradingStopped
from schemas.envelope import SIGNATURE_KEY_ID, Envelope
from schemas.orders import CommandEvent, CommandsDistrusted
from streams.gateways.keys import TrustedFile, key_id_of, make_pair, private_key_in
from streams.gateways.signing import Ed25519Signer
from streams.ports.log import Output
from streams.settings import FILE_VARIABLE
from streams.topics import OPERATOR_CONTROL, ORDERS_COMMANDS, dead_letter, partition_of
from tests.stack.executor.installation import CLOCK, ENVIRONMENT, HOUR_MS, Installation, ended, opened, until

OVERLAP_S = 15
EVERY_S = 0.1

pytestmark = pytest.mark.timeout(180)


async def rotate(installation: Installation, purpose: KeyPurpose) -> None:
    """`trimtab keys rotate PURPOSE`, as an operator does it."""
    settings = installation.state_dir / "trimtab.toml"
    private = installation.state_dir / f"{purpose}.pem"
    settings.write_text(
        f'environment = "{ENVIRONMENT}"\n[keys]\ntrusted_file = "{installation.trusted}"\n{purpose}_key_file = "{private}"\n'
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams", "keys", "rotate", purpose.value, "--overlap", str(OVERLAP_S)),
        env={**os.environ, FILE_VARIABLE: str(settings)},
        cwd=Path(__file__).parents[3],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def signed_by(installation: Installation, account: str) -> list[str]:
    """The key ids on the account's commands, in their order, each once."""
    partition = partition_of(account.encode(), await installation.log.partitions(ORDERS_COMMANDS))
    records = [record for record in await installation.records(ORDERS_COMMANDS, partition) if record.key == account.encode()]
    return list(dict.fromkeys((record.header(SIGNATURE_KEY_ID) or b"").decode() for record in records))


async def test_2_3_given_records_that_nobody_trusted_signed_then_they_are_told_and_not_done(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """Unsigned, altered, for another environment or account, by a stranger, by an ended key, by a key for something else; and
    a command that comes again as it was."""
    caplog.set_level(logging.INFO, "trimtab.executor")
    good = installation.signers[KeyPurpose.COMMANDS]
    ended_key, stranger = installation.state_dir / "ended.pem", Ed25519PrivateKey.generate()
    make_pair(KeyPurpose.COMMANDS, ended_key, installation.trusted, CLOCK.wall_ms() - 2 * HOUR_MS, HOUR_MS, 4 * HOUR_MS)

    def unsigned(account: str = "alice") -> Output:
        command = installation.place(account)
        envelope = Envelope(command.command_id, command.ce_type(), "test", CLOCK.wall_ms())
        return Output(ORDERS_COMMANDS, account.encode(), encode(command), envelope.headers())

    def by(private: Callable[[], Ed25519PrivateKey], environment: str = ENVIRONMENT) -> Output:
        return Ed25519Signer(environment, KeyPurpose.COMMANDS, private).sign(unsigned())

    real = private_key_in(installation.state_dir / f"{KeyPurpose.COMMANDS}.pem")
    signed = good.sign(unsigned())
    forged = [
        unsigned(),
        replace(signed, value=signed.value.replace(b'"0.01"', b'"1.01"')),
        by(real, "another"),
        replace(good.sign(unsigned("bob")), key=b"alice"),
        by(lambda: stranger),
        by(private_key_in(ended_key)),
        by(private_key_in(installation.state_dir / f"{KeyPurpose.CONTROL}.pem")),
    ]
    assert forged[1].value != signed.value
    async with installation.executor():
        await opened(installation)
        for output in (*forged, signed, signed):
            await installation.write_raw(ORDERS_COMMANDS, "alice", output.value, output.headers)
        following = await installation.command(installation.place())
        command = json.loads(signed.value)["command_id"]
        await until(lambda: _all_done(installation, [command, following]))

        async def told() -> Counter[str]:
            causes: Counter[str] = Counter()
            for event in await installation.events(kind=CommandsDistrusted):
                causes.update(event.causes)
            return causes if causes.total() == len(forged) else Counter()

        assert await until(told) == {"unsigned": 1, "bad_signature": 3, "unknown_key": 1, "key_expired": 1, "wrong_purpose": 1}
    assert {event.command_id for event in await installation.events(kind=CommandEvent)} == {command, following}
    assert len(installation.accepted()) == 2
    said = [record.getMessage() for record in caplog.records if "repeated" in record.getMessage()]
    assert said == ["account alice: 1 repeated commands were dropped under this epoch"]


async def test_2_3_given_two_rotations_under_load_then_every_command_is_done_once(installation: Installation) -> None:
    private = installation.state_dir / f"{KeyPurpose.COMMANDS}.pem"
    former = private.with_name("former.pem")
    former.write_bytes(private.read_bytes())
    first = key_id_of(installation.signers[KeyPurpose.COMMANDS].key)
    async with installation.executor():
        await opened(installation)
        commands: list[str] = []
        stopping = asyncio.Event()

        async def load() -> None:
            while not stopping.is_set():
                commands.append(await installation.command(installation.place()))
                await asyncio.sleep(EVERY_S)

        async def under_key(count: int) -> None:
            """Until so many keys have signed, and some more commands."""

            async def signed() -> bool:
                return len(await signed_by(installation, "alice")) == count

            await until(signed)
            given = len(commands)
            await until(lambda: _true(len(commands) > given + 5))

        async with asyncio.TaskGroup() as group:
            group.create_task(load())
            await under_key(1)
            for count in (2, 3):
                await rotate(installation, KeyPurpose.COMMANDS)
                await under_key(count)
            stopping.set()
        await until(lambda: _all_done(installation, commands))
        keys = await signed_by(installation, "alice")
        trusted = TrustedFile(installation.trusted).keys()
        assert (len(keys), keys[0]) == (3, first)
        assert not await installation.events(kind=CommandsDistrusted)
        accepted = [order["client_order_id"] for order in installation.accepted()]
        assert len(accepted) == len(set(accepted)) == len(commands)

        # when the overlap is over, who still signs with the first key is no author any more
        await until(lambda: _true(not trusted[first].valid(CLOCK.wall_ms())))
        late = installation.place()
        now = installation.signers[KeyPurpose.COMMANDS]
        installation.signers[KeyPurpose.COMMANDS] = Ed25519Signer(ENVIRONMENT, KeyPurpose.COMMANDS, private_key_in(former))
        await installation.command(late)
        installation.signers[KeyPurpose.COMMANDS] = now
        following = await installation.command(installation.place())
        await until(lambda: _all_done(installation, [*commands, following]))
        (told,) = await installation.events(kind=CommandsDistrusted)
        assert told.causes == {"key_expired": 1}
        assert not await installation.story(late.command_id)
        assert len(installation.accepted()) == len(commands) + 1


async def test_2_3_given_the_control_key_is_rotated_then_only_the_former_one_loses_its_word(installation: Installation) -> None:
    """While an executor runs: a halt and a resume signed by the new key are obeyed; a halt by the former one is, until the
    overlap is over, and then it is set aside."""
    private = installation.state_dir / f"{KeyPurpose.CONTROL}.pem"
    former = private.with_name("former.pem")
    former.write_bytes(private.read_bytes())
    by_former = Ed25519Signer(ENVIRONMENT, KeyPurpose.CONTROL, private_key_in(former))
    by_new = installation.signers[KeyPurpose.CONTROL]
    first = key_id_of(by_former.key)

    async def say(event: ControlEvent, signer: Ed25519Signer) -> str:
        """Who signed it."""
        installation.signers[KeyPurpose.CONTROL] = signer
        await installation.control(event)
        (*_, record) = await installation.records(OPERATOR_CONTROL, 0)
        return (record.header(SIGNATURE_KEY_ID) or b"").decode()

    def halt(number: int) -> TradingStopped:
        about = {"scope": "account:alice", "at_ms": CLOCK.wall_ms(), "who": "tester", "halt_id": f"{number:032x}"}
        return TradingStopped.model_validate(about | {"kind": StopKind.HALT})

    def resume(number: int) -> TradingResumed:
        about = {"scope": "account:alice", "at_ms": CLOCK.wall_ms(), "who": "tester", "halt_ids": [f"{number:032x}"]}
        return TradingResumed.model_validate(about)

    async def tried() -> str:
        """How a new command ends."""
        command = await installation.command(installation.place())
        return (await ended(installation, command, "not-admitted", "expired-unsent", "closed"))[-1]

    async def is_halted() -> bool:
        return await tried() != "closed"

    async def trades() -> bool:
        return await tried() == "closed"

    async def refused(count: int) -> list[str]:
        """Why control events were set aside, once there are so many."""
        letters = await installation.records(dead_letter(OPERATOR_CONTROL, "executor"), 0)
        whys = [(letter.header("trimtab-error") or b"").decode() for letter in letters]
        return whys if len(whys) == count else []

    async with installation.executor():
        await opened(installation)
        await rotate(installation, KeyPurpose.CONTROL)
        for number, signer, signs_first in ((1, by_new, False), (2, by_former, True)):
            assert (await say(halt(number), signer) == first) is signs_first
            await until(is_halted)
            await say(resume(number), by_new)
            await until(trades)
        trusted = TrustedFile(installation.trusted).keys()
        await until(lambda: _true(not trusted[first].valid(CLOCK.wall_ms())))
        assert await say(halt(3), by_former) == first
        letters = await until(lambda: refused(1))
        assert await trades()
        await say(halt(4), by_new)
        await until(is_halted)
        assert await say(resume(4), by_former) == first
        letters = await until(lambda: refused(2))
        assert await is_halted()
    assert all(first in why and "was valid until" in why for why in letters), letters


async def _true(holds: bool) -> bool:
    return holds


async def _all_done(installation: Installation, commands: list[str]) -> bool:
    closed = [event.command_id for event in await installation.events() if event.TYPE == "orders.closed"]
    return sorted(closed) == sorted(commands)
