"""Credit notes: the only correction of an issued invoice, carved in stone as it is, and never over more than remains of it."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from moneyed import Money

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import (
    EXACT_DIGITS,
    EXACT_PLACES,
    append_only,
    fits_currency,
    money_field,
    sees_all_that_is_written,
)
from billing_site.kernel.money import round_money, total
from invoicing.approvals.models import Approval, ApprovedDeed, is_approved
from invoicing.core.invoice_life import STANDING_IN_SQL
from invoicing.credits.models import CreditGrant
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceSeries, TaxLine, is_of_the_year_sql, number_sql


class Disposition(models.TextChoices):
    """What becomes of what a credit note gives back beyond what is open of its invoice."""

    OFFSET = "offset", "Nothing: it only takes off what is open"
    BALANCE = "balance", "Credit that pays for later invoices"
    REFUND = "refund", "Paid back"


class CreditNote(models.Model):
    """An issued reduction of one issued invoice. It is written whole, with its lines and its number, and never changes.

    What is open of the invoice is taken off first (`offset_amount`): nobody is given money for a document that he has still to pay.
    """

    series = models.ForeignKey(InvoiceSeries, on_delete=models.PROTECT, related_name="credit_notes")
    number = models.CharField(max_length=40, unique=True)
    key = models.CharField(max_length=100, unique=True, help_text="The same key a second time is the same credit note.")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="credit_notes")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="credit_notes")
    disposition = models.CharField(max_length=10, choices=Disposition)
    currency = models.CharField(max_length=3)
    total = money_field()
    offset_amount = money_field(help_text="Taken off what was open of the invoice.")
    balance_amount = money_field(help_text="Given as credit, which later invoices draw.")
    refund_amount = money_field(help_text="To be paid back.")
    grant = models.OneToOneField(
        CreditGrant,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="credit_note",
        help_text="The credit that it gave.",
    )
    issued_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    approval = models.OneToOneField(
        Approval,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="credit_note",
        help_text="By which a second person approved it; empty where one is enough.",
    )
    asked_digest = models.CharField(max_length=64, help_text="SHA-256 of what was asked for under its key.")
    previous_seal = models.CharField(max_length=64, blank=True, help_text="The seal of the document before it.")
    seal = models.CharField(max_length=64, help_text="SHA-256 of the document, its lines and the previous seal.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["CreditNote"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    total__gt=0,
                    offset_amount__gte=0,
                    balance_amount__gte=0,
                    refund_amount__gte=0,
                    total=F("offset_amount") + F("balance_amount") + F("refund_amount"),
                ),
                name="credit_note_is_what_it_gives_back",
            ),
            models.CheckConstraint(
                condition=Q(disposition="offset", balance_amount=0, refund_amount=0)
                | Q(disposition="balance", refund_amount=0)
                | Q(disposition="refund", balance_amount=0),
                name="credit_note_gives_back_as_was_disposed",
            ),
            models.CheckConstraint(
                condition=Q(balance_amount=0, grant__isnull=True) | Q(balance_amount__gt=0, grant__isnull=False),
                name="credit_note_gives_credit_as_a_grant",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason="") & ~Q(key=""), name="credit_note_has_key_actor_and_reason"
            ),
            models.CheckConstraint(condition=~Q(seal="") & ~Q(number=""), name="credit_note_has_number_and_seal"),
            fits_currency(
                "total", "offset_amount", "balance_amount", "refund_amount", name="credit_note_fits_its_currency"
            ),
        ]
        indexes = [models.Index(fields=["issued_at"], name="credit_note_by_issue")]
        triggers = [
            *append_only(noun="credit notes"),
            is_approved(
                deed=ApprovedDeed.CREDIT_NOTE,
                amount="NEW.total",
                # What one person credits of an invoice bit by bit is one credit.
                alone="(SELECT coalesce(sum(total), 0) FROM invoicing_creditnote"
                " WHERE invoice_id = NEW.invoice_id AND approval_id IS NULL)",
                subject="'invoice ' || NEW.invoice_id",
                figures="approval.asked ->> 'asked_digest' = NEW.asked_digest AND (approval.asked ->> 'total')::numeric = NEW.total",
            ),
            Guard(
                name="takes_the_next_number",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func=f"""
                    PERFORM 1 FROM invoicing_invoiceseries WHERE id = NEW.series_id FOR NO KEY UPDATE;
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_invoiceseries series
                          JOIN invoicing_legalentity entity ON entity.key = series.legal_entity_id
                          JOIN invoicing_customer customer ON customer.legal_entity_id = entity.key
                         WHERE series.id = NEW.series_id AND customer.id = NEW.customer_id
                           AND series.prefix = entity.credit_note_prefix || right(series.prefix, 5)
                           AND {is_of_the_year_sql("series.prefix", "NEW.issued_at")}
                           AND NEW.previous_seal = series.last_seal
                           AND NEW.number = {number_sql("series.prefix", "series.next_number")}
                    ) THEN
                        RAISE EXCEPTION '% is not the next number of its seller', NEW.number
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="credits_what_remains",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("credited", "record"), ("noted", "record"), ("drawn", "numeric")],
                # What was given back may be more than was paid once a payment is taken back: then only what is open is taken off.
                # The invoice's row is locked: two that credit it at once see each other's notes. What prepaid credit paid is
                # given back as credit, so that it counts as received.
                func=f"""
                    {sees_all_that_is_written(deed="credit notes are written")}
                    SELECT * INTO credited FROM invoicing_invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
                    SELECT coalesce(sum(total), 0) AS total, coalesce(sum(refund_amount), 0) AS refund,
                           coalesce(sum(balance_amount + refund_amount), 0) AS returned, coalesce(sum(offset_amount), 0) AS taken
                      INTO noted FROM invoicing_creditnote WHERE invoice_id = NEW.invoice_id;
                    SELECT -coalesce(sum(line.amount), 0) INTO drawn FROM invoicing_invoiceline line
                      JOIN invoicing_creditgrant subject ON subject.id = line.credit_grant_id AND subject.kind = 'prepaid'
                     WHERE line.invoice_id = NEW.invoice_id;
                    IF credited.status NOT IN ({STANDING_IN_SQL})
                       OR (credited.customer_id, credited.currency) <> (NEW.customer_id, NEW.currency)
                       OR noted.total + NEW.total > credited.total + drawn
                       OR noted.taken + NEW.offset_amount > credited.total - credited.amount_paid
                       OR NEW.refund_amount > 0 AND noted.refund + NEW.refund_amount > credited.amount_paid
                       OR NEW.balance_amount + NEW.refund_amount > 0
                          AND noted.returned + NEW.balance_amount + NEW.refund_amount > credited.amount_paid + drawn
                    THEN
                        RAISE EXCEPTION 'credit note %: of invoice % over % no % % remain to be credited so', NEW.number,
                            credited.number, credited.total, NEW.total, NEW.currency
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="is_whole",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                declare=[("of_lines", "record"), ("refunded", "numeric")],
                func=f"""
                    SELECT coalesce(sum(amount + tax_added), 0) AS amount,
                           count(*) FILTER (WHERE currency <> NEW.currency) AS stray
                      INTO of_lines FROM invoicing_creditnoteline WHERE note_id = NEW.id;
                    SELECT coalesce(sum(amount), 0) INTO refunded FROM invoicing_refund WHERE note_id = NEW.id;
                    IF of_lines.amount <> NEW.total OR of_lines.stray > 0 OR refunded <> NEW.refund_amount
                       OR (SELECT amount_credited FROM invoicing_invoice WHERE id = NEW.invoice_id)
                          <> (SELECT sum(offset_amount) FROM invoicing_creditnote WHERE invoice_id = NEW.invoice_id)
                       OR NEW.grant_id IS NOT NULL AND NOT EXISTS (
                            SELECT 1 FROM invoicing_creditgrant WHERE id = NEW.grant_id AND kind = 'prepaid'
                               AND (customer_id, currency, amount) = (NEW.customer_id, NEW.currency, NEW.balance_amount))
                       OR EXISTS (SELECT 1 FROM invoicing_invoiceseries
                                   WHERE id = NEW.series_id AND NEW.number = {number_sql("prefix", "next_number")})
                    THEN
                        RAISE EXCEPTION 'credit note % over % is not what its lines, its invoice, its series and its refunds say',
                            NEW.number, NEW.total USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    @property
    def tax_amount(self) -> Money:
        """The tax that goes back with its lines; they should be at hand."""
        return total((round_money(line.tax_amount.amount, self.currency) for line in self.lines.all()), self.currency)

    def __str__(self) -> str:
        return self.number


