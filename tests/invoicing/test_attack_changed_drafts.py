"""Drafts changed by hand among commitments, bounds, discounts, credit and late usage: previewed, issued, proved, booked."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import round_money
from invoicing.invoices.models import Invoice
from invoicing.workflows.edit_draft import changeable_lines, edit_draft, take_edit_back
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.reissue_invoice import preview_reissue, reissue_invoice
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.correcting import cancel_event
from tests.factories import (
    JULY,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.test_attack_combinations import COMMITTED, DISCOUNTS, SPEND, agree, drafted, nothing_kept, totals
from tests.invoicing.test_commitments import MONTHS
from tests.invoicing.test_fees_in_advance import billed, fee

pytestmark = pytest.mark.django_db
WHO = {"actor": "fiona", "reason": "agreed"}
# Which line (-1: one of its own), to how much of what it comes to or over which amount, and whether it is taken back.
CHANGES = st.lists(
    st.tuples(st.integers(-1, 3), st.sampled_from(["-500", "-7.3", "0", "0.4", "1", "2.5", "90"]), st.booleans()),
    max_size=3,
)


@pytest.fixture(autouse=True)
def nothing_is_held(db: None) -> None:
    """Whatever is drawn here is issued."""
    nothing_is_checked_before_issue()


def change(draft: Invoice, changes: list[tuple[int, str, bool]]) -> None:
    """Make the changes that the draft has lines for, and take some of them back."""
    at = draft.drafted_at
    for which, number, is_taken_back in changes:
        open_to = changeable_lines(invoice=draft)
        amount, line = round_money(Decimal(number), draft.currency).amount, ""
        if which >= 0:
            if which >= len(open_to):
                continue
            line = open_to[which].reference
            amount = round_money(abs(Decimal(number)) * open_to[which].amount.amount, draft.currency).amount
        if not line and not amount:
            continue
        edit = edit_draft(invoice_id=draft.pk, line=line, description="Agreed", amount=amount, at=at, **WHO)
        if is_taken_back:
            take_edit_back(edit_id=edit.pk, at=at, **WHO)
        draft.refresh_from_db()
        assert draft.total.amount >= 0


def make_again(invoice: Invoice) -> None:
    """Declare an invoice void, draft its period again and issue it, as the preview says; one that is paid or built on stays."""
    at = invoice.drafted_at + timedelta(hours=2)
    try:
        shown = preview_reissue(invoice_id=invoice.pk, at=at)
    except Conflict:
        return
    again = reissue_invoice(invoice_id=invoice.pk, at=at, digest=shown.digest, **WHO).draft
    if again is not None:
        issued = issue_invoice(invoice_id=again.pk, at=at, **WHO)
        assert issued.total - invoice.total == shown.difference


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
    grants=st.sampled_from([[], [("promotional", 40, {})], [("prepaid", 150, {})]]),
    usage=st.lists(st.integers(0, 120), min_size=3, max_size=3),
    late=st.integers(0, 40),
    is_cancelled=st.booleans(),
    changes=st.lists(CHANGES, min_size=3, max_size=3),
    made_again=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_whatever_is_changed_by_hand_the_preview_is_what_is_issued_and_all_of_it_is_proved_and_booked(
    currency: str,
    in_advance: bool,
    spend: dict[str, str],
    discount: dict[str, Any] | None,
    commitment: tuple[str, str, bool] | None,
    grants: list[tuple[str, int, dict[str, Any]]],
    usage: list[int],
    late: int,
    is_cancelled: bool,
    changes: list[list[tuple[int, str, bool]]],
    made_again: list[bool],
) -> None:
    with nothing_kept():
        terms = {"spend": [{"currency": currency, **spend}]} if spend else {}
        prices = [fee("31") if in_advance else usd_fee("31"), usd_per_action("0.335")]
        a_plan("pro", *({**price, "currency": currency} for price in prices), **terms)
        customer = a_customer(currency=currency, late_usage_policy="next_invoice")
        subscription = a_subscription(customer)
        agree(subscription, discount=discount, commitment=commitment, grants=grants)
        billed(JULY)
        for month, quantity in enumerate(usage):
            end = MONTHS[month + 1]
            if quantity:
                use("cust_acme", str(quantity), at=MONTHS[month] + timedelta(days=3), key=f"month-{month}")
            for draft in drafted(end):
                change(draft, changes[month])
            if month and is_cancelled and usage[month - 1]:
                cancel_event(customer_id="cust_acme", idempotency_key=f"month-{month - 1}", **WHO)
            if month and late:
                use("cust_acme", str(late), at=MONTHS[month - 1] + timedelta(days=5))
            if month:
                assert settle_late_changes(at=end + timedelta(hours=1)).failures == []
            assert totals(preview_billing(as_of=end).previews) == totals(billed(end))
            if made_again[month]:
                make_again(Invoice.objects.order_by("-id")[0])
        for invoice in Invoice.objects.order_by("id"):
            assert explain_invoice(number=str(invoice.number))["equal"] is True
        assert verify() == []
