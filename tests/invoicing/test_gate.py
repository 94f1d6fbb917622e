"""The gate before issue: what is odd is held with its reasons, waits for a person, and is never issued behind anybody's back."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing_site.kernel.errors import BillingError, Conflict
from billing_site.kernel.period import Period
from invoicing.approvals.models import Approval, Decision
from invoicing.approvals.operations import SamePerson
from invoicing.core.gate import RULES, Check, Rule
from invoicing.customers.models import Customer
from invoicing.gate.models import GateSetting, HoldOutcome, InvoiceHold
from invoicing.gate.operations import release_hold, set_check
from invoicing.gate.queries import HitRate, hit_rates, rules_in_force
from invoicing.invoices.drafting import drop_drafts
from invoicing.invoices.models import BillingRun, Invoice, InvoiceStatus
from invoicing.workflows.approve import decide
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.loosen_check import set_check_or_ask
from invoicing.workflows.pre_issue_gate import gate_for
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from metering.correcting import cancel_event
from tests.factories import a_customer, a_plan, a_subscription, settle_constraints, usd_fee, usd_per_action, use
from tests.races import at_once

pytestmark = pytest.mark.django_db


def month(number: int) -> datetime:
    return datetime(2026, number, 1, tzinfo=UTC)


def bill(number: int) -> Any:
    """Issue what ended with the beginning of a month of 2026."""
    return issue_billing(as_of=month(number), at=month(number) + timedelta(hours=1))


def three_usual_months(key: str = "cust_acme") -> Customer:
    """100 actions at USD 1 and a fee of 5 in April, May and June; billed."""
    a_plan("pro", usd_fee("5"), usd_per_action("1"))
    customer = a_customer(key)
    a_subscription(customer, started_at=month(4))
    for number in (4, 5, 6):
        use(key, "100", at=month(number) + timedelta(days=3))
    assert len(bill(7).invoices) == 3
    return customer


def release(held: InvoiceHold, *, reason: str = "asked the customer: a launch", actor: str = "finance") -> InvoiceHold:
    return release_hold(hold_id=held.pk, digest=held.content_digest, at=month(8), actor=actor, reason=reason)


@pytest.mark.requirement("S3-053")
def test_a_spike_stays_a_draft_with_its_reason_until_somebody_releases_it_and_the_next_run_issues_it() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))

    report = bill(8)

    [held] = InvoiceHold.objects.all()
    [told] = report.held
    assert told.reasons == "USD 505 charged, 4.8 × the usual USD 105 (the middle of the 3 invoices before)"
    assert held.invoice is not None
    assert (held.state, held.invoice.status, held.total.amount) == ("held", "draft", Decimal(505))
    run = BillingRun.objects.order_by("-id")[0]
    assert (run.drafted_count, run.issued_count, run.held_count, run.failures) == (1, 0, 1, [])

    bill(8)
    assert InvoiceHold.objects.get() == held, "a second run finds the same and writes nothing"
    release(held)
    [issued] = bill(8).invoices

    assert (issued.status, issued.total.amount) == (InvoiceStatus.ISSUED, Decimal(505))
    assert hit_rates()[Check.SPIKE] == HitRate(fired=1, released=1)
    assert verify() == []


def test_a_person_cannot_issue_what_is_held_and_what_was_never_looked_at_is_looked_at_then() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    spike_off()
    [draft] = draft_billing(as_of=month(8), at=month(8)).invoices
    assert not InvoiceHold.objects.exists()
    set_check(
        check=Check.SPIKE,
        is_on=True,
        threshold=Decimal(3),
        takes_two=False,
        at=month(8),
        actor="finance",
        reason="on again",
    )

    with pytest.raises(Conflict, match="it is held: USD 505 charged") as refused:
        issue_invoice(invoice_id=draft.pk, at=month(8), actor="finance", reason="looks right")

    assert refused.value.code == "held"
    release(InvoiceHold.objects.get())
    issued = issue_invoice(invoice_id=draft.pk, at=month(8), actor="finance", reason="looks right")
    assert issued.number is not None


def spike_off() -> None:
    set_check(
        check=Check.SPIKE,
        is_on=False,
        threshold=Decimal(3),
        takes_two=False,
        at=month(7),
        actor="finance",
        reason="a launch of everybody",
    )


def test_what_was_released_and_says_something_else_by_now_is_held_anew() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    bill(8)
    first = release(InvoiceHold.objects.get())
    use("cust_acme", "7", at=month(7) + timedelta(days=4))

    report = bill(8)

    first.refresh_from_db()
    assert (first.state, first.outcome) == ("draft", HoldOutcome.CHANGED)
    [told] = report.held
    assert told.reasons.endswith("; it was released over USD 505, it is USD 512 by now")
    with pytest.raises(Conflict, match="says something else by now"):
        release_hold(
            hold_id=first.pk, digest=first.content_digest, at=month(8), actor="finance", reason="the old figures"
        )


def test_a_draft_that_is_ordinary_after_a_correction_is_issued_and_the_check_was_right() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3), key="twice")
    bill(8)
    cancel_event(customer_id="cust_acme", idempotency_key="twice", actor="ops", reason="sent by mistake")
    use("cust_acme", "100", at=month(7) + timedelta(days=3))

    refresh_draft(
        invoice_id=Invoice.objects.get(status="draft").pk, at=month(8), actor="finance", reason="sent by mistake"
    )
    [issued] = bill(8).invoices

    assert (issued.status, issued.total.amount) == (InvoiceStatus.ISSUED, Decimal(105))
    assert hit_rates()[Check.SPIKE] == HitRate(fired=1, changed=1)
    assert hit_rates()[Check.SPIKE].percent == 100


def test_silence_zero_and_events_that_no_meter_counts_are_found_together_and_the_draft_that_goes_ends_its_hold() -> (
    None
):
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer(), started_at=month(4))
    for number in (4, 5, 6):
        use("cust_acme", "100", at=month(number) + timedelta(days=3))
    bill(7)
    use("cust_acme", "1", at=month(7) + timedelta(days=2), event_type="checkout.done")

    bill(8)

    held = InvoiceHold.objects.get()
    assert {one["check"] for one in held.findings} == {"drop", "silent_meter", "unmatched"}
    assert held.findings[2]["message"] == (
        "1 event of this period is on no invoice: 1 checkout.done (no meter counts this event type)"
    )
    assert held.invoice_id is not None
    drop_drafts(invoice_ids=[held.invoice_id], actor="finance", reason="bill it again")
    held.refresh_from_db()
    assert (held.invoice_id, held.state, held.outcome) == (None, "draft", HoldOutcome.GONE)


@pytest.mark.requirement("S1-096")
def test_first_bills_wait_for_a_person_where_the_house_says_so() -> None:
    a_plan()
    a_subscription(a_customer(), started_at=month(6))
    set_check(
        check=Check.FIRST_BILL,
        is_on=True,
        threshold=None,
        takes_two=False,
        at=month(6),
        actor="finance",
        reason="the first month",
    )

    bill(7)
    held = InvoiceHold.objects.get()
    release(held)
    bill(8)

    assert [one["message"] for one in held.findings] == ["the first invoice of this customer, over USD 29"]
    assert Invoice.objects.filter(status=InvoiceStatus.ISSUED).count() == 2


def test_the_gate_asks_as_much_of_forty_customers_as_of_four() -> None:
    a_plan("pro", usd_fee("5"), usd_per_action("1"))
    customers = [a_customer(f"cust_{number}") for number in range(40)]
    for customer in customers:
        a_subscription(customer, started_at=month(6))
    bill(7)

    def asked(number: int) -> int:
        with CaptureQueriesContext(connection) as queries:
            gate_for(due=[(customer, Period(month(7), month(8))) for customer in customers[:number]])
        return len(queries)

    assert asked(4) == asked(40) == 9


def test_settings_of_checks_are_kept_with_who_and_why_and_what_is_no_figure_is_refused() -> None:
    set_check(
        check=Check.SPIKE,
        is_on=True,
        threshold=Decimal("2.5"),
        takes_two=False,
        at=month(7),
        actor="finance",
        reason="too late",
    )
    spike_off()
    spike_off()

    assert [(one.number, one.is_on, one.reason) for one in GateSetting.objects.order_by("number")] == [
        (1, True, "too late"),
        (2, False, "a launch of everybody"),
    ]
    assert rules_in_force() == RULES | {Check.SPIKE: Rule(False, Decimal(3))}
    for check, threshold, reason, field in (
        (Check.SPIKE, Decimal(1), "why", "threshold"),
        (Check.SPIKE, None, "why", "threshold"),
        (Check.SPIKE, Decimal("NaN"), "why", "threshold"),
        (Check.SILENT_METER, Decimal("1.5"), "why", "threshold"),
        (Check.FIRST_BILL, Decimal(1), "why", "threshold"),
        (Check.DROP, Decimal("0.0000001"), "why", "threshold"),
        (Check.DROP, Decimal("0.1"), " ", "reason"),
        (Check.DROP, Decimal("0.1"), "x" * 301, "reason"),
    ):
        with pytest.raises(BillingError) as refused:
            set_check(
                check=check,
                is_on=True,
                threshold=threshold,
                takes_two=False,
                at=month(7),
                actor="finance",
                reason=reason,
            )
        assert [one.field for one in refused.value.field_errors] == [field]
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        GateSetting.objects.update(is_on=True)


def test_a_draft_of_a_period_that_still_runs_is_an_estimate_and_nothing_is_missed_yet() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))

    report = draft_billing(as_of=month(8), at=month(7) + timedelta(days=20))
    [draft] = report.invoices
    refresh_draft(invoice_id=draft.pk, at=month(7) + timedelta(days=20), actor="finance", reason="a look")

    assert (draft.total.amount, report.held, InvoiceHold.objects.count()) == (505, [], 0)
    assert len(bill(8).held) == 1


ATTACKS = (
    "UPDATE invoicing_invoicehold SET state = 'ready'",
    "UPDATE invoicing_invoicehold SET state = 'draft'",
    "UPDATE invoicing_invoicehold SET state = 'ready', released_at = now(), released_by = '', reason = ''",
    "UPDATE invoicing_invoicehold SET state = 'issued'",
    "UPDATE invoicing_invoicehold SET content_digest = 'x'",
    "UPDATE invoicing_invoicehold SET findings = '[]'",
    "UPDATE invoicing_invoicehold SET held_at = now()",
    "DELETE FROM invoicing_invoicehold",
    "TRUNCATE invoicing_invoicehold CASCADE",
    "INSERT INTO invoicing_invoicehold (invoice_id, customer_id, period_start, period_end, currency, total,"
    " content_digest, findings, state, held_at, released_by, reason, outcome) SELECT invoice_id, customer_id, period_start,"
    " period_end, currency, total, content_digest, findings, state, held_at, '', '', '' FROM invoicing_invoicehold",
    "UPDATE invoicing_invoice i SET status = 'issued', number = prefix || '-' || lpad(next_number::text, 5, '0'),"
    " series_id = s.id, issued_at = now(), due_date = now()::date, seal = 'x', previous_seal = last_seal"
    " FROM invoicing_invoiceseries s WHERE i.status = 'draft'",
)


@pytest.mark.parametrize("statement", ATTACKS)
def test_sql_cannot_talk_a_held_invoice_out_of_the_gate(statement: str) -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    bill(8)
    settle_constraints()

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_sql_cannot_issue_other_figures_than_were_released() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    bill(8)
    release(InvoiceHold.objects.get())

    with (
        pytest.raises(IntegrityError, match="is held before issue"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE invoicing_invoice SET content_digest = 'x' WHERE status = 'draft'")
        cursor.execute(ATTACKS[-1])


@pytest.mark.django_db(transaction=True)
def test_two_people_who_release_at_once_release_once() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    bill(8)
    held = InvoiceHold.objects.get()

    deeds = [partial(release, held, actor=actor, reason=f"because of {actor}") for actor in ("ann", "ben")]
    done = [one.released_by for one in at_once(*deeds)]

    held.refresh_from_db()
    assert done == [held.released_by] * 2
    assert held.reason == f"because of {held.released_by}"


EDITED_OFF = Rule(is_on=False, threshold=None, takes_two=True)


def test_what_two_people_release_is_set_otherwise_by_two() -> None:
    who = {"at": month(7), "actor": "fiona"}
    asked = set_check_or_ask(check=Check.EDITED, rule=EDITED_OFF, reason="in the way", **who)
    assert isinstance(asked, Approval) and rules_in_force()[Check.EDITED].is_on
    assert asked.summary == "Changed by hand: off"
    assert set_check_or_ask(check=Check.EDITED, rule=EDITED_OFF, reason="in the way", **who) == asked

    deciding = {"approval_id": asked.pk, "digest": asked.digest, "decision": Decision.APPROVED, "at": month(7)}
    with pytest.raises(SamePerson):
        decide(**deciding, actor="Fiona", reason="mine")
    decide(**deciding, actor="anton", reason="for this week")

    assert rules_in_force()[Check.EDITED] == EDITED_OFF
    [setting] = GateSetting.objects.all()
    assert (setting.actor, setting.approval) == ("fiona", asked)


def test_one_person_sets_what_one_releases_and_adds_the_second() -> None:
    who = {"at": month(7), "actor": "fiona", "reason": "odd ones are looked at twice"}
    for rule in (Rule(True, Decimal(2)), Rule(True, Decimal(4)), Rule(True, Decimal(4), takes_two=True)):
        assert isinstance(set_check_or_ask(check=Check.SPIKE, rule=rule, **who), GateSetting)

    for looser in (Rule(True, Decimal(40), takes_two=True), Rule(True, Decimal(4)), Rule(False, Decimal(4), True)):
        assert isinstance(set_check_or_ask(check=Check.SPIKE, rule=looser, **who), Approval)
    assert Approval.objects.filter(decision="").count() == 1, "the last one asked for waits"


def test_a_change_of_a_check_that_was_set_otherwise_meanwhile_is_asked_for_again() -> None:
    who = {"at": month(7), "reason": "agreed"}
    asked = set_check_or_ask(check=Check.EDITED, rule=EDITED_OFF, actor="fiona", **who)
    assert isinstance(asked, Approval)
    confirmed = Rule(is_on=True, threshold=None, takes_two=True)
    assert isinstance(set_check_or_ask(check=Check.EDITED, rule=confirmed, actor="lena", **who), GateSetting)

    with pytest.raises(Conflict, match="set otherwise by now"):
        decide(approval_id=asked.pk, digest=asked.digest, decision=Decision.APPROVED, actor="anton", **who)
    asked.refresh_from_db()
    assert asked.decision == ""


@pytest.mark.parametrize("kind", ["none", "another check", "refused", "by the same", "other figures"])
def test_sql_takes_the_second_person_away_from_no_check(kind: str) -> None:
    setting = {"check_name": "edited", "number": 1, "is_on": False, "takes_two": True, "set_at": month(7)}
    approval = None
    if kind != "none":
        asked = {"is_on": kind == "other figures", "takes_two": True, "threshold": None}
        approval = Approval.objects.create(
            deed="check",
            subject="check spike 0" if kind == "another check" else "check edited 0",
            digest="0" * 64,
            summary="forged",
            asked=asked,
            requested_at=month(7),
            requested_by="sam" if kind == "by the same" else "fiona",
            reason="none",
        )
        Approval.objects.filter(pk=approval.pk).update(
            decision="refused" if kind == "refused" else "approved",
            decided_at=month(7),
            decided_by="FIONA" if kind == "by the same" else "anton",
            decision_reason="none",
        )

    with pytest.raises(IntegrityError, match="nobody else has approved"), transaction.atomic():
        GateSetting.objects.create(**setting, actor="fiona", reason="past the program", approval=approval)
