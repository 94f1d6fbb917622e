"""A customer leaves a card on Stripe's own page, and is charged by it from then on (S1-001, S1-042)."""

from django.db import transaction

from billing_site.kernel.clock import server_moment
from billing_site.kernel.errors import Conflict
from billing_site.kernel.jobs import queue
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.customers.operations import change_customer
from invoicing.invoices.models import InvoiceStatus
from invoicing.payments import gateway
from invoicing.payments.checkout import RemoteSetup, begin_setup, retrieve_setup
from invoicing.payments.key_round import in_round
from invoicing.payments.locks import only_worker
from invoicing.payments.models import StripeCustomer
from invoicing.payments.push import retry_pushes
from invoicing.payments.queries import refused_pushes
from invoicing.payments.remote import GatewayUnavailable
from invoicing.payments.told import key_of_customer, lock_of_customer, told_digest

MIRROR_JOB = "invoicing.tasks.mirror_object"
ALREADY = "stale: its card was adopted already"
BUSY = "Stripe is being told of this customer at this moment; try again in some seconds."


def begin_to_leave_card(*, customer: Customer, return_url: str, cancel_url: str) -> str:
    """Return the address of Stripe's page on which the customer leaves a card; call it outside of a transaction.

    Raises Conflict for who does not pay through Stripe or is billed to somebody else, GatewayUnavailable and GatewayRefused.
    """
    if customer.settlement_channel != SettlementChannel.STRIPE:
        raise Conflict("your invoices are not paid by card", field="settlement_channel")
    if customer.billed_to_id is not None:
        raise Conflict("what you use is billed to another account, which pays for it", field="billed_to")
    return begin_setup(customer=_at_stripe(customer), return_url=return_url, cancel_url=cancel_url)


def follow_card(*, session: str, of_customer: int | None = None) -> str:
    """Charge the card that was left on a page from now on; returns the outcome in words, and changes nothing a second time.

    Of two pages the one that was opened later counts, whatever is heard of first; a card that was set here since stays. `of_customer` asks for
    the page to be this customer's. Call it outside of a transaction. Raises GatewayUnavailable, GatewayRefused, CardDeclined (the bank lets
    nobody keep it).
    """
    present = retrieve_setup(session)
    if present is None:
        return "ignored: it asks for no card"
    known = StripeCustomer.objects.select_related("customer").filter(stripe_id=present.customer).first()
    if known is None or known.customer_id != (of_customer or known.customer_id):
        return "ignored: not a customer of ours"
    if not present.payment_method:
        return "nothing to do: no card was left"
    with only_worker(lock_of_customer(customer_id=known.customer_id)) as alone:
        if not alone:
            raise GatewayUnavailable(BUSY)
        known = StripeCustomer.objects.select_related("customer").get(pk=known.pk)
        if known.card_asked_at is not None and known.card_asked_at >= present.created_at:
            return "stale: another card was left since" if known.card_asked_at > present.created_at else ALREADY
        _charge_by(present, known)
        _adopt(known.customer, present)
    return f"its card {present.payment_method} is charged from now on"


def _charge_by(present: RemoteSetup, known: StripeCustomer) -> None:
    key, customer = f"card:{present.id}", known.customer
    in_round(
        subject=key,
        call=lambda key_round: gateway.ensure_customer(
            reference=customer.key,
            name=customer.name,
            email=customer.email,
            payment_method=present.payment_method,
            known_as=known.stripe_id,
            idempotency_key=f"{key}:{key_round}",
        ),
    )


@transaction.atomic(durable=True)
def _adopt(customer: Customer, present: RemoteSetup) -> None:
    change_customer(
        customer=customer,
        changes={"payment_method": present.payment_method},
        actor=f"customer {customer.key}",
        reason=f"left on Stripe's page {present.id}"[:300],
    )
    StripeCustomer.objects.filter(customer=customer).update(
        payment_method=present.payment_method,
        # What Stripe was told; what has changed here meanwhile is told with the next push.
        told_digest=told_digest(customer=customer, payment_method=present.payment_method),
        card_asked_at=present.created_at,
    )
    queue(MIRROR_JOB, "payment_method", present.payment_method)
    _send_again(customer)


def _send_again(customer: Customer) -> None:
    """Send again what Stripe did not take: with the card before nothing could be charged, and the customer was asked for another."""
    refused = refused_pushes().filter(invoice__customer=customer, invoice__status=InvoiceStatus.ISSUED)
    retry_pushes(
        intent_ids=list(refused.values_list("pk", flat=True)),
        at=server_moment(),
        actor=f"customer {customer.key}",
        reason="left another card",
    )


def _at_stripe(customer: Customer) -> str:
    """Return the id of Stripe's customer, made where there is none yet: the same that a push at this moment makes."""
    known = StripeCustomer.objects.filter(customer=customer).first()
    if known is not None:
        return known.stripe_id
    with only_worker(lock_of_customer(customer_id=customer.pk)) as alone:
        if not alone:
            raise GatewayUnavailable(BUSY)
        digest = told_digest(customer=customer)
        stripe_id = in_round(
            subject=f"customer:{digest}",
            call=lambda key_round: gateway.ensure_customer(
                reference=customer.key,
                name=customer.name,
                email=customer.email,
                payment_method=None,
                idempotency_key=key_of_customer(digest=digest, key_round=key_round),
            ),
        )
        return StripeCustomer.objects.get_or_create(customer=customer, defaults={"stripe_id": stripe_id})[0].stripe_id
