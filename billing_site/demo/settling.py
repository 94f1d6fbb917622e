"""Waits for the money: pushes, webhooks and jobs until nothing is left to do, and bank transfers recorded by hand."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import requests
from django.conf import settings
from django.db.models import Max

from billing_site.demo.company import CUSTOMERS
from billing_site.demo.errors import DemoFailed
from billing_site.demo.months import Leg
from billing_site.kernel.clock import now
from billing_site.kernel.jobs import queue_state
from billing_site.sandbox.faults import CLOCK_BEHIND_SECONDS
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments.queries import delayed_notices, delayed_pushes, payment_health
from invoicing.tasks import sweep_payments
from invoicing.workflows.settle_payment import settle_payment

POLL_SECONDS = 0.25
# So long nothing may move before we give up.
PATIENCE_SECONDS = 90.0
TIMEOUT_SECONDS = 10
# What failed once is due again only later; the demo does not wait for the minute.
SWEEP_EVERY_SECONDS = 5.0
TRANSFER_TAKES = timedelta(days=9)
# The customer whose last transfer has not arrived yet.
LEFT_OPEN = "cust_kino_lab"
# The customer whose last transfer the bank statement brings.
BY_STATEMENT = "cust_isar_werke"
# The customer whose first invoice, of its fees in advance, is never paid.
NEVER_PAID = "cust_kino_lab"
# Who pays late, and the invoices of which leg; `chasing.py` tells what became of it.
LATE_PAYERS = {
    "cust_quill": 0,
    "cust_owl": 0,
    "cust_cobalt_legal": 0,
    "cust_fjord_data": 0,
    "cust_lippe": 1,
    "cust_agora": 1,
    "cust_lisboa_labs": 1,
    "cust_gridline": 1,
    "cust_atelier_brune": 1,
}


@dataclass(frozen=True)
class Waiting:
    """What is still on its way, by station."""

    pushes: int
    notices: int
    jobs: int
    deliveries: int

    @property
    def is_over(self) -> bool:
        """Whether nothing is on its way."""
        return not (self.pushes or self.notices or self.jobs or self.deliveries)


def turn_stripes_clock(*, sandbox_url: str, to: datetime) -> None:
    """Let it be a moment of the past at Stripe, so that what is paid there is paid then, by its own news; never before the newest invoice, of which that may be.

    Raises DemoFailed.
    """
    newest = Invoice.objects.aggregate(at=Max("issued_at"))["at"]
    behind = int((now() - max(to, newest or to)).total_seconds())
    asked = {"kind": CLOCK_BEHIND_SECONDS, "level": str(max(behind, 0))}
    answer = _asked("POST", f"{sandbox_url}/_sandbox/levels", data=asked)
    if not answer.ok:
        raise DemoFailed(f"Stripe's clock was not turned: {answer.status_code}: {answer.text[:500]}")


def wait_for_stripe(*, sandbox_url: str, look: Callable[[], None]) -> None:
    """Return when every issued invoice has reached Stripe, and what came of it is told here."""

    def left() -> int:
        waiting = _waiting(sandbox_url=sandbox_url)
        return waiting.pushes + waiting.notices + waiting.deliveries

    _wait(left, look=look)


def wait_for_payments(*, sandbox_url: str, look: Callable[[], None], progress: Callable[[int], None]) -> None:
    """Return when nothing is on its way any more: no push, no webhook, no job; `progress` hears of settled invoices.

    Raises DemoFailed, saying what hangs, where nothing moves for long.
    """

    def left() -> int:
        progress(settled_count())
        waiting = _waiting(sandbox_url=sandbox_url)
        return waiting.pushes + waiting.notices + waiting.jobs + waiting.deliveries

    _wait(left, look=look)


def settled_count() -> int:
    """Return how many issued invoices need nothing more from the worker: paid, given up, refused or for people."""
    issued = Invoice.objects.exclude(status=InvoiceStatus.DRAFT)
    paid = issued.filter(status__in=(InvoiceStatus.PAID, InvoiceStatus.WRITTEN_OFF))
    refused = issued.filter(status=InvoiceStatus.ISSUED, payment_failures__isnull=False).distinct()
    by_hand = issued.filter(status=InvoiceStatus.ISSUED, settlement_channel=SettlementChannel.MANUAL)
    return paid.count() + refused.count() + by_hand.count()


def record_transfers(*, last_leg_end: datetime, legs: Sequence[Leg] = ()) -> None:
    """Record the bank transfers of the customers who pay by hand; one leaves its last invoice open, and never pays its first, the last of another is on the statement.

    Who pays late (`chasing.py`) leaves the invoices of one leg open.
    """
    never_paid = never_paid_invoice()
    left_late = {(key, legs[place].end) for key, place in LATE_PAYERS.items() if place < len(legs)}
    keys = [customer.key for customer in CUSTOMERS if customer.channel == SettlementChannel.MANUAL]
    for invoice in Invoice.objects.filter(
        customer__key__in=keys, status=InvoiceStatus.ISSUED, settlement_channel=SettlementChannel.MANUAL
    ).select_related("customer"):
        assert invoice.issued_at is not None, "an issued invoice has a date"
        is_last = invoice.issued_at >= last_leg_end
        if (invoice.customer.key, invoice.issued_at) in left_late:
            continue
        if invoice == never_paid or (invoice.customer.key in (LEFT_OPEN, BY_STATEMENT) and is_last):
            continue
        settle_payment(
            invoice_id=invoice.pk,
            channel=SettlementChannel.MANUAL,
            reference=f"bank statement, {invoice.number}",
            amount=invoice.total,
            received_at=min(invoice.issued_at + TRANSFER_TAKES, now()),
            reason="transfer arrived",
            actor="demo",
        )


def never_paid_invoice() -> Invoice:
    """Return the invoice that is given up in the end; the first month's have been issued."""
    issued = Invoice.objects.filter(customer__key=NEVER_PAID).exclude(status=InvoiceStatus.DRAFT)
    return issued.order_by("issued_at", "id")[0]


