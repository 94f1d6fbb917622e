"""Plans with a minimum and a maximum spend: on the invoice, in its proof, over changes, late usage, what-ifs and the books."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.errors import InvalidFields
from billing_site.kernel.money import total
from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import PlanSpend, PlanVersion
from invoicing.catalog.operations import plan_document, publish_version
from invoicing.invoices.models import Invoice, InvoiceLine, UsageCorrection
from invoicing.subscriptions.amend import change_plan
from invoicing.workflows.compute_invoice import compute_as_known
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.correcting import cancel_event
from metering.rollup import roll_up
from tests.billing_site.api.caller import Caller
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
from tests.invoicing.late import BILLED_AT, lines_of
from tests.invoicing.what_ifs import ask, in_place

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_held(db: None) -> None:
    """Whatever is drawn here, months without usage among it, is issued."""
    nothing_is_checked_before_issue()


MIDDLE = datetime(2026, 7, 16, 12, tzinfo=UTC)


def spend(minimum: str | None = None, maximum: str | None = None) -> list[dict[str, str]]:
    bounds = {"minimum_spend": minimum, "maximum_spend": maximum}
    return [{"currency": "USD"} | {name: bound for name, bound in bounds.items() if bound is not None}]


def a_bounded_july(
    minimum: str | None = "50", maximum: str | None = "200", used: tuple[str, ...] = ("1000",), **terms: Any
) -> Invoice:
    """The issued July invoice of a plan with USD 29 and USD 0.01 an action, within these bounds."""
    a_plan("pro", spend=spend(minimum, maximum))
    a_subscription(a_customer(**terms))
    for hour, quantity in enumerate(used):
        use("cust_acme", quantity, at=JULY + timedelta(days=2, hours=hour), key=f"in-time-{hour}")
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    settle_constraints()
    return invoice


def late(quantity: str, key: str = "") -> None:
    use("cust_acme", quantity, at=JULY + timedelta(hours=50), key=key)


def next_invoice() -> Invoice:
    [invoice] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=7)).invoices
    return invoice


def test_what_is_missing_to_the_minimum_is_a_line_that_proves_itself() -> None:
    july = a_bounded_july()

    assert lines_of(july) == [
        ("Base fee", "29.00"),
        ("Actions", "10.00"),
        ("True-up to the minimum spend", "11.00"),
        ("Maximum spend, not reached", "0.00"),
    ]
    assert july.total == Money("50.00", "USD")
    explained = explain_invoice(number=str(july.number))
    assert explained["equal"] is True
    assert [line["adjustment"] for line in explained["lines"]] == [None, None, "minimum_spend", "maximum_spend"]
    assert verify() == []


def test_what_is_above_the_maximum_is_taken_off() -> None:
    july = a_bounded_july(used=("30000",))

    assert lines_of(july)[2:] == [("Minimum spend, reached", "0.00"), ("Reduction to the maximum spend", "-129.00")]
    assert july.total == Money("200.00", "USD")
    assert verify() == []


def test_a_change_of_plan_owes_of_each_minimum_its_exact_share() -> None:
    a_plan("pro", usd_fee("31"), usd_per_action("0.01"), spend=spend("62"))
    a_plan("team", usd_fee("62"), usd_per_action("0.02"), spend=spend("124"))
    subscription = a_subscription(a_customer())
    team = PlanVersion.objects.get(plan__key="team")
    change_plan(subscription=subscription, plan_version=team, at=MIDDLE, actor="test", reason="upgrade")

    [july] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert lines_of(july) == [
        ("Base fee", "15.50"),
        ("Actions", "0.00"),
        ("Base fee", "31.00"),
        ("Actions", "0.00"),
        ("True-up to the minimum spend", "15.50"),
        ("True-up to the minimum spend", "31.00"),
    ]
    assert verify() == []


def test_late_usage_below_the_minimum_costs_nothing_more() -> None:
    july = a_bounded_july()
    late("500")

    [change] = late_changes(at=BILLED_AT).changes
    assert change.effect == Money("0.00", "USD")
    assert settle_late_changes(at=BILLED_AT).failures == []

    assert [(one.effect.amount, one.rule) for one in UsageCorrection.objects.order_by("id")] == [
        (Decimal(5), "no_effect"),
        (Decimal(-5), "no_effect"),
    ]
    assert july.total + total((one.effect for one in UsageCorrection.objects.all()), "USD") == Money("50.00", "USD")
    assert verify() == []


def test_late_usage_beyond_the_minimum_goes_to_the_next_invoice_with_what_it_makes_of_the_true_up() -> None:
    july = a_bounded_july(late_usage_policy="next_invoice")
    late("1500")
    settle_late_changes(at=BILLED_AT)

    august = next_invoice()

    where = f"on invoice {july.number}, line"
    assert lines_of(august)[4:] == [
        (f"Late usage of July 2026: 1,500 more actions {where} 2", "15.00"),
        (f"Late usage of July 2026: True-up to the minimum spend {where} 3", "-11.00"),
    ]
    assert august.total == Money("54.00", "USD"), "50.00 of August, 4.00 above the minimum of July"
    assert explain_invoice(number=str(august.number))["equal"] is True
    assert verify() == []


def test_two_late_lines_of_one_invoice_never_use_up_the_same_true_up_twice() -> None:
    a_plan(
        "pro",
        usd_fee("10"),
        usd_per_action("0.01"),
        {**usd_per_action("0.02"), "key": "more", "name": "More"},
        spend=spend("50"),
    )
    a_subscription(a_customer(late_usage_policy="next_invoice"))
    [july] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    late("1500")

    report = settle_late_changes(at=BILLED_AT)

    assert report.failures == []
    now = compute_as_known(customer=july.customer, period=_period(july), known_through=roll_up().rolled_up_to)
    effects = total((one.effect for one in UsageCorrection.objects.all()), "USD")
    assert july.total + effects == now.assembled.total == Money("55.00", "USD")
    assert verify() == []


def test_two_late_lines_that_fall_below_the_minimum_only_together_still_owe_what_is_missing() -> None:
    a_plan(
        "pro",
        usd_fee("10"),
        usd_per_action("0.01"),
        {**usd_per_action("0.02"), "key": "more", "name": "More"},
        spend=spend("60"),
    )
    a_subscription(a_customer(late_usage_policy="next_invoice"))
    use("cust_acme", "1600", at=JULY + timedelta(days=2))
    use("cust_acme", "400", at=JULY + timedelta(days=3), key="a mistake")
    [july] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    cancel_event(customer_id="cust_acme", idempotency_key="a mistake", actor="fiona", reason="a mistake")

    report = settle_late_changes(at=BILLED_AT)

    assert report.failures == []
    effects = total((one.effect for one in UsageCorrection.objects.all()), "USD")
    assert july.total + effects == Money("60.00", "USD"), "70 − 4 − 8, lifted to the minimum again"
    assert verify() == []


def _period(invoice: Invoice) -> Period:
    return Period(as_utc(invoice.period_start), as_utc(invoice.period_end))


@contextmanager
def nothing_kept() -> Iterator[None]:
    with transaction.atomic():
        yield
        settle_constraints()
        transaction.set_rollback(True)


@given(
    bounds=st.tuples(st.decimals("0", "120", places=2), st.decimals("0", "120", places=2)).map(sorted),
    used=st.lists(st.integers(1, 9000), max_size=3),
    batches=st.lists(st.lists(st.integers(1, 9000), min_size=1, max_size=2), min_size=1, max_size=3),
    cancelled=st.booleans(),
    policy=st.sampled_from(["next_invoice", "absorb"]),
    materiality=st.sampled_from(["0", "2.50"]),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_late_the_chains_end_at_what_would_be_invoiced_today(
    bounds: list[Decimal],
    used: list[int],
    batches: list[list[int]],
    cancelled: bool,
    policy: str,
    materiality: str,
) -> None:
    with nothing_kept():
        july = a_bounded_july(
            str(bounds[0]),
            str(bounds[1]),
            tuple(map(str, used)),
            late_usage_policy=policy,
            late_materiality=Decimal(materiality),
        )
        if cancelled and used:
            cancel_event(customer_id="cust_acme", idempotency_key="in-time-0", actor="fiona", reason="a mistake")
        before = july.total
        for batch in batches:
            for quantity in batch:
                late(str(quantity))
            [shown] = late_changes(at=BILLED_AT).changes
            now = compute_as_known(customer=july.customer, period=_period(july), known_through=roll_up().rolled_up_to)
            assert shown.effect == now.assembled.total - before
            assert settle_late_changes(at=BILLED_AT).failures == []
            before = now.assembled.total
        effects = total((one.effect for one in UsageCorrection.objects.all()), "USD")
        assert july.total + effects == before
        next_invoice()
        assert verify() == []


def test_verify_names_an_adjustment_whose_lines_say_something_else() -> None:
    july = a_bounded_july()
    line = july.lines.get(adjustment="minimum_spend")
    forged = line.rated
    forged["inputs"]["lines"][1]["amount"]["amount"] = "11.00"
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        InvoiceLine.objects.filter(pk=line.pk).update(rated=forged)
        cursor.execute("SET session_replication_role = origin")

    told = " / ".join(finding.message for finding in verify())

    assert "it was computed from sub_cust_acme/actions with 11.00, there it is 10.00" in told


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_invoiceline SET amount = -1 WHERE adjustment = 'minimum_spend'",
        "UPDATE invoicing_invoiceline SET amount = 1 WHERE adjustment = 'maximum_spend'",
        "UPDATE invoicing_invoiceline SET adjustment = '' WHERE adjustment = 'minimum_spend'",
        "UPDATE invoicing_invoiceline SET adjustment = 'gift' WHERE adjustment = 'minimum_spend'",
        "UPDATE invoicing_invoiceline SET price_id = NULL WHERE kind = 'charge'",
        'INSERT INTO invoicing_invoiceline SELECT (jsonb_populate_record(l, \'{"id": 9999, "position": 99}\')).*'
        " FROM invoicing_invoiceline l WHERE adjustment = 'minimum_spend'",
    ],
)
def test_raw_sql_makes_no_other_adjustment_of_a_draft(statement: str) -> None:
    a_plan("pro", spend=spend("50", "200"))
    a_subscription(a_customer())
    draft_billing(as_of=AUGUST, at=BILLED_AT)
    settle_constraints()

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_planspend SET minimum_spend = 1",
        "DELETE FROM invoicing_planspend",
        "INSERT INTO invoicing_planspend (plan_version_id, currency, minimum_spend)"
        " SELECT plan_version_id, 'EUR', 1 FROM invoicing_planspend",
    ],
)
def test_the_bounds_of_a_published_version_stay(statement: str) -> None:
    a_plan("pro", spend=spend("50", "200"))

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ([{"currency": "USD"}], "plans[0].spend[0].minimum_spend"),
        ([{"currency": "USD", "minimum_spend": "-1"}], "plans[0].spend[0].minimum_spend"),
        ([{"currency": "USD", "minimum_spend": "1e3"}], "plans[0].spend[0].minimum_spend"),
        ([{"currency": "USD", "maximum_spend": "0.1234567890123"}], "plans[0].spend[0].maximum_spend"),
        ([{"currency": "USD", "minimum_spend": "9", "maximum_spend": "8"}], "plans[0].spend[0].minimum_spend"),
        ([{"currency": "XXY", "minimum_spend": "9"}], "plans[0].spend[0].currency"),
        ([{"currency": "EUR", "minimum_spend": "9"}], "plans[0].spend"),
        ([{"currency": "USD", "minimum_spend": "9"}, {"currency": "USD", "minimum_spend": "8"}], "plans[0].spend"),
        ([{"currency": "USD", "minimum": "9"}], "plans[0].spend[0].minimum"),
        ("100", "plans[0].spend"),
    ],
)
def test_bounds_that_make_no_sense_are_refused_by_their_field(members: Any, field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        a_plan("pro", spend=members)

    assert field in [error.field for error in refused.value.errors]
    assert not PlanVersion.objects.exists()


def test_the_next_draft_has_the_bounds_of_the_version_before_and_publishes_them() -> None:
    a_plan("pro", spend=spend("50", "200"))
    version = PlanVersion.objects.get()

    draft = draft_next_version(plan_id=version.plan_id, actor="test", reason="next")
    assert plan_document(version=draft) == plan_document(version=version)
    PlanSpend.objects.filter(plan_version=draft).update(minimum_spend=Decimal(60))
    published = publish_version(version_id=draft.pk, at=AUGUST, actor="test", reason="next")

    assert published.digest != version.digest


def test_the_api_shows_and_takes_the_bounds_and_names_what_is_wrong() -> None:
    a_plan("pro", spend=spend("50", "200"))
    caller = Caller("plans:read", "plans:write")

    plan = caller.get("/api/v1/plans/pro").json()
    assert plan["versions"][0]["spend"] == [{"currency": "USD", "minimum_spend": "50", "maximum_spend": "200"}]

    body = {"key": "pro", "product": "platform", "prices": [usd_fee()], "spend": spend("9", "8")}
    refused = caller.post("/api/v1/plans", body)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["spend[0].minimum_spend"]


def test_a_what_if_lifts_to_the_minimum_of_the_price_list_in_place() -> None:
    a_bounded_july(minimum=None, maximum="100")

    asked = ask(cards=in_place(usd_fee("29"), usd_per_action("0.01"), spend=spend("60")), months=2)

    [figure] = asked.rows.all()
    assert (figure.before.amount, figure.after.amount, figure.problem) == (Decimal(39), Decimal(60), "")
