"""What is paid and not earned becomes revenue by its service period; recurring revenue moves for a stated reason; both tie to the ledger."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from moneyed import Money

from invoicing.catalog.queries import published_version
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.recurring import MrrMovement, movement_of
from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.invoices.models import Invoice
from invoicing.reports.asking import Question
from invoicing.reports.catalogue import report_kind
from invoicing.reports.deferred import spread
from invoicing.reports.report import Report
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.commit import TrancheWanted, commit_spend
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.reissue_invoice import reissue_invoice
from invoicing.workflows.run_billing import issue_billing
from tests.factories import a_customer, a_plan, a_subscription, settle_constraints, usd_fee, usd_per_action, use
from tests.invoicing.reports.building import as_of

pytestmark = pytest.mark.django_db

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(6, 13)] + [datetime(2027, 1, 1, tzinfo=UTC)]
JUNE, JULY, AUGUST, SEPTEMBER, OCTOBER, NOVEMBER = MONTHS[:6]


def fee_in_advance(amount: str) -> dict[str, object]:
    return usd_fee(amount) | {"in_advance": True}


def bill(until: datetime) -> None:
    assert not issue_billing(as_of=until, at=until).failures
    settle_constraints()


def answer(name: str, question: Question) -> Report:
    report = report_kind(name=name).answer(question=question)
    assert report.is_tied, [tie for tie in report.ties if not tie.holds]
    return report


def cells(report: Report, title: str = "") -> list[dict[str, str]]:
    """The filled cells of a section's rows, as text."""
    [section] = [one for one in report.sections if one.title == title]
    return [
        {
            key: str(one.amount) if isinstance(one, Money) else str(one)
            for key, one in row.cells.items()
            if one is not None
        }
        for row in section.rows
    ]


def test_a_fee_in_advance_is_earned_over_its_month_and_its_year() -> None:
    a_plan("pro", fee_in_advance("30"))
    a_plan("yearly", fee_in_advance("365"), cadence="year")
    a_subscription(a_customer(), started_at=JULY)
    a_subscription(a_customer("cust_year", name="Year AG"), plan="yearly", started_at=JULY, anchor="anniversary")
    bill(JULY)

    on_the_first = answer("deferred-revenue", as_of("2026-07-01"))
    on_the_tenth = answer("deferred-revenue", as_of("2026-07-10"))

    assert cells(on_the_first, "Deferred revenue") == [
        {
            "customer": "Acme GmbH",
            "about": "sub_cust_acme, 2026-07-01 to 2026-07-31",
            "served": "0.97",
            "month_2026_07": "29.03",
            "held": "30.00",
        },
        {
            "customer": "Year AG",
            "about": "sub_cust_year, 2026-07-01 to 2027-06-30",
            "served": "1.00",
            "month_2026_07": "30.00",
            "month_2026_08": "31.00",
            "month_2026_09": "30.00",
            "month_2026_10": "31.00",
            "month_2026_11": "30.00",
            "month_2026_12": "31.00",
            "later": "181.00",
            "held": "365.00",
        },
    ]
    assert cells(on_the_tenth, "Deferred revenue")[0]["served"] == "9.68"
    assert on_the_first.ties[0].booked == Money("395.00", "USD")


def test_what_is_held_after_a_bill_is_for_the_next_period() -> None:
    a_plan("pro", fee_in_advance("30"))
    a_subscription(a_customer(), started_at=JULY)
    bill(JULY)
    bill(AUGUST)

    [row] = cells(answer("deferred-revenue", as_of("2026-08-01")), "Deferred revenue")

    assert (row["about"], row["held"]) == ("sub_cust_acme, 2026-08-01 to 2026-08-31", "30.00")


