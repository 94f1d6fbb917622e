"""What is invoiced once is rated, written out and proved like any other line."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.money import EXACT
from invoicing.core.one_off import assemble_once
from invoicing.core.proof import rated_again, stated_document
from invoicing.core.stated import StatedItem, StatedKind, rate_stated

QUANTITIES = st.decimals("0.000000000001", "1e9", places=12)
AMOUNTS = st.decimals("0", "1e6", places=12)


@pytest.mark.parametrize(
    ("quantity", "unit_amount", "currency", "amount"),
    [
        ("3", "120", "EUR", "360.00"),
        ("2.5", "99.99", "EUR", "249.98"),
        ("1", "0.005", "EUR", "0.01"),
        ("1", "0.004999999999", "EUR", "0.00"),
        ("0.000000000001", "1", "EUR", "0.00"),
        ("1.5", "1", "JPY", "2"),
        ("1", "0.0005", "KWD", "0.001"),
    ],
)
def test_quantity_times_unit_amount_is_rounded_once_by_the_currency(
    quantity: str, unit_amount: str, currency: str, amount: str
) -> None:
    """S0-107"""
    item = StatedItem("Workshop", Decimal(quantity), Decimal(unit_amount), unit="hour")

    line = rate_stated(item=item, reference=":one_off/1", currency=currency)

    assert stated_document(line=line)["amount"] == {"amount": amount, "currency": currency}


def test_the_line_says_in_words_and_figures_how_it_came_about() -> None:
    item = StatedItem("Workshop", Decimal("2.5"), Decimal("99.99"), unit="hour")

    document = stated_document(line=rate_stated(item=item, reference=":one_off/1", currency="EUR"))

    assert document["explanation"] == "2.5 hours at EUR 99.99 each. EUR 249.975 is rounded to 249.98."
    assert [step["arithmetic"] for step in document["steps"]] == ["2.5 × 99.99 = 249.975"]


def test_credit_says_when_it_comes_and_for_how_long() -> None:
    item = StatedItem("Prepaid credit", Decimal(1), Decimal(100), kind=StatedKind.TOP_UP, valid_days=365)

    line = rate_stated(item=item, reference=":top_up/1", currency="EUR")

    assert line.explanation == (
        "EUR 100.00 of credit that later invoices are paid with."
        " It is there as soon as this one is paid in full, and for 365 days from then on."
    )


@given(
    quantity=QUANTITIES,
    unit_amount=AMOUNTS,
    kind=st.sampled_from(StatedKind),
    currency=st.sampled_from(["EUR", "JPY", "KWD", "CLF"]),
)
def test_whatever_was_stated_rates_again_to_the_same_bytes(
    quantity: Decimal, unit_amount: Decimal, kind: StatedKind, currency: str
) -> None:
    """S0-016"""
    item = StatedItem("Something", quantity, unit_amount, unit="piece", kind=kind)
    invoice = assemble_once(customer="cust_acme", currency=currency, items=[item, item], day=date(2026, 7, 1))
    document = stated_document(line=invoice.lines[1])

    assert rated_again(document["inputs"]) == document
    assert invoice.lines[0].unrounded_amount == Fraction(EXACT.multiply(quantity, unit_amount))
    assert invoice.total.amount == sum((line.amount.amount for line in invoice.lines), Decimal(0))
