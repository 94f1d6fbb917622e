"""Whatever is thrown at the door of the webhooks: no 500, nothing stored that was not verified; and every event that Stripe sends is followed or kept."""

import json
import os
import random
import time

import pytest
from django.conf import settings as django_settings

from billing_site.kernel.clock import now
from billing_site.sandbox.delivery import signature_of
from invoicing.payments.models import StripeNotice
from tests.invoicing.payments.building import an_event, an_issued_invoice, receive, run_queued_jobs

pytestmark = pytest.mark.django_db(transaction=True)
# In full: WEBHOOK_FUZZ=10000.
DELIVERIES = int(os.environ.get("WEBHOOK_FUZZ", "2000"))
SEED = int(os.environ.get("WEBHOOK_FUZZ_SEED", "1"))
ODD = (
    None,
    True,
    -1,
    10**40,
    1.5,
    "",
    "x" * 500,
    "\x00",
    "\ud800",
    [],
    {},
    [[]],
    {"id": {}},
    "in_1\n",
    "𝛼",
    float("nan"),
)
EVENTS = (
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.payment_action_required",
    "invoice.finalized",
    "invoice.voided",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.refunded",
    "payment_intent.requires_action",
    "payment_method.attached",
    "payment_method.detached",
    "payment_method.updated",
    "payment_method.automatically_updated",
    "customer.updated",
    "something.that.does.not.exist.yet",
)


def signed(payload, *, secret="", age_seconds=0):
    at_seconds = int(now().timestamp()) - age_seconds
    return signature_of(payload, secret=secret or django_settings.SANDBOX_WEBHOOK_SECRET, at_seconds=at_seconds)


def mangled(document, dice):
    """Put something odd at a place of a document."""
    changed = json.loads(json.dumps(document))
    place = changed
    for name in dice.choice((["id"], ["type"], ["created"], ["data"], ["data", "object"], ["data", "object", "id"])):
        if not isinstance(place.get(name), dict) or dice.random() < 0.4:
            break
        place = place[name]
    place[name] = dice.choice(ODD)
    return json.dumps(changed).encode("utf-8", "surrogatepass")


def delivery(dice, number):
    """A payload, its signature, and whether Stripe signed just this just now."""
    payload, _ = an_event("invoice.paid", {"id": f"in_{number}", "object": "invoice"}, event_id=f"evt_{number}")
    match dice.randrange(9):
        case 0:
            return payload, "", False
        case 1:
            return payload, signed(payload, secret="whsec_" + str(dice.random())), False
        case 2:
            return payload, signed(payload, age_seconds=dice.choice((301, 4_000, 10**9))), False
        case 3:
            return payload[: dice.randrange(len(payload))], signed(payload), False
        case 4:
            at = dice.randrange(len(payload))
            return (
                payload[:at] + bytes([payload[at] ^ (1 << dice.randrange(8))]) + payload[at + 1 :],
                signed(payload),
                False,
            )
        case 5:
            header = "".join(dice.choice("tv10=,x ½\t;") for _ in range(dice.randrange(60)))
            return payload, header.encode("latin-1", "ignore").decode("latin-1"), False
        case 6:
            huge = b'{"id": "' + b"x" * dice.choice((70_000, 1_048_577)) + b'"}'
            return huge, signed(huge), True
        case 7:
            deep = b"[" * 100_000 if dice.random() < 0.5 else dice.randbytes(dice.randrange(2_000))
            return deep, signed(deep), True
        case _:
            odd = mangled(json.loads(payload), dice)
            return odd, signed(odd), True


@pytest.mark.slow
@pytest.mark.requirement("S0-050")
def test_no_delivery_makes_a_500_and_nothing_is_stored_that_was_not_verified(client, capsys):
    dice = random.Random(SEED)
    client.raise_request_exception = False
    statuses, forged, began = {}, [], time.monotonic()
    for number in range(DELIVERIES):
        payload, signature, is_ours = delivery(dice, number)
        response = client.post(
            "/webhooks/stripe", payload, content_type="application/json", headers={"Stripe-Signature": signature}
        )
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        assert response.status_code in (200, 400, 413), (SEED, number, payload[:200], response.status_code)
        if not is_ours:
            forged.append(number)
            assert response.status_code == 400, (SEED, number, payload[:200])

    with capsys.disabled():
        print(f"\n{DELIVERIES} deliveries (seed {SEED}) in {time.monotonic() - began:.1f} s: {statuses}")
    assert StripeNotice.objects.filter(event_id__in=[f"evt_{number}" for number in forged]).count() == 0
    assert sum(StripeNotice.objects.values_list("delivery_count", flat=True)) == statuses.get(200, 0)


@pytest.mark.parametrize("event_type", EVENTS)
def test_each_event_is_kept_and_followed_and_one_that_nobody_knows_is_harmless(sandbox, event_type):
    invoice = an_issued_invoice()
    run_queued_jobs()
    kind = event_type.partition(".")[0]
    subject = {"object": "dispute" if "dispute" in event_type else kind, "id": f"{kind}_1", "customer": "cus_other"}

    notice = receive(event_type, subject)
    if "dispute" not in event_type:
        run_queued_jobs()
        notice.refresh_from_db()
        assert notice.processed_at is not None
        assert notice.outcome.startswith("ignored")

    invoice.refresh_from_db()
    assert invoice.status == "issued"
    assert notice.body["type"] == event_type


@pytest.mark.requirement("S2-037")
def test_while_a_secret_is_exchanged_both_come_in_and_afterwards_only_the_new_one(client, settings):
    old, new = django_settings.SANDBOX_WEBHOOK_SECRET, "whsec_new"

    def statuses():
        told = []
        for secret in (old, new, "whsec_other"):
            payload, _ = an_event("invoice.paid", {"id": "in_1", "object": "invoice"}, event_id=f"evt_{len(told)}")
            headers = {"Stripe-Signature": signed(payload, secret=secret)}
            told.append(
                client.post("/webhooks/stripe", payload, content_type="application/json", headers=headers).status_code
            )
        return told

    before = statuses()
    # The new one twice: a secret that stands there again takes nothing from those between.
    settings.STRIPE_WEBHOOK_SECRET, settings.STRIPE_WEBHOOK_SECRETS_BESIDE = new, [old, new]
    meanwhile = statuses()
    settings.STRIPE_WEBHOOK_SECRETS_BESIDE = []
    afterwards = statuses()

    assert (before, meanwhile, afterwards) == ([200, 400, 400], [200, 200, 400], [400, 200, 400])
