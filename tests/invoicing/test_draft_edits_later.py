"""What was decided by hand holds after issue, too: late usage is invoiced by itself, and nobody is given back what was never charged."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from invoicing.invoices.models import Invoice
from invoicing.workflows.edit_draft import changeable_lines, edit_draft
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from metering.correcting import cancel_event
from tests.factories import (
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    settle_constraints,
    usd_per_action,
    use,
)
from tests.invoicing.test_discounts import a_coupon, redeem

pytestmark = pytest.mark.django_db
JULY, AUGUST, SEPTEMBER, OCTOBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (7, 8, 9, 10))
AT = AUGUST + timedelta(hours=1)
DECIDED = {"at": AT, "actor": "fiona", "reason": "agreed"}
ALL, HALF = "100", "50"


def july(amount: str, *, usage: str = "100", own: bool = False, coupon: str = "", **plan: Any) -> Invoice:
    """July with actions at 1, issued: the dearest line comes to `amount`, or `amount` is a line of its own."""
    nothing_is_checked_before_issue()
    a_plan("pro", usd_per_action("1"), **plan)
    customer = a_customer("cust_acme", settlement_channel="manual")
    a_subscription(customer, started_at=JULY)
    if coupon:
        a_coupon(code="OFF", duration="forever", percent_off=coupon)
        redeem(customer, code="OFF", at=JULY)
    use("cust_acme", usage, at=JULY + timedelta(days=3), key="e1")
    [draft] = draft_billing(as_of=AUGUST, at=AT).invoices
    dearest = max(changeable_lines(invoice=draft), key=lambda one: one.amount.amount).reference
    edit_draft(
        invoice_id=draft.pk,
        line="" if own else dearest,
        description="Goodwill",
        amount=Decimal(amount),
        **DECIDED,
    )
    return issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="as agreed")


def billed(month: datetime) -> None:
    assert not issue_billing(as_of=month, at=month + timedelta(days=9)).failures
    settle_constraints()


def charged() -> Decimal:
    """What all invoices come to."""
    issued = Invoice.objects.exclude(status__in=("draft", "void"))
    return sum((one.total.amount for one in issued), Decimal(0))


def all_is_proved() -> None:
    for invoice in Invoice.objects.exclude(status="draft"):
        assert explain_invoice(number=str(invoice.number))["equal"] is True
    assert verify() == []


@pytest.mark.parametrize(
    ("decided", "of"),
    [
        ("0", {}),
        ("80", {}),
        ("-30", {"own": True}),
        ("-50", {"own": True, "coupon": HALF}),
        ("0", {"coupon": HALF}),
        ("-7", {"own": True, "coupon": ALL}),
    ],
)
def test_no_more_is_given_back_than_was_charged_when_usage_is_cancelled(decided: str, of: dict[str, Any]) -> None:
    july(decided, **of)
    cancel_event(customer_id="cust_acme", idempotency_key="e1", actor="fiona", reason="it was ours")

    use("cust_acme", "300", at=AUGUST + timedelta(days=3), key="e2")
    billed(SEPTEMBER)

    august = 300 * (100 - int(of.get("coupon", 0))) // 100
    assert charged() == august, "July comes to nothing: what was charged for it is given back, and no more"
    all_is_proved()


def test_what_was_added_by_hand_stays_where_usage_is_cancelled() -> None:
    july("12", own=True)
    cancel_event(customer_id="cust_acme", idempotency_key="e1", actor="fiona", reason="it was ours")

    use("cust_acme", "300", at=AUGUST + timedelta(days=3), key="e2")
    billed(SEPTEMBER)

    assert charged() == 312
    all_is_proved()


def test_what_was_decided_holds_again_when_the_usage_comes_back() -> None:
    july("80")
    cancel_event(customer_id="cust_acme", idempotency_key="e1", actor="fiona", reason="counted wrongly")
    use("cust_acme", "300", at=AUGUST + timedelta(days=3), key="e2")
    billed(SEPTEMBER)
    assert charged() == 300

    use("cust_acme", "90", at=JULY + timedelta(days=3), key="e3")
    billed(OCTOBER)

    assert charged() == 300 + 70, "20 were let go of whatever July comes to"
    all_is_proved()


def test_a_waived_minimum_swallows_no_late_usage() -> None:
    july("0", usage="40", spend=[{"currency": "USD", "minimum_spend": "100"}])
    assert charged() == 40

    use("cust_acme", "50", at=JULY + timedelta(days=4), key="late")
    [change] = late_changes(at=AUGUST + timedelta(days=9)).changes
    assert change.effect.amount == 50

    billed(SEPTEMBER)
    assert charged() == 90 + 100, "of August the minimum is asked for: it was waived for July alone"
    all_is_proved()
