"""Accounts of one company are billed together: one invoice in sections, to who pays; each account stays a customer otherwise."""

import io
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from facturx import xml_check_xsd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moneyed import Money
from pypdf import PdfReader

from billing_site.kernel.errors import Conflict, InvalidFields, InvalidInput
from invoicing.catalog.queries import published_version
from invoicing.checker.check_invoice import main
from invoicing.core.access import AccessReason
from invoicing.core.life_cycle import Driver, State
from invoicing.customers.models import Customer
from invoicing.customers.operations import change_customer
from invoicing.e_invoices.files import cii_file, ubl_file
from invoicing.e_invoices.statement import e_invoice_of
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.reports.asking import Question
from invoicing.reports.catalogue import report_kind
from invoicing.subscriptions.amend import change_plan
from invoicing.tax.operations import set_customer_tax
from invoicing.workflows.answer_access import answer_access
from invoicing.workflows.event_evidence import event_file, proof_document
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.invoice_once import invoice_once
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.move_life_cycle import move_customer, sweep_life_cycles
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.read_spend import read_spend
from invoicing.workflows.reissue_invoice import reissue_invoice
from invoicing.workflows.render_documents import page_of
from invoicing.workflows.run_billing import draft_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.unbilled_usage import unbilled_usage
from invoicing.workflows.verify import verify
from invoicing.workflows.watch_spend import set_watched_budget, sweep_spend
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
from tests.invoicing.accounts import EAST, WEST, a_company, an_account, billed, by_account
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.selling import books, paid
from tests.invoicing.test_credits import grant
from tests.invoicing.test_discounts import a_coupon, redeem
from tests.invoicing.test_taxes import BY, germany

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
WHO = {"actor": "test", "reason": "agreed"}


def a_usd(amount: str) -> Money:
    return Money(amount, "USD")


def test_who_pays_gets_one_invoice_with_the_lines_of_all_accounts_and_the_accounts_get_none() -> None:
    a_company()

    previewed = preview_billing(as_of=AUGUST)
    july = billed()

    assert [(one.customer.key, one.total) for one in previewed.previews] == [("cust_acme", july.total)]
    assert by_account(july) == {"cust_acme": ["29.00", "1.00"], EAST: ["29.00", "10.00"], WEST: ["29.00", "20.00"]}
    assert (july.customer.key, f"{july.total.amount:.2f}", july.accounts) == (
        "cust_acme",
        "118.00",
        {EAST: "East", WEST: "West"},
    )
    assert Invoice.objects.count() == 1
    assert not unbilled_usage(at=AUGUST)
    settle_constraints()
    assert verify() == []


def test_a_run_for_an_account_bills_who_pays_for_it() -> None:
    a_company()

    july = billed(customer_key=EAST)

    assert july.customer.key == "cust_acme"


def test_months_of_a_company_with_a_change_of_plan_late_usage_a_void_invoice_and_a_credit_note() -> None:
    nothing_is_checked_before_issue()
    _, east, _ = a_company()
    a_plan("team", usd_fee("62"), usd_per_action("0.02"))
    july = billed()

    # East moves to another plan in the middle of August, and sends usage of July late.
    [subscription] = east.subscriptions.all()
    team = published_version(plan_key="team")
    change_plan(subscription=subscription, plan_version=team, at=AUGUST + timedelta(days=15, hours=12), **WHO)
    use(EAST, "300", at=JULY + 3 * DAY, key="late")
    use(EAST, "50", at=AUGUST + 20 * DAY)
    settled = settle_late_changes(at=AUGUST + 20 * DAY)
    [correction] = settled.settled
    assert (correction.customer.key, f"{correction.effect.amount:.2f}") == ("cust_acme", "3.00")

    august = billed(SEPTEMBER)

    assert by_account(august) == {
        "cust_acme": ["29.00", "0.00"],
        EAST: ["14.50", "0.00", "31.00", "1.00", "3.00"],
        WEST: ["29.00", "0.00"],
    }
    settle_constraints()
    assert verify() == []

    # July stays: August carries its correction. August is declared void and made again.
    with pytest.raises(Conflict):
        reissue_invoice(invoice_id=july.pk, at=SEPTEMBER + DAY, **WHO)
    use(WEST, "100", at=AUGUST + 2 * DAY, key="forgotten")
    done = reissue_invoice(invoice_id=august.pk, at=SEPTEMBER + DAY, **WHO)
    assert done.draft is not None and f"{done.difference.amount:.2f}" == "1.00"
    again = issue_invoice(invoice_id=done.draft.pk, at=SEPTEMBER + DAY, **WHO)
    assert by_account(again)[WEST] == ["29.00", "1.00"]

    place = again.lines.get(subscription__customer__key=EAST, kind="correction").position
    note = credited(again, of_line(place, amount="3"), at=SEPTEMBER + 2 * DAY)
    assert note.customer.key == "cust_acme"
    paid(again, "104.50", at=SEPTEMBER + 3 * DAY)

    assert again.accounts == july.accounts
    settle_constraints()
    assert verify() == []
    assert sum(map(Decimal, books().values())) == 0


