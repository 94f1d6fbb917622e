"""Disputed payments in the books and on their invoice: what is withdrawn, comes back, is lost, and what is refused meanwhile."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict
from invoicing.closing.queries import Month
from invoicing.core.dispute_life import CLOSED, STATUS_MOVES, DisputeStatus, dispute_life_page
from invoicing.invoices.models import Invoice
from invoicing.invoices.queries import not_paid
from invoicing.payments import gateway
from invoicing.payments.dispute import DecisionKind, Dispute, DisputeMovement
from invoicing.payments.disputes import decide_about_dispute, is_frozen
from invoicing.payments.models import PushIntent
from invoicing.payments.queries import is_withdrawn
from invoicing.payments.refunds import refundable_payments
from invoicing.payments.remote import RemoteInvoice
from invoicing.payments.reversal import PaymentReversal
from invoicing.workflows.answer_access import answer_access
from invoicing.workflows.close_month import checklist_of, sign_off
from invoicing.workflows.follow_dispute import settle_dispute
from invoicing.workflows.follow_stripe import follow_invoice
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, usd_fee
from tests.invoicing.closing.closing import close
from tests.invoicing.crediting import credited, given, of_line
from tests.invoicing.disputing import HEARD, as_at_stripe, decided, disputed, paid_by_card, returned, withdrawn
from tests.invoicing.selling import books, item, once, paid

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]
BY = {"actor": "ann", "reason": "they called"}


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100, in ten units."""
    return once(a_customer(settlement_channel="stripe", payment_method="pm_1"), item("10", "10"))


def test_the_table_of_the_life_of_a_dispute_is_what_the_page_says() -> None:
    page = (ROOT / "docs/dispute-life.md").read_text()

    assert page == dispute_life_page(), "manage.py dispute_life > docs/dispute-life.md"
    assert (DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.LOST) in STATUS_MOVES, "news may be lost"
    assert not any(start in CLOSED for start, _ in STATUS_MOVES)


def test_a_won_dispute_leaves_the_books_as_they_were_but_for_the_fee(workshop: Invoice) -> None:
    dispute = disputed(paid_by_card(workshop))
    assert books() == {"1100": "-15.00", "1150": "100.00", "4000": "-100.00", "6110": "15.00"}

    decided(dispute, "won")

    assert books() == {"1100": "85.00", "4000": "-100.00", "6110": "15.00"}
    workshop.refresh_from_db()
    assert workshop.status == "paid"
    settle_constraints()
    assert verify() == []


def test_a_lost_dispute_is_a_loss_and_its_invoice_stays_paid(workshop: Invoice) -> None:
    dispute = disputed(paid_by_card(workshop))

    for _ in range(2):
        decided(dispute, "lost")

    assert books() == {"1100": "-15.00", "4000": "-100.00", "6100": "100.00", "6110": "15.00"}
    workshop.refresh_from_db()
    assert (workshop.status, workshop.amount_due.amount) == ("paid", 0)
    settle_constraints()
    assert verify() == []


def test_a_direct_debit_that_its_bank_returns_is_owed_again_with_the_reason_and_the_fee(workshop: Invoice) -> None:
    payment = paid_by_card(workshop)
    told = {"reason": "insufficient_funds", "network_reason_code": "", "evidence_due_at": None}
    PushIntent.objects.filter(invoice=workshop).update(status="pushed", pushed_at=JULY, stripe_invoice_id="in_1")

    for _ in range(2):
        debit = disputed(payment, status="lost", **told)

    workshop.refresh_from_db()
    reversal, [failure] = PaymentReversal.objects.get(), list(workshop.payment_failures.all())
    assert books() == {"1100": "-15.00", "1200": "100.00", "4000": "-100.00", "6110": "15.00"}
    assert (workshop.status, workshop.amount_due.amount) == ("issued", 100)
    assert (reversal.cause, reversal.reason) == (
        "returned",
        "the bank returned the direct debit: insufficient funds, dispute dp_1",
    )
    assert (failure.code, failure.message) == (
        "insufficient_funds",
        "The bank returned the direct debit: insufficient funds.",
    )
    assert (debit.is_open, is_frozen(customer_id=workshop.customer_id)) == (False, False)
    assert workshop in not_paid(at=AUGUST + timedelta(days=30)), "it is chased as any other that is overdue"
    # At Stripe it stays paid, so that it is paid another way: what is there settles nothing again, and collects nothing.
    present = RemoteInvoice(
        id="in_1", customer="cus_1", number=str(workshop.number), status="paid", currency="USD", total=workshop.total,
        amount_paid=workshop.total, payment_reference=payment.reference, failure_code="", failure_message="", hosted_url="",
        is_charged=True,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "retrieve_invoice", lambda invoice: present)
        assert "its bank has returned the direct debit" in follow_invoice(
            intent_id=workshop.push.pk, at=AUGUST + timedelta(days=8)
        )
    assert is_withdrawn(invoice=workshop)
    credited(workshop, of_line(1, amount="40"))
    paid(workshop, "60", reference="transfer", at=AUGUST + timedelta(days=9))
    workshop.refresh_from_db()
    assert workshop.status == "paid"
    settle_constraints()
    assert verify() == []