def test_commitments_and_credit_are_earned_when_they_are_used() -> None:
    a_plan("usage", usd_per_action("0.01"))
    acme = a_customer()
    subscription = a_subscription(acme, plan="usage", started_at=JULY)
    wanted = [TrancheWanted(2, Decimal("100")), TrancheWanted(2, Decimal("100"))]
    commit_spend(
        subscription=subscription,
        starts_at=JULY,
        payment="in_advance",
        tranches=wanted,
        rolls_over=True,
        at=JULY,
        actor="test",
        reason="agreed",
    )
    terms = GrantTerms(
        "paid", CreditKind.PREPAID.value, "Paid", Money("50.00", "USD"), JULY, JULY + timedelta(days=365)
    )
    grant_credit(customer=acme, terms=terms, at=JULY, actor="test", reason="paid")
    for month, dollars in ((0, 3000), (1, 2000), (2, 1000)):
        use("cust_acme", str(dollars), at=MONTHS[1 + month] + timedelta(days=3))
        bill(MONTHS[2 + month])

    in_august = answer("deferred-revenue", as_of("2026-08-15"))
    in_october = answer("deferred-revenue", as_of("2026-10-15"))

    assert cells(in_august, "Prepaid commitments") == [
        {
            "customer": "Acme GmbH",
            "about": "sub_cust_acme, commitment until 2026-09-01",
            "used": "70.00",
            "held": "70.00",
        }
    ]
    # 50.00 rolled over into the second tranche, which drew 10.00.
    [second] = cells(in_october, "Prepaid commitments")
    assert (second["about"], second["used"]) == ("sub_cust_acme, commitment until 2026-11-01", "140.00")
    # The invoice with the base, in August, was paid from credit as far as it went.
    [credit] = cells(answer("deferred-revenue", as_of("2026-07-31")), "Prepaid credit")
    assert (credit["about"], credit["used"]) == ("paid, expires 2027-07-01", "50.00")
    assert "Prepaid credit" not in {section.title for section in in_october.sections}


@pytest.mark.parametrize(
    ("service", "as_of_day", "parts"),
    [
        ((date(2026, 8, 1), date(2026, 9, 1)), date(2026, 7, 31), {"month_2026_08": "31.00"}),
        ((date(2026, 8, 1), date(2026, 9, 1)), date(2026, 8, 30), {"served": "30.00", "month_2026_08": "1.00"}),
        ((date(2026, 8, 1), date(2026, 9, 1)), date(2026, 8, 31), {"served": "31.00"}),
        ((date(2026, 8, 1), date(2026, 9, 1)), date(2027, 1, 5), {"served": "31.00"}),
        (
            (date(2026, 8, 16), date(2026, 9, 16)),
            date(2026, 7, 31),
            {"month_2026_08": "16.00", "month_2026_09": "15.00"},
        ),
    ],
)
def test_an_amount_is_spread_over_the_days_of_its_service(
    service: tuple[date, date], as_of_day: date, parts: dict[str, str]
) -> None:
    first = (as_of_day + timedelta(days=1)).replace(day=1)
    months = [first, (first + timedelta(days=31)).replace(day=1)]

    found = spread(amount=Money("31.00", "USD"), service=service, as_of=as_of_day, months=months)

    assert {key: str(part.amount) for key, part in found.items() if part.amount} == parts


@pytest.mark.parametrize(
    ("before", "after", "paid_earlier", "movement"),
    [
        (0, 0, True, None),
        (10, 10, True, None),
        (0, 10, False, MrrMovement.NEW),
        (0, 10, True, MrrMovement.REACTIVATION),
        (10, 11, True, MrrMovement.EXPANSION),
        (10, 9, True, MrrMovement.CONTRACTION),
        (10, 0, True, MrrMovement.CHURN),
    ],
)
def test_recurring_revenue_moves_for_one_reason(
    before: int, after: int, paid_earlier: bool, movement: MrrMovement | None
) -> None:
    found = movement_of(before=Money(before, "JPY"), after=Money(after, "JPY"), paid_earlier=paid_earlier)

    assert found == movement


def test_recurring_revenue_moves_with_the_contracts_month_by_month() -> None:
    a_plan("pro", usd_fee("29"), usd_per_action())
    a_plan("yearly", usd_fee("1200"), cadence="year")
    acme = a_subscription(a_customer(), started_at=JUNE + timedelta(days=9))
    beta = a_subscription(a_customer("cust_beta", name="Beta Ltd"), started_at=JUNE)
    a_subscription(a_customer("cust_year", name="Year AG"), plan="yearly", started_at=JULY + timedelta(days=2))
    change_quantity(subscription=acme, quantity=3, at=JULY + timedelta(days=4), actor="test", reason="grew")
    change_quantity(subscription=acme, quantity=2, at=AUGUST + timedelta(days=4), actor="test", reason="shrank")
    pause_subscription(subscription=beta, at=AUGUST + timedelta(days=14), actor="test", reason="holiday")
    resume_subscription(subscription=beta, at=SEPTEMBER + timedelta(days=14), actor="test", reason="back")
    end_subscription(subscription=beta, ended_at=OCTOBER + timedelta(days=14), actor="test", reason="gone")
    for month in MONTHS[1:6]:
        bill(month)

    report = answer("mrr", Question(as_of=date(2026, 10, 31), start=date(2026, 6, 1), end=date(2026, 10, 31)))
    by_customer = answer(
        "mrr-by-customer", Question(as_of=date(2026, 10, 31), start=date(2026, 6, 1), end=date(2026, 10, 31))
    )

    assert cells(report) == [
        {"month": "2026-06", "opening": "0.00", "new": "58.00", "closing": "58.00", "customers": "2"},
        {
            "month": "2026-07",
            "opening": "58.00",
            "new": "100.00",
            "expansion": "58.00",
            "closing": "216.00",
            "customers": "3",
        },
        {
            "month": "2026-08",
            "opening": "216.00",
            "contraction": "-29.00",
            "churn": "-29.00",
            "closing": "158.00",
            "customers": "2",
        },
        {"month": "2026-09", "opening": "158.00", "reactivation": "29.00", "closing": "187.00", "customers": "3"},
        {"month": "2026-10", "opening": "187.00", "churn": "-29.00", "closing": "158.00", "customers": "2"},
    ]
    assert [(row["customer_id"], row["opening"], row["closing"]) for row in cells(by_customer)] == [
        ("cust_acme", "0.00", "58.00"),
        ("cust_beta", "0.00", "0.00"),
        ("cust_year", "0.00", "100.00"),
    ]
    [section] = report.sections
    assert (section.totals["opening"], section.totals["closing"]) == (Money("0.00", "USD"), Money("158.00", "USD"))


