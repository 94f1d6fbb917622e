"""Payments that are taken back: returned by the bank or recorded by mistake; the invoice is open again, the books say so, once."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict
from invoicing.approvals.models import ApprovedDeed, Decision
from invoicing.approvals.operations import set_limit
from invoicing.bank.models import BankLine
from invoicing.bank.queries import left_of, money_on_account, movements_on_no_statement, rest_of
from invoicing.bank.reconciliation import reconciliations
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.operations import CreditAsked
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment
from invoicing.payments.reversal import PaymentReversal
from invoicing.workflows.allocate_bank_line import Share, take_back_allocation
from invoicing.workflows.approve import decide
from invoicing.workflows.credit_invoice import credit_invoice
from invoicing.workflows.match_bank_lines import propose
from invoicing.workflows.reverse_payment import reverse_or_ask, reverse_payment
from invoicing.workflows.settle_payment import settle_payment
from invoicing.workflows.use_money_on_account import apply_money_on_account
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from invoicing.workflows.write_off_invoice import take_back_write_off, write_off_invoice
from tests.factories import JULY, a_customer, settle_constraints
from tests.invoicing.bank.statements import AT, Entry, allocate, import_camt, one_line
from tests.invoicing.selling import books, item, once, paid, sold
from tests.invoicing.test_attack_guards import run_sql
from tests.races import at_once, unexpected

LATER = AT + timedelta(days=5)
WHO = {"at": LATER, "actor": "ann", "reason": "the bank says so"}


@pytest.fixture
def invoice(db: None) -> Invoice:
    """USD 120, open, payable by transfer."""
    return once(a_customer(settlement_channel="manual"))


def usd(amount: str) -> Money:
    return Money(amount, "USD")


def pays(invoice: Invoice, amount: str = "120") -> Share:
    return Share("payment", usd(amount), invoice_id=invoice.pk)


def gone_out(*entries: Entry, opening: str = "1120.00") -> list[BankLine]:
    return list(import_camt(*entries, opening=opening, number="8", name="august.xml", at=LATER).lines)


def now_open(invoice: Invoice) -> bool:
    invoice.refresh_from_db()
    return (invoice.status, invoice.paid_at) == ("issued", None)


def sound() -> None:
    settle_constraints()
    assert verify() == []


def test_a_transfer_that_the_bank_returns_is_proposed_and_makes_its_invoice_open_again(invoice: Invoice) -> None:
    second = once(invoice.customer, item("50"), key="second")
    allocate(one_line(Entry("170.00", "both", reference="R1")), pays(invoice), pays(second, "50"))
    other = once(a_customer("cust_other", settlement_channel="manual"), item("170"), key="other")
    paid(other, at=JULY + timedelta(days=9))
    [out] = gone_out(
        Entry("-170.00", "returned", day=date(2026, 7, 23), reference="R1", is_reversal=True), opening="1170"
    )

    best, worse = propose(line=out).returned
    allocate(out, *[Share("return", -one.amount, payment_id=one.pk) for one in best.payments], at=LATER)

    assert [one.invoice for one in best.payments] == [
        invoice,
        second,
    ] and "the bank calls it a reversal" in best.reasons
    assert best.points > worse.points and worse.payments[0].invoice == other
    assert now_open(invoice) and now_open(second) and invoice.amount_due == usd("120")
    assert books() == {"1000": "170.00", "1200": "170.00", "4000": "-340.00"}
    assert left_of(line=out) == usd("0") and propose(line=out).returned == ()
    again = paid(invoice, reference="second try", at=LATER)
    invoice.refresh_from_db()
    assert invoice.status == "paid" and invoice.paid_at == again.received_at
    sound()


def test_a_return_that_was_matched_wrongly_is_taken_back_and_the_invoice_paid_again(invoice: Invoice) -> None:
    [payment] = [one.payment for one in allocate(one_line(Entry("120.00")), pays(invoice))]
    [out] = gone_out(Entry("-120.00", "rent"))
    [wrong] = allocate(out, Share("return", usd("-120"), payment_id=payment.pk), at=LATER)
    with pytest.raises(Conflict, match="taken back already"):
        allocate(gone_out(Entry("-120.00", "again", day=date(2026, 7, 12)), opening="1000")[0],
                 Share("return", usd("-120"), payment_id=payment.pk), at=LATER)  # fmt: skip

    take_back_allocation(allocation_id=wrong.pk, **WHO)
    take_back_allocation(allocation_id=wrong.pk, **WHO)

    invoice.refresh_from_db()
    assert invoice.status == "paid" and left_of(line=out) == usd("-120") and Payment.objects.count() == 2
    allocate(out, Share("set_aside", usd("-120")), at=LATER)
    assert books()["1900"] == "120.00"
    sound()


def test_a_line_that_paid_the_wrong_invoice_is_taken_back_and_pays_the_right_one(invoice: Invoice) -> None:
    right = once(a_customer("cust_right", settlement_channel="manual"), key="right")
    line = one_line(Entry("120.00"))
    [wrong] = allocate(line, pays(invoice))

    take_back_allocation(allocation_id=wrong.pk, **WHO)
    take_back_allocation(allocation_id=wrong.pk, **WHO)

    assert now_open(invoice) and left_of(line=line) == usd("120") and PaymentReversal.objects.get().account == "2500"
    allocate(line, pays(right), at=LATER)
    right.refresh_from_db()
    assert right.status == "paid" and books() == {"1000": "120.00", "1200": "120.00", "4000": "-240.00"}
    sound()


def test_money_on_account_that_went_to_the_wrong_invoice_is_on_account_again(invoice: Invoice) -> None:
    [lot] = allocate(one_line(Entry("200.00")), Share("on_account", usd("200"), customer_id=invoice.customer_id))
    second = once(invoice.customer, item("120"), key="second")
    used = {"lot_id": lot.pk, "amount": usd("120"), "rest": usd("200"), **WHO}
    wrong = apply_money_on_account(invoice_id=invoice.pk, **used)

    reverse_payment(payment_id=wrong.payment.pk, cause="mistake", **WHO)

    assert now_open(invoice) and rest_of(lot=lot) == usd("200") and money_on_account()[0].rest == Decimal(200)
    apply_money_on_account(invoice_id=second.pk, **used)
    assert rest_of(lot=lot) == usd("80")
    assert books() == {"1000": "200.00", "1200": "120.00", "2120": "-80.00", "4000": "-240.00"}
    sound()


def test_a_transfer_recorded_by_mistake_is_on_no_statement_and_one_that_is_stays_until_its_line_is_free(
    invoice: Invoice,
) -> None:
    payment = paid(invoice, at=JULY + timedelta(days=9))
    line = one_line(Entry("120.00"))
    [known] = allocate(line, Share("known", usd("120"), entry_id=movements_on_no_statement()[0].entry.pk))
    with pytest.raises(Conflict, match="the bank says that"):
        reverse_payment(payment_id=payment.pk, cause="mistake", **WHO)

    take_back_allocation(allocation_id=known.pk, **WHO)
    reversal = reverse_payment(payment_id=payment.pk, cause="mistake", **WHO)

    assert reverse_payment(payment_id=payment.pk, cause="mistake", **WHO) == reversal
    assert now_open(invoice) and movements_on_no_statement() == [] and propose(line=line).known == ()
    assert reconciliations()[0].unexplained == usd("0")
    sound()


def test_a_return_that_is_recorded_before_the_statement_comes_is_found_on_its_line(invoice: Invoice) -> None:
    allocate(one_line(Entry("120.00")), pays(invoice))
    payment = Payment.objects.get()

    reverse_payment(payment_id=payment.pk, cause="returned", **WHO)
    [out] = gone_out(Entry("-120.00", day=date(2026, 7, 26)))
    [known] = propose(line=out).known
    allocate(out, Share("known", usd("-120"), entry_id=known.entry.pk), at=LATER)

    assert now_open(invoice) and books() == {"1200": "120.00", "4000": "-120.00"}
    sound()


def test_what_was_given_back_before_stays_given_and_the_rest_is_credited_off_what_is_open(invoice: Invoice) -> None:
    payment = paid(invoice, at=JULY + timedelta(days=1))
    whole = {"invoice_id": invoice.pk, "at": AT, "actor": "ann", "reason": "less was agreed"}
    credit_invoice(key="part", asked=[CreditAsked(1, amount=usd("30"))], disposition="balance", **whole)
    reverse_payment(payment_id=payment.pk, cause="returned", **WHO)

    assert now_open(invoice) and invoice.amount_due == usd("120")
    with pytest.raises(Conflict, match="credit notes"):
        void_invoice(invoice_id=invoice.pk, **WHO)
    credit_invoice(key="rest", disposition="refund", **(whole | {"at": LATER}))
    invoice.refresh_from_db()
    assert (invoice.amount_due, CreditNote.objects.get(key="rest").offset_amount) == (usd("30"), usd("90"))
    sound()


def test_credit_that_was_sold_stays_granted_and_is_owed_or_given_up(invoice: Invoice) -> None:
    top_up = sold(invoice.customer)
    payment = paid(top_up.invoice)

    reverse_payment(payment_id=payment.pk, cause="returned", **WHO)

    assert now_open(top_up.invoice)
    sound()
    with pytest.raises(Conflict, match="granted when it was paid"):
        void_invoice(invoice_id=top_up.invoice.pk, **WHO)
    write_off_invoice(invoice_id=top_up.invoice.pk, **WHO)
    sound()
    take_back_write_off(invoice_id=top_up.invoice.pk, **WHO)
    paid(top_up.invoice, reference="after all", at=LATER)
    sound()


def test_what_recovered_a_write_off_is_taken_back_once_nothing_is_given_up(invoice: Invoice) -> None:
    write_off_invoice(invoice_id=invoice.pk, at=JULY + timedelta(days=2), actor="ann", reason="gone")
    payment = paid(invoice, "20", at=JULY + timedelta(days=3))
    with pytest.raises(Conflict, match="written off"):
        reverse_payment(payment_id=payment.pk, cause="mistake", **WHO)

    take_back_write_off(invoice_id=invoice.pk, **WHO)
    reverse_payment(payment_id=payment.pk, cause="mistake", **WHO)

    assert now_open(invoice) and invoice.amount_due == usd("120")
    sound()


def test_from_the_limit_on_a_second_person_approves_but_not_what_the_bank_says_itself(invoice: Invoice) -> None:
    set_limit(deed=ApprovedDeed.PAYMENT_REVERSAL, currency="USD", amount=Decimal(100), at=AT, actor="ann", reason="due care")  # fmt: skip
    [payment] = [one.payment for one in allocate(one_line(Entry("120.00")), pays(invoice))]
    asked = reverse_or_ask(payment_id=payment.pk, cause="mistake", **WHO)
    assert not now_open(invoice)

    decide(approval_id=asked.pk, digest=asked.digest, decision=Decision.APPROVED, at=LATER, actor="bob", reason="seen")

    assert now_open(invoice) and PaymentReversal.objects.get().approval == asked
    allocate(BankLine.objects.get(), pays(invoice), at=LATER)
    [out] = gone_out(Entry("-120.00", "returned", day=date(2026, 7, 26)))
    [back] = propose(line=out).returned
    allocate(out, Share("return", usd("-120"), payment_id=back.payments[0].pk), at=LATER)
    assert now_open(invoice)
    sound()


def test_stripes_payments_and_parts_are_not_taken_back(invoice: Invoice) -> None:
    by_card = settle_payment(
        invoice_id=once(a_customer("cust_card", settlement_channel="stripe"), key="card").pk,
        channel="stripe", reference="ch_1", amount=usd("120"), received_at=JULY,
    )  # fmt: skip
    payment = paid(invoice)
    incoming, out = import_camt(Entry("10.00"), Entry("-130.00")).lines

    for deed in (
        lambda: reverse_payment(payment_id=by_card.pk, cause="returned", **WHO),
        lambda: reverse_payment(payment_id=-1, cause="returned", **WHO),
        lambda: reverse_payment(payment_id=payment.pk, cause="mood", **WHO),
        lambda: reverse_payment(payment_id=payment.pk, cause="mistake", **(WHO | {"reason": " "})),
        lambda: allocate(out, Share("return", usd("-119"), payment_id=payment.pk)),
        lambda: allocate(out, Share("return", usd("-120"), payment_id=by_card.pk)),
        lambda: allocate(out, Share("return", usd("-120"), payment_id=-1)),
        lambda: allocate(incoming, Share("return", usd("10"), payment_id=payment.pk)),
    ):
        with pytest.raises(BillingError):
            deed()
    assert not PaymentReversal.objects.exists()


def test_nobody_takes_back_more_than_was_paid_by_raw_sql_either(invoice: Invoice) -> None:
    [allocation] = allocate(one_line(Entry("120.00")), pays(invoice))
    payment = Payment.objects.get()
    by_hand = paid(once(invoice.customer, item("30"), key="hand"))
    settle_constraints()
    columns = "INSERT INTO invoicing_paymentreversal (payment_id, cause, account, currency, amount, reversed_at, actor, reason)"

    def row(payment: Payment, amount: str, **members: str) -> str:
        said = {
            "cause": "returned",
            "account": "1000",
            "currency": "USD",
            "at": "now()",
            "actor": "x",
            "reason": "x",
        } | members
        return (
            f"{columns} VALUES ({payment.pk}, '{said['cause']}', '{said['account']}', '{said['currency']}', {amount},"
            f" {said['at']}, '{said['actor']}', '{said['reason']}')"
        )

    for statement in (
        row(payment, "119"),
        row(payment, "120"),
        row(payment, "120", account="2500"),
        row(payment, "120", cause="mistake"),
        row(payment, "120", cause="mistake", account="2120"),
        row(payment, "120", currency="EUR"),
        row(payment, "120", actor=""),
        row(payment, "120", reason=""),
        row(payment, "120", cause="mood"),
        row(payment, "120", account="4000"),
        row(by_hand, "30", at="'2020-01-01'"),
        f"UPDATE invoicing_invoice SET amount_paid = 0, status = 'issued', paid_at = NULL WHERE id = {invoice.pk}",
        f"UPDATE invoicing_invoice SET status = 'issued', paid_at = NULL WHERE id = {invoice.pk}",
        f"INSERT INTO invoicing_allocationreversal (allocation_id, reversed_at, actor, reason) VALUES ({allocation.pk}, now(), 'x', 'x')",
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
            settle_constraints()
    reverse_payment(payment_id=by_hand.pk, cause="mistake", **WHO)
    settle_constraints()
    for statement in (
        row(by_hand, "30"),
        "UPDATE invoicing_paymentreversal SET amount = 1",
        "DELETE FROM invoicing_paymentreversal",
        "TRUNCATE invoicing_paymentreversal CASCADE",
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    sound()


@pytest.mark.django_db(transaction=True)
def test_two_who_take_the_same_payment_back_at_once_take_it_back_once() -> None:
    invoice = once(a_customer(settlement_channel="manual"))
    line = one_line(Entry("120.00"))
    [allocation] = allocate(line, pays(invoice))
    [out] = gone_out(Entry("-120.00", day=date(2026, 7, 26)))
    payment = Payment.objects.get()

    outcomes = at_once(
        *[lambda: reverse_payment(payment_id=payment.pk, cause="mistake", **WHO)] * 2,
        lambda: take_back_allocation(allocation_id=allocation.pk, **WHO),
        lambda: allocate(out, Share("return", usd("-120"), payment_id=payment.pk), at=LATER),
    )

    assert not unexpected(outcomes), outcomes
    assert PaymentReversal.objects.count() == 1 and now_open(invoice)
    assert verify() == []
