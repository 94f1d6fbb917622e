"""Signed webhooks out: in the order of their events, again and again with growing gaps until somebody says 2xx."""

import hmac
import json
import logging
import threading
from datetime import timedelta
from hashlib import sha256

import requests
from django.conf import settings
from django.db import DatabaseError, connection

from billing_site.kernel.clock import now
from billing_site.sandbox import alarm, faults
from billing_site.sandbox.models import SandboxDelivery
from billing_site.sandbox.stripe import meter_events, store
from billing_site.sandbox.stripe.webhook_endpoints import secret_of

logger = logging.getLogger(__name__)

GAPS_SECONDS = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)
DELAY_SECONDS = 3.0
# So long one waits that others are to overtake.
OVERTAKEN_SECONDS = 0.7
HELD_BACK = "held back on demand"
IDLE_SECONDS = 0.5
TIMEOUT_SECONDS = 10
ROUND_MAX = 100
# One deliverer at a time, whichever process it is in; the number only has to differ from other advisory locks.
ONLY_DELIVERER = 8_724_110_551


def signature_of(payload: bytes, *, secret: str, at_seconds: int) -> str:
    """Return the Stripe-Signature header of a payload."""
    mac = hmac.new(secret.encode(), f"{at_seconds}.".encode() + payload, sha256).hexdigest()
    return f"t={at_seconds},v1={mac}"


class Deliverer(threading.Thread):
    """The thread that delivers; it survives a lost database and holds no state of its own."""

    def __init__(self) -> None:
        super().__init__(name="sandbox-deliverer", daemon=True)
        self._stopping = threading.Event()
        self._session = requests.Session()
        self._session.trust_env = False

    def stop(self) -> None:
        """Finish the delivery in progress and end."""
        self._stopping.set()
        alarm.ring()

    def run(self) -> None:
        """Deliver until told to stop."""
        while not self._stopping.is_set():
            try:
                delivered = self._round() if self._alone() else 0
            except DatabaseError as error:
                logger.warning("The deliverer lost the database: %s", error)
                connection.close()
                delivered = 0
            if not delivered:
                alarm.wait(seconds=IDLE_SECONDS if self._next_is_far() else GAPS_SECONDS[0])
        connection.close()

    def _alone(self) -> bool:
        """Say whether this session holds the lock of the only deliverer, taking it if it is free."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
                " AND objid = %s AND classid = %s AND granted) OR pg_try_advisory_lock(%s)",
                [ONLY_DELIVERER & 0xFFFFFFFF, ONLY_DELIVERER >> 32, ONLY_DELIVERER],
            )
            return bool(cursor.fetchone()[0])

    def _next_is_far(self) -> bool:
        try:
            soon = now() + timedelta(seconds=IDLE_SECONDS)
            return not SandboxDelivery.objects.filter(state="pending", next_attempt_at__lte=soon).exists()
        except DatabaseError:
            return True

    def _round(self) -> int:
        """Try what is due, oldest first; an address that cannot be reached ends the round."""
        due = SandboxDelivery.objects.filter(state="pending", next_attempt_at__lte=now()).order_by("id")[:ROUND_MAX]
        tried = 0
        for delivery in due:
            if self._stopping.is_set():
                break
            tried += 1
            if not self._try(delivery):
                return 0
        return tried

    def _try(self, delivery: SandboxDelivery) -> bool:
        """Try one delivery; False where nobody listens at the address."""
        ordered = faults.ordered()
        if faults.strikes(faults.DROP_WEBHOOKS, ordered):
            self._note(delivery, SandboxDelivery.State.DROPPED, "dropped on demand")
            return True
        for kind, seconds in ((faults.DELAY_WEBHOOKS, DELAY_SECONDS), (faults.REORDER_WEBHOOKS, OVERTAKEN_SECONDS)):
            # Whatever was held back once goes out: a share of all would otherwise hold some back for ever.
            if delivery.last_outcome != HELD_BACK and faults.strikes(kind, ordered):
                delivery.next_attempt_at, delivery.last_outcome = now() + timedelta(seconds=seconds), HELD_BACK
                delivery.save(update_fields=["next_attempt_at", "last_outcome"])
                return True
        copies = 2 if faults.strikes(faults.DUPLICATE_WEBHOOKS, ordered) else 1
        try:
            skew = faults.level_of(faults.CLOCK_SKEW_SECONDS, ordered)
            outcome = [self._send(delivery, skew_seconds=skew) for _ in range(copies)][-1]
        except requests.ConnectionError:
            self._postpone(delivery, "nobody listens")
            return False
        except requests.RequestException as error:
            self._postpone(delivery, type(error).__name__)
            return True
        if 200 <= outcome < 300:
            self._note(delivery, SandboxDelivery.State.DELIVERED, f"HTTP {outcome}")
        else:
            self._postpone(delivery, f"HTTP {outcome}")
        return True

    def _send(self, delivery: SandboxDelivery, *, skew_seconds: int) -> int:
        payload = json.dumps(_told(delivery.event), indent=2).encode()
        secret = secret_of(delivery.endpoint) if delivery.endpoint else settings.SANDBOX_WEBHOOK_SECRET
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature_of(payload, secret=secret, at_seconds=int(now().timestamp()) + skew_seconds),
            "User-Agent": "Stripe/1.0 (sandbox)",
        }
        response = self._session.post(
            delivery.url, data=payload, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
        return response.status_code

    def _postpone(self, delivery: SandboxDelivery, outcome: str) -> None:
        gap = GAPS_SECONDS[min(delivery.attempts, len(GAPS_SECONDS) - 1)]
        if outcome == "nobody listens":
            gap = min(gap, IDLE_SECONDS)
        delivery.next_attempt_at = now() + timedelta(seconds=gap)
        self._note(delivery, SandboxDelivery.State.PENDING, outcome)

    def _note(self, delivery: SandboxDelivery, state: SandboxDelivery.State, outcome: str) -> None:
        delivery.state, delivery.last_outcome = state, outcome
        delivery.attempts += 1
        delivery.save(update_fields=["state", "last_outcome", "attempts", "next_attempt_at"])


def _told(event: str) -> store.Body:
    """Return what a webhook says: a whole event, or a thin notice of one that has to be fetched."""
    thin = store.find("v2.core.event", event)
    return store.retrieve("event", event) if thin is None else meter_events.notice_of(thin)
