"""Refunds: money that a credit note promised, until it has left, through Stripe where it came from there, by hand otherwise."""

import uuid

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import carved, fits_currency, money_field, never_deleted, stays
from invoicing.core.dispute_life import HELD_BACK, listed_in_sql
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import SettlementChannel
from invoicing.payments.models import Payment


class RefundStatus(models.TextChoices):
    """How far a refund is."""

    PENDING = "pending", "To be paid"
    PAID = "paid", "Paid"
    REFUSED = "refused", "Refused by Stripe: to be paid by hand"
    FAILED = "failed", "Failed: to be tried again"


class Refund(models.Model):
    """What is to be paid back of one payment through Stripe, or by hand; its key makes each call to Stripe idempotent."""

    note = models.ForeignKey(CreditNote, on_delete=models.PROTECT, related_name="refunds")
    payment = models.ForeignKey(
        Payment,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="refunds",
        help_text="Which Stripe pays back; empty where somebody transfers it.",
    )
    channel = models.CharField(max_length=20, choices=SettlementChannel)
    status = models.CharField(max_length=10, choices=RefundStatus, default=RefundStatus.PENDING)
    currency = models.CharField(max_length=3)
    amount = money_field()
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    stripe_refund_id = models.CharField(max_length=100, null=True, blank=True, unique=True)
    reference = models.CharField(max_length=190, blank=True, help_text="Of the transfer, or Stripe's.")
    attempt_count = models.PositiveIntegerField(default=0)
    failure_count = models.PositiveIntegerField(
        default=0, help_text="How often in a row Stripe could not take it; waiting for a turn does not count."
    )
    key_round = models.PositiveIntegerField(
        default=0, help_text="How often its idempotency key was made anew, because Stripe keeps a failure under it."
    )
    last_error = models.TextField(blank=True)
    next_attempt_at = models.DateTimeField(help_text="When the sweep queues it again if it is still pending.")
    planned_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True, blank=True)
    actor = models.CharField(max_length=200, blank=True, help_text="Who wrote down that it was paid.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["Refund"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_is_positive"),
            models.CheckConstraint(condition=Q(status__in=RefundStatus.values), name="refund_status_is_known"),
            models.CheckConstraint(
                condition=Q(status="paid", paid_at__isnull=False) & ~Q(reference="") & ~Q(actor="")
                | ~Q(status="paid") & Q(paid_at__isnull=True, reference="", actor=""),
                name="refund_is_paid_by_somebody_with_a_reference",
            ),
            models.CheckConstraint(
                condition=Q(channel="stripe", payment__isnull=False) | Q(channel="manual"),
                name="refund_goes_back_where_it_came_from",
            ),
            models.UniqueConstraint(
                fields=["channel", "reference"], condition=Q(status="paid"), name="refund_is_recorded_once"
            ),
            fits_currency("amount", name="refund_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["next_attempt_at"], condition=Q(status="pending"), name="refund_waiting")]
        triggers = [
            *carved(noun="paid refund", while_open="OLD.status <> 'paid'", free_columns=[]),
            stays(noun="refund", columns=["note_id", "payment_id", "currency", "amount", "key", "planned_at"]),
            never_deleted(noun="refunds"),
            Guard(
                name="pays_back_what_was_promised",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                declare=[("promised", "record")],
                func=f"""
                    SELECT note.*, payment.amount AS received, payment.invoice_id AS paid_invoice_id,
                           payment.currency AS paid_in
                      INTO promised FROM invoicing_creditnote note
                      LEFT JOIN invoicing_payment payment ON payment.id = NEW.payment_id
                     WHERE note.id = NEW.note_id;
                    IF promised.currency <> NEW.currency
                       OR (SELECT sum(amount) FROM invoicing_refund WHERE note_id = NEW.note_id) <> promised.refund_amount
                       OR NEW.payment_id IS NOT NULL
                          AND ((promised.invoice_id, promised.currency)
                               IS DISTINCT FROM (promised.paid_invoice_id, promised.paid_in)
                               OR (SELECT sum(amount) FROM invoicing_refund WHERE payment_id = NEW.payment_id)
                                  + (SELECT coalesce(sum(amount), 0) FROM invoicing_dispute
                                      WHERE payment_id = NEW.payment_id
                                        AND status IN ({listed_in_sql(HELD_BACK)}))
                                  > promised.received)
                    THEN
                        RAISE EXCEPTION 'credit note % did not promise a refund of % %, or its payment was not so much',
                            promised.number, NEW.amount, NEW.currency USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"refund of {self.note}"