def test_fees_of_part_periods_and_own_prices_come_to_the_rates_in_force() -> None:
    a_plan("small", usd_fee("10"), usd_per_action())
    a_plan("large", usd_fee("100"))
    subscription = a_subscription(a_customer(), plan="small", started_at=JUNE + timedelta(days=11, hours=7))
    use("cust_acme", "250", at=JUNE + timedelta(days=20))
    change_plan(
        subscription=subscription,
        plan_version=published_version(plan_key="large"),
        at=JULY + timedelta(days=17),
        actor="test",
        reason="grew",
    )
    for month in MONTHS[1:4]:
        bill(month)

    report = answer("mrr", Question(as_of=date(2026, 9, 30), start=date(2026, 6, 1), end=date(2026, 9, 30)))

    [fees, lines] = report.sections[0].ties
    assert fees.reported == fees.booked != Money(0, "USD")
    assert lines.reported - fees.reported == Money("2.50", "USD")
    august = answer("mrr", Question(as_of=date(2026, 8, 31), start=date(2026, 8, 1), end=date(2026, 8, 31)))
    of_august, _, bridge = august.sections[0].ties
    not_whole = of_august.booked - Money("110.00", "USD")
    assert bridge.about == (
        f"MRR of USD 100.00 at the month's end, USD {not_whole.amount} of periods that are not whole and USD 10.00 of more than one period"
    )
    assert bridge.reported == bridge.booked == of_august.booked


def test_the_fee_of_a_void_invoice_is_not_counted_beside_its_successor_and_what_parts_fees_from_mrr_is_named() -> None:
    a_plan("pro", usd_fee("30"), usd_per_action())
    acme = a_customer()
    a_subscription(acme, started_at=JULY)
    gone = a_subscription(a_customer("cust_gone", name="Gone Ltd"), started_at=JULY)
    a_subscription(a_customer("cust_late", name="Late Ltd"), started_at=AUGUST)
    end_subscription(subscription=gone, ended_at=JULY + timedelta(days=31, hours=-1), actor="test", reason="left")
    bill(AUGUST)
    settle_constraints()
    [wrong] = Invoice.objects.filter(customer=acme)
    done = reissue_invoice(invoice_id=wrong.pk, at=AUGUST + timedelta(days=2), actor="test", reason="wrong address")
    issue_invoice(invoice_id=done.draft.pk, at=AUGUST + timedelta(days=2), actor="test", reason="looked at")
    settle_constraints()

    [section] = answer("mrr", Question(as_of=date(2026, 8, 31), start=date(2026, 8, 1), end=date(2026, 8, 31))).sections

    fees, lines, bridge = section.ties
    of_july = fees.booked
    assert Money("59", "USD") < of_july < Money("60", "USD")
    assert lines.booked == of_july + Money("30.00", "USD")
    assert lines.about == "these fees, USD 30.00 of fees on invoices that are void and USD 0.00 of other lines"
    assert section.totals["closing"] == Money("60.00", "USD")
    ended = of_july - Money("30.00", "USD")
    assert bridge.about == (
        f"MRR of USD 60.00 at the month's end, USD {ended.amount} of fees that had ended by then, or were paused and USD -30.00 not invoiced in the month"
    )
    assert bridge.reported == of_july