def _waiting(*, sandbox_url: str) -> Waiting:
    health = payment_health()
    return Waiting(
        pushes=health.pushes_pending,
        notices=health.notices_waiting,
        jobs=queue_state(at=now() + timedelta(days=1)).waiting,
        deliveries=_deliveries(sandbox_url=sandbox_url),
    )


def _deliveries(*, sandbox_url: str) -> int:
    answer = _asked("GET", f"{sandbox_url}/_sandbox/state")
    answer.raise_for_status()
    return int(answer.json()["pending_deliveries"])


def _asked(method: str, address: str, *, data: dict[str, str] | None = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        authorisation = {"Authorization": f"Bearer {settings.SANDBOX_SECRET_KEY}"}
        return session.request(method, address, data=data, headers=authorisation, timeout=TIMEOUT_SECONDS)


def _wait(left: Callable[[], int], *, look: Callable[[], None]) -> None:
    before, moved_at, swept_at = -1, time.monotonic(), time.monotonic()
    while True:
        look()
        try:
            count = left()
        except requests.RequestException:
            count = before
        if count == 0:
            return
        if count != before:
            before, moved_at = count, time.monotonic()
        if time.monotonic() - moved_at > PATIENCE_SECONDS:
            raise DemoFailed(_diagnosis())
        if time.monotonic() - swept_at > SWEEP_EVERY_SECONDS:
            swept_at = time.monotonic()
            sweep_payments()
        time.sleep(POLL_SECONDS)


def _diagnosis() -> str:
    """Say what hangs, with the reasons that were written down."""
    health = payment_health()
    reasons = [push.last_error for push in delayed_pushes()[:3]] + [
        notice.last_error for notice in delayed_notices()[:3]
    ]
    said = "\n".join(f"  {reason}" for reason in dict.fromkeys(reasons) if reason) or "  no reason was written down"
    return (
        f"Nothing has moved for {PATIENCE_SECONDS:.0f} s: {health.pushes_pending} pushes and {health.notices_waiting} notices"
        f" wait, {queue_state(at=now()).waiting} jobs are queued.\n{said}\n"
        f"The logs of web, worker and sandbox are in {settings.DATA_DIR}/log/demo.log; start the demo again to go on."
    )
