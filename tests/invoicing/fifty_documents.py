"""Fifty documents as a company issues them: languages, currencies, taxes, lengths, long and missing names and addresses, credit notes, discounts, terms."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.tax.models import TaxRate
from invoicing.tax.operations import (
    add_exemption,
    add_rate,
    add_registration,
    end_dated,
    set_customer_tax,
    set_seller_tax,
)
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    use,
)
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.late import BILLED_AT
from tests.invoicing.selling import item, once, paid, sold
from tests.invoicing.test_credits import grant
from tests.invoicing.test_discounts import a_coupon, redeem
from tests.invoicing.test_taxes import BY, YEAR, germany

Document = Invoice | CreditNote
NAMES = (
    ("de", "Größenwahn & Söhne Datenverarbeitung GmbH", "Königsallee 1\n40212 Düsseldorf"),
    ("en", "Nordwind Analytics A/S", "Havnegade 12\n1058 København K\nDenmark"),
    ("de", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft mbH & Co. KG", ""),
    ("en", "株式会社東京データ解析研究所", "東京都千代田区丸の内一丁目九番一号\n〒100-0005"),
    (
        "de",
        "Verein",
        "c/o Erika Mustermann\nHinterhaus, 3. Stock, links\nLange Straße 123a\nOrtsteil Unter dem Berg\n01234 Dorf\nDeutschland",
    ),
    (
        "en",
        "The Honourable Company of Very Long Names, Registered Offices and Correspondence Addresses, London",
        "1 Lane",
    ),
)
WORDS = ("Workshop", "Datenübernahme aus dem Altsystem", "Consulting, remote", "Schulung „Abrechnung“", "Hardware")


def a_name(number: int, **fields: Any) -> Customer:
    """A customer of the list of names, in its language."""
    language, name, address = NAMES[number % len(NAMES)]
    key = fields.pop("key", f"cust_{number}")
    return a_customer(key, **({"name": name, "address": address, "language": language, "tax_id": ""} | fields))


def lines_once(customer: Customer, count: int, *, at: Any = JULY, amount: str = "1234.5678") -> Invoice:
    """A one-off invoice of so many lines; the price is finer than any minor unit."""
    items = [
        item(
            amount if number % 3 else "0.0042",
            str(number * 7 + 1) + (".25" if number % 4 == 0 else ""),
            f"{WORDS[number % len(WORDS)]} {number}",
            unit=("hour", "action", "")[number % 3],
            currency=customer.currency,
        )
        for number in range(1, count + 1)
    ]
    return once(customer, *items, key=f"once-{customer.key}-{count}", at=at)


def a_tariff(currency: str, *, key: str) -> None:
    """A plan with every model of prices in a currency."""
    priced: list[dict[str, Any]] = [
        {"key": "base", "name": "Base fee", "model": "flat", "unit_amount": "29"},
        {
            "key": "tiers",
            "name": "Actions by tier",
            "meter": "actions",
            "model": "graduated",
            "tiers": [
                {"up_to": "1000", "unit_amount": "0.025", "flat_amount": "5"},
                {"up_to": "10000", "unit_amount": "0.02"},
                {"up_to": None, "unit_amount": "0.0125"},
            ],
        },
        {"key": "packages", "name": "Actions by package", "meter": "actions", "model": "package", "package_size": "1000", "package_amount": "3"},
        {"key": "share", "name": "Share of turnover", "meter": "actions", "model": "percentage", "rate": "0.0125", "minimum_amount": "7"},
        {"key": "free", "name": "Actions beyond what is free", "meter": "actions", "model": "per_unit", "unit_amount": "0.0025", "free_units": "5000"},
    ]  # fmt: skip
    a_plan(key, *({"currency": currency, **price} for price in priced))


def a_period(customer: Customer, *, key: str, used: str = "21500") -> Invoice:
    """The July invoice of a customer under the tariff."""
    a_tariff(customer.currency, key=key)
    a_subscription(customer, plan=key)
    use(customer.key, used, at=JULY + timedelta(days=3))
    return billed(customer)


def billed(customer: Customer, *, month: Any = AUGUST, at: Any = BILLED_AT) -> Invoice:
    [invoice] = issue_billing(as_of=month, at=at, customer_key=customer.key).invoices
    return invoice


def many_lines(customer: Customer, count: int, *, key: str) -> Invoice:
    """A period's invoice of so many fees."""
    currency = customer.currency
    for part in range(0, count, 50):
        name = f"{key}{part}"
        fees = (
            {"key": f"fee{number}", "name": f"Workspace {number:03}: storage and support", "currency": currency, "model": "flat", "unit_amount": f"{number * 3}"}
            for number in range(part + 1, min(part + 50, count) + 1)
        )  # fmt: skip
        a_plan(name, *fees)
        a_subscription(customer, plan=name, key=f"sub_{name}")
    return billed(customer)


