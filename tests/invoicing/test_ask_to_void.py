"""A large invoice is declared void by two people, as a credit note of its size takes two; alone or to be made again."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict
from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.approvals.operations import NeedsApproval, SamePerson, set_limit
from invoicing.invoices.models import Invoice
from invoicing.workflows.approve import decide
from invoicing.workflows.ask_to_void import reissue_or_ask, void_or_ask
from invoicing.workflows.reissue_invoice import Reissue, preview_reissue, reissue_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.void_invoice import void_invoice
from metering.rollup import roll_up
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, use
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.selling import books, item, once, paid

pytestmark = pytest.mark.django_db
THIRD = AUGUST + timedelta(days=3)
WHO = {"at": THIRD, "actor": "fiona", "reason": "another customer"}


@pytest.fixture
def july() -> Invoice:
    """Over USD 44.00; from USD 44.00 on two people declare void."""
    a_plan()
    a_subscription(a_customer(settlement_channel="manual"))
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    set_limit(
        deed=ApprovedDeed.VOID,
        currency="USD",
        amount=Decimal(44),
        at=JULY,
        actor="otto",
        reason="agreed with the board",
    )
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    return invoice


def decided(asked: object, *, actor: str = "otto", decision: Decision = Decision.APPROVED) -> None:
    assert isinstance(asked, Approval)
    decide(approval_id=asked.pk, digest=asked.digest, decision=decision, at=THIRD, actor=actor, reason="seen")
    settle_constraints()


def test_a_large_invoice_is_made_again_once_another_approves_exactly_what_was_shown(july: Invoice) -> None:
    use("cust_acme", "500", at=JULY + timedelta(days=4), key="late")
    shown = preview_reissue(invoice_id=july.pk, at=THIRD)

    asked = reissue_or_ask(invoice_id=july.pk, digest=shown.digest, **WHO)

    assert isinstance(asked, Approval)
    assert asked.summary == "USD 44.00 of invoice INV-2026-00001 for Acme GmbH, declared void and drafted again"
    assert ["Difference", "USD 5.00"] in asked.asked["figures"]
    july.refresh_from_db()
    assert july.status == "issued"
    with pytest.raises(SamePerson):
        decided(asked, actor="fiona")
    decided(asked)
    july.refresh_from_db()
    assert (july.status, Invoice.objects.get(status="draft").total) == ("void", shown.total_after)


def test_usage_that_came_since_makes_it_another_and_it_is_asked_for_anew(july: Invoice) -> None:
    asked = reissue_or_ask(invoice_id=july.pk, **WHO)
    use("cust_acme", "500", at=JULY + timedelta(days=4), key="late")
    roll_up()

    with pytest.raises(Conflict, match="it would be something else by now"):
        decided(asked)

    july.refresh_from_db()
    assert (july.status, Approval.objects.get().decision) == ("issued", "")


def test_below_the_limit_one_person_is_enough_and_a_refusal_leaves_the_invoice(july: Invoice) -> None:
    customer = july.customer
    small, large = (once(customer, item("1", price), key=price) for price in ("43.99", "44.00"))

    voided = void_or_ask(invoice_id=small.pk, **WHO)
    asked = void_or_ask(invoice_id=large.pk, **WHO)
    decided(asked, decision=Decision.REFUSED)
    again = void_or_ask(invoice_id=large.pk, **WHO)
    large.refresh_from_db()
    assert isinstance(voided, Invoice) and voided.status == "void"
    assert (large.status, asked == again) == ("issued", False)

    decided(again)
    large.refresh_from_db()
    assert large.status == "void"
    assert books() == {"1200": "44.00", "4000": "-44.00"}


def test_what_cannot_be_void_is_refused_before_anybody_is_asked(july: Invoice) -> None:
    in_part, corrected = (once(july.customer, item("1", "100"), key=key) for key in ("in-part", "corrected"))
    paid(in_part, "1")
    credited(corrected, of_line(1, amount="1"))

    for invoice, why in ((in_part, "received money"), (corrected, "credit notes")):
        with pytest.raises(Conflict, match=why):
            void_or_ask(invoice_id=invoice.pk, **WHO)
        answer = Caller().post(f"/api/v1/invoices/{invoice.number}/void", {"reason": "agreed otherwise"})
        assert answer.status_code == 409

    assert not Approval.objects.exists()


def test_neither_the_operations_nor_sql_nor_the_api_declare_a_large_invoice_void_alone(july: Invoice) -> None:
    large = once(july.customer, item("1", "100"))
    with pytest.raises(NeedsApproval):
        void_invoice(invoice_id=large.pk, **WHO)
    with pytest.raises(NeedsApproval):
        reissue_invoice(invoice_id=july.pk, **WHO)
    assert isinstance(preview_reissue(invoice_id=july.pk, at=THIRD), Reissue), "looking takes nobody"
    void_or_ask(invoice_id=large.pk, **WHO)
    with pytest.raises(IntegrityError, match="nobody else has approved that it is void"), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("UPDATE invoicing_invoice SET status = 'void', voided_at = now() WHERE id = %s", [large.pk])
        settle_constraints()

    caller = Caller()
    answers = [
        caller.post(f"/api/v1/invoices/{large.number}/void", {"reason": "agreed otherwise"}),
        caller.post(f"/api/v1/invoices/{july.number}/reissue", {"reason": "another price"}),
    ]
    assert [(answer.status_code, answer.json()["deed"]) for answer in answers] == [(202, "void"), (202, "void")]
    assert set(Invoice.objects.values_list("status", flat=True)) == {"issued"}
