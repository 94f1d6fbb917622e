"""What the tests of payments need: an issued invoice, the queue run by hand, Stripe's news, and a worker to kill."""

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

import requests
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from billing_site.kernel.clock import now
from billing_site.kernel.period import Period
from billing_site.sandbox.delivery import signature_of
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.models import Customer
from invoicing.invoices.drafting import save_draft
from invoicing.invoices.models import Invoice
from invoicing.ledger.queries import trial_balance, unbalanced_entries
from invoicing.payments import gateway
from invoicing.payments.intake import receive_notice
from invoicing.payments.models import Payment, StripeNotice
from invoicing.workflows.compute_invoice import compute_invoice
from invoicing.workflows.issue_invoice import issue_invoice
from tests.factories import a_customer, a_plan, a_subscription, usd_fee

JULY = Period(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))


def a_card_customer(key: str = "cust_acme", card: str = "pm_card_visa", **fields: Any) -> Customer:
    """A customer whose card is charged; without a card one who pays Stripe's invoice by its due date."""
    fields = {"email": f"ap@{key.replace('_', '-')}.example"} | fields
    return a_customer(key, settlement_channel="stripe", payment_method=card, **fields)


def an_issued_invoice(customer: Customer | None = None, *, fee: str = "280") -> Invoice:
    """An invoice of one flat fee for July, issued now; its push is planned and queued."""
    customer = customer or a_card_customer()
    plan = f"plan-{fee}-{customer.currency}".replace(".", "-").lower()
    a_plan(plan, usd_fee(fee) | {"currency": customer.currency})
    a_subscription(customer, plan=plan)
    computed = compute_invoice(customer=customer, period=JULY, until=JULY.end)
    with transaction.atomic():
        draft = save_draft(
            customer=customer,
            assembled=computed.assembled,
            sources=computed.contract.sources,
            run=None,
            at=now(),
            actor="test",
            reason="set up",
        )
        return issue_invoice(invoice_id=draft.pk, at=now(), actor="test", reason="set up")


def queued_jobs() -> list[tuple[str, tuple[Any, ...]]]:
    """The jobs that wait for a worker."""
    return [(row.task["func"], row.task["args"]) for row in OrmQ.objects.order_by("id")]


def run_queued_jobs(*, mirrors: bool = False) -> None:
    """Do what a worker would do until nothing is due; copies for dj-stripe only where asked for."""
    while rows := list(OrmQ.objects.filter(lock__lte=now()).order_by("id")):
        for row in rows:
            task = row.task
            row.delete()
            if mirrors or not task["func"].endswith("mirror_object"):
                import_string(task["func"])(*task["args"])


def deliver(sandbox: Any, listener: Any, *, event_types: tuple[str, ...] = ()) -> list[StripeNotice]:
    """Hand over what the sandbox has sent since the last time, in its order, or only these types in this order."""
    sandbox.wait_until_delivered()
    deliveries = [(json.loads(body)["type"], body, signature) for body, signature in listener.received]
    listener.received.clear()
    if event_types:
        deliveries = [delivery for wanted in event_types for delivery in deliveries if delivery[0] == wanted]
    return [receive_notice(payload=body, signature=signature, at=now()) for _, body, signature in deliveries]


def an_event(event_type: str, subject: dict[str, Any], *, event_id: str = "evt_made_up") -> tuple[bytes, str]:
    """A signed event that the sandbox would not send by itself."""
    created = int(now().timestamp())
    event = {
        "id": event_id,
        "object": "event",
        "api_version": "2026-08-26.dahlia",
        "created": created,
        "data": {"object": subject},
        "livemode": False,
        "pending_webhooks": 1,
        "request": None,
        "type": event_type,
    }
    payload = json.dumps(event).encode()
    return payload, signature_of(payload, secret=settings.SANDBOX_WEBHOOK_SECRET, at_seconds=created)


def receive(event_type: str, subject: dict[str, Any], *, event_id: str = "evt_made_up") -> StripeNotice:
    """Such an event, received."""
    payload, signature = an_event(event_type, subject, event_id=event_id)
    return receive_notice(payload=payload, signature=signature, at=now())


def remote_invoices(invoice: Invoice) -> list[dict[str, Any]]:
    """Every invoice in the sandbox that bears our number."""
    return list(
        SandboxObject.objects.filter(kind="invoice", body__number=invoice.number).values_list("body", flat=True)
    )


def assert_paid_once(invoice: Invoice) -> None:
    """One invoice at Stripe, one charge, one payment here, and balanced books."""
    invoice.refresh_from_db()
    (remote,) = remote_invoices(invoice)
    assert (invoice.status, invoice.amount_paid) == ("paid", invoice.total)
    assert (remote["status"], remote["amount_paid"]) == ("paid", int(invoice.total.amount * 100))
    charges = SandboxObject.objects.filter(kind="charge", body__customer=remote["customer"])
    assert charges.count() == 1
    assert Payment.objects.filter(invoice=invoice).count() == 1
    assert_books_balance()


def assert_books_balance() -> None:
    """Every entry balances, and so does every currency."""
    assert unbalanced_entries() == []
    sums: dict[str, Decimal] = {}
    for balance in trial_balance():
        code = balance.amount.currency.code
        sums[code] = sums.get(code, Decimal(0)) + balance.amount.amount
    assert not any(sums.values()), sums


def database_is_away(*_: object, **__: object) -> NoReturn:
    """In place of a call: what every query says whose server was ended under it."""
    raise OperationalError("terminating connection due to unexpected postmaster exit")


def killed_at(step: int, job: Callable[[], Any]) -> bool:
    """Run a job in another process that dies by kill -9 at its n-th SQL statement or answer of Stripe; False if it ended before."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            _die_at(step)
            job()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _die_at(step: int) -> None:
    steps = iter(range(1, step + 1))
    send = requests.Session.request

    def one_more() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def request(self: requests.Session, *arguments: Any, **options: Any) -> requests.Response:
        response = send(self, *arguments, **options)
        one_more()
        return response

    def statement(execute: Callable[..., Any], *arguments: Any) -> Any:
        result = execute(*arguments)
        one_more()
        return result

    requests.Session.request = request  # type: ignore[method-assign]
    gateway._client_for.cache_clear()
    connection.execute_wrappers.append(statement)
