"""What paying late costs is charged by an invoice of its own, untaxed, with its proof, once for each day; or waived."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidFields
from dunning.arrangements.operations import decide_objection, object_to
from dunning.notices.models import MailEvent, Notice
from dunning.overdue.models import OverdueCharge, OverdueTerms
from dunning.overdue.operations import charge_late_payment, set_terms, waive_late_payment
from dunning.overdue.queries import accrued_of, accrued_total
from invoicing.bank.models import BankAllocation
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.tax.models import CustomerTax
from invoicing.workflows.allocate_bank_line import Share
from invoicing.workflows.use_money_on_account import apply_money_on_account
from invoicing.workflows.verify import verify
from tests.dunning.chasing import WHO, chase, late_customer, local, pay
from tests.factories import AUGUST
from tests.invoicing.bank.statements import Entry, allocate, one_line
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


def terms(valid_from: str = "2026-01-01", *, at: datetime = AUGUST, **fields: Any) -> OverdueTerms:
    """Eight points over a base rate of 1 %, 40 dollars a company, 5 from the second reminder on."""
    known = {
        "base_rate": Decimal("1"),
        "points": Decimal("8"),
        "currency": "USD",
        "lump_sum": Money("0", "USD"),
        "reminder_fee": Money("0", "USD"),
    }
    row = OverdueTerms(valid_from=date.fromisoformat(valid_from), **(known | fields))
    return set_terms(terms=row, at=at, **WHO)


def cost(customer: Customer, day: str) -> Money:
    return accrued_total(accrued=accrued_of(customer=customer, at=local(f"{day} 12:00", customer)), currency="USD")


@pytest.fixture
def invoice() -> Invoice:
    """Of 3,650 dollars: 90 cents a day at 9 %."""
    return late_customer(fee="3650")


def test_nothing_is_charged_before_somebody_says_what_it_costs_and_then_by_the_closest_terms(invoice: Invoice) -> None:
    customer = invoice.customer
    assert cost(customer, "2026-08-26") == Money(0, "USD")
    with pytest.raises(Conflict, match="paying late has cost nothing"):
        charge_late_payment(customer_id=customer.pk, at=local("2026-08-26 12:00", customer), **WHO)

    terms()
    assert cost(customer, "2026-08-16") == Money(0, "USD"), "the 16th is not over"
    assert cost(customer, "2026-08-26") == Money("9.00", "USD"), "from the 16th to the 25th"
    terms(country="DE", audience="business", points=Decimal("17"), lump_sum=Money("40", "USD"))
    assert cost(customer, "2026-08-26") == Money("9.00", "USD")
    CustomerTax.objects.create(customer=customer, country="DE", vat_id="DE136695976")
    assert cost(customer, "2026-08-26") == Money("58.00", "USD"), "18 % and the lump sum"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("lump_sum", {"lump_sum": Money("40.005", "USD")}),
        ("lump_sum", {"lump_sum": Money("1e17", "USD")}),
        ("reminder_fee", {"currency": "JPY", "lump_sum": Money("0", "JPY"), "reminder_fee": Money("0.5", "JPY")}),
        ("country", {"country": "D"}),
        ("base_rate", {"base_rate": Decimal(150)}),
        ("points", {"points": Decimal(101)}),
    ],
)
def test_terms_that_cannot_be_kept_are_told_at_their_field(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields) as told:
        terms(**given)
    assert [error.field for error in told.value.field_errors] == [field]


def test_it_is_charged_once_with_its_proof_and_untaxed_and_bears_no_interest_itself(invoice: Invoice) -> None:
    customer = invoice.customer
    terms(lump_sum=Money("40", "USD"))
    at = local("2026-08-26 12:00", customer)

    charged = charge_late_payment(customer_id=customer.pk, at=at, **WHO)

    assert (charged.total, charged.status) == (Money("49.00", "USD"), "issued")
    assert [line.description for line in charged.lines.order_by("position")] == [
        f"Interest for late payment of {invoice.number}, 2026-08-16 to 2026-08-25",
        f"Lump sum for late payment of {invoice.number}",
    ]
    row = OverdueCharge.objects.get(kind="interest")
    assert row.proof == [{"from": "2026-08-16", "to": "2026-08-25", "days": 10, "principal": "3650", "percent": "9"}]
    with pytest.raises(Conflict, match="paying late has cost nothing"):
        charge_late_payment(customer_id=customer.pk, at=at, **WHO)
    pay(invoice, local("2026-08-28 12:00", customer))
    assert cost(customer, "2026-12-26") == Money("1.80", "USD"), "the 26th and 27th, and nothing of the interest"
    # The customer was dated back behind its history.
    assert [one for one in verify() if one.check != "carved rows are as they were"] == []


def test_what_is_waived_is_never_charged_and_what_is_objected_to_costs_nothing(invoice: Invoice) -> None:
    customer = invoice.customer
    terms()
    waive_late_payment(customer_id=customer.pk, at=local("2026-08-21 12:00", customer), **WHO)
    assert cost(customer, "2026-08-26") == Money("4.50", "USD")

    at = local("2026-08-22 12:00", customer)
    objection = object_to(invoice_id=invoice.pk, amount=Money("3650", "USD"), at=at, **WHO)
    assert cost(customer, "2026-09-26") == Money("0.90", "USD"), "the 21st"
    decide_objection(objection_id=objection.pk, at=local("2026-08-24 12:00", customer), **WHO)
    assert cost(customer, "2026-08-26") == Money("1.80", "USD"), "the 21st and the 25th"


def test_what_is_credited_of_an_objection_is_not_taken_off_a_second_time(invoice: Invoice) -> None:
    customer = invoice.customer
    terms()
    half = Money("1825", "USD")
    object_to(invoice_id=invoice.pk, amount=half, at=local("2026-08-18 12:00", customer), **WHO)

    credited(invoice, of_line(1, amount="1825"), at=local("2026-08-22 12:00", customer))

    assert cost(customer, "2026-08-26") == Money("4.50", "USD"), "half of ten days: nobody objected to that half"


def test_the_queries_do_not_grow_with_the_invoices_of_a_customer(invoice: Invoice) -> None:
    customer = invoice.customer
    terms(lump_sum=Money("40", "USD"))
    pay(invoice, local("2026-08-14 12:00", customer))

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            cost(customer, "2027-08-26")
        return len(seen)

    assert cost(customer, "2027-08-26") == Money(0, "USD"), "paid in time"
    before = queries()
    for number in range(3):
        once(customer, item("10"), key=f"workshop-{number}", at=AUGUST)
    assert cost(customer, "2026-12-26") > Money("120", "USD")
    assert queries() == before


def test_reminders_cost_a_fee_from_the_second_on_and_the_notice_says_what_it_comes_to(invoice: Invoice) -> None:
    customer = invoice.customer
    terms(reminder_fee=Money("5", "USD"))
    for day in ("16", "18", "22", "26"):
        chase(local(f"2026-08-{day} 09:00", customer))

    assert not any("charges" in told for told in Notice.objects.filter(kind="reminder").values_list("told", flat=True))
    # Two of the three reminders, and the warning.
    assert cost(customer, "2026-08-26") == Money("24.00", "USD")
    warning = Notice.objects.get(kind="warning")
    assert "Interest and fees for late payment come to USD 19.00 so far" in warning.text, "that fee is for itself"


def test_a_reminder_that_was_sent_before_terms_were_recorded_costs_no_fee_though_they_hold_since_then(
    invoice: Invoice,
) -> None:
    customer = invoice.customer
    fees = {"base_rate": Decimal(0), "points": Decimal(0), "reminder_fee": Money("5", "USD"), "free_reminders": 0}
    for day in ("16", "18", "22"):
        chase(local(f"2026-08-{day} 09:00", customer))

    terms("2026-08-01", at=local("2026-08-20 12:00", customer), **fees)

    assert Notice.objects.filter(kind="reminder", state="sent").count() == 3
    assert cost(customer, "2026-08-23") == Money("5", "USD"), "that of the 22nd"


def test_money_on_account_bears_no_interest_from_the_day_on_which_the_bank_booked_it(invoice: Invoice) -> None:
    customer, whole = invoice.customer, Money("3650", "USD")
    terms(lump_sum=Money("40", "USD"))
    at = local("2026-08-26 12:00", customer)
    share = Share("on_account", whole, customer_id=customer.pk)
    [lot] = allocate(one_line(Entry("3650.00", day=date(2026, 8, 14)), at=at), share, at=at)
    assert isinstance(lot, BankAllocation)
    with pytest.raises(Conflict, match=r"3,650\.00 are on account: apply them first"):
        charge_late_payment(customer_id=customer.pk, at=at, **WHO)

    apply_money_on_account(lot_id=lot.pk, invoice_id=invoice.pk, amount=whole, rest=whole, at=at, **WHO)

    assert cost(customer, "2026-12-26") == Money(0, "USD"), "it came a day before it was due"


def test_no_fee_is_for_what_bounced_or_was_credited(invoice: Invoice) -> None:
    customer = invoice.customer
    terms(base_rate=Decimal(0), points=Decimal(0), reminder_fee=Money("5", "USD"))
    for day in ("16", "18", "22", "26"):
        chase(local(f"2026-08-{day} 09:00", customer))
    assert cost(customer, "2026-08-26") == Money("15", "USD")

    bounced = Notice.objects.filter(kind="reminder").latest("pk")
    MailEvent.objects.create(
        notice=bounced, kind="bounce", address=bounced.to_address, key="b", occurred_at=local("2026-08-26", customer)
    )
    assert cost(customer, "2026-08-26") == Money("10", "USD")
    credited(invoice, at=local("2026-08-26 12:00", customer))
    assert cost(customer, "2026-08-27") == Money(0, "USD")


def test_a_reminder_of_charges_for_late_payment_costs_no_fee(invoice: Invoice) -> None:
    customer = invoice.customer
    fixed = {"lump_sum": Money("40", "USD"), "reminder_fee": Money("5", "USD"), "free_reminders": 0}
    terms(base_rate=Decimal(0), points=Decimal(0), **fixed)
    charged = charge_late_payment(customer_id=customer.pk, at=local("2026-08-17 12:00", customer), **WHO)
    pay(invoice, local("2026-08-17 13:00", customer))

    chase(local("2026-09-02 09:00", customer))

    assert Notice.objects.get(kind="reminder").about.get().invoice == charged
    assert cost(customer, "2026-09-02") == Money(0, "USD")


def test_the_database_charges_no_day_twice(invoice: Invoice) -> None:
    customer = invoice.customer
    terms(lump_sum=Money("40", "USD"))
    charge_late_payment(customer_id=customer.pk, at=local("2026-08-26 12:00", customer), **WHO)

    for name, row in (
        ("overdue_day_is_charged_once", OverdueCharge.objects.get(kind="interest")),
        ("overdue_lump_sum_is_charged_once", OverdueCharge.objects.get(kind="lump_sum")),
    ):
        row.pk, row.invoice = None, None
        row.first_day = row.first_day and date(2026, 8, 25)
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            row.save(force_insert=True)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        OverdueCharge.objects.update(reason="other")
