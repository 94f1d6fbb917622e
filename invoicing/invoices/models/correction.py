"""Corrections of issued lines: what became known about their usage later, and what was decided about the money."""

import pgtrigger
from django.db import models

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, exact_field, fits_currency, money_field
from invoicing.core.invoice_life import STANDING_IN_SQL
from invoicing.customers.models import Customer
from invoicing.invoices.models.invoice import ROOT
from invoicing.invoices.models.line import InvoiceLine


class CorrectionDecision(models.TextChoices):
    """What becomes of a correction's money."""

    NEXT_INVOICE = "next_invoice", "On the next invoice"
    ABSORBED = "absorbed", "Absorbed"


class CorrectionRule(models.TextChoices):
    """Why it was decided so; the label is what people read."""

    PEOPLE = "people", "decided at the late-event desk"
    NEXT_INVOICE = "next_invoice", "the customer's late usage goes to the next invoice"
    ABSORB = "absorb", "the customer's late usage is absorbed"
    IMMATERIAL = "immaterial", "below the customer's materiality"
    NO_EFFECT = "no_effect", "it changes no amount"


class UsageCorrection(models.Model):
    """One link of a line's chain: its usage as known through one number, then as known through a later one.

    Where the line's invoice has adjustments, what the change makes of them are links of their own chains, whose `cause` it is;
    their `known_from` and `known_through` count these links, because an adjustment knows no events of its own.

    The first link starts at the line itself, each other where the one before ended. A row never changes; what of
    it is on an invoice is said by the lines that name it (`lines`, those of void invoices do not count).
    """

    original = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, related_name="corrections")
    cause = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="consequences",
        help_text="Of an adjustment: the correction of a charge that changed it.",
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="usage_corrections")
    known_from = models.BigIntegerField(help_text="Events up to this number were known before.")
    known_through = models.BigIntegerField(help_text="Events up to this number are known now.")
    quantity_before = exact_field()
    quantity_after = exact_field()
    window_count = models.PositiveIntegerField()
    event_count = models.PositiveBigIntegerField()
    windows_digest = models.CharField(max_length=64)
    events_root = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default=models.Value(""),
        help_text="Merkle root of the events that are known now.",
    )
    currency = models.CharField(max_length=3)
    amount_before = money_field()
    amount_after = money_field()
    effect = money_field()
    decision = models.CharField(max_length=20, choices=CorrectionDecision)
    rule = models.CharField(max_length=20, choices=CorrectionRule)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    decided_at = models.DateTimeField()
    rated = models.JSONField(help_text="The line rated with the usage as it is known now: inputs and steps, canonical.")
    previous_digest = models.CharField(max_length=64, help_text="The digest of the link before it, or of the line.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the whole correction.")

    objects = models.Manager["UsageCorrection"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["original", "known_from"], name="usage_correction_follows_one_link"),
            models.CheckConstraint(
                condition=models.Q(known_through__gt=models.F("known_from")), name="usage_correction_knows_more"
            ),
            models.CheckConstraint(
                condition=models.Q(quantity_before__gte=0, quantity_after__gte=0)
                & (models.Q(cause__isnull=False) | models.Q(amount_before__gte=0, amount_after__gte=0)),
                name="usage_correction_figures_are_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(effect=models.F("amount_after") - models.F("amount_before")),
                name="usage_correction_effect_is_the_difference",
            ),
            models.CheckConstraint(
                condition=models.Q(decision__in=CorrectionDecision.values, rule__in=CorrectionRule.values),
                name="usage_correction_decision_is_known",
            ),
            models.CheckConstraint(
                # What an adjustment comes off may change without its amount: decided with its cause, it goes nowhere by itself.
                condition=models.Q(decision="absorbed") | ~models.Q(effect=0) | models.Q(cause__isnull=False),
                name="usage_correction_goes_to_an_invoice_with_money_only",
            ),
            models.CheckConstraint(
                condition=~models.Q(actor="") & ~models.Q(reason=""), name="usage_correction_has_actor_and_reason"
            ),
            models.CheckConstraint(
                condition=models.Q(events_root="") | models.Q(events_root__regex=ROOT, cause__isnull=True),
                name="usage_correction_root_is_of_its_events",
            ),
            fits_currency("amount_before", "amount_after", "effect", name="usage_correction_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["customer", "decision"], name="usage_correction_by_customer")]
        triggers = [
            *append_only(noun="usage corrections"),
            Guard(
                name="continues_the_chain",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("line", "record"), ("last", "record"), ("caused", "boolean")],
                func=f"""
                    SELECT l.*, i.customer_id, i.status INTO line FROM invoicing_invoiceline l
                      JOIN invoicing_invoice i ON i.id = l.invoice_id WHERE l.id = NEW.original_id;
                    caused := EXISTS (
                        SELECT 1 FROM invoicing_usagecorrection cause
                          JOIN invoicing_invoiceline charge ON charge.id = cause.original_id
                         WHERE cause.id = NEW.cause_id AND cause.cause_id IS NULL
                           AND (charge.invoice_id = line.invoice_id OR line.adjustment = 'commitment_true_up'
                                AND charge.subscription_id = line.subscription_id)
                           AND (cause.decision, cause.rule) = (NEW.decision, NEW.rule)
                    );
                    IF line.id IS NULL OR NEW.cause_id IS NULL AND (line.kind <> 'charge' OR line.meter_key = '')
                       OR NEW.cause_id IS NOT NULL AND (line.kind <> 'adjustment' OR NOT caused)
                       OR line.status NOT IN ({STANDING_IN_SQL})
                       OR (line.customer_id, line.currency) <> (NEW.customer_id, NEW.currency) THEN
                        RAISE EXCEPTION 'line % is no issued charge for usage, or adjustment that one changed, of customer % in %', NEW.original_id,
                            NEW.customer_id, NEW.currency USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    SELECT known_through, quantity_after AS quantity, amount_after AS amount, digest INTO last
                      FROM invoicing_usagecorrection WHERE original_id = NEW.original_id
                     ORDER BY known_through DESC LIMIT 1;
                    IF NOT FOUND THEN
                        SELECT line.known_through, line.quantity, line.amount, line.digest INTO last;
                    END IF;
                    IF (NEW.known_from, NEW.quantity_before, NEW.amount_before, NEW.previous_digest)
                       <> (last.known_through, last.quantity, last.amount, last.digest) THEN
                        RAISE EXCEPTION 'the correction of line % does not start where the one before ended',
                            NEW.original_id USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"correction {self.pk} of line {self.original_id}"
