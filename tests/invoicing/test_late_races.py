"""Late usage settled, decided, billed and cancelled at the same moment: each link once, and the chain never forks."""

from datetime import timedelta

import pytest
from moneyed import Money

from billing_site.kernel.money import total
from invoicing.invoices.models import Invoice, UsageCorrection
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import decide_late_change, settle_late_changes
from invoicing.workflows.verify import verify
from tests.factories import JULY, SEPTEMBER, use
from tests.invoicing.late import BILLED_AT, a_billed_july, the_change, usage_line, use_late
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_change_that_many_settle_and_bill_at_once_is_carried_once() -> None:
    a_billed_july()
    use_late("1200")

    outcomes = at_once(
        *[lambda: settle_late_changes(at=BILLED_AT)] * 3, *[lambda: issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)] * 3
    )

    assert unexpected(outcomes) == []
    assert UsageCorrection.objects.count() == 1
    august = Invoice.objects.get(period_start__gt=JULY)
    issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)
    assert august.total == Money("41.00", "USD")
    assert verify() == []


def test_of_two_people_who_decide_differently_one_is_told_so() -> None:
    july = a_billed_july(late_usage_policy="ask")
    use_late("1200")
    mark = the_change().mark

    def decide(decision: str) -> UsageCorrection:
        line = usage_line(july).pk
        return decide_late_change(
            line_id=line, decision=decision, mark=mark, at=BILLED_AT, actor="fiona", reason="at once"
        )

    outcomes = at_once(*[lambda: decide("absorbed"), lambda: decide("next_invoice")] * 2)

    assert unexpected(outcomes) == []
    [kept] = UsageCorrection.objects.all()
    assert [one for one in outcomes if isinstance(one, UsageCorrection)] == [kept] * 2


def test_events_that_come_while_others_settle_are_all_in_the_chain_once() -> None:
    july = a_billed_july()

    def send(number: int) -> None:
        for place in range(10):
            use("cust_acme", "10", at=JULY + timedelta(hours=number, minutes=place), key=f"late-{number}-{place}")

    outcomes = at_once(
        *[lambda number=number: send(number) for number in range(3)],
        *[lambda: [settle_late_changes(at=BILLED_AT) for _ in range(8)]] * 2,
    )
    settle_late_changes(at=BILLED_AT)

    assert unexpected(outcomes) == []
    effects = [correction.effect for correction in usage_line(july).corrections.all()]
    assert total(effects, "USD") == Money("3.00", "USD")
    assert late_changes(at=BILLED_AT).changes == ()
    assert verify() == []
