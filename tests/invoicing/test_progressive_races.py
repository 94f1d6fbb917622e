"""Many at once: usage of a period is charged once, whoever sweeps, bills, declares void or is killed in between."""

from datetime import timedelta
from typing import Any

import pytest

from invoicing.invoices.models import Invoice, ProgressiveInvoice
from invoicing.workflows import bill_progressively as workflow
from invoicing.workflows.bill_progressively import sweep_progressive
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import (
    AUGUST,
    JULY,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.progressive import threshold
from tests.invoicing.selling import books
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db(transaction=True)

LAST_MINUTE = AUGUST - timedelta(minutes=1)


@pytest.fixture(autouse=True)
def acme(transactional_db: None) -> None:
    """Has used USD 120 in July, with a threshold of 100."""
    nothing_is_checked_before_issue()
    a_plan("pro", usd_fee("29"), usd_per_action("1"))
    customer = a_customer()
    a_subscription(customer)
    threshold(customer, "100")
    use("cust_acme", "120", at=JULY + timedelta(days=2))


def test_four_sweeps_at_once_make_one_invoice() -> None:
    outcomes = at_once(*[lambda: sweep_progressive(at=LAST_MINUTE)] * 4)

    assert unexpected(outcomes) == []
    assert ProgressiveInvoice.objects.count() == 1
    assert verify() == []


def test_a_run_and_sweeps_at_the_end_of_the_period_charge_everything_once() -> None:
    outcomes = at_once(
        *[lambda: sweep_progressive(at=LAST_MINUTE)] * 2,
        *[lambda: issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=7))] * 2,
    )
    issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=7))

    assert all(not isinstance(one, BaseException) for one in outcomes), outcomes
    assert books() == {"1200": "149.00", "4000": "-149.00"}
    assert verify() == []


def test_it_is_void_or_taken_off_never_both() -> None:
    [invoice] = sweep_progressive(at=LAST_MINUTE).made

    at_once(
        lambda: void_invoice(invoice_id=invoice.pk, at=AUGUST, actor="test", reason="meanwhile"),
        lambda: issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=7)),
    )
    issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=7))

    assert books() == {"1200": "149.00", "4000": "-149.00"}
    assert verify() == []


def test_who_is_killed_between_draft_and_issue_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workflow, "issue_computed", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep_progressive(at=LAST_MINUTE)

    assert not Invoice.objects.exists()
    assert len(sweep_progressive(at=LAST_MINUTE).made) == 1
    assert verify() == []
