"""Disputed card payments: what Stripe says of each, the money that left and came back for it, and what somebody decided about it."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, carved, fits_currency, money_field, never_deleted, stays
from invoicing.core.dispute_life import (
    CLAIMS,
    CLOSED,
    FREEZES,
    OPEN,
    RETURNED_DEBITS,
    DisputeStatus,
    dispute_moves_in_sql,
    dispute_words,
    listed_in_sql,
)
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment

STATUS_CHOICES = [(status.value, dispute_words(status).capitalize()) for status in DisputeStatus]


class MovementKind(models.TextChoices):
    """What a dispute does to money: Stripe's fee is an amount of its own, and may be in another currency."""

    WITHDRAWN = "withdrawn", "Withdrawn"
    RETURNED = "returned", "Given back"
    LOST = "lost", "Lost"
    FEE = "fee", "Fee of the dispute"
    FEE_RETURNED = "fee_returned", "Fee given back"


# Which movements add to what is held for a dispute, and which take of it; fees do neither.
HOLDS = (MovementKind.WITHDRAWN,)
RELEASES = (MovementKind.RETURNED, MovementKind.LOST)
_MOVED = " ".join(
    [f"WHEN '{kind.value}' THEN amount" for kind in HOLDS] + [f"WHEN '{kind.value}' THEN -amount" for kind in RELEASES]
)


def held_sql(dispute: str) -> str:
    """Return what was withdrawn for a dispute and is neither given back nor lost, as an SQL expression."""
    return f"""(SELECT coalesce(sum(CASE kind {_MOVED} ELSE 0 END), 0)
                  FROM invoicing_disputemovement WHERE dispute_id = {dispute})"""


def loses_what_is_held(*, name: str, dispute: str, operation: pgtrigger.Operation | pgtrigger.Operations) -> Guard:
    """Return a deferred trigger by which nothing is held any more for a dispute that is lost."""
    return Guard(
        name=name,
        when=pgtrigger.After,
        operation=operation,
        timing=pgtrigger.Deferred,
        declare=[("held", "numeric")],
        func=f"""
            held := {held_sql(dispute)};
            IF held <> 0 AND EXISTS (SELECT 1 FROM invoicing_dispute WHERE id = {dispute} AND status = 'lost') THEN
                RAISE EXCEPTION 'dispute % is lost, and % of it are no loss', {dispute}, held
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        """,
    )


