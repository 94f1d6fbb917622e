"""The lines of invoices: charges as they were rated, adjustments of the bill, and corrections of lines that were issued before."""

import pgtrigger
from django.db import models

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import exact_field, fits_currency, frozen_with_parent, money_field
from invoicing.catalog.models import Price
from invoicing.core.contract import AdjustmentKind
from invoicing.credits.models import CreditGrant
from invoicing.invoices.models.changed import says_what_was_changed
from invoicing.invoices.models.charged_once import is_charged_once
from invoicing.invoices.models.consumer import stands_with_who_pays_for_it
from invoicing.invoices.models.invoice import ROOT, Invoice
from invoicing.invoices.models.paid_ahead import keeps_to_its_commitment
from invoicing.invoices.models.taking_off import takes_off_what_stands
from invoicing.subscriptions.commitment import CommitmentTranche
from invoicing.subscriptions.models import Subscription


class LineKind(models.TextChoices):
    """What a line is about."""

    CHARGE = "charge", "Charge"
    ADJUSTMENT = "adjustment", "Adjustment of the bill"
    CORRECTION = "correction", "Correction of an issued line"
    ONE_OFF = "one_off", "Stated once"
    TOP_UP = "top_up", "Prepaid credit that is sold"
    PROGRESSIVE = "progressive", "Used so far"


# What stands on invoices of no period, and there only.
STATED = [LineKind.ONE_OFF.value, LineKind.TOP_UP.value, LineKind.PROGRESSIVE.value]


