"""Write-offs and recoveries: what was given up of an issued invoice and why, and what undid a part of that or all."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field
from invoicing.approvals.models import Approval, ApprovedDeed, is_approved
from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.models import Invoice, written_off_sql
from invoicing.payments.models import Payment


def is_taken_off(*, invoice: str) -> Guard:
    """Return a deferred trigger by which the invoice with this id says what write-offs and recoveries come to."""
    return Guard(
        name="is_what_its_invoice_says",
        when=pgtrigger.After,
        operation=pgtrigger.Insert,
        timing=pgtrigger.Deferred,
        declare=[("owner", "bigint"), ("given_up", "numeric")],
        func=f"""
            owner := ({invoice});
            given_up := {written_off_sql("owner")};
            IF NOT EXISTS (SELECT 1 FROM invoicing_invoice WHERE id = owner AND amount_written_off = given_up) THEN
                RAISE EXCEPTION 'invoice % does not say that % of it are given up', owner, given_up
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        """,
    )


class WriteOff(models.Model):
    """All that was open of an issued invoice, given up: it is owed by law, and no longer expected. `reference` names its journal entry."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="write_offs")
    number = models.PositiveIntegerField(help_text="Counts the write-offs of an invoice.")
    reference = models.CharField(max_length=100, unique=True, help_text="INV-2026-00042/1")
    currency = models.CharField(max_length=3)
    amount = money_field()
    written_off_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    approval = models.OneToOneField(
        Approval,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="write_off",
        help_text="By which a second person approved it; empty where one is enough.",
    )

    objects = models.Manager["WriteOff"]()

    class Meta:
        verbose_name = "write-off"
        constraints = [
            models.UniqueConstraint(fields=["invoice", "number"], name="write_offs_of_an_invoice_are_numbered"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="write_off_gives_something_up"),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="write_off_is_made_by_somebody_with_reason"
            ),
            fits_currency("amount", name="write_off_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["written_off_at"], name="write_off_by_time")]
        triggers = [
            *append_only(noun="write-offs"),
            is_approved(
                deed=ApprovedDeed.WRITE_OFF,
                amount="NEW.amount",
                alone="0",
                subject="'invoice ' || NEW.invoice_id",
                figures="(approval.asked ->> 'amount')::numeric = NEW.amount",
            ),
            Guard(
                name="gives_up_what_is_open",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("owed", "invoicing_invoice%ROWTYPE")],
                # Under the lock of the invoice's row: a payment at the same moment is seen, or sees this.
                func="""
                    SELECT * INTO owed FROM invoicing_invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
                    IF owed.status <> 'issued' OR NEW.currency <> owed.currency OR NEW.written_off_at < owed.issued_at
                       OR NEW.amount <> owed.total - owed.amount_paid - owed.amount_credited
                       OR NEW.number <> (SELECT count(*) + 1 FROM invoicing_writeoff WHERE invoice_id = NEW.invoice_id)
                       OR NEW.reference <> owed.number || '/' || NEW.number
                       OR EXISTS (SELECT 1 FROM invoicing_topup WHERE invoice_id = NEW.invoice_id AND status = 'open')
                    THEN
                        RAISE EXCEPTION '% % are not what is open of invoice %', NEW.amount, NEW.currency, NEW.invoice_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            is_taken_off(invoice="NEW.invoice_id"),
        ]

    def __str__(self) -> str:
        return self.reference


class RecoveryCause(models.TextChoices):
    """What undoes a write-off: money that came after all, a credit note, or that somebody takes it back."""

    PAYMENT = "payment", "Paid after all"
    CREDIT_NOTE = "credit_note", "Credited"
    REVERSAL = "reversal", "Taken back"


class Recovery(models.Model):
    """What of a write-off is given up no longer: as much as was paid or credited after it, or, where it is taken back, all that is left."""

    write_off = models.ForeignKey(WriteOff, on_delete=models.PROTECT, related_name="recoveries")
    number = models.PositiveIntegerField(help_text="Counts the recoveries of a write-off.")
    reference = models.CharField(max_length=110, unique=True, help_text="INV-2026-00042/1/1")
    cause = models.CharField(max_length=20, choices=RecoveryCause)
    payment = models.OneToOneField(
        Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="recovery", help_text="That paid it."
    )
    credit_note = models.OneToOneField(
        CreditNote, null=True, blank=True, on_delete=models.PROTECT, related_name="recovery"
    )
    currency = models.CharField(max_length=3)
    amount = money_field()
    recovered_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["Recovery"]()

    class Meta:
        verbose_name_plural = "recoveries"
        constraints = [
            models.UniqueConstraint(fields=["write_off", "number"], name="recoveries_of_a_write_off_are_numbered"),
            models.CheckConstraint(
                condition=Q(cause="payment", payment__isnull=False, credit_note__isnull=True)
                | Q(cause="credit_note", payment__isnull=True, credit_note__isnull=False)
                | Q(cause="reversal", payment__isnull=True, credit_note__isnull=True),
                name="recovery_has_its_cause",
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="recovery_is_of_something"),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="recovery_is_made_by_somebody_with_reason"
            ),
            fits_currency("amount", name="recovery_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="recoveries"),
            Guard(
                name="recovers_what_was_given_up",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[
                    ("given_up", "invoicing_writeoff%ROWTYPE"),
                    ("owed", "invoicing_invoice%ROWTYPE"),
                    ("before", "record"),
                ],
                func="""
                    SELECT * INTO given_up FROM invoicing_writeoff WHERE id = NEW.write_off_id;
                    SELECT * INTO owed FROM invoicing_invoice WHERE id = given_up.invoice_id FOR NO KEY UPDATE;
                    SELECT coalesce(sum(amount), 0) AS amount, count(*) AS number
                      INTO before FROM invoicing_recovery WHERE write_off_id = NEW.write_off_id;
                    IF given_up.id IS NULL OR owed.status <> 'written_off' OR NEW.currency <> given_up.currency
                       OR NEW.recovered_at < given_up.written_off_at OR NEW.number <> before.number + 1
                       OR NEW.reference <> given_up.reference || '/' || NEW.number
                       OR NEW.amount > given_up.amount - before.amount
                       OR NEW.cause = 'reversal' AND NEW.amount <> given_up.amount - before.amount
                       OR NEW.cause = 'payment' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_payment
                             WHERE id = NEW.payment_id AND invoice_id = owed.id AND amount = NEW.amount)
                       OR NEW.cause = 'credit_note' AND NOT EXISTS (
                            SELECT 1 FROM invoicing_creditnote
                             WHERE id = NEW.credit_note_id AND invoice_id = owed.id AND offset_amount = NEW.amount)
                    THEN
                        RAISE EXCEPTION '% % cannot be recovered so of write-off %', NEW.amount, NEW.currency, NEW.write_off_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            is_taken_off(invoice="SELECT invoice_id FROM invoicing_writeoff WHERE id = NEW.write_off_id"),
        ]

    def __str__(self) -> str:
        return self.reference
