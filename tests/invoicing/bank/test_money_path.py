"""Lines of bank statements become payments, money on account, or what they are: every cent is somewhere, and in the books."""

from datetime import date, timedelta

import pytest
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict, InvalidInput, NotFound
from invoicing.bank.models import AccountUse, BankAllocation, BankLine
from invoicing.bank.queries import left_of, money_on_account, movements_on_no_statement, on_account_of, open_lines
from invoicing.bank.reconciliation import reconciliations
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment
from invoicing.workflows.allocate_bank_line import Share, allocate_bank_line, take_back_allocation
from invoicing.workflows.match_bank_lines import propose, settle_certain_lines
from invoicing.workflows.use_money_on_account import apply_money_on_account, pay_money_back
from invoicing.workflows.verify import verify
from invoicing.workflows.write_off_invoice import write_off_invoice
from tests.factories import JULY, a_customer, settle_constraints
from tests.invoicing.bank.statements import AT, Entry, allocate, import_camt, one_line
from tests.invoicing.selling import books, item, once, paid

pytestmark = pytest.mark.django_db
WHO = {"at": AT, "actor": "ann", "reason": "agreed with the customer"}


@pytest.fixture
def invoice() -> Invoice:
    """USD 120, open, payable by transfer."""
    return once(a_customer(settlement_channel="manual"))


def usd(amount: str) -> Money:
    return Money(amount, "USD")


def pays(invoice: Invoice, amount: str) -> Share:
    return Share("payment", usd(amount), invoice_id=invoice.pk)


def sound() -> None:
    settle_constraints()
    assert verify() == []


def test_an_imported_line_stands_as_unidentified_until_somebody_says_what_it_is(invoice: Invoice) -> None:
    line = one_line(Entry("120.00", "thank you"))

    assert books() == {"1000": "120.00", "1200": "120.00", "2500": "-120.00", "4000": "-120.00"}
    assert settle_certain_lines(file_id=None, at=AT) == 0, "it names no invoice"
    assert [one.pk for one in open_lines()] == [line.pk]
    sound()


def test_a_line_that_names_an_invoice_with_what_is_open_settles_it_by_itself_once(invoice: Invoice) -> None:
    line = one_line(Entry("120.00", f"invoice {invoice.number} thank you"))

    assert settle_certain_lines(file_id=None, at=AT) == 1
    assert settle_certain_lines(file_id=None, at=AT) == 0

    payment = Payment.objects.get()
    assert (payment.reference, payment.channel, payment.received_at) == (
        f"{line.reference}/1",
        "manual",
        line.booked_at,
    )
    invoice.refresh_from_db()
    assert invoice.status == "paid"
    assert books() == {"1000": "120.00", "4000": "-120.00"}
    sound()


def test_the_setting_leaves_everything_to_people(invoice: Invoice, settings: object) -> None:
    settings.BANK_SETTLES_EXACT = False  # type: ignore[attr-defined]
    line = one_line(Entry("120.00", f"{invoice.number}"))

    assert settle_certain_lines(file_id=None, at=AT) == 0
    assert propose(line=line).candidates[0].is_certain


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("119.99", "{number}"),
        ("120.01", "{number}"),
        ("120.00", "{number} and INV-2026-00099"),
        ("120.00", "INV-2O26-OOOO1"),
    ],
)
def test_a_cent_less_or_more_or_a_doubtful_name_is_proposed_and_not_settled(
    invoice: Invoice, amount: str, text: str
) -> None:
    line = one_line(Entry(amount, text.format(number=invoice.number)))

    assert settle_certain_lines(file_id=None, at=AT) == 0

    best = propose(line=line).candidates[0]
    assert best.parts[0][0].number == invoice.number and best.reasons
    sound()


def test_a_reversal_and_money_recorded_by_hand_settle_nothing_by_themselves(invoice: Invoice) -> None:
    other = once(invoice.customer, item("120"), key="second")
    paid(other, reference="as told on the phone", at=JULY + timedelta(days=9))
    imported = import_camt(Entry("120.00", str(invoice.number)), Entry("120.00", str(invoice.number), is_reversal=True))

    assert settle_certain_lines(file_id=None, at=AT) == 0
    assert len(propose(line=imported.lines[0]).known) == 1, "a payment of this amount was recorded by hand"


