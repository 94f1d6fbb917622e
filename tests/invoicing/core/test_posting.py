"""Every event of the business balances: debits positive, credits negative, sum zero."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import from_minor_units, total
from invoicing.core.posting import (
    BANK,
    INTERCOMPANY,
    PAYMENT_FEES,
    RECEIVABLE,
    REVENUE,
    STRIPE_CLEARING,
    PostingLine,
    divided,
    postings_for_issue,
    postings_for_payment,
    postings_for_reversal,
)


def eur(amount: str) -> Money:
    return Money(Decimal(amount), "EUR")


def test_an_issued_invoice_is_owed_and_earned() -> None:
    assert postings_for_issue(total=eur("280.00"), currency="EUR") == (
        PostingLine(RECEIVABLE, eur("280.00")),
        PostingLine(REVENUE, eur("-280.00")),
    )


@pytest.mark.parametrize(("channel", "account"), [("stripe", STRIPE_CLEARING), ("manual", BANK)])
def test_a_payment_moves_from_the_receivable_to_where_the_money_is(channel: str, account: str) -> None:
    assert postings_for_payment(amount=eur("280.00"), channel=channel) == (
        PostingLine(account, eur("280.00")),
        PostingLine(RECEIVABLE, eur("-280.00")),
    )


@given(units=st.integers(0, 10**18), currency=st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_an_entry_and_its_reversal_leave_nothing(units: int, currency: str) -> None:
    """S0-118."""
    entry = postings_for_issue(total=from_minor_units(units, currency), currency=currency)

    reversal = postings_for_reversal(postings=entry)

    for account in (RECEIVABLE, REVENUE):
        amounts = [line.amount for line in (*entry, *reversal) if line.account == account]
        assert total(amounts, currency).amount == 0


def test_a_negative_invoice_an_unknown_account_and_unrounded_money_are_bugs() -> None:
    with pytest.raises(AssertionError, match="credit note"):
        postings_for_issue(total=eur("-1"), currency="EUR")
    with pytest.raises(AssertionError, match="no such account"):
        PostingLine("9999", eur("1"))
    with pytest.raises(AssertionError, match="whole minor units"):
        PostingLine(BANK, eur("0.001"))
    with pytest.raises(AssertionError, match="USD"):
        postings_for_issue(total=eur("1"), currency="USD")


@given(
    units=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5),
    held=st.dictionaries(st.sampled_from([BANK, STRIPE_CLEARING, PAYMENT_FEES, REVENUE]), st.sampled_from("abc")),
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
)
def test_whoever_holds_the_accounts_of_an_entry_each_company_balances_and_they_owe_each_other_the_same(
    units: list[int], held: dict[str, str], currency: str
) -> None:
    """S0-118."""
    accounts = [BANK, STRIPE_CLEARING, PAYMENT_FEES, REVENUE, RECEIVABLE]
    lines = [
        PostingLine(account, from_minor_units(one, currency)) for account, one in zip(accounts, units, strict=False)
    ]
    postings = (*lines, PostingLine(RECEIVABLE, from_minor_units(-sum(units), currency)))

    divided_lines = divided(postings=postings, entity="a", holders=held)

    for entity in {one.entity for one in divided_lines}:
        assert total((one.line.amount for one in divided_lines if one.entity == entity), currency).amount == 0
    between = [one for one in divided_lines if one.line.account == INTERCOMPANY]
    assert total((one.line.amount for one in between), currency).amount == 0
    assert all(one.line.amount.amount for one in between) and len({one.entity for one in between}) == len(between)
    others = tuple(one for one in divided_lines if one.line.account != INTERCOMPANY)
    assert tuple(one.line for one in others) == postings, "nothing else changes"
    assert all(one.entity == held.get(one.line.account, "a") for one in others)


def test_an_entry_of_one_company_stays_as_it_is_and_nobody_books_between_companies_by_hand() -> None:
    postings = postings_for_payment(amount=eur("1"), channel="stripe")

    assert [one.entity for one in divided(postings=postings, entity="b", holders={STRIPE_CLEARING: "b"})] == ["b", "b"]
    with pytest.raises(AssertionError, match="follows from the rest"):
        divided(postings=(PostingLine(INTERCOMPANY, eur("1")),), entity="b", holders={})
