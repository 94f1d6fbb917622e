"""Words for tests of dunning: somebody who is late, sweeps turned by the clock, and what came of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from moneyed import Money

from dunning.acting import advance_due
from dunning.cases.arrears import debts_of
from dunning.cases.models import CaseStep, DunningCase
from dunning.notices.models import Notice
from dunning.notices.sending import send_notice
from dunning.policies.operations import assign_policy, ensure_presets
from dunning.sweep import SweepReport, sweep_dunning
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment
from invoicing.workflows.answer_access import answer_access
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import settle_payment
from tests.factories import AUGUST, a_customer, a_plan, a_subscription, usd_fee

WHO = {"actor": "ann", "reason": "as we agreed by phone"}
HALF_A_DAY = timedelta(hours=12)


def late_customer(key: str = "cust_acme", *, fee: str = "31", **fields: Any) -> Invoice:
    """A customer who has a subscription since July and owes its invoice, due on the 15th of August where it is."""
    zone = ZoneInfo(fields.get("timezone", "UTC"))
    a_plan("pro", usd_fee(fee))
    customer = a_customer(key, **fields)
    started_at = datetime(2026, 7, 1, tzinfo=zone)
    Customer.objects.filter(pk=customer.pk).update(created_at=started_at)
    a_subscription(customer, started_at=started_at.astimezone(UTC))
    issued_at = datetime(2026, 8, 1, 12, tzinfo=zone).astimezone(UTC)
    [invoice] = [one for one in issue_billing(as_of=issued_at, at=issued_at).invoices if one.customer_id == customer.pk]
    assert str(invoice.due_date) == "2026-08-15"
    return invoice


def by_policy(policy: str, customer: Customer) -> None:
    """Let a customer be chased by a policy."""
    ensure_presets()
    assign_policy(policy=policy, customer=customer, country="", at=AUGUST, **WHO)


def local(text: str, customer: Customer) -> datetime:
    """A moment where a customer is: "2026-08-16 09:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(customer.timezone)).astimezone(UTC)


def chase(at: datetime) -> SweepReport:
    """One sweep without a failure, and the mail that it plans."""
    report = sweep_dunning(at=at)
    assert report.failures == []
    deliver(at)
    return report


def advance_case(*, case_id: int, at: datetime) -> CaseStep | None:
    """Take the next step of a case if it is due and nothing is against it, by what is late now, as a sweep does."""
    case = DunningCase.objects.select_related("customer", "policy").get(pk=case_id)
    late = debts_of(customers=[case.customer_id], at=at).get(case.customer_id, [])
    return advance_due(case=case, late=late, at=at)


def deliver(at: datetime) -> None:
    """Send what is planned."""
    for number in Notice.objects.filter(state="planned").order_by("pk").values_list("pk", flat=True):
        send_notice(notice_id=number, at=at)


def turn(since: datetime, until: datetime, *, every: timedelta = HALF_A_DAY) -> list[CaseStep]:
    """Turn the clock, with a sweep of dunning and of the life cycle at each turn; returns the steps that were taken."""
    taken: list[CaseStep] = []
    at = since
    while at <= until:
        taken += chase(at).steps
        assert sweep_life_cycles(at=at).failures == []
        at += every
    return taken


def told(steps: list[CaseStep], customer: Customer) -> list[tuple[str, str, str]]:
    """Steps as (local moment, act, notice)."""
    zone = ZoneInfo(customer.timezone)
    return [(f"{step.done_at.astimezone(zone):%m-%d %H:%M}", step.act, step.notice) for step in steps]


def days_told(customer: Customer) -> list[str | None]:
    """The days on which something follows, as the notices to a customer name them."""
    notices = Notice.objects.filter(customer=customer).order_by("pk")
    return [str(notice.acts_on) if notice.acts_on else None for notice in notices]


def pay(invoice: Invoice, at: datetime, amount: str = "") -> Payment:
    """A bank transfer for an invoice."""
    invoice.refresh_from_db()
    return settle_payment(
        invoice_id=invoice.pk,
        channel="manual",
        reference=f"transfer {invoice.pk} {amount} {at}",
        amount=Money(amount, invoice.currency) if amount else invoice.amount_due,
        received_at=at,
        **WHO,
    )


def case_of(customer: Customer) -> DunningCase:
    """The newest case of a customer."""
    return DunningCase.objects.filter(customer=customer).latest("pk")


def access(customer: Customer, at: datetime) -> tuple[bool, str]:
    """What a product hears that asks whether a customer may be served."""
    verdict = answer_access(customer_key=customer.key, at=at).verdict
    return verdict.is_allowed, verdict.reason.value
