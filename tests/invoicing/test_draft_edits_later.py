"""What was decided by hand holds after issue, too: late usage is invoiced by itself, and nobody is given back what was never charged."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from invoicing.draft_edits.models import LineEdit
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.workflows.edit_draft import changeable_lines, edit_draft, take_edit_back
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.reissue_invoice import preview_reissue, reissue_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
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


def reissued(invoice: Invoice, *, at: datetime, added: str = "") -> Invoice:
    """The invoice made again, as its preview showed it, and issued, with a line `added` by hand."""
    shown = preview_reissue(invoice_id=invoice.pk, at=at)
    draft = reissue_invoice(
        invoice_id=invoice.pk, at=at, actor="fiona", reason="another name", digest=shown.digest
    ).draft
    assert draft is not None and draft.total - invoice.total == shown.difference
    if added:
        edit_draft(invoice_id=draft.pk, line="", description="Setup", amount=Decimal(added), **DECIDED)
    return issue_invoice(invoice_id=draft.pk, at=at, actor="fiona", reason="as shown")


@pytest.mark.parametrize(("decided", "own"), [("80", False), ("120", False), ("-20", True), ("20", True)])
def test_a_reissue_takes_late_usage_on_and_leaves_the_change_as_it_was(decided: str, own: bool) -> None:
    issued = july(decided, own=own)
    before = charged()
    use("cust_acme", "50", at=JULY + timedelta(days=4), key="late")
    [settled] = settle_late_changes(at=AUGUST + timedelta(days=9)).settled
    assert settled.effect.amount == 50, "to be on the next invoice"

    reissued(issued, at=AUGUST + timedelta(days=9))
    billed(SEPTEMBER)

    assert charged() == before + 50, "what was used is charged once, by the invoice made again"
    all_is_proved()


def test_a_change_stays_what_it_first_came_to_however_often_its_invoice_is_made_again() -> None:
    first = july("80")
    cancel_event(customer_id="cust_acme", idempotency_key="e1", actor="fiona", reason="counted wrongly")
    use("cust_acme", "15", at=JULY + timedelta(days=3), key="e2")
    second = reissued(first, at=AUGUST + timedelta(days=1), added="5")
    assert second.total.amount == 5, "no more is let go of than is charged"

    use("cust_acme", "75", at=JULY + timedelta(days=3), key="e3")
    reissued(second, at=AUGUST + timedelta(days=2))

    assert charged() == 75, "20 of 90 are let go of, as of the first 100"
    all_is_proved()


def test_late_usage_of_an_invoice_made_again_is_let_go_of_what_was_decided_first() -> None:
    first = july("80")
    cancel_event(customer_id="cust_acme", idempotency_key="e1", actor="fiona", reason="counted wrongly")
    use("cust_acme", "15", at=JULY + timedelta(days=3), key="e2")
    reissued(first, at=AUGUST + timedelta(days=1))

    use("cust_acme", "75", at=JULY + timedelta(days=3), key="e3")
    billed(SEPTEMBER)

    assert charged() == 70
    all_is_proved()


def test_what_is_changed_anew_on_an_invoice_made_again_comes_to_what_is_decided_now() -> None:
    issued = july("80")
    use("cust_acme", "50", at=JULY + timedelta(days=4), key="late")
    again = reissue_invoice(invoice_id=issued.pk, at=AUGUST + timedelta(days=9), actor="fiona", reason="r").draft
    assert again is not None
    edit = LineEdit.objects.get()

    take_edit_back(edit_id=edit.pk, **DECIDED)
    edit_draft(invoice_id=again.pk, line=edit.line, description="Goodwill", amount=Decimal(80), **DECIDED)
    issue_invoice(invoice_id=again.pk, at=AUGUST + timedelta(days=9), actor="fiona", reason="as agreed")

    assert charged() == 80
    all_is_proved()


@pytest.mark.parametrize("kept", ["-30.00", None])
def test_verify_finds_a_change_that_came_to_something_else_when_it_was_first_issued(kept: str | None) -> None:
    again = reissued(july("80"), at=AUGUST + timedelta(days=9))
    line = again.lines.get(adjustment="edit")
    term = {name: value for name, value in line.rated["inputs"]["term"].items() if name != "kept" or kept}
    rated = line.rated | {"inputs": line.rated["inputs"] | {"term": term | ({"kept": kept} if kept else {})}}
    settle_constraints()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE invoicing_invoiceline DISABLE TRIGGER USER")
        InvoiceLine.objects.filter(pk=line.pk).update(rated=rated)
        told = {(one.subject, one.message) for one in verify()}
        settle_constraints()
        cursor.execute("ALTER TABLE invoicing_invoiceline ENABLE TRIGGER USER")

    assert (f"invoice {again.number}, line {line.position}", "it was issued as something else before") in told
