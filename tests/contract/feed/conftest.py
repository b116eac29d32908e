from collections.abc import AsyncIterator

import pytest

from tests.contract.feed.fake_venue import FakeVenue, exchange_info


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    fake = FakeVenue(replies={"/api/v3/exchangeInfo": exchange_info()})
    await fake.start()
    yield fake
    await fake.stop()