class InvoiceLine(models.Model):
    """One rated charge, an adjustment, what is corrected about one, or what was stated once, with the inputs and the steps that make it provable.

    An adjustment has no price, no meter and the quantity 1. A correction has the service period, meter and price of the line that it corrects; its quantity is the signed
    difference, its evidence (windows, events, `known_through`) that of the usage as it is known now. What is stated once has no service: its time is the empty one of its invoice.
    Nor has what was used so far of a running period, whose usage is told with its charge.
    """

    # Its lines are found by their positions.
    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines", db_index=False)
    position = models.PositiveIntegerField()
    kind = models.CharField(
        max_length=20, choices=LineKind, default=LineKind.CHARGE, db_default=models.Value(LineKind.CHARGE.value)
    )
    # Of most lines this, and what follows of the kind, is empty: an index of those that have it is enough.
    correction = models.ForeignKey(
        "invoicing.UsageCorrection",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="lines",
        db_index=False,
    )
    subscription = models.ForeignKey(
        Subscription,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="invoice_lines",
        help_text="Empty where a line is about all of the customer's.",
    )
    price = models.ForeignKey(
        Price, null=True, blank=True, on_delete=models.PROTECT, related_name="invoice_lines", help_text="Of a charge."
    )
    adjustment = models.CharField(
        max_length=30,
        blank=True,
        default="",
        db_default=models.Value(""),
        choices=[(kind.value, kind.value.replace("_", " ").capitalize()) for kind in AdjustmentKind],
        help_text="What an adjustment, or a correction of one, is about.",
    )
    tranche = models.ForeignKey(
        CommitmentTranche,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="lines",
        db_index=False,
        help_text="What it pays, draws, trues up or ends.",
    )
    credit_grant = models.ForeignKey(
        CreditGrant,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="invoice_lines",
        db_index=False,
        help_text="What a credit is drawn on.",
    )
    progressive = models.ForeignKey(
        "invoicing.ProgressiveInvoice",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="taken_off",
        db_index=False,
        help_text="What was invoiced while the period ran, and is taken off here.",
    )
    description = models.CharField(max_length=300)
    meter_key = models.CharField(max_length=100, blank=True)
    unit = models.CharField(max_length=50, blank=True)
    quantity = exact_field()
    currency = models.CharField(max_length=3)
    amount = money_field()
    service_start = models.DateTimeField()
    service_end = models.DateTimeField()
    window_count = models.PositiveIntegerField(default=0)
    event_count = models.PositiveBigIntegerField(default=0)
    windows_digest = models.CharField(max_length=64, blank=True)
    known_through = models.BigIntegerField(
        default=0, help_text="Events up to this number were known when it was rated."
    )
    events_root = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default=models.Value(""),
        help_text="Merkle root of the events that it counts.",
    )
    rated = models.JSONField(help_text="Inputs and steps of the rating, canonical.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the whole line.")

    objects = models.Manager["InvoiceLine"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["invoice", "position"], name="invoice_line_position_is_unique"),
            models.UniqueConstraint(
                fields=["invoice", "subscription", "price", "service_start"],
                condition=models.Q(kind="charge"),
                name="invoice_line_charges_once",
            ),
            models.UniqueConstraint(
                fields=["invoice", "correction"],
                condition=models.Q(kind="correction"),
                name="invoice_line_corrects_once",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="charge", correction__isnull=True)
                | models.Q(kind__in=["adjustment", *STATED], correction__isnull=True)
                | models.Q(kind="correction", correction__isnull=False),
                name="invoice_line_is_a_charge_an_adjustment_or_a_correction",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="charge", price__isnull=False, adjustment="")
                | models.Q(kind="adjustment", price__isnull=True, meter_key="", quantity=1) & ~models.Q(adjustment="")
                | models.Q(kind="correction", price__isnull=False, adjustment="")
                | models.Q(kind="correction", price__isnull=True, meter_key="") & ~models.Q(adjustment="")
                | models.Q(kind__in=STATED, price__isnull=True, meter_key="", adjustment="", quantity__gt=0),
                name="invoice_line_has_a_price_or_an_adjustment",
            ),
            models.CheckConstraint(
                condition=models.Q(subscription__isnull=False) & ~models.Q(kind__in=STATED)
                | models.Q(adjustment__in=["discount", "credit", "invoiced_progressively", "edit"])
                | models.Q(subscription__isnull=True, kind__in=STATED),
                name="invoice_line_has_a_subscription_or_is_of_all",
            ),
            models.CheckConstraint(
                condition=models.Q(adjustment__in=["", *(kind.value for kind in AdjustmentKind)]),
                name="invoice_line_adjustment_is_known",
            ),
            models.CheckConstraint(
                condition=models.Q(adjustment__startswith="commitment_", tranche__isnull=False)
                | ~models.Q(adjustment__startswith="commitment_") & models.Q(tranche__isnull=True),
                name="invoice_line_of_a_commitment_names_its_tranche",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment__in=["commitment_base", "commitment_true_up"], kind="adjustment")
                | models.Q(amount__gte=0),
                name="invoice_line_commitment_adds",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment="commitment_drawdown", kind="adjustment") | models.Q(amount__lte=0),
                name="invoice_line_drawdown_reduces",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment="commitment_expiry") | models.Q(amount=0),
                name="invoice_line_expiry_moves_no_money",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment="minimum_spend", kind="adjustment") | models.Q(amount__gte=0),
                name="invoice_line_minimum_spend_adds",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment="maximum_spend", kind="adjustment") | models.Q(amount__lte=0),
                name="invoice_line_maximum_spend_reduces",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment="discount", kind="adjustment") | models.Q(amount__lte=0),
                name="invoice_line_discount_reduces",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment="in_advance", kind="adjustment") | models.Q(amount__gte=0),
                name="invoice_line_in_advance_adds",
            ),
            models.CheckConstraint(
                condition=~models.Q(adjustment__in=["invoiced_in_advance", "advance_credit"], kind="adjustment")
                | models.Q(amount__lte=0),
                name="invoice_line_settles_what_is_in_advance",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="adjustment")
                | ~models.Q(adjustment__in=["in_advance", "invoiced_in_advance", "advance_credit"]),
                name="invoice_line_in_advance_is_not_corrected",
            ),
            models.CheckConstraint(
                condition=models.Q(adjustment="credit", credit_grant__isnull=False, kind="adjustment", amount__lt=0)
                | ~models.Q(adjustment="credit") & models.Q(credit_grant__isnull=True),
                name="invoice_line_credit_pays_from_a_grant",
            ),
            models.UniqueConstraint(
                fields=["invoice", "credit_grant"],
                condition=models.Q(credit_grant__isnull=False),
                name="invoice_draws_once_on_a_grant",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    adjustment="invoiced_progressively", progressive__isnull=False, kind="adjustment", amount__lte=0
                )
                | ~models.Q(adjustment="invoiced_progressively") & models.Q(progressive__isnull=True),
                name="invoice_line_takes_a_progressive_invoice_off",
            ),
            models.UniqueConstraint(
                fields=["progressive", "invoice"],
                condition=models.Q(progressive__isnull=False),
                name="invoice_takes_a_progressive_invoice_off_once",
            ),
            models.CheckConstraint(
                condition=models.Q(service_end__gt=models.F("service_start")) & ~models.Q(kind__in=STATED)
                | models.Q(service_end=models.F("service_start"), kind__in=STATED),
                name="invoice_line_service_lasts",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind__in=["charge", *STATED]) | models.Q(amount__gte=0),
                name="invoice_line_charge_is_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(events_root="") | models.Q(events_root__regex=ROOT) & ~models.Q(meter_key=""),
                name="invoice_line_root_is_of_its_events",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="correction") | models.Q(quantity__gte=0),
                name="invoice_line_quantity_is_not_negative",
            ),
            fits_currency("amount", name="invoice_line_amount_fits_its_currency"),
        ]
        indexes = [
            models.Index(
                fields=["subscription"],
                condition=models.Q(adjustment__in=["in_advance", "invoiced_in_advance", "advance_credit"]),
                name="invoice_line_in_advance",
            ),
            *(
                models.Index(
                    fields=[name], condition=models.Q(**{f"{name}__isnull": False}), name=f"invoice_line_by_{name}"
                )
                for name in ("correction", "tranche", "credit_grant")
            ),
        ]
        triggers = [
            *frozen_with_parent(
                noun="lines of issued invoice",
                parent_column="invoice_id",
                # Found by its number alone: there is an index of states, too, in which all drafts stand.
                open_parent="SELECT 1 FROM invoicing_invoice invoice"
                " WHERE invoice.id = {row}.invoice_id AND invoice.status IS NOT DISTINCT FROM 'draft' FOR SHARE",
            ),
            Guard(
                name="is_stated_on_a_one_off_invoice",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                # The other way around is asked when the invoice is issued: lines of periods are many.
                func="""
                    IF NEW.kind NOT IN ('one_off', 'top_up', 'progressive') THEN RETURN NEW; END IF;
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice WHERE id = NEW.invoice_id
                           AND kind = CASE NEW.kind WHEN 'progressive' THEN 'progressive' ELSE 'one_off' END
                    ) THEN
                        RAISE EXCEPTION 'line % is stated once, and invoice % bills a period', NEW.position,
                            NEW.invoice_id USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            takes_off_what_stands(),
            *stands_with_who_pays_for_it(),
            Guard(
                name="names_its_customers_grant",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func="""
                    IF NEW.credit_grant_id IS NULL THEN RETURN NEW; END IF;
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_creditgrant subject
                          JOIN invoicing_invoice invoice ON invoice.id = NEW.invoice_id
                         WHERE subject.id = NEW.credit_grant_id AND subject.customer_id = invoice.customer_id
                           AND subject.currency = NEW.currency
                    ) THEN
                        RAISE EXCEPTION 'line % of invoice % draws on the credit of somebody else', NEW.position,
                            NEW.invoice_id USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            *is_charged_once(),
            *says_what_was_changed(),
            Guard(
                name="settles_at_most_what_is_held",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                timing=pgtrigger.Deferred,
                declare=[("held", "numeric")],
                # The subscription is locked, so that two invoices never settle the same money. Drafts of later periods
                # do not count: they are made again after this one, which must not wait for that.
                func="""
                    IF NEW.adjustment NOT IN ('invoiced_in_advance', 'advance_credit') OR NEW.amount = 0 THEN
                        RETURN NULL;
                    END IF;
                    IF NOT EXISTS (SELECT 1 FROM invoicing_invoiceline WHERE id = NEW.id AND amount = NEW.amount) THEN
                        RETURN NULL;
                    END IF;
                    PERFORM 1 FROM invoicing_subscription WHERE id = NEW.subscription_id FOR NO KEY UPDATE;
                    SELECT coalesce(sum(line.amount), 0) INTO held FROM invoicing_invoiceline line
                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
                      JOIN invoicing_invoice own ON own.id = NEW.invoice_id
                     WHERE line.subscription_id = NEW.subscription_id
                       AND line.adjustment IN ('in_advance', 'invoiced_in_advance', 'advance_credit')
                       AND (invoice.status <> 'draft'
                            OR (invoice.period_end, invoice.period_start) <= (own.period_end, own.period_start));
                    -- What a credit note gave back of it is held no longer.
                    SELECT held - coalesce(sum(credited.released), 0) INTO held FROM invoicing_creditnoteline credited
                      JOIN invoicing_invoiceline own ON own.id = credited.line_id
                     WHERE own.subscription_id = NEW.subscription_id;
                    IF held < 0 THEN
                        RAISE EXCEPTION '% are held in advance of subscription %, not %', held - NEW.amount,
                            NEW.subscription_id, -NEW.amount USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
            keeps_to_its_commitment(),
            Guard(
                name="carries_its_correction",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                declare=[("decided", "record"), ("taken", "numeric")],
                # The correction's row is locked, so that two drafts never take the same part of it.
                func="""
                    IF NEW.kind <> 'correction' THEN RETURN NEW; END IF;
                    SELECT correction.*, original.subscription_id, original.price_id, original.meter_key,
                           original.adjustment, original.service_start, original.service_end INTO decided
                      FROM invoicing_usagecorrection correction
                      JOIN invoicing_invoiceline original ON original.id = correction.original_id
                     WHERE correction.id = NEW.correction_id FOR NO KEY UPDATE OF correction;
                    IF NOT FOUND OR decided.decision <> 'next_invoice' OR decided.currency <> NEW.currency
                       OR (decided.subscription_id, decided.price_id, decided.meter_key, decided.adjustment,
                           decided.service_start, decided.service_end, decided.known_through)
                          IS DISTINCT FROM (NEW.subscription_id, NEW.price_id, NEW.meter_key, NEW.adjustment,
                           NEW.service_start, NEW.service_end, NEW.known_through)
                       OR NOT EXISTS (SELECT 1 FROM invoicing_invoice invoice
                                       WHERE invoice.id = NEW.invoice_id AND invoice.customer_id = decided.customer_id)
                    THEN
                        RAISE EXCEPTION 'line % of invoice % does not carry what correction % decided', NEW.position,
                            NEW.invoice_id, NEW.correction_id USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    SELECT coalesce(sum(line.amount), 0) INTO taken FROM invoicing_invoiceline line
                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
                     WHERE line.correction_id = NEW.correction_id AND line.id IS DISTINCT FROM NEW.id;
                    IF decided.effect > 0 AND (taken, NEW.amount) <> (0, decided.effect)
                       OR decided.effect <= 0 AND (NEW.amount >= 0 OR taken + NEW.amount < decided.effect)
                       OR NEW.quantity <> (CASE WHEN taken = 0 THEN decided.quantity_after - decided.quantity_before
                                                ELSE 0 END)
                    THEN
                        RAISE EXCEPTION 'correction % is over % %, of which % are on invoices already: not %',
                            NEW.correction_id, decided.effect, decided.currency, taken, NEW.amount
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.description
