"""The executor on real Kafka, PostgreSQL and a venue: from a command to its fills."""

from schemas.orders import AccountOpened, OrderClosed, OrderFilled
from tests.stack.executor.installation import Installation, until

FILLED = ["admitted", "intended", "accepted", "filled", "closed"]


async def test_given_an_open_account_when_a_command_comes_then_it_ends_filled(installation: Installation) -> None:
    # given
    await installation.allow()
    async with installation.executor():
        await until(lambda: installation.events(kind=AccountOpened))
        # when
        command = await installation.command(installation.place())
        # then
        await until(lambda: installation.events(kind=OrderClosed))
    assert await installation.story(command) == FILLED, await installation.events()
    (fill,) = await installation.events(kind=OrderFilled)
    (closed,) = await installation.events(kind=OrderClosed)
    assert closed.filled_base == fill.quantity_base
    assert closed.filled_quote == fill.quote_amount
    assert len(installation.accepted()) == 1