def test_one_line_over_several_invoices_is_split_and_what_is_beyond_stays_on_account(invoice: Invoice) -> None:
    second = once(invoice.customer, item("50"), key="second")
    line = one_line(Entry("200.00", f"{invoice.number} {second.number}"))
    best = propose(line=line).candidates[0]
    assert [part.amount for _, part in best.parts] == [120, 50] and best.beyond == usd("30")

    allocate(
        line, pays(invoice, "120"), pays(second, "50"), Share("on_account", usd("30"), customer_id=invoice.customer_id)
    )

    assert Payment.objects.count() == 2 and left_of(line=line) == usd("0")
    assert on_account_of(customer_id=invoice.customer_id) == {"USD": usd("30")}
    assert books() == {"1000": "200.00", "2120": "-30.00", "4000": "-170.00"}
    sound()


def test_money_on_account_is_applied_later_and_the_rest_paid_back(invoice: Invoice) -> None:
    line = one_line(Entry("200.00"))
    allocate(line, pays(invoice, "120"), Share("on_account", usd("80"), customer_id=invoice.customer_id))
    later = once(invoice.customer, item("50"), key="later", at=JULY + timedelta(days=15))
    [lot] = money_on_account()

    apply_money_on_account(lot_id=lot.pk, invoice_id=later.pk, amount=usd("50"), rest=usd("80"), **WHO)
    with pytest.raises(Conflict, match="are there by now"):
        apply_money_on_account(lot_id=lot.pk, invoice_id=later.pk, amount=usd("50"), rest=usd("80"), **WHO)
    pay_money_back(lot_id=lot.pk, amount=usd("30"), rest=usd("30"), **WHO)

    later.refresh_from_db()
    assert later.status == "paid" and AccountUse.objects.count() == 2 and not money_on_account()
    assert books() == {"1000": "170.00", "4000": "-170.00"}
    sound()
    out = import_camt(
        Entry("-30.00", "back", day=date(2026, 7, 20)), opening="1200.00", number="8", name="august.xml"
    ).lines[0]
    [known] = propose(line=out).known
    allocate(out, Share("known", usd("-30"), entry_id=known.entry.pk))
    assert books() == {"1000": "170.00", "4000": "-170.00"}
    assert reconciliations()[0].difference == usd("1000"), "what stood on the account before"
    sound()


def test_a_transfer_recorded_by_hand_is_matched_with_its_line_and_not_paid_twice(invoice: Invoice) -> None:
    paid(invoice, at=JULY + timedelta(days=8))
    line = one_line(Entry("120.00", str(invoice.number)))
    assert settle_certain_lines(file_id=None, at=AT) == 0
    [known] = propose(line=line).known

    [reconciled] = reconciliations()
    assert (reconciled.by_hand, reconciled.unexplained) == (usd("120"), usd("0"))
    allocate(line, Share("known", usd("120"), entry_id=known.entry.pk))

    assert Payment.objects.count() == 1 and movements_on_no_statement() == []
    assert books() == {"1000": "120.00", "4000": "-120.00"}
    [reconciled] = reconciliations()
    assert (reconciled.booked, reconciled.stated) == (usd("120"), usd("1120"))
    assert (reconciled.opening, reconciled.missing, reconciled.unexplained) == (usd("1000"), usd("0"), usd("0"))
    again = one_line(Entry("120.00", "once more"), number="9", opening="1120.00")
    with pytest.raises(NotFound, match="on a statement already"):
        allocate(again, Share("known", usd("120"), entry_id=known.entry.pk))
    sound()