def added_tax() -> Iterator[Document]:
    """A German seller whose prices are before tax: at home, reverse charge, outside the Union, exempt, two rates on one invoice."""
    germany()
    nothing_is_checked_before_issue()
    home = a_name(0, currency="EUR", timezone="Europe/Berlin", tax_id="DE136695976")
    abroad = a_name(1, currency="EUR", email="")
    nowhere = a_name(2, currency="EUR", timezone="Europe/Berlin")
    tokyo = a_name(3, currency="JPY", timezone="Asia/Tokyo")
    exempt = a_name(4, currency="EUR")
    london = a_name(5, currency="KWD", timezone="Europe/London")
    for customer, country, number in (
        (home, "DE", ""), (abroad, "FR", "FR40303265045"), (nowhere, "DE", ""), (tokyo, "JP", ""), (exempt, "DE", ""), (london, "GB", ""),
    ):  # fmt: skip
        set_customer_tax(customer=customer, country=country, vat_id=number, **BY)
    add_exemption(customer=exempt, jurisdiction="DE", law="§ 4 Nr. 21 UStG", evidence="Bescheinigung 2026-17", valid_from=YEAR, **BY)  # fmt: skip
    first = a_period(home, key="home")
    yield first
    yield credited(first, of_line(2), of_line(1, amount="10", currency="EUR"))
    for customer, count in ((home, 1), (abroad, 10), (nowhere, 60), (tokyo, 10), (exempt, 1), (london, 10)):
        yield lines_once(customer, count)
    yield credited(Invoice.objects.get(customer=abroad), of_line(2, quantity="3"), of_line(4, quantity="1"))
    yield credited(Invoice.objects.get(customer=tokyo))
    yield many_lines(nowhere, 200, key="nowhere")
    dollars = a_name(2, key="cust_dollars", currency="USD")
    set_customer_tax(customer=dollars, country="US", **BY)
    yield a_period(dollars, key="dollars")
    yield credited(Invoice.objects.get(customer=london), of_line(3))
    dinars = a_name(4, key="cust_dinars", currency="KWD")
    set_customer_tax(customer=dinars, country="DE", **BY)
    yield lines_once(dinars, 60)
    a_coupon()
    redeem(exempt)
    yield a_period(exempt, key="exempt")
    grant(home, "50", "prepaid", kind="prepaid")
    grant(home, "5", "gift")
    end_dated(row=TaxRate.objects.get(), valid_to=date(2026, 8, 1), **BY)
    add_rate(jurisdiction="DE", name="VAT", rate=Decimal("0.16"), valid_from=date(2026, 8, 1), **BY)
    use("cust_0", "300", at=AUGUST + timedelta(days=1))
    use("cust_0", "700", at=JULY + timedelta(hours=50))
    yield billed(home, month=SEPTEMBER, at=SEPTEMBER + timedelta(hours=7))


def contained_tax() -> Iterator[Document]:
    """A German seller whose prices contain the tax."""
    germany(prices_include_tax=True)
    nothing_is_checked_before_issue()
    for number, currency in enumerate(("EUR", "USD", "KWD", "CLF")):
        customer = a_name(number, currency=currency)
        set_customer_tax(customer=customer, country="DE", **BY)
        invoice = a_period(customer, key=f"plan{number}")
        yield invoice
        yield lines_once(customer, (1, 10, 60, 10)[number])
        if number < 2:
            paid(invoice)
            yield Invoice.objects.get(pk=invoice.pk)
            yield credited(invoice, of_line(1), disposition="balance")


def no_tax() -> Iterator[Document]:
    """A seller who charges no tax: discounts, a maximum spend, fees in advance, sold credit, a void invoice, in five currencies."""
    nothing_is_checked_before_issue()
    for number, currency in enumerate(("USD", "EUR", "JPY", "KWD", "CLF")):
        customer = a_name(number, currency=currency)
        yield lines_once(customer, (10, 1, 60, 10, 1)[number])
        yield many_lines(customer, (1, 10, 60, 10, 100)[number], key=f"plan{number}")
        if number < 3:
            yield sold(customer, "500", key=f"sold-{number}", valid_days=365).invoice
    voided = lines_once(a_name(0, key="cust_void"), 1)
    void_invoice(invoice_id=voided.pk, at=AUGUST, actor="test", reason="by mistake")
    yield Invoice.objects.get(pk=voided.pk)
    ahead = a_name(0, key="cust_ahead")
    fee = {
        "key": "base",
        "name": "Base fee",
        "currency": "USD",
        "model": "flat",
        "unit_amount": "29",
        "in_advance": True,
    }
    usage = {
        "key": "actions",
        "name": "Actions",
        "meter": "actions",
        "currency": "USD",
        "model": "per_unit",
        "unit_amount": "0.01",
    }
    a_plan("ahead", fee, usage, spend=[{"currency": "USD", "minimum_spend": "50", "maximum_spend": "100"}])
    a_subscription(ahead, plan="ahead")
    use("cust_ahead", "12345", at=JULY + timedelta(days=3))
    yield billed(ahead, month=JULY, at=JULY)
    yield billed(ahead)


def sales_tax() -> Iterator[Document]:
    """A seller in the United States with two taxes on a line."""
    set_seller_tax(valid_from=YEAR, country="US", **BY)
    nothing_is_checked_before_issue()
    for place, rate in (("US", "0.01"), ("US-NY", "0.08875")):
        add_registration(jurisdiction=place, number=f"{place}-1", valid_from=YEAR, **BY)
        add_rate(jurisdiction=place, name="Sales tax", rate=Decimal(rate), valid_from=YEAR, **BY)
    customer = a_name(5, currency="USD", timezone="America/New_York")
    set_customer_tax(customer=customer, country="US", region="NY", **BY)
    invoice = a_period(customer, key="york")
    yield invoice
    yield lines_once(customer, 10)
    yield credited(invoice)
    other = a_name(4, key="cust_german", currency="USD")
    set_customer_tax(customer=other, country="DE", **BY)
    yield lines_once(other, 10)
    yield lines_once(other, 1)
    yield many_lines(other, 60, key="german")


WORLDS: dict[str, tuple[Callable[[], Iterator[Document]], int]] = {
    "added tax": (added_tax, 16),
    "contained tax": (contained_tax, 12),
    "no tax": (no_tax, 16),
    "sales tax": (sales_tax, 6),
}