class Dispute(models.Model):
    """A payment by card that its bank questions, as Stripe holds it: whose it is and over how much stays, its status moves by the table."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    stripe_id = models.CharField(max_length=100, unique=True)
    charge = models.CharField(max_length=100, help_text="The charge at Stripe that is disputed.")
    status = models.CharField(max_length=30, choices=STATUS_CHOICES)
    reason = models.CharField(max_length=100, help_text="Stripe's word for what the cardholder says.")
    network_reason_code = models.CharField(max_length=50, blank=True, help_text="The code of the card's network.")
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="What is disputed of the payment.")
    evidence_due_at = models.DateTimeField(null=True, blank=True, help_text="Until when Stripe takes evidence.")
    has_evidence = models.BooleanField(default=False, help_text="Evidence was prepared or sent at Stripe.")
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True, help_text="When its end was heard of.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["Dispute"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="dispute_is_over_something"),
            models.CheckConstraint(
                condition=Q(status__in=[one.value for one in DisputeStatus]), name="dispute_status_is_known"
            ),
            models.CheckConstraint(
                # A comparison with nothing is neither true nor false, and passes.
                condition=Q(
                    status__in=[one.value for one in CLOSED], closed_at__isnull=False, closed_at__gte=F("opened_at")
                )
                | Q(status__in=[one.value for one in OPEN], closed_at__isnull=True),
                name="dispute_is_closed_at_a_moment",
            ),
            fits_currency("amount", name="dispute_fits_its_currency"),
        ]
        indexes = [
            models.Index(
                fields=["payment"],
                condition=Q(status__in=[one.value for one in OPEN]),
                name="dispute_open",
            ),
            models.Index(fields=["opened_at"], name="dispute_by_time"),
        ]
        triggers = [
            *carved(noun="closed dispute", while_open=f"OLD.status IN ({listed_in_sql(OPEN)})", free_columns=[]),
            stays(noun="dispute", columns=["payment_id", "stripe_id", "charge", "currency", "amount", "opened_at"]),
            never_deleted(noun="disputes"),
            Guard(
                name="follows_its_table",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func=f"""
                    IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN ({dispute_moves_in_sql()}) THEN
                        RAISE EXCEPTION 'dispute % cannot go from % to %', OLD.stripe_id, OLD.status, NEW.status
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="disputes_what_was_paid",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("paid", "invoicing_payment%ROWTYPE"), ("claimed", "numeric")],
                # Under the lock of the invoice's row, as payments, refunds and credit notes of it are.
                func=f"""
                    SELECT * INTO paid FROM invoicing_payment WHERE id = NEW.payment_id;
                    PERFORM 1 FROM invoicing_invoice WHERE id = paid.invoice_id FOR NO KEY UPDATE;
                    SELECT coalesce(sum(amount), 0) INTO claimed FROM invoicing_dispute
                     WHERE payment_id = NEW.payment_id AND status IN ({listed_in_sql(CLAIMS)});
                    IF paid.id IS NULL OR paid.channel <> 'stripe' OR paid.currency <> NEW.currency
                       OR NEW.amount > paid.amount
                       OR NEW.status IN ({listed_in_sql(CLAIMS)}) AND claimed + NEW.amount > paid.amount
                    THEN
                        RAISE EXCEPTION 'dispute %: of payment % no % % can be disputed, % are', NEW.stripe_id,
                            paid.reference, NEW.amount, NEW.currency, claimed
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            loses_what_is_held(
                name="loses_what_is_held", dispute="NEW.id", operation=pgtrigger.Insert | pgtrigger.Update
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_id

    @property
    def invoice(self) -> Invoice:
        """The invoice whose payment is disputed."""
        return self.payment.invoice

    @property
    def words(self) -> str:
        """Where it stands, as people read it."""
        return dispute_words(self.status)

    @property
    def reason_words(self) -> str:
        """What the cardholder says, in Stripe's word, with the code of the card's network."""
        code = f" ({self.network_reason_code})" if self.network_reason_code else ""
        return f"{self.reason.replace('_', ' ')}{code}"

    @property
    def is_returned_debit(self) -> bool:
        """Say whether it is a direct debit that the bank has returned as a whole: what it paid is owed again."""
        is_lost = self.status == DisputeStatus.LOST and self.reason in RETURNED_DEBITS
        return is_lost and self.amount == self.payment.amount

    @property
    def is_open(self) -> bool:
        """Say whether it is not decided yet."""
        return self.status in OPEN


class DisputeMovement(models.Model):
    """What a dispute did to money, once: each is one journal entry under its reference, Stripe's balance transaction where it has one."""

    dispute = models.ForeignKey(Dispute, on_delete=models.PROTECT, related_name="movements")
    kind = models.CharField(max_length=20, choices=MovementKind)
    reference = models.CharField(max_length=120, unique=True, help_text="txn_..., txn_.../fee, dp_.../lost/1")
    currency = models.CharField(max_length=3)
    amount = money_field()
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["DisputeMovement"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="dispute_movement_is_of_something"),
            models.CheckConstraint(condition=Q(kind__in=MovementKind.values), name="dispute_movement_kind_is_known"),
            fits_currency("amount", name="dispute_movement_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="movements of disputes"),
            Guard(
                name="moves_what_is_disputed",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("disputed", "invoicing_dispute%ROWTYPE"), ("held", "numeric")],
                func=f"""
                    SELECT * INTO disputed FROM invoicing_dispute WHERE id = NEW.dispute_id FOR NO KEY UPDATE;
                    held := {held_sql("NEW.dispute_id")} + CASE WHEN NEW.kind = 'withdrawn' THEN NEW.amount
                                WHEN NEW.kind IN ('returned', 'lost') THEN -NEW.amount ELSE 0 END;
                    IF NEW.kind IN ('withdrawn', 'returned', 'lost')
                       AND (NEW.currency <> disputed.currency OR held < 0 OR held > disputed.amount)
                       OR NEW.kind = 'lost' AND (disputed.status <> 'lost' OR held <> 0)
                    THEN
                        RAISE EXCEPTION 'dispute %: % % cannot be %, % would be held', disputed.stripe_id, NEW.amount,
                            NEW.currency, NEW.kind, held USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            loses_what_is_held(name="leaves_nothing_held", dispute="NEW.dispute_id", operation=pgtrigger.Insert),
        ]

    def __str__(self) -> str:
        return self.reference


class DecisionKind(models.TextChoices):
    """What somebody may decide about an open chargeback."""

    ACCEPT = "accept", "Accept the loss"
    UNFREEZE = "unfreeze", "Serve and charge the customer again"


class DisputeDecision(models.Model):
    """What somebody decided about an open chargeback, with the reason; an accepted loss is told to Stripe from here."""

    dispute = models.ForeignKey(Dispute, on_delete=models.PROTECT, related_name="decisions")
    kind = models.CharField(max_length=10, choices=DecisionKind)
    decided_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["DisputeDecision"]()

    class Meta:
        verbose_name = "decision about a dispute"
        verbose_name_plural = "decisions about disputes"
        constraints = [
            models.UniqueConstraint(fields=["dispute", "kind"], name="dispute_is_decided_about_once"),
            models.CheckConstraint(condition=Q(kind__in=DecisionKind.values), name="dispute_decision_is_known"),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="dispute_is_decided_about_by_somebody_with_reason"
            ),
        ]
        triggers = [
            *append_only(noun="decisions about disputes"),
            Guard(
                name="is_about_an_open_chargeback",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("disputed", "invoicing_dispute%ROWTYPE")],
                func=f"""
                    SELECT * INTO disputed FROM invoicing_dispute WHERE id = NEW.dispute_id FOR NO KEY UPDATE;
                    IF disputed.id IS NULL OR disputed.status NOT IN ({listed_in_sql(FREEZES)})
                       OR NEW.kind = 'accept' AND disputed.status <> 'needs_response'
                    THEN
                        RAISE EXCEPTION 'dispute % is %: nothing is decided about it any more', disputed.stripe_id,
                            disputed.status USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dispute_id} {self.kind}"
