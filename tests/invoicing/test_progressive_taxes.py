"""Tax and documents of progressive invoices: each states its own tax, and the invoice of the period gives back just that."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from billing_site.kernel.money import exponent
from invoicing.customers.models import Customer
from invoicing.invoices.document import render_pdf
from invoicing.invoices.models import Invoice, TaxLine
from invoicing.tax.models import TaxRate
from invoicing.tax.operations import add_rate, end_dated, set_customer_tax
from invoicing.workflows.bill_progressively import sweep_progressive
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.factories import (
    AUGUST,
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
from tests.invoicing.crediting import credited
from tests.invoicing.progressive import DAY, billed, swept, taken_off, threshold, used
from tests.invoicing.selling import books
from tests.invoicing.test_credits import grant
from tests.invoicing.test_discounts import a_coupon, redeem
from tests.invoicing.test_e_invoices import assert_states
from tests.invoicing.test_taxes import BY, figures, germany

pytestmark = pytest.mark.django_db


def taxed(
    *, language: str = "en", prices: Sequence[dict[str, Any]] = (usd_fee("29"), usd_per_action("1")), **settings: object
) -> Customer:
    """Pays USD 29 a month and USD 1 an action, or other prices, with German VAT."""
    germany(**settings)
    a_plan("pro", *prices)
    customer = a_customer(language=language)
    set_customer_tax(customer=customer, country="DE", **BY)
    a_subscription(customer)
    threshold(customer, "50")
    return customer


@pytest.mark.parametrize("inclusive", [False, True])
def test_tax_is_owed_with_each_and_neither_twice_nor_lost(inclusive: bool) -> None:
    taxed(prices_include_tax=inclusive)

    [invoice] = used("100", day=3)
    use("cust_acme", "50", at=JULY + 9 * DAY)
    july = billed()

    assert figures(invoice) == (("100.00", "15.97", "100.00") if inclusive else ("100.00", "19.00", "119.00"))
    assert figures(july) == (("79.00", "12.61", "79.00") if inclusive else ("79.00", "15.01", "94.01"))
    assert sum(row.amount.amount for row in TaxLine.objects.filter(line__progressive__isnull=False)) == (
        Decimal("-15.97") if inclusive else Decimal("-19.00")
    )
    owed = "-28.58" if inclusive else "-34.01"
    assert books()["2300"] == owed
    assert verify() == []


def test_what_was_taxed_at_another_rate_goes_back_at_that_rate() -> None:
    taxed()
    used("100", day=3)
    end_dated(row=TaxRate.objects.get(), valid_to=date(2026, 7, 20), **BY)
    add_rate(jurisdiction="DE", name="VAT", rate=Decimal("0.16"), valid_from=date(2026, 7, 20), **BY)

    july = billed()

    # 129 at 16 %, less 100 at 19 %.
    assert figures(july) == ("29.00", "1.64", "30.64")
    assert verify() == []


def test_tax_of_a_rate_that_has_fallen_is_never_kept_in_silence() -> None:
    taxed(prices=(usd_per_action("1"),))
    [invoice] = used("100", day=3)
    end_dated(row=TaxRate.objects.get(), valid_to=date(2026, 7, 20), **BY)
    add_rate(jurisdiction="DE", name="VAT", rate=Decimal("0.16"), valid_from=date(2026, 7, 20), **BY)

    [failure] = issue_billing(as_of=AUGUST, at=AUGUST + DAY).failures
    assert failure.message.startswith(f"{invoice.number} was taxed by more than is owed by now: credit it")

    credited(invoice)
    july = billed()
    assert (figures(july), taken_off(july)) == (("100.00", "16.00", "116.00"), {})
    assert verify() == []


def test_an_e_invoice_states_it_as_a_partial_one_and_the_last_one_names_those_before() -> None:
    taxed()
    [invoice] = used("100", day=3)
    july = billed()

    partial, last = assert_states(invoice), assert_states(july)

    assert partial.is_partial and not last.is_partial
    assert [one.number for one in last.preceding] == [invoice.number]
    assert [str(line.quantity * line.price) for line in last.lines][-1].startswith("-100")


def test_the_document_says_what_it_is_and_that_it_is_taken_off() -> None:
    taxed(language="de")
    [invoice] = used("100", day=3)
    july = billed()

    document, last = document_of(invoice=invoice), document_of(invoice=july)
    page = document.language.say

    assert page("Progressive invoice") == "Abschlagsrechnung"
    assert document.runs_until == date(2026, 7, 31)
    assert (document.period_first_date, document.period_last_date) == (date(2026, 7, 1), date(2026, 7, 3))
    assert [line.description for line in last.lines][-1] == f"Bereits berechnet mit {invoice.number}"
    assert "100 action wurden bisher genutzt" in document.lines[0].explanation
    assert render_pdf(document=document).startswith(b"%PDF") and render_pdf(document=last).startswith(b"%PDF")


@pytest.mark.parametrize("currency", ["JPY", "KWD", "CLF"])
def test_every_currency_has_its_decimals(currency: str) -> None:
    a_plan("pro", usd_fee("29") | {"currency": currency}, usd_per_action("0.3333") | {"currency": currency})
    customer = a_customer(currency=currency)
    a_subscription(customer)
    threshold(customer, "10")

    [invoice] = used("101", day=3)
    july = billed()

    smallest = Decimal(1).scaleb(-exponent(currency))
    assert invoice.total.amount == Decimal("33.6633").quantize(smallest)
    assert july.total.amount == Decimal(29)
    assert verify() == []


def test_without_tax_data_nothing_is_invoiced_and_the_threshold_says_why() -> None:
    germany()
    a_plan("pro", usd_per_action("1"))
    customer = a_customer()
    a_subscription(customer)
    known = threshold(customer, "50")
    use("cust_acme", "100", at=JULY)

    report = sweep_progressive(at=JULY + timedelta(hours=1))

    known.refresh_from_db()
    assert not report.made and "it cannot be taxed" in known.problem
    set_customer_tax(customer=customer, country="DE", **BY)
    [invoice] = swept(JULY + timedelta(hours=2))
    report_of_july = issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=7))
    assert list(taken_off(report_of_july.invoices[0])) == [invoice.number]
    assert verify() == []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_contract_says_who_pays_as_it_comes_pays_what_the_other_pays(seed: int) -> None:
    """Two customers who agreed to the same and used the same, one of them with a threshold: over two months both owe the same, with tax."""
    chance = Random(seed)
    nothing_is_checked_before_issue()
    germany()
    bounds = [{"currency": "USD", "minimum_spend": "40", "maximum_spend": "400"}] if seed % 2 else []
    fee = usd_fee("29") | {"in_advance": seed % 3 == 0}
    a_plan("pro", fee, usd_per_action("0.37", free_units="10"), **({"spend": bounds} if bounds else {}))
    a_coupon()
    both = [a_customer(), a_customer("cust_other")]
    for customer in both:
        set_customer_tax(customer=customer, country="DE", **BY)
        a_subscription(customer)
        if seed % 3 == 1:
            redeem(customer)
        if seed > 2:
            grant(customer, "15", f"gift-{customer.key}")
            grant(customer, "40", f"bought-{customer.key}", kind="prepaid")
    threshold(both[0], "20", "35")
    for day in range(0, 60, 4):
        quantity = str(chance.randint(0, 150))
        for customer in both:
            use(customer.key, quantity, at=JULY + timedelta(days=day))
        swept(JULY + timedelta(days=day, hours=1))
        issue_billing(as_of=JULY + timedelta(days=day), at=JULY + timedelta(days=day, hours=2))
    issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=7))
    settle_constraints()

    mine, other = (Invoice.objects.filter(customer=customer) for customer in both)
    assert mine.filter(kind="progressive").count() >= 2
    sums = [sum((one.total.amount for one in invoices), Decimal(0)) for invoices in (mine, other)]
    assert sums[0] == sums[1]
    assert verify() == []