def test_what_is_no_customers_payment_is_set_aside_with_a_reason_and_taken_back_with_another(invoice: Invoice) -> None:
    lines = import_camt(Entry("55.00", "refund of taxes"), Entry("-4.90", "fee for July")).lines
    with pytest.raises(InvalidInput, match="say why"):
        allocate(lines[0], Share("set_aside", usd("55")), reason=" ")

    [aside] = allocate(lines[0], Share("set_aside", usd("55")), reason="the tax office")
    allocate(lines[1], Share("fee", usd("-4.90")))
    assert books() == {"1000": "50.10", "1200": "120.00", "1900": "-55.00", "4000": "-120.00", "6200": "4.90"}
    sound()

    take_back_allocation(allocation_id=aside.pk, **WHO)
    take_back_allocation(allocation_id=aside.pk, **WHO)
    assert left_of(line=lines[0]) == usd("55")
    allocate(lines[0], pays(invoice, "55"))
    sound()


def test_money_on_account_that_was_used_is_not_taken_back(invoice: Invoice) -> None:
    [lot] = allocate(one_line(Entry("200.00")), Share("on_account", usd("200"), customer_id=invoice.customer_id))
    apply_money_on_account(lot_id=lot.pk, invoice_id=invoice.pk, amount=usd("120"), rest=usd("200"), **WHO)

    with pytest.raises(Conflict, match="applied or paid back"):
        take_back_allocation(allocation_id=lot.pk, **WHO)


def test_the_same_click_twice_allocates_once_and_more_than_is_left_is_refused(invoice: Invoice) -> None:
    line = one_line(Entry("100.00"))
    asked = {"line_id": line.pk, "shares": [pays(invoice, "40")], "left": usd("100"), **WHO}
    allocate_bank_line(**asked)

    with pytest.raises(Conflict, match="look at it again"):
        allocate_bank_line(**asked)
    for share in (
        pays(invoice, "60.01"),
        pays(invoice, "-1"),
        pays(invoice, "0.001"),
        Share("payment", Money(1, "EUR"), invoice_id=invoice.pk),
        Share("payment", usd("1"), invoice_id=-1),
        Share("on_account", usd("1"), customer_id=-1),
        Share("known", usd("1"), entry_id=-1),
        Share("gift", usd("1")),
    ):
        with pytest.raises(BillingError):
            allocate(line, share)
    assert BankAllocation.objects.count() == 1
    sound()


def test_stripe_goes_on_collecting_all_of_an_invoice_so_a_part_is_refused(invoice: Invoice) -> None:
    by_card = once(a_customer("cust_card", settlement_channel="stripe"), key="card")
    line = one_line(Entry("120.00"))

    with pytest.raises(Conflict, match="Stripe would still collect"):
        allocate(line, pays(by_card, "100"))
    allocate(line, pays(by_card, "120"))
    sound()


def test_what_was_written_off_is_recovered_by_the_line(invoice: Invoice) -> None:
    write_off_invoice(invoice_id=invoice.pk, at=JULY + timedelta(days=3), actor="ann", reason="gone")
    one_line(Entry("120.00", str(invoice.number)))

    assert settle_certain_lines(file_id=None, at=AT) == 1

    assert books() == {"1000": "120.00", "4000": "-120.00"}
    sound()


def test_an_invoice_that_is_issued_after_its_money_came_is_paid_when_it_is_issued() -> None:
    line = one_line(Entry("120.00", day=date(2026, 7, 2)))
    invoice = once(a_customer(settlement_channel="manual"), at=JULY + timedelta(days=12))

    allocate(line, pays(invoice, "120"))

    assert Payment.objects.get().received_at == invoice.issued_at
    sound()


def test_overlapping_files_add_only_what_is_new_whatever_their_order(invoice: Invoice) -> None:
    same = Entry("10.00", "ten")
    first = import_camt(same, same, name="a.xml")
    second = import_camt(same, same, Entry("5.00", "five", day=date(2026, 7, 11)), name="b.xml", number="8")
    again = import_camt(same, same, name="a again.xml")

    assert (len(first.lines), len(second.lines), again.is_new, BankLine.objects.count()) == (2, 1, False, 3)
    assert second.statements[0].known_count == 2
    assert books()["1000"] == "25.00"
    sound()
