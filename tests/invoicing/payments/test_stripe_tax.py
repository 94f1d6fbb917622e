"""Months taxed by what Stripe Tax told before: asked by a job, kept in rows, proven from them; what it cannot tell holds back its customer only."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError

from billing_site.kernel.errors import Conflict, InvalidFields
from billing_site.sandbox.models import SandboxObject
from billing_site.sandbox.stripe import tax_calculations
from invoicing import tasks
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, TaxLine
from invoicing.tax.inquiries import TaxAnswer, TaxInquiry
from invoicing.tax.operations import add_exemption, set_customer_tax
from invoicing.tax.stripe_questions import PROVIDER
from invoicing.tax.stripe_tax import holds
from invoicing.workflows.ask_stripe_tax import ask_about, ask_again, ask_for_periods, keep_answers_fresh, order_answer
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.tax_gaps import without_tax_data
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, use
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.late import BILLED_AT
from tests.invoicing.payments.building import a_card_customer, queued_jobs, remote_invoices, run_queued_jobs
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql
from tests.invoicing.test_taxes import BY, YEAR, figures, taxes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stripe_decides")]


def a_buyer(key: str, country: str, **place: str) -> Customer:
    """Somebody who owes USD 29.00 for July, and USD 15.00 for its actions."""
    customer = a_customer(key)
    set_customer_tax(customer=customer, country=country, **place, **BY)
    a_subscription(customer)
    use(key, "1500", at=JULY + timedelta(days=3))
    return customer


def a_new_yorker(key: str = "cust_acme") -> Customer:
    return a_buyer(key, "US", region="NY", postal_code="10001", city="New York")


def bill(as_of: Any = AUGUST, at: Any = BILLED_AT) -> dict[str, Invoice]:
    return {one.customer.key: one for one in issue_billing(as_of=as_of, at=at).invoices}


def calculations() -> int:
    return SandboxObject.objects.filter(kind="tax.calculation").count()


@pytest.mark.requirement("S0-119")
@pytest.mark.requirement("S0-011")
def test_a_month_in_new_york_berlin_and_paris_is_taxed_as_stripe_told_and_proven_from_its_answers() -> None:
    new_yorker = a_new_yorker()
    a_buyer("cust_berlin", "DE")
    a_buyer("cust_paris", "FR", vat_id="FR40303265045")

    issued = bill()

    assert {key: figures(one) for key, one in issued.items()} == {
        "cust_acme": ("44.00", "3.91", "47.91"),
        "cust_berlin": ("44.00", "8.36", "52.36"),
        "cust_paris": ("44.00", "0.00", "44.00"),
    }
    rows = TaxLine.objects.filter(line__invoice=issued["cust_acme"], line__position=1).order_by("ordinal")
    assert [
        (row.name[:25], row.jurisdiction, f"{row.rate.normalize():f}", f"{row.amount.amount:.2f}") for row in rows
    ] == [
        ("Sales tax", "US-NY", "0.04", "1.16"),
        ("Sales tax, New York City", "US-NY", "0.045", "1.31"),
        ("Sales tax, Metropolitan C", "US-NY", "0.00375", "0.11"),
    ]
    abroad = issued["cust_paris"].lines.get(position=1).taxes.get()
    assert (abroad.kind, abroad.reason[:15]) == ("reverse_charge", "Reverse charge:")
    answer = TaxAnswer.objects.get(inquiry__customer=new_yorker)
    tax = issued["cust_acme"].tax
    assert tax is not None
    assert (tax["provider"], tax["answers"]) == ("stripe_tax", {"2026-07-31": answer.pk})
    assert (answer.inquiry.day, answer.inquiry.question["address"]["postal_code"]) == (date(2026, 7, 31), "10001")
    assert verify() == []


def test_what_is_credited_gives_the_tax_of_each_place_back() -> None:
    a_new_yorker()
    invoice = bill()["cust_acme"]

    half = credited(invoice, of_line(2, quantity=750))
    rest = credited(invoice)

    back = [sum((line.tax_amount.amount for line in note.lines.all()), Decimal(0)) for note in (half, rest)]
    assert sum(back) == Decimal("3.91")
    assert half.total.amount + rest.total.amount == invoice.total.amount
    assert verify() == []


def test_texas_taxes_four_fifths_oregon_nothing_and_who_is_not_registered_says_so() -> None:
    a_buyer("cust_texas", "US", region="TX", postal_code="78701")
    a_buyer("cust_oregon", "US", region="OR", postal_code="97201")
    a_buyer("cust_washington", "US", postal_code="98101")

    issued = bill()

    assert {key: figures(one)[1] for key, one in issued.items()} == {
        # 5 % and twice 0.8 % of 44.00
        "cust_texas": "2.90",
        "cust_oregon": "0.00",
        "cust_washington": "0.00",
    }
    assert TaxLine.objects.filter(line__invoice=issued["cust_texas"]).first().name == "Sales tax on 80 %"
    assert verify() == []


def test_an_exempt_customer_is_told_exempt_with_our_evidence() -> None:
    customer = a_new_yorker()
    add_exemption(
        customer=customer, jurisdiction="US-NY", law="Bought for resale.", evidence="ST-120", valid_from=YEAR, **BY
    )

    invoice = bill()["cust_acme"]

    assert {(row.kind, row.reason, row.evidence) for row in TaxLine.objects.all()} == {
        ("exempt", "Bought for resale.", "ST-120")
    }
    assert TaxInquiry.objects.get().question["taxability_override"] == "customer_exempt"
    assert (figures(invoice)[1], verify()) == ("0.00", [])


def test_nothing_is_asked_while_an_invoice_is_made_and_what_was_not_told_is_missing_in_words() -> None:
    a_new_yorker()

    before = preview_billing(as_of=AUGUST)
    listed = list(without_tax_data(at=AUGUST))
    told = ask_for_periods(as_of=AUGUST, at=BILLED_AT)
    after = preview_billing(as_of=AUGUST)

    assert ["Stripe has not been asked yet" in failure.message for failure in before.failures] == [True]
    assert [one.key for one in listed] == ["cust_acme"]
    assert (told.told, told.refused, after.failures) == (1, 0, [])
    assert f"{after.previews[0].total.amount:.2f}" == "47.91"
    assert list(without_tax_data(at=AUGUST)) == []


def test_an_address_that_stripe_does_not_know_holds_back_its_customer_only_and_is_named() -> None:
    lost = a_buyer("cust_lost", "US", postal_code="00000")
    a_new_yorker()

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)
    statuses = {one.customer.key: one.status for one in report.invoices}
    listed = list(without_tax_data(at=AUGUST))
    asked_before = TaxInquiry.objects.count()
    issue_billing(as_of=AUGUST, at=BILLED_AT + timedelta(hours=1))
    asked_after = TaxInquiry.objects.count()
    set_customer_tax(customer=lost, country="US", region="NY", postal_code="12207", **BY)
    issue_billing(as_of=AUGUST, at=BILLED_AT + timedelta(hours=2))

    assert statuses == {"cust_lost": "draft", "cust_acme": "issued"}
    assert ["the address of Acme GmbH: Stripe Tax does not know" in one.message for one in report.failures] == [True]
    assert TaxAnswer.objects.get(kind="").refused_field == "address"
    assert [one.key for one in listed] == ["cust_lost"]
    # What was refused is asked again after a day, or when the address is another.
    assert asked_before == asked_after == 2
    invoice = Invoice.objects.get(customer=lost)
    assert (invoice.status, figures(invoice)[1]) == ("issued", "3.52")
    assert verify() == []


# The SDK tries once more by itself, but not where it is told to slow down.
@pytest.mark.parametrize(("fault", "times"), [("http_500", 2), ("rate_limit", 1), ("timeout_after_effect", 2)])
def test_a_stripe_that_cannot_answer_holds_nothing_up_and_is_asked_again_by_the_same_key(
    sandbox: Any, fault: str, times: int
) -> None:
    a_new_yorker()
    sandbox.fault(fault, times)

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)
    statuses = [one.status for one in report.invoices]
    after = calculations()
    again = bill()

    assert statuses == ["draft"]
    assert ["Stripe has not been asked yet" in failure.message for failure in report.failures] == [True]
    assert after == (1 if fault == "timeout_after_effect" else 0)
    assert (figures(again["cust_acme"])[1], calculations()) == ("3.91", 1)
    assert (TaxInquiry.objects.count(), TaxAnswer.objects.count()) == (1, 1)
    assert verify() == []


def test_an_answer_holds_for_the_days_around_it_within_its_month(settings: Any) -> None:
    day = date(2026, 7, 31)

    near = [holds(date(2026, 7, 24), day), holds(date(2026, 7, 23), day), holds(date(2026, 8, 1), day)]
    settings.STRIPE_TAX_ANSWER_DAYS = 0

    assert near == [True, False, False]
    assert (holds(day, day), holds(day - timedelta(days=1), day)) == (True, False)


def test_the_job_keeps_answers_fresh_and_asks_nothing_twice(monkeypatch: Any) -> None:
    customer = a_new_yorker()
    bill()

    def asked(at: Any) -> int:
        monkeypatch.setattr(tax_calculations, "timestamp", lambda: int(at.timestamp()))
        return keep_answers_fresh(at=at).told

    counts = [asked(BILLED_AT + timedelta(days=days)) for days in (0, 0, 7, 8, 15)]

    assert counts == [1, 0, 0, 1, 0]
    days = TaxInquiry.objects.order_by("id").values_list("day", flat=True)
    assert [f"{day}" for day in days] == ["2026-07-31", "2026-08-01", "2026-08-09"]
    assert list(without_tax_data(at=SEPTEMBER)) == []
    assert ask_about(customer=customer, at=BILLED_AT + timedelta(days=15)).told == 0


def test_somebody_who_asks_again_gets_a_newer_word_and_a_draft_that_says_the_same_stays() -> None:
    customer = a_new_yorker()
    [draft] = draft_billing(as_of=AUGUST, at=BILLED_AT).invoices

    order_answer(customer=customer, at=BILLED_AT)
    queued = [name for name, _ in queued_jobs()]
    report = ask_again(customer=customer, at=BILLED_AT)
    issued = issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="looked at")

    assert "invoicing.tasks.ask_stripe_tax_again" in queued
    assert (report.told, TaxAnswer.objects.count()) == (2, 3)
    assert issued.status == "issued"
    assert verify() == []


def test_a_new_place_is_asked_about_by_a_job_and_makes_the_draft_another() -> None:
    customer = a_new_yorker()
    [draft] = draft_billing(as_of=AUGUST, at=BILLED_AT).invoices

    set_customer_tax(customer=customer, country="US", region="NY", postal_code="12207", **BY)

    assert queued_jobs()[-1] == ("invoicing.tasks.ask_stripe_tax_about", (customer.pk,))
    with pytest.raises(Conflict, match="outdated"):
        issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="hurry")
    ask_for_periods(as_of=AUGUST, at=BILLED_AT, customer_key=customer.key)
    refresh_draft(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="moved")
    assert figures(issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="moved"))[1] == "3.52"


def test_a_card_in_new_york_is_charged_the_total_with_the_tax_of_each_place_as_a_line(sandbox: Any) -> None:
    customer = a_card_customer()
    set_customer_tax(customer=customer, country="US", region="NY", postal_code="10001", **BY)
    a_subscription(customer)
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    run_queued_jobs()

    invoice.refresh_from_db()
    [remote] = remote_invoices(invoice)
    lines = sandbox.get(f"/v1/invoices/{remote['id']}/lines")["data"]
    said = [(line["description"][:24], line["amount"]) for line in lines]
    assert f"{invoice.total.amount:.2f}" == "31.58"
    assert remote["total"] == 3158
    assert said == [
        ("Base fee", 2900),
        ("Sales tax 4 % (US-NY)", 116),
        ("Sales tax, New York City", 131),
        ("Sales tax, Metropolitan ", 11),
    ]


@pytest.mark.parametrize(
    ("place", "field"),
    [({"country": "US", "region": "NY"}, "postal_code"), ({"country": "CA"}, "region")],
)
def test_what_stripe_needs_of_an_address_is_asked_for_by_field_and_only_where_stripe_decides(
    settings: Any, place: dict[str, str], field: str
) -> None:
    customer = a_customer()

    with pytest.raises(InvalidFields) as refused:
        set_customer_tax(customer=customer, **place, **BY)

    assert [error.field for error in refused.value.field_errors] == [field]
    settings.TAX_PROVIDER = "invoicing.tax.provider.TaxTable"
    set_customer_tax(customer=customer, **place, **BY)
    a_subscription(customer)
    settings.TAX_PROVIDER = PROVIDER
    report = issue_billing(as_of=AUGUST, at=BILLED_AT)
    assert [f"the {field.replace('_', ' ')} of Acme GmbH" in one.message for one in report.failures] == [True]
    assert TaxInquiry.objects.count() == 0


def test_of_another_legal_entity_our_own_table_decides(settings: Any) -> None:
    settings.STRIPE_TAX_LEGAL_ENTITY = "us"
    a_buyer("cust_berlin", "DE")

    invoice = bill()["cust_berlin"]

    assert (figures(invoice)[1], (invoice.tax or {})["provider"], TaxInquiry.objects.count()) == ("8.36", "table", 0)
    with pytest.raises(Conflict, match="our own table"):
        order_answer(customer=invoice.customer, at=BILLED_AT)
    assert verify() == []


def test_the_jobs_say_what_they_did_and_nothing_where_the_table_decides(settings: Any) -> None:
    customer = a_new_yorker()

    asked = tasks.ask_stripe_tax_again(customer.pk)
    settings.TAX_PROVIDER = "invoicing.tax.provider.TaxTable"

    # Today is far from the August that Stripe lives in here: that is no fault of the customer's, and nothing is kept against it.
    assert asked == "0 told, 0 refused; The tax date must be within 31 days of today."
    assert TaxAnswer.objects.count() == 0
    assert [tasks.ask_stripe_tax(), tasks.ask_stripe_tax_about(customer.pk)] == ["0 told, 0 refused"] * 2


@pytest.mark.requirement("S0-106")
@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE invoicing_taxanswer SET rates = '[]'",
        "UPDATE invoicing_taxanswer SET kind = 'exempt'",
        "DELETE FROM invoicing_taxanswer",
        "TRUNCATE invoicing_taxanswer",
        "UPDATE invoicing_taxinquiry SET day = day + 1",
        "DELETE FROM invoicing_taxinquiry",
        "TRUNCATE invoicing_taxinquiry CASCADE",
        "INSERT INTO invoicing_taxanswer (inquiry_id, told_at, stripe_id, kind, is_registered, rates, refusal, refused_field, body)"
        " SELECT inquiry_id, told_at, stripe_id, kind, is_registered, rates, refusal, refused_field, body FROM invoicing_taxanswer",
        "WITH begun AS (INSERT INTO invoicing_taxinquiry (customer_id, key, day, question, question_digest, asked_at)"
        " SELECT customer_id, gen_random_uuid(), day, question, question_digest, asked_at FROM invoicing_taxinquiry RETURNING id)"
        " INSERT INTO invoicing_taxanswer (inquiry_id, told_at, stripe_id, kind, is_registered, rates, refusal, refused_field)"
        " SELECT id, now(), '', '', true, '[]'::jsonb, '', '' FROM begun",
        "INSERT INTO invoicing_taxinquiry (customer_id, key, day, question, question_digest, asked_at)"
        " SELECT customer_id, gen_random_uuid(), day, question, 'x', asked_at FROM invoicing_taxinquiry",
    ],
)
def test_questions_and_answers_are_only_added(attack: str) -> None:
    a_new_yorker()
    bill()

    with pytest.raises(DatabaseError):
        run_sql(attack)


def test_verify_names_an_answer_that_was_forged_and_the_lines_that_no_longer_follow_from_it() -> None:
    a_new_yorker()
    bill()
    answer = TaxAnswer.objects.get()

    behind_the_triggers("UPDATE invoicing_taxanswer SET rates = jsonb_set(rates, '{0,rate}', '\"0.01\"')")
    forged = {(one.subject, one.message) for one in verify() if one.check == "taxes hold"}
    behind_the_triggers("UPDATE invoicing_taxanswer SET kind = 'exempt', rates = '7'")
    broken = [one.message for one in verify() if one.check == "taxes hold"]

    number = Invoice.objects.get().number
    assert (f"answer {answer.pk} of Stripe Tax", "it tells other rates than Stripe sent") in forged
    assert (
        f"invoice {number}",
        f"line 1 is taxed otherwise than answer {answer.pk} about 2026-07-31 tells",
    ) in forged
    assert len(broken) >= 3


def test_fees_in_advance_are_taxed_by_the_rates_of_the_day_on_which_their_invoice_ends() -> None:
    fee = {
        "key": "base",
        "name": "Base fee",
        "currency": "USD",
        "model": "flat",
        "unit_amount": "29",
        "in_advance": True,
    }
    a_plan("ahead", fee)
    customer = a_customer()
    set_customer_tax(customer=customer, country="US", region="NY", postal_code="10001", **BY)
    a_subscription(customer, plan="ahead", started_at=AUGUST)

    [opening] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert figures(opening) == ("29.00", "2.58", "31.58")
    assert taxes(opening)[0][0] == "In advance for August 2026"
    assert all(day <= date(2026, 8, 1) for day in TaxInquiry.objects.values_list("day", flat=True))
    assert verify() == []