class CreditNoteLine(models.Model):
    """What a credit note takes of one line of its invoice: a quantity of it, or an amount."""

    note = models.ForeignKey(CreditNote, on_delete=models.PROTECT, related_name="lines")
    line = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, related_name="credit_note_lines")
    quantity = models.DecimalField(
        max_digits=EXACT_DIGITS,
        decimal_places=EXACT_PLACES,
        null=True,
        blank=True,
        help_text="Of the line's; empty where an amount was credited.",
    )
    currency = models.CharField(max_length=3)
    amount = money_field()
    creditable = money_field(help_text="What the invoice asks for the line, after all that reduces it.")
    released = money_field(help_text="What of it was held in advance and is no longer.")
    tax_amount = money_field(db_default=models.Value(0), help_text="The tax that goes back with it.")
    tax_added = money_field(db_default=models.Value(0), help_text="What of that the amount does not contain.")

    objects = models.Manager["CreditNoteLine"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["note", "line"], name="credit_note_names_a_line_once"),
            models.CheckConstraint(
                condition=Q(amount__gt=0, amount__lte=F("creditable"), released__gte=0, released__lte=F("amount"))
                & (Q(quantity__isnull=True) | Q(quantity__gt=0)),
                name="credit_note_line_gives_something_back",
            ),
            models.CheckConstraint(
                condition=Q(tax_added__gte=0, tax_added__lte=F("tax_amount")), name="credit_note_line_gives_tax_back"
            ),
            fits_currency(
                "amount",
                "creditable",
                "released",
                "tax_amount",
                "tax_added",
                name="credit_note_line_fits_its_currency",
            ),
        ]
        triggers = [
            *append_only(noun="lines of credit notes"),
            Guard(
                name="credits_what_its_line_has_left",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("owed", "record"), ("noted", "record"), ("held", "numeric")],
                func=f"""
                    {sees_all_that_is_written(deed="credit notes are written")}
                    PERFORM 1 FROM invoicing_invoice invoice JOIN invoicing_creditnote note ON note.invoice_id = invoice.id
                      WHERE note.id = NEW.note_id FOR NO KEY UPDATE OF invoice;
                    SELECT line.* INTO owed FROM invoicing_invoiceline line
                      JOIN invoicing_creditnote note ON note.invoice_id = line.invoice_id
                     WHERE line.id = NEW.line_id AND note.id = NEW.note_id;
                    SELECT coalesce(sum(amount), 0) AS amount, coalesce(sum(quantity), 0) AS quantity,
                           coalesce(sum(tax_amount), 0) AS tax, coalesce(min(creditable), NEW.creditable) AS creditable
                      INTO noted FROM invoicing_creditnoteline WHERE line_id = NEW.line_id;
                    IF owed.id IS NULL OR owed.currency <> NEW.currency
                       OR owed.kind = 'top_up' OR owed.adjustment IN ('commitment_base', 'commitment_drawdown', 'commitment_expiry')
                       OR NEW.creditable > owed.amount OR NEW.creditable <> noted.creditable
                       OR noted.amount + NEW.amount > NEW.creditable
                       OR noted.tax + NEW.tax_amount > (SELECT coalesce(sum(amount), 0) FROM invoicing_taxline WHERE line_id = NEW.line_id)
                       OR NEW.quantity IS NOT NULL AND noted.quantity + NEW.quantity > owed.quantity
                       OR NEW.released > 0 AND owed.adjustment <> 'in_advance'
                    THEN
                        RAISE EXCEPTION 'line % has no % % left to credit', NEW.line_id, NEW.amount, NEW.currency
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF NEW.released > 0 THEN
                        PERFORM 1 FROM invoicing_subscription WHERE id = owed.subscription_id FOR NO KEY UPDATE;
                        SELECT coalesce(sum(line.amount), 0) - coalesce((
                                SELECT sum(credited.released) FROM invoicing_creditnoteline credited
                                  JOIN invoicing_invoiceline own ON own.id = credited.line_id
                                 WHERE own.subscription_id = owed.subscription_id), 0)
                          INTO held FROM invoicing_invoiceline line
                          JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id
                           AND invoice.status IN ({STANDING_IN_SQL})
                         WHERE line.subscription_id = owed.subscription_id
                           AND line.adjustment IN ('in_advance', 'invoiced_in_advance', 'advance_credit');
                        IF held < NEW.released THEN
                            RAISE EXCEPTION '% are held in advance of subscription %, not %', held, owed.subscription_id,
                                NEW.released USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="is_of_its_whole_note",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                func="""
                    IF (SELECT sum(amount + tax_added) FROM invoicing_creditnoteline WHERE note_id = NEW.note_id)
                       <> (SELECT total FROM invoicing_creditnote WHERE id = NEW.note_id)
                       OR NEW.tax_amount <> (SELECT coalesce(sum(amount), 0) FROM invoicing_creditnotetax
                                              WHERE note_line_id = NEW.id) THEN
                        RAISE EXCEPTION 'credit note % is issued: write another one', NEW.note_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.note}: {self.line}"


class CreditNoteTax(models.Model):
    """What of one tax of an invoice's line goes back with a line of a credit note: its rate and place are those of the tax."""

    note_line = models.ForeignKey(CreditNoteLine, on_delete=models.PROTECT, related_name="taxes")
    tax = models.ForeignKey(TaxLine, on_delete=models.PROTECT, related_name="credited")
    currency = models.CharField(max_length=3)
    taxable = money_field(help_text="What it is given back of, without tax.")
    amount = money_field()

    objects = models.Manager["CreditNoteTax"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["note_line", "tax"], name="credit_note_tax_is_one_of_its_line"),
            fits_currency("taxable", "amount", name="credit_note_tax_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="taxes of credit notes"),
            Guard(
                name="is_of_its_line",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                func="""
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_creditnoteline credited JOIN invoicing_taxline tax ON tax.line_id = credited.line_id
                         WHERE credited.id = NEW.note_line_id AND tax.id = NEW.tax_id AND credited.currency = NEW.currency
                           AND credited.tax_amount = (SELECT sum(amount) FROM invoicing_creditnotetax WHERE note_line_id = credited.id)
                    ) THEN
                        RAISE EXCEPTION 'credit note line % gives back no such tax', NEW.note_line_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tax.name} of {self.note_line}"
