"""Commitments, bounds, discounts, fees in advance, late usage and credit on one invoice: previewed, issued, proved, booked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from moneyed import Money

from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.invoices.models import Invoice
from invoicing.subscriptions.models import Subscription
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from tests.factories import (
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.test_commitments import MONTHS, commit
from tests.invoicing.test_discounts import a_coupon, redeem
from tests.invoicing.test_fees_in_advance import billed, fee

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_held(db: None) -> None:
    """Whatever is drawn here, months without usage among it, is issued."""
    nothing_is_checked_before_issue()


def totals(rows: Any) -> list[str]:
    return [f"{row.total.amount:.2f}" for row in rows]


def drafted(until: datetime) -> list[Invoice]:
    report = draft_billing(as_of=until, at=until)
    assert not report.failures, report.failures
    settle_constraints()
    return report.invoices


# --- all of it at once


@contextmanager
def nothing_kept() -> Iterator[None]:
    with transaction.atomic():
        yield
        settle_constraints()
        transaction.set_rollback(True)


def agree(
    subscription: Subscription,
    *,
    discount: dict[str, Any] | None,
    commitment: tuple[str, str, bool] | None,
    grants: Sequence[tuple[str, int, dict[str, Any]]],
) -> None:
    """Give a subscription from July on what was drawn: a coupon, a commitment of two months, credit."""
    customer, currency = subscription.customer, subscription.customer.currency
    if discount is not None:
        limits = {"currency": currency} if "amount_off" in discount else {}
        a_coupon(code="OFF", duration="forever", **limits, **discount)
        redeem(customer, code="OFF", at=JULY)
    if commitment is not None:
        payment, rate, rolls = commitment
        commit(subscription, (1, "60"), (2, "70"), payment=payment, overage_rate=Decimal(rate), rolls_over=rolls)
    for number, (kind, amount, scope) in enumerate(grants):
        terms = GrantTerms(
            key=f"g{number}", kind=kind, name="G", amount=Money(amount, currency), effective_at=JULY, **scope
        )
        grant_credit(customer=customer, terms=terms, at=JULY, actor="test", reason="set up")


SPEND = st.sampled_from(
    [{}, {"minimum_spend": "80"}, {"maximum_spend": "70"}, {"minimum_spend": "20", "maximum_spend": "90"}]
)
DISCOUNTS = st.sampled_from(
    [
        None,
        {"percent_off": "33.3"},
        {"percent_off": "100"},
        {"amount_off": "25"},
        {"percent_off": "50", "plans": ["pro"]},
    ]
)
COMMITTED = st.sampled_from(
    [
        None,
        ("in_advance", "1", False),
        ("in_advance", "0.7", True),
        ("in_arrears", "1.5", False),
        ("in_arrears", "0.5", False),
    ]
)
SCOPES = st.sampled_from(
    [{}, {"plans": ["pro"]}, {"meters": ["actions"]}, {"plans": ["other"], "expires_at": SEPTEMBER}]
)


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    currency=st.sampled_from(["USD", "JPY", "KWD", "CLF"]),
    in_advance=st.booleans(),
    spend=SPEND,
    discount=DISCOUNTS,
    commitment=COMMITTED,
    grants=st.lists(st.tuples(st.sampled_from(["promotional", "prepaid"]), st.integers(1, 300), SCOPES), max_size=2),
    usage=st.lists(st.integers(0, 120), min_size=3, max_size=3),
    late=st.integers(0, 40),
    draft_first=st.booleans(),
    second=st.booleans(),
)
def test_whatever_is_on_an_invoice_its_preview_is_what_is_issued_and_all_of_it_is_proved_and_booked(
    currency: str,
    in_advance: bool,
    spend: dict[str, str],
    discount: dict[str, Any] | None,
    commitment: tuple[str, str, bool] | None,
    grants: list[tuple[str, int, dict[str, Any]]],
    usage: list[int],
    late: int,
    draft_first: bool,
    second: bool,
) -> None:
    def priced(price: dict[str, Any]) -> dict[str, Any]:
        return price | {"currency": currency}

    with nothing_kept():
        terms = {"spend": [{"currency": currency, **spend}]} if spend else {}
        base = fee("31") if in_advance else usd_fee("31")
        a_plan("pro", priced(base), priced(usd_per_action("0.335")), **terms)
        a_plan("other", priced(usd_fee("17")))
        customer = a_customer(currency=currency, late_usage_policy="next_invoice")
        subscription = a_subscription(customer)
        if second:
            a_subscription(customer, plan="other", key="sub_other", started_at=JULY + timedelta(days=10))
        agree(subscription, discount=discount, commitment=commitment, grants=grants)
        assert totals(preview_billing(as_of=JULY).previews) == totals(billed(JULY))
        for month, quantity in enumerate(usage):
            end = MONTHS[month + 1]
            if draft_first:
                drafted(end)
            if quantity:
                use("cust_acme", str(quantity), at=MONTHS[month] + timedelta(days=3))
            if month and late:
                use("cust_acme", str(late), at=MONTHS[month - 1] + timedelta(days=5))
                assert settle_late_changes(at=end + timedelta(hours=1)).failures == []
            assert totals(preview_billing(as_of=end).previews) == totals(billed(end))
        for invoice in Invoice.objects.order_by("id"):
            explained = explain_invoice(number=str(invoice.number))
            assert explained["equal"] is True, explained
        assert verify() == []
