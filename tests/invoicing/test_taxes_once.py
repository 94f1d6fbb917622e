"""Tax of what is invoiced once: by the day on which it is invoiced; the sale of prepaid credit is none."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from billing_site.kernel.errors import Conflict
from invoicing.customers.models import Customer
from invoicing.invoices.document import render_pdf
from invoicing.invoices.models import Invoice, TaxLine
from invoicing.tax.models import TaxRate
from invoicing.tax.operations import add_rate, end_dated, set_customer_tax
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, usd_fee
from tests.invoicing.selling import books, item, once, paid, sold
from tests.invoicing.test_taxes import BY, figures, germany, taxes

pytestmark = pytest.mark.django_db

# There it is the first of August already.
LATE_IN_JULY = AUGUST - timedelta(minutes=30)


@pytest.fixture
def acme() -> Customer:
    germany()
    customer = a_customer(timezone="Europe/Berlin")
    set_customer_tax(customer=customer, country="DE", **BY)
    return customer


@pytest.mark.requirement("S0-011")
def test_what_is_invoiced_once_is_taxed_once_for_each_rate_booked_proved_and_printed(acme: Customer) -> None:
    invoice = once(acme, item("0.10", "1"), item("0.10", "1"), item("0.13", "1"))

    assert figures(invoice) == ("0.33", "0.06", "0.39")
    assert [amount for *_, amount in taxes(invoice)] == ["0.02", "0.02", "0.02"]
    assert books() == {"1200": "0.39", "2300": "-0.06", "4000": "-0.33"}
    told = explain_invoice(number=str(invoice.number))
    assert told["equal"] and told["tax"]["summary"][0]["rate"] == "0.19"
    assert render_pdf(document=document_of(invoice=invoice)).startswith(b"%PDF")
    settle_constraints()
    assert verify() == []


@pytest.mark.requirement("S0-119")
def test_the_rate_is_that_of_the_day_there_and_the_same_key_is_the_same_invoice_whatever_holds_today(
    acme: Customer,
) -> None:
    first = once(acme, key="july", at=JULY)
    end_dated(row=TaxRate.objects.get(), valid_to=date(2026, 8, 1), **BY)
    add_rate(jurisdiction="DE", name="VAT", rate=Decimal("0.16"), valid_from=date(2026, 8, 1), **BY)

    assert figures(once(acme, key="august", at=LATE_IN_JULY)) == ("120.00", "19.20", "139.20")
    assert once(acme, key="july", at=AUGUST) == first
    assert figures(first) == ("120.00", "22.80", "142.80")
    with pytest.raises(Conflict, match="says something else"):
        once(acme, item("121"), key="july", at=AUGUST)


def test_contained_tax_is_within_what_was_stated() -> None:
    germany(prices_include_tax=True)
    customer = a_customer()
    set_customer_tax(customer=customer, country="DE", **BY)

    invoice = once(customer, item("119"))

    assert figures(invoice) == ("119.00", "19.00", "119.00")
    assert books() == {"1200": "119.00", "2300": "-19.00", "4000": "-100.00"}
    assert verify() == []


def test_nothing_is_invoiced_once_while_tax_data_is_missing() -> None:
    germany()
    customer = a_customer()

    with pytest.raises(Conflict, match="the country of Acme") as refused:
        once(customer)

    assert refused.value.code == "tax_data_missing"
    assert not Invoice.objects.exists()


@pytest.mark.requirement("S0-118")
def test_a_void_invoice_owes_the_tax_office_nothing(acme: Customer) -> None:
    invoice = once(acme)

    void_invoice(invoice_id=invoice.pk, at=JULY, actor="test", reason="agreed otherwise")

    assert books() == {}
    settle_constraints()
    assert verify() == []


def test_credit_is_sold_without_tax_and_pays_what_is_owed_with_tax() -> None:
    """Nobody has said where the customer is when it buys: it is taxed by where it is when it uses."""
    germany()
    a_plan("flat", usd_fee())
    customer = a_customer()
    top_up = sold(customer, "100")
    paid(top_up.invoice)
    set_customer_tax(customer=customer, country="DE", **BY)
    a_subscription(customer, plan="flat")

    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    assert figures(top_up.invoice) == ("100.00", "0.00", "100.00")
    row = TaxLine.objects.get(line__invoice=top_up.invoice)
    assert (row.kind, row.rate, row.reason.partition(":")[0]) == (
        "outside_scope",
        0,
        "Prepaid credit is not taxed when it is sold",
    )
    assert figures(july) == ("-5.51", "5.51", "0.00")
    assert books() == {"1000": "100.00", "2110": "-65.49", "2300": "-5.51", "4000": "-29.00"}
    settle_constraints()
    assert verify() == []