def test_an_invoice_says_whose_events_a_line_counts_and_the_checker_reads_it(tmp_path: Path) -> None:
    a_company()
    july = billed()

    document = proof_document(invoice=july)
    (tmp_path / "invoice.json").write_text(json.dumps(document))
    (tmp_path / "events.ndjson").write_bytes(b"".join(event_file(invoice=july)))
    forged = json.loads(json.dumps(document))
    forged["lines"][3]["customer_id"] = WEST
    (tmp_path / "forged.json").write_text(json.dumps(forged))

    assert [line.get("customer_id") for line in document["lines"]] == [None, None, EAST, EAST, WEST, WEST]
    assert main([str(tmp_path / "invoice.json"), str(tmp_path / "events.ndjson")]) == 0
    assert main([str(tmp_path / "forged.json"), str(tmp_path / "events.ndjson")]) == 1
    explained = explain_invoice(number=str(july.number))
    assert explained["equal"]
    assert [line.get("customer_id") for line in explained["lines"]] == [None, None, EAST, EAST, WEST, WEST]


def test_terms_credit_coupons_and_tax_are_those_of_who_pays() -> None:
    germany()
    acme, _, _ = a_company()
    set_customer_tax(customer=acme, country="DE", **BY)
    a_coupon("tenth", percent_off="10", duration="forever")
    redeem(acme, "tenth")
    grant(acme, "5", "start")

    july = billed()

    # 118.00 less a tenth, less what was given, and 19 % of the rest: 101.20.
    assert by_account(july)[""] == ["-11.80", "-5.00"]
    assert (f"{july.subtotal.amount:.2f}", f"{july.total.amount:.2f}") == ("101.20", "120.43")
    settle_constraints()
    assert verify() == []


@pytest.mark.parametrize("deed", ["credit", "coupon", "one-off invoice"])
def test_what_belongs_to_who_pays_is_refused_for_an_account(deed: str) -> None:
    _, east, _ = a_company()
    a_coupon("tenth", percent_off="10", duration="forever")

    with pytest.raises(InvalidInput) as refused:
        if deed == "credit":
            grant(east, "5", "start")
        elif deed == "coupon":
            redeem(east, "tenth")
        else:
            invoice_once(customer=east, key="once", items=[], at=AUGUST, **WHO)

    assert (refused.value.field, refused.value.code) == ("customer_id", "billed_to_another")
    assert "cust_acme" in refused.value.message


def test_an_account_gets_no_preview_of_an_invoice_and_sees_its_own_spend() -> None:
    _, east, _ = a_company()

    with pytest.raises(Conflict) as refused:
        preview_invoice(customer_key=EAST, as_of=AUGUST - DAY)
    [spend] = read_spend(customer=east, at=AUGUST - DAY)
    whole = preview_invoice(customer_key="cust_acme", as_of=AUGUST - DAY).assembled

    assert refused.value.code == "billed_to_another"
    assert f"{spend.spend.amount:.2f}" == "39.00"
    assert f"{whole.total.amount:.2f}" == "118.00"


def test_budgets_of_an_account_look_at_its_charges_and_those_of_who_pays_at_all() -> None:
    acme, east, _ = a_company()
    at = AUGUST - DAY
    stop: dict[str, Any] = {"name": "Limit", "at_limit": "stop", **WHO}
    set_watched_budget(customer=east, amount=a_usd("39"), at=at, **stop)

    assert answer_access(customer_key=EAST, at=at).verdict.reason is AccessReason.SPEND_LIMIT
    assert answer_access(customer_key=WEST, at=at).verdict.is_allowed
    assert answer_access(customer_key="cust_acme", at=at).verdict.is_allowed

    set_watched_budget(customer=acme, amount=a_usd("118"), at=at, **stop)
    assert answer_access(customer_key=WEST, at=at).verdict.reason is AccessReason.SPEND_LIMIT


