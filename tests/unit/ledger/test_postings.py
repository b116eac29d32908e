"""Postings sum to zero for each asset, or there are none."""

from decimal import Decimal

import pytest

from schemas.ledger import Posting
from streams.domain.errors import InvariantError
from streams.domain.ledger import postings


def test_lines_that_do_not_sum_to_zero_are_never_booked():
    lines = (
        Posting(ledger_account="a", asset="BTC", amount=Decimal(1)),
        Posting(ledger_account="b", asset="BTC", amount=Decimal("-0.999999999999999999")),
    )
    with pytest.raises(InvariantError, match="BTC"):
        postings.balanced(lines)


def test_equal_amounts_of_two_assets_do_not_balance_each_other():
    lines = (
        Posting(ledger_account="a", asset="BTC", amount=Decimal(1)),
        Posting(ledger_account="b", asset="ETH", amount=Decimal(-1)),
    )
    with pytest.raises(InvariantError, match="ETH"):
        postings.balanced(lines)


def test_an_opening_of_nothing_has_no_lines():
    assert postings.opening("main", {"BTC": Decimal(0)}) == ()