def test_a_part_of_a_direct_debit_or_a_card_payment_that_is_lost_stays_a_loss_by_raw_sql_too(workshop: Invoice) -> None:
    payment = paid_by_card(workshop)
    disputed(payment, "40", "lost", reason="insufficient_funds")
    disputed(payment, "60", "lost", number=2)

    workshop.refresh_from_db()
    assert (workshop.status, PaymentReversal.objects.count()) == ("paid", 0)
    for account in ("6100", "1000"):
        with pytest.raises(DatabaseError, match="cannot be taken back so"), transaction.atomic():
            PaymentReversal.objects.create(
                payment=payment, cause="returned", account=account, currency="USD", amount=payment.amount,
                reversed_at=AUGUST + timedelta(days=9), **BY,
            )  # fmt: skip
    assert verify() == []


def test_an_inquiry_takes_no_money_until_it_becomes_a_chargeback(workshop: Invoice) -> None:
    payment = paid_by_card(workshop)
    inquiry = disputed(payment, "40", "warning_needs_response")
    assert (inquiry.movements.count(), is_frozen(customer_id=workshop.customer_id)) == (0, False)

    chargeback = disputed(payment, "40", "needs_response")

    assert (chargeback.pk, Dispute.objects.count()) == (inquiry.pk, 1)
    assert books()["1150"] == "40.00"
    assert is_frozen(customer_id=workshop.customer_id)
    settle_constraints()


def test_money_that_comes_back_after_the_dispute_was_won_is_booked_then(workshop: Invoice) -> None:
    payment = paid_by_card(workshop)
    disputed(payment)
    over = payment.amount
    won = as_at_stripe(payment, over, "won", moved=(withdrawn(over, number=10),))
    settle_dispute(present=won, payment=payment, heard_at=HEARD)
    assert books()["1150"] == "100.00"

    late = as_at_stripe(payment, over, "won", moved=(withdrawn(over, number=10), returned(over, fee="-15")))
    for _ in range(2):
        settle_dispute(present=late, payment=payment, heard_at=HEARD + timedelta(days=2))

    assert books() == {"1100": "100.00", "4000": "-100.00"}
    assert DisputeMovement.objects.count() == 4
    settle_constraints()
    assert verify() == []


def test_the_fee_of_an_account_in_another_currency_is_booked_in_that_currency(workshop: Invoice) -> None:
    payment = paid_by_card(workshop)
    there = withdrawn(Money("91.20", "EUR"), fee="20")

    settle_dispute(present=as_at_stripe(payment, payment.amount, moved=(there,)), payment=payment, heard_at=HEARD)

    moved = DisputeMovement.objects.order_by("id").values_list("kind", "amount", "currency")
    assert [(kind, f"{amount:.2f}", currency) for kind, amount, currency in moved] == [
        ("withdrawn", "100.00", "USD"),
        ("fee", "20.00", "EUR"),
    ]
    settle_constraints()
    assert verify() == []


def test_two_disputes_of_one_invoice_stand_beside_each_other_and_claim_no_more_than_was_paid(workshop: Invoice) -> None:
    first, second = paid_by_card(workshop, "60", charge="ch_a"), paid_by_card(workshop, "40", charge="ch_b")
    lost, won = disputed(first, "50", number=1), disputed(second, "40", number=2)
    with pytest.raises(Conflict, match=r"of a payment of USD 60\.00, USD 50\.00 of them by other disputes"):
        disputed(first, "11", number=3)

    decided(lost, "lost")
    decided(won, "won")
    disputed(second, "40", "lost", number=4)

    assert books() == {"1100": "-35.00", "4000": "-100.00", "6100": "90.00", "6110": "45.00"}
    settle_constraints()
    assert verify() == []