def test_usage_of_an_account_moves_the_spend_of_who_pays() -> None:
    acme, _, _ = a_company()
    set_watched_budget(customer=acme, name="Watch", amount=a_usd("150"), thresholds=[100], at=AUGUST - 2 * DAY, **WHO)
    sweep_spend(at=AUGUST - 2 * DAY)
    use(WEST, "3200", at=AUGUST - 2 * DAY)

    report = sweep_spend(at=AUGUST - 2 * DAY + timedelta(minutes=1))

    assert [(notice.customer.key, notice.threshold) for notice in report.notices if notice.budget] == [
        ("cust_acme", 100)
    ]


def test_debts_of_who_pays_are_answered_for_its_accounts() -> None:
    acme, east, _ = a_company()
    billed()
    overdue = AUGUST + 40 * DAY
    sweep_life_cycles(at=JULY + DAY)

    assert answer_access(customer_key=EAST, at=overdue).verdict.reason is AccessReason.PAST_DUE
    assert answer_access(customer_key=EAST, at=overdue).overdue_since is not None
    move_customer(customer=acme, to=State.SUSPENDED, driver=Driver.PERSON, at=overdue, **WHO)
    assert answer_access(customer_key=EAST, at=overdue).verdict.reason is AccessReason.SUSPENDED
    move_customer(customer=acme, to=State.CHURNED, driver=Driver.PERSON, at=overdue + DAY, **WHO)

    assert answer_access(customer_key=EAST, at=overdue + DAY).verdict.reason is AccessReason.CHURNED
    [subscription] = east.subscriptions.all()
    assert subscription.ended_at == overdue + DAY


def test_who_only_pays_for_others_is_a_customer_as_long_as_one_of_them_is() -> None:
    a_plan()
    holding = a_customer("cust_holding")
    a_subscription(an_account(EAST, billed_to="cust_holding"))

    sweep_life_cycles(at=JULY + 200 * DAY)

    assert answer_access(customer_key="cust_holding", at=JULY + 200 * DAY).state is State.ACTIVE
    assert answer_access(customer_key=EAST, at=JULY + 200 * DAY).verdict.is_allowed
    assert billed().customer == holding


def test_an_account_whose_payer_has_the_means_is_not_incomplete_after_its_trial() -> None:
    a_plan()
    a_customer()
    account = an_account(EAST, settlement_channel="stripe")
    a_subscription(account, trial_ends_at=JULY + 10 * DAY)

    assert answer_access(customer_key=EAST, at=JULY + 11 * DAY).verdict.reason is AccessReason.ACTIVE


def test_a_document_is_printed_in_sections_with_a_subtotal_each_and_its_e_invoice_names_the_accounts() -> None:
    germany()
    acme, _, _ = a_company()
    set_customer_tax(customer=acme, country="DE", **BY)
    july = billed()
    change_customer(customer=Customer.objects.get(key=EAST), changes={"name": "Renamed"}, **WHO)

    pages = PdfReader(io.BytesIO(page_of(document=Invoice.objects.get(pk=july.pk)).pdf())).pages
    text = " ".join(" ".join(page.extract_text() for page in pages).split())
    stated = e_invoice_of(invoice=july)
    cii, ubl = cii_file(e_invoice=stated), ubl_file(e_invoice=stated)

    for words in ("Subtotal Acme GmbH USD 30.00", "Subtotal East USD 39.00", "Subtotal West USD 49.00"):
        assert words in text
    assert "Renamed" not in text
    assert [(line.account, line.account_name) for line in stated.lines[2:4]] == [(EAST, "East"), (EAST, "East")]
    assert xml_check_xsd(cii, flavor="factur-x", level="en16931") and xml_check_xsd(ubl, flavor="ubl-2.1")
    for file in (cii, ubl):
        assert file.count(EAST.encode()) == file.count(WEST.encode()) == 2
    settle_constraints()
    assert verify() == []


