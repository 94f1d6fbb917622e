"""Late usage: within the grace it joins its invoice, afterwards it becomes a correction, and nothing is billed twice."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from invoicing.catalog.operations import load_catalog
from invoicing.customers.operations import change_customer
from invoicing.invoices.models import CorrectionDecision, CorrectionRule, Invoice, InvoiceStatus, UsageCorrection
from invoicing.tasks import settle_late_usage
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.run_report import RunReport
from invoicing.workflows.settle_late_usage import decide_late_change, settle_late_changes
from invoicing.workflows.unbilled_usage import unbilled_usage
from invoicing.workflows.verify import verify
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.late import BILLED_AT, a_billed_july, corrections, lines_of, the_change, usage_line, use_late

pytestmark = pytest.mark.django_db

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.mark.requirement("S0-060", "S0-062")
def test_a_period_is_a_draft_until_its_grace_is_over_and_late_usage_joins_it() -> None:
    a_plan("pro", usd_per_action("0.01"))
    a_subscription(a_customer(grace_hours=48))
    use("cust_acme", "100", at=JULY)
    over = AUGUST + timedelta(hours=48)

    def billed(*, as_of: datetime, at: datetime) -> tuple[RunReport, Invoice]:
        report = issue_billing(as_of=as_of, at=at)
        return report, report.invoices[0]

    first, as_first = billed(as_of=AUGUST, at=AUGUST + timedelta(hours=1))
    use_late("50")
    almost, as_almost = billed(as_of=over - timedelta(microseconds=1), at=over - timedelta(microseconds=1))
    use_late("7")
    last, as_last = billed(as_of=over, at=over)

    assert [(one.status, one.total.amount) for one in (as_first, as_almost, as_last)] == [
        ("draft", Decimal("1.00")),
        ("draft", Decimal("1.50")),
        ("issued", Decimal("1.57")),
    ]
    assert [[(one.customer, one.until) for one in report.waiting] for report in (first, almost, last)] == [
        [("cust_acme", over)],
        [("cust_acme", over)],
        [],
    ]
    assert Invoice.objects.count() == 1
    assert verify() == []


def test_a_run_as_of_a_moment_within_the_grace_does_not_issue_however_late_it_runs() -> None:
    a_plan()
    a_subscription(a_customer(grace_hours=24))

    report = issue_billing(as_of=AUGUST, at=OCTOBER)

    assert report.invoices[0].status == InvoiceStatus.DRAFT


@pytest.mark.requirement("S3-005")
def test_with_a_day_of_grace_an_invoice_is_made_and_stored_a_day_before_it_is_issued_and_issued_as_it_stands() -> None:
    a_plan()
    a_subscription(a_customer(grace_hours=24))
    use("cust_acme", "1200", at=JULY)
    ended_at = AUGUST

    [stored] = issue_billing(as_of=ended_at, at=ended_at).invoices
    figures = (stored.pk, stored.total, stored.content_digest)
    assert (stored.status, stored.number) == (InvoiceStatus.DRAFT, None) and stored.total.amount > 0
    a_moment_before = ended_at + timedelta(days=1, microseconds=-1)
    assert issue_billing(as_of=a_moment_before, at=a_moment_before).invoices[0].status == InvoiceStatus.DRAFT
    due_at = ended_at + timedelta(days=1)
    [issued] = issue_billing(as_of=due_at, at=due_at).invoices

    assert issued.status == InvoiceStatus.ISSUED
    assert (issued.pk, issued.total, issued.content_digest) == figures


@pytest.mark.requirement("S0-062")
def test_bill_says_which_periods_wait_for_their_grace(capsys: pytest.CaptureFixture[str]) -> None:
    a_plan()
    a_subscription(a_customer(grace_hours=72), started_at=JULY)

    for options in (["--issue"], [], ["--dry-run"]):
        call_command("bill", "--as-of", "2026-08-01T00:00:00Z", *options)

        told = capsys.readouterr().out
        assert "waits for late usage: cust_acme" in told
        assert "is issued from 2026-08-04 00:00 UTC on" in told


@pytest.mark.requirement("S0-061", "S0-102")
def test_usage_after_the_invoice_is_a_correction_on_the_next_one() -> None:
    july = a_billed_july()
    sealed = july.seal
    use_late("1200")
    use("cust_acme", "5", at=AUGUST)

    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    july.refresh_from_db()
    assert (july.total, july.seal) == (Money("30.00", "USD"), sealed), "the issued invoice stays"
    assert lines_of(august) == [
        ("Base fee", "29.00"),
        ("Actions", "0.05"),
        (f"Late usage of July 2026: 1,200 more actions on invoice {july.number}, line 2", "12.00"),
    ]
    assert august.total == Money("41.05", "USD")
    assert corrections() == [("12.00", "next_invoice", "next_invoice")]
    assert unbilled_usage(at=SEPTEMBER) == []
    assert verify() == []


def test_settling_and_billing_twice_changes_nothing() -> None:
    a_billed_july()
    use_late("10")

    first = settle_late_changes(at=BILLED_AT)
    again = settle_late_changes(at=BILLED_AT)
    for _ in range(2):
        issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)

    assert (len(first.settled), len(again.settled)) == (1, 0)
    assert UsageCorrection.objects.count() == 1
    assert UsageCorrection.objects.get().lines.count() == 1
    assert settle_late_usage() == "0 settled, 0 wait for a decision, 0 failures"


def test_each_correction_starts_where_the_one_before_ended() -> None:
    tiers = [{"up_to": "100", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.10"}]
    july = a_billed_july(usd_per_action(model="graduated", tiers=tiers) | {"unit_amount": None}, used=["90"])
    effects = []
    for quantity in ("5", "20", "100"):
        use_late(quantity)
        effects += [one.effect.amount for one in settle_late_changes(at=BILLED_AT).settled]

    links = list(usage_line(july).corrections.order_by("known_from"))
    assert effects == [Decimal("5"), Decimal("6.50"), Decimal("10")], "the tiers of the whole line decide"
    assert [(one.quantity_before, one.quantity_after) for one in links] == [(90, 95), (95, 115), (115, 215)]
    assert links[0].previous_digest == usage_line(july).digest
    assert [one.previous_digest for one in links[1:]] == [one.digest for one in links[:-1]]
    assert verify() == []


def test_absorbed_usage_is_given_up_and_not_asked_about_again() -> None:
    a_billed_july(late_usage_policy="absorb")
    use_late("500")

    settle_late_changes(at=BILLED_AT)
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert corrections() == [("5.00", "absorbed", "absorb")]
    assert august.total == Money("29.00", "USD")
    assert late_changes(at=SEPTEMBER).changes == ()
    assert unbilled_usage(at=SEPTEMBER) == []


@pytest.mark.parametrize(("quantity", "decision"), [("499", "absorbed"), ("500", "next_invoice")])
def test_an_effect_below_the_materiality_is_absorbed_and_one_at_it_is_not(quantity: str, decision: str) -> None:
    a_billed_july(late_materiality=Decimal("5"))
    use_late(quantity)

    settle_late_changes(at=BILLED_AT)

    assert UsageCorrection.objects.get().decision == decision


def test_many_small_changes_of_a_line_are_not_given_up_one_by_one() -> None:
    a_billed_july(late_materiality=Decimal("5"))
    for _ in range(4):
        use_late("200")
        settle_late_changes(at=BILLED_AT)

    assert corrections() == [
        ("2.00", "absorbed", "immaterial"),
        ("2.00", "absorbed", "immaterial"),
        ("2.00", "next_invoice", "next_invoice"),
        ("2.00", "next_invoice", "next_invoice"),
    ]


def test_a_change_without_money_is_absorbed_whatever_the_terms() -> None:
    a_billed_july(usd_per_action(free_units="1000"), late_usage_policy="ask")
    use_late("500")

    settle_late_changes(at=BILLED_AT)

    assert corrections() == [("0.00", "absorbed", "no_effect")]


def test_where_the_terms_say_ask_nothing_happens_until_somebody_decides() -> None:
    july = a_billed_july(late_usage_policy="ask")
    use_late("100")

    report = settle_late_changes(at=BILLED_AT)
    [august] = draft_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert (report.settled, report.asked, corrections()) == ([], 1, [])
    assert august.total == Money("29.00", "USD")
    change = the_change()
    assert (change.decision, change.effect, change.events_added) == (None, Money("1.00", "USD"), 1)
    decided = decide_late_change(
        line_id=usage_line(july).pk,
        decision="next_invoice",
        mark=change.mark,
        at=BILLED_AT,
        actor="fiona",
        reason="agreed on the phone",
    )
    assert (decided.rule, decided.actor, decided.reason) == (CorrectionRule.PEOPLE, "fiona", "agreed on the phone")
    with pytest.raises(Conflict, match="outdated"):
        issue_invoice(invoice_id=august.pk, at=SEPTEMBER, actor="fiona", reason="month end")
    refreshed = refresh_draft(invoice_id=august.pk, at=SEPTEMBER, actor="fiona", reason="late usage")
    assert refreshed.total == Money("30.00", "USD")


def test_a_decision_is_kept_once_and_holds_for_what_was_shown_only() -> None:
    july = a_billed_july(late_usage_policy="ask")
    use_late("100")
    shown = the_change()
    terms = {"line_id": usage_line(july).pk, "at": BILLED_AT, "actor": "fiona", "reason": "agreed"}

    first = decide_late_change(decision="absorbed", mark=shown.mark, **terms)
    again = decide_late_change(decision="absorbed", mark=shown.mark, **terms)
    use_late("100")

    assert first == again
    with pytest.raises(NotFound, match="settled meanwhile"):
        decide_late_change(decision="absorbed", mark="another", **{**terms, "line_id": july.lines.first().pk})
    with pytest.raises(Conflict, match="look at it again"):
        decide_late_change(decision="next_invoice", mark=shown.mark, **terms)
    with pytest.raises(InvalidInput, match="must be one of"):
        decide_late_change(decision="refund", mark=shown.mark, **terms)
    assert UsageCorrection.objects.count() == 1


def test_a_decided_correction_leaves_a_draft_and_returns_when_it_is_made_again() -> None:
    a_billed_july()
    use_late("100")
    [august] = draft_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    correction = UsageCorrection.objects.get()
    line = correction.lines.get()

    use("cust_acme", "1", at=AUGUST)
    refreshed = refresh_draft(invoice_id=august.pk, at=SEPTEMBER, actor="fiona", reason="more usage")

    assert correction.lines.get() != line
    assert refreshed.lines.filter(kind="correction").count() == 1
    refreshed.lines.all().delete()
    refreshed.delete()
    [again] = draft_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert again.lines.filter(kind="correction").count() == 1


def test_a_void_invoice_releases_what_it_carried() -> None:
    a_billed_july()
    use_late("100")
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    Invoice.objects.filter(pk=august.pk).update(status=InvoiceStatus.VOID)
    [september] = [i for i in issue_billing(as_of=OCTOBER, at=OCTOBER).invoices if i.period_start == AUGUST]

    assert september.lines.filter(kind="correction").count() == 1
    assert [finding for finding in verify() if finding.check == "corrections hold"] == []


def test_two_months_that_are_due_together_carry_a_correction_once() -> None:
    a_billed_july()
    use_late("100")

    issued = issue_billing(as_of=OCTOBER, at=OCTOBER).invoices

    assert [invoice.lines.filter(kind="correction").count() for invoice in issued] == [1, 0]


def test_a_dry_run_shows_the_corrections_that_the_run_would_carry_and_keeps_nothing() -> None:
    a_billed_july()
    use_late("100")

    [preview] = preview_billing(as_of=SEPTEMBER).previews

    assert preview.total == Money("30.00", "USD")
    assert UsageCorrection.objects.count() == 0
    [issued] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert issued.total == preview.total


def test_the_price_is_the_one_that_is_stored_with_the_line() -> None:
    july = a_billed_july()
    a_plan("pro", usd_fee("29"), usd_per_action("9"), at=AUGUST)
    use_late("100")

    [correction] = settle_late_changes(at=BILLED_AT).settled

    assert correction.effect == Money("1.00", "USD")
    assert correction.original == usage_line(july)


def test_a_line_of_another_aggregation_is_counted_again_and_never_summed() -> None:
    peak = {"key": "peak", "name": "Peak", "event_type": "action.consumed", "aggregation": "max", "unit": "action"}
    load_catalog(document={"meters": [peak]}, at=JULY, actor="test", reason="set up")
    a_plan("pro", usd_per_action("1", meter="peak"))
    a_subscription(a_customer())
    for quantity in ("3", "10"):
        use("cust_acme", quantity, at=JULY)
    issue_billing(as_of=AUGUST, at=BILLED_AT)

    use_late("7")
    lower = settle_late_changes(at=BILLED_AT).settled
    use_late("12")
    higher = settle_late_changes(at=BILLED_AT).settled

    assert [one.effect.amount for one in (*lower, *higher)] == [0, 2]
    assert verify() == []


def test_a_customer_of_another_zone_and_currency_reads_his_own_month_and_whole_yen() -> None:
    fee = {**usd_fee("4000"), "currency": "JPY"}
    price = usd_per_action("1.4") | {"currency": "JPY"}
    a_plan("pro", fee, price)
    a_subscription(a_customer(currency="JPY", timezone="Asia/Tokyo"), started_at=datetime(2026, 6, 30, 15, tzinfo=UTC))
    use("cust_acme", "10", at=JULY)
    [july] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    use_late("1")
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    [line] = august.lines.filter(kind="correction")
    assert line.description == f"Late usage of July 2026: 1 more action on invoice {july.number}, line 2"
    assert line.amount == Money("1", "JPY"), "15.4 rounds to 15, 14 was invoiced"


def test_an_invoice_explains_what_it_corrects() -> None:
    july = a_billed_july()
    use_late("1200")
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    explained = explain_invoice(number=str(august.number))

    assert explained["equal"]
    line = explained["lines"][-1]
    assert (line["kind"], line["quantity"], line["amount"]["amount"]) == ("correction", "1200", "12.00")
    assert line["rerated_amount"] == line["amount"]
    assert line["events"]["recounted_quantity"] == "1300"
    assert line["corrects"]["invoice"] == july.number
    assert (line["corrects"]["quantity_before"], line["corrects"]["quantity_after"]) == ("100", "1300")
    assert line["price"]["model"] == "per_unit"
    words = august.lines.get(kind="correction").rated["explanation"]
    assert words == (
        "Not all usage of Actions was known when it was invoiced. With 1,300 actions it costs USD 13.00;"
        " USD 1.00 were invoiced for 100 actions. USD 12.00 more is owed."
    )


def test_terms_of_late_usage_are_checked_and_stand_in_the_history() -> None:
    customer = a_customer()

    changed = change_customer(
        customer=customer,
        changes={"late_usage_policy": "ask", "late_materiality": Decimal("2.50"), "grace_hours": 744},
        actor="fiona",
        reason="new terms",
    )

    kept = changed.history.order_by("-history_id").first()
    assert (kept.late_usage_policy, kept.late_materiality, kept.grace_hours) == ("ask", Decimal("2.5"), 744)
    for name, value in (
        ("late_usage_policy", "refund"),
        ("late_materiality", Decimal("-1")),
        ("late_materiality", Decimal("0.001")),
        ("late_materiality", Decimal(10) ** 16),
        ("grace_hours", 745),
        ("grace_hours", -1),
        ("grace_hours", True),
    ):
        with pytest.raises(Exception, match=name):
            change_customer(customer=customer, changes={name: value}, actor="fiona", reason="wrong")


def test_a_correction_without_money_cannot_be_put_on_an_invoice() -> None:
    july = a_billed_july(usd_per_action(free_units="1000"), late_usage_policy="ask")
    use_late("500")

    with pytest.raises(InvalidInput, match="changes no amount"):
        decide_late_change(
            line_id=usage_line(july).pk,
            decision=CorrectionDecision.NEXT_INVOICE,
            mark=the_change().mark,
            at=BILLED_AT,
            actor="fiona",
            reason="all of it",
        )