@pytest.mark.parametrize(
    ("status", "changed", "field"),
    [
        ("needs_response", {"charge": "ch_another"}, "dispute"),
        ("needs_response", {"amount": Money("99", "USD")}, "dispute"),
        ("warning_closed", {}, "status"),
        ("charged_up", {}, "status"),
        ("under_review", {"transactions": (withdrawn(Money("100", "USD"), number=77),)}, "amount"),
        ("won", {"transactions": (returned(Money("100.01", "USD"), number=78),)}, "amount"),
    ],
)
def test_what_stripe_and_we_cannot_both_be_right_about_is_refused_and_changes_nothing(
    workshop: Invoice, status: str, changed: dict[str, Any], field: str
) -> None:
    payment = paid_by_card(workshop)
    disputed(payment)
    before = books()

    with pytest.raises(Conflict) as conflict:
        told: dict[str, Any] = {"amount": payment.amount, "status": status, **changed}
        present = as_at_stripe(payment, **told)
        settle_dispute(present=present, payment=payment, heard_at=HEARD)

    assert conflict.value.field_errors[0].field == field
    assert (books(), Dispute.objects.get().status) == (before, "needs_response")


def test_what_the_bank_has_taken_back_is_not_given_back_once_more(workshop: Invoice) -> None:
    payment = paid_by_card(workshop)
    dispute = disputed(payment, "60")

    for disposition in ("refund", "balance"):
        with pytest.raises(Conflict) as conflict:
            credited(workshop, of_line(1, quantity=5), disposition=disposition)
        assert conflict.value.code == "payment_disputed"
    [(_, left)] = refundable_payments(invoice_id=workshop.pk, currency="USD")
    part = credited(workshop, of_line(1, quantity=4), disposition="refund")
    decided(dispute, "won")
    rest = credited(workshop, of_line(1, quantity=6), disposition="balance")

    assert left == Money("40", "USD")
    assert (given(part), given(rest)) == (("0.00", "0.00", "40.00"), ("0.00", "60.00", "0.00"))
    assert [one.channel for one in part.refunds.all()] == ["stripe"]
    settle_constraints()
    assert verify() == []


def test_what_came_by_transfer_is_given_back_though_a_card_payment_is_disputed(workshop: Invoice) -> None:
    disputed(paid_by_card(workshop, "60"))
    paid(workshop, "40")

    note = credited(workshop, of_line(1, quantity=4), disposition="refund")

    assert [(one.channel, one.payment) for one in note.refunds.all()] == [("manual", None)]
    settle_constraints()


@pytest.mark.requirement("S0-047")
def test_whose_payment_is_disputed_is_not_served_until_it_is_decided_or_somebody_says_so() -> None:
    customer = a_customer(settlement_channel="stripe", payment_method="pm_1")
    a_plan("pro", usd_fee())
    a_subscription(customer)
    payments = [paid_by_card(once(customer, key=key), charge=f"ch_{key}") for key in ("a", "b")]

    def answer() -> tuple[bool, str, bool]:
        access = answer_access(customer_key=customer.key, at=HEARD)
        return access.verdict.is_allowed, access.verdict.reason.value, access.disputed_since is not None

    assert answer() == (True, "active", False)
    dispute, other = (disputed(payment, number=number) for number, payment in enumerate(payments, start=1))
    assert answer() == (False, "payment_disputed", True)
    for _ in range(2):
        decide_about_dispute(dispute_id=dispute.pk, kind=DecisionKind.UNFREEZE, at=HEARD, **BY)
    assert answer() == (False, "payment_disputed", True), "the other one"
    decided(other, "lost")
    assert answer() == (True, "active", False)
    settle_constraints()


def test_nothing_is_decided_here_about_what_the_bank_has_decided_or_only_asks(workshop: Invoice) -> None:
    payment = paid_by_card(workshop)
    inquiry = disputed(payment, "10", "warning_needs_response", number=1)
    reviewed = disputed(payment, "20", "under_review", number=2)
    lost = disputed(payment, "30", "lost", number=3)

    for dispute, kind in ((inquiry, "accept"), (inquiry, "unfreeze"), (reviewed, "accept"), (lost, "unfreeze")):
        with pytest.raises(Conflict, match="nothing is decided about it"):
            decide_about_dispute(dispute_id=dispute.pk, kind=kind, at=HEARD, **BY)
    assert books()["6100"] == "30.00"
    settle_constraints()


def test_an_open_dispute_is_shown_when_its_month_is_closed_and_holds_nothing_back(workshop: Invoice) -> None:
    disputed(paid_by_card(workshop), opened_at=JULY + timedelta(days=9))
    month, at = Month(JULY.date()), AUGUST + timedelta(days=5)

    checklist = checklist_of(month=month, at=at)
    shown = next(one for one in checklist.checks if one.checked.name == "disputes")

    assert (shown.state, shown.checked.found) == (
        "shown",
        ("USD 100.00 of invoice INV-2026-00001, Acme GmbH: needs an answer",),
    )
    assert shown not in checklist.open_checks
    with pytest.raises(Conflict, match="nothing to sign off"):
        sign_off(month=month, check="disputes", digest=shown.checked.digest, at=at, **BY)
    close(month, at=at)
    settle_constraints()