def test_reports_count_who_pays_as_the_debtor_and_tie() -> None:
    a_company()
    billed()
    day = (AUGUST + DAY).date()
    question = Question(as_of=day, start=AUGUST.date(), end=day)

    for name in ("mrr-by-customer", "aged-receivables"):
        report = report_kind(name=name).answer(question=question)
        [section] = report.sections
        assert [row.cells["customer_id"] for row in section.rows] == ["cust_acme"]
        assert report.is_tied


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"currency": "EUR"}, "differs"),
        ({"timezone": "Europe/Berlin"}, "differs"),
        ({"billed_to": EAST}, "nested"),
        ({"billed_to": "cust_nobody"}, "unknown"),
    ],
)
def test_an_account_is_of_the_company_of_who_pays(fields: dict[str, str], code: str) -> None:
    a_company()

    with pytest.raises(InvalidFields) as refused:
        an_account("cust_north", **fields)

    assert [(error.field, error.code) for error in refused.value.errors] == [("billed_to", code)]


def test_who_is_billed_for_an_account_changes_only_while_nothing_is_torn_apart() -> None:
    acme, east, _ = a_company()
    other = a_customer("cust_other")

    def refused(customer: Customer, payer: str) -> str:
        with pytest.raises(InvalidFields) as problem:
            change_customer(customer=customer, changes={"billed_to": payer}, **WHO)
        [error] = problem.value.errors
        assert error.field == "billed_to"
        return error.code

    assert refused(acme, "cust_acme") == "itself"
    assert refused(acme, "cust_other") == "has_accounts"
    moved = change_customer(customer=east, changes={"billed_to": "cust_other"}, **WHO)
    assert moved.payer_id == other.pk
    change_customer(customer=east, changes={"billed_to": "cust_acme"}, **WHO)
    billed()

    assert refused(east, "") == "invoiced"
    grown = a_customer("cust_grown")
    a_subscription(grown)
    billed_alone = billed(customer_key="cust_grown")
    assert billed_alone.customer == grown
    assert refused(grown, "cust_acme") == "has_its_own"
    late = a_customer("cust_late")
    a_subscription(late, key="sub_late")
    assert refused(late, "cust_acme") == "invoiced_already"
    a_subscription(an_account("cust_new"), started_at=AUGUST)
    with pytest.raises(InvalidFields, match="is issued"):
        a_subscription(an_account("cust_newer"), started_at=JULY)


def test_a_draft_follows_an_account_that_joins_before_its_issue() -> None:
    nothing_is_checked_before_issue()
    a_company()
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices
    a_subscription(an_account("cust_north"))

    july = billed()

    assert july.pk == draft.pk
    assert by_account(july)["cust_north"] == ["29.00", "0.00"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(
    used=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 5000)), max_size=12),
    started=st.lists(st.integers(0, 20), min_size=3, max_size=3),
)
def test_the_lines_of_a_consolidated_invoice_are_those_that_each_account_would_have_had_alone(
    used: list[tuple[int, int, int]], started: list[int]
) -> None:
    with transaction.atomic():
        _check_lines(used, started)
        transaction.set_rollback(True)


def _check_lines(used: list[tuple[int, int, int]], started: list[int]) -> None:
    tiers = [{"up_to": "1000", "unit_amount": "0.02"}, {"up_to": None, "unit_amount": "0.01"}]
    a_plan("pro", usd_fee("31"), usd_per_action(model="graduated", unit_amount=None, tiers=tiers))
    for place, day in enumerate(started):
        joint = an_account(f"joint_{place}", billed_to="joint_0") if place else a_customer("joint_0")
        for customer in (joint, a_customer(f"alone_{place}")):
            a_subscription(customer, started_at=JULY + day * DAY)
    for who, day, quantity in used:
        for kind in ("joint", "alone"):
            use(f"{kind}_{who}", str(quantity), at=JULY + day * DAY + timedelta(hours=1))

    report = draft_billing(as_of=AUGUST, at=AUGUST)

    assert not report.failures and len(report.invoices) == 4
    said: dict[str, list[Any]] = {}
    for line in InvoiceLine.objects.select_related("subscription__customer").order_by("position"):
        assert line.subscription is not None
        said.setdefault(line.subscription.customer.key, []).append(
            (line.description, line.quantity, line.amount, line.service_start, line.event_count)
        )
    assert all(said[f"joint_{place}"] == said[f"alone_{place}"] for place in range(3))
    # Each event counts on one line of each side, or in time before service began on none.
    counted = [sum(line[4] for line in said[key]) for key in sorted(said)]
    assert counted[:3] == counted[3:]
