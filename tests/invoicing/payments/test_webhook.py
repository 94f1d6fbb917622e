"""The door for Stripe's webhooks: only what Stripe signed just now comes in, and it is answered at once."""

import json
import time

import pytest
from django.conf import settings

from billing_site.kernel.clock import now
from billing_site.sandbox.delivery import signature_of
from invoicing.payments.models import StripeNotice
from tests.invoicing.payments.building import an_event, queued_jobs

pytestmark = pytest.mark.django_db(transaction=True)
SUBJECT = {"id": "in_1", "object": "invoice", "metadata": {}}


def post(client, payload, signature, **options):
    return client.post(
        "/webhooks/stripe",
        payload,
        content_type="application/json",
        headers={"Stripe-Signature": signature},
        **options,
    )


@pytest.mark.requirement("S0-049")
def test_a_signed_event_is_stored_and_queued_and_answered_with_200(client):
    response = post(client, *an_event("invoice.paid", SUBJECT))

    notice = StripeNotice.objects.get()
    assert (response.status_code, response.json()) == (200, {"received": "evt_made_up"})
    assert (notice.event_type, notice.object_id, notice.processed_at) == ("invoice.paid", "in_1", None)
    assert queued_jobs() == [("invoicing.tasks.follow_notice", (notice.pk,))]


@pytest.mark.requirement("S0-051")
@pytest.mark.requirement("S0-116")
def test_the_same_event_again_is_counted_and_not_queued(client):
    for _ in range(3):
        assert post(client, *an_event("invoice.paid", SUBJECT)).status_code == 200

    assert StripeNotice.objects.get().delivery_count == 3
    assert len(queued_jobs()) == 1


@pytest.mark.requirement("S0-050")
@pytest.mark.parametrize(
    "forge",
    [
        lambda payload, signature: (payload, ""),
        lambda payload, signature: (payload, "nonsense"),
        lambda payload, signature: (payload + b" ", signature),
        lambda payload, signature: (payload.replace(b"in_1", b"in_2"), signature),
        lambda payload, signature: (payload, signed(payload, secret="whsec_another")),
        lambda payload, signature: (payload, signed(payload, age_seconds=301)),
        lambda payload, signature: (b"", signature),
        lambda payload, signature: (b"\xff\xfe", signed(b"\xff\xfe")),
    ],
    ids=["unsigned", "nonsense", "longer", "changed", "other secret", "replayed later", "empty", "not utf-8"],
)
def test_what_stripe_did_not_sign_just_now_is_refused_with_400(client, forge):
    response = post(client, *forge(*an_event("invoice.paid", SUBJECT)))

    assert response.status_code == 400
    assert response.json()["code"] in ("signature_invalid", "malformed")
    assert not StripeNotice.objects.exists()
    assert queued_jobs() == []


def signed(payload, *, secret="", age_seconds=0):
    at_seconds = int(now().timestamp()) - age_seconds
    return signature_of(payload, secret=secret or settings.SANDBOX_WEBHOOK_SECRET, at_seconds=at_seconds)


def test_a_signature_within_its_five_minutes_is_good(client):
    payload, _ = an_event("invoice.paid", SUBJECT)

    assert post(client, payload, signed(payload, age_seconds=290)).status_code == 200


@pytest.mark.parametrize("document", [{}, [], "text", None, {"id": "evt_1", "object": "event", "type": "x"}])
def test_signed_nonsense_is_malformed(client, document):
    payload = json.dumps(document).encode()

    response = post(client, payload, signed(payload))

    assert (response.status_code, response.json()["code"]) == (400, "malformed")


def test_without_a_secret_nothing_comes_in(client, settings):
    settings.STRIPE_WEBHOOK_SECRET = ""
    payload, _ = an_event("invoice.paid", SUBJECT)

    empty = signature_of(payload, secret="", at_seconds=int(time.time()))
    assert post(client, payload, empty).status_code == 400


def test_a_body_that_is_too_large_is_not_read(client):
    payload = b"x" * (1024 * 1024 + 1)

    assert post(client, payload, signed(payload)).status_code == 413


def test_only_post_is_answered(client):
    assert client.get("/webhooks/stripe").status_code == 405


@pytest.mark.requirement("S1-034")
@pytest.mark.requirement("S1-035")
def test_the_answer_takes_less_than_100_milliseconds(client):
    post(client, *an_event("invoice.paid", SUBJECT))
    taken = []

    for number in range(5):
        payload, signature = an_event("invoice.paid", SUBJECT, event_id=f"evt_{number}")
        started = time.perf_counter()
        post(client, payload, signature)
        taken.append(time.perf_counter() - started)

    assert min(taken) < 0.1
