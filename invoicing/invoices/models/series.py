"""Series of numbers: gapless, each document with the seal of the one before it, whoever writes them."""

import pgtrigger
from django.db import models

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import never_truncated
from invoicing.entities.models import of_entity


def number_sql(prefix: str, ordinal: str) -> str:
    """Return the invoice number as an SQL expression; `numbering.number_of` writes the same."""
    return f"{prefix} || '-' || lpad(({ordinal})::text, greatest(5, length(({ordinal})::text)), '0')"


def ordinal_sql(number: str, prefix: str) -> str:
    """Return the place of a number in its series as an SQL expression; NULL for what is none of its numbers, in the one way to write them."""
    digits = f"substring({number} FROM length({prefix}) + 2)"
    return (
        f"(SELECT ordinal FROM (SELECT CASE WHEN {digits} ~ '^[0-9]{{5,9}}$' THEN {digits}::integer END AS ordinal) AS read"
        f" WHERE {number} = {number_sql(prefix, 'ordinal')})"
    )


def is_of_the_year_sql(prefix: str, moment: str) -> str:
    """Return as an SQL condition that a series is of the year of a moment, somewhere on earth: the program knows the customer's zone."""
    years = ", ".join(
        f"to_char(({moment} {sign} interval '14 hours') AT TIME ZONE 'UTC', '-YYYY')" for sign in ("-", "+")
    )
    return f"right({prefix}, 5) IN ({years})"


# The invoices that a statement has issued, in a guard that refers to the rows as they `were` and as they `became`. Who was none of the drafts
# is mostly nobody: an array is asked once, where a join may be planned for one row and then meet thousands.
ISSUED = """
    SELECT became.* FROM became WHERE became.status <> 'draft'
       AND became.id <> ALL(ARRAY(SELECT were.id FROM were WHERE were.status <> 'draft'))
"""


class InvoiceSeries(models.Model):
    """A gapless sequence of numbers of a legal entity and a year, of invoices or of credit notes; its row is locked while a number is taken."""

    legal_entity = of_entity(related_name="series")
    prefix = models.CharField(max_length=30, unique=True, help_text="INV-2026")
    next_number = models.PositiveIntegerField(default=1)
    last_seal = models.CharField(max_length=64, blank=True, help_text="The seal of the newest document of the series.")

    objects = models.Manager["InvoiceSeries"]()

    class Meta:
        verbose_name_plural = "invoice series"
        triggers = [
            Guard(
                name="counts_upwards",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                # Whoever issues shares the lock on the entity's row: nobody gives it another name or prefix meanwhile.
                func="""
                    IF TG_OP = 'INSERT' THEN
                        IF NEW.next_number <> 1 OR NEW.last_seal <> '' THEN
                            RAISE EXCEPTION 'invoice series % begins with 1', NEW.prefix
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                        PERFORM 1 FROM invoicing_legalentity WHERE key = NEW.legal_entity_id AND NEW.prefix ~ '-[0-9]{4}$'
                            AND left(NEW.prefix, -5) IN (invoice_prefix, credit_note_prefix) FOR SHARE;
                        IF NOT FOUND THEN
                            RAISE EXCEPTION 'legal entity % numbers nothing as %', NEW.legal_entity_id, NEW.prefix
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                        RETURN NEW;
                    END IF;
                    IF TG_OP = 'DELETE' OR NEW.id <> OLD.id OR NEW.prefix <> OLD.prefix
                       OR NEW.legal_entity_id <> OLD.legal_entity_id
                       OR (NEW.next_number, NEW.last_seal) <> (OLD.next_number, OLD.last_seal)
                          AND (NEW.next_number <= OLD.next_number OR NEW.last_seal = OLD.last_seal) THEN
                        RAISE EXCEPTION 'invoice series % counts upwards and stays', OLD.prefix
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="counts_its_documents",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                timing=pgtrigger.Deferred,
                # As many as it counts are there, each with the seal of the one before it. They are found by their numbers alone: a plan that
                # looks through the whole series for each would take longer with each that is issued.
                func=f"""
                    IF EXISTS (
                        SELECT 1 FROM (
                            SELECT ordinal, document.seal, document.previous_seal,
                                   lag(document.seal, 1, OLD.last_seal) OVER (ORDER BY ordinal) AS seal_before
                              FROM generate_series(OLD.next_number, NEW.next_number - 1) AS ordinal
                              LEFT JOIN LATERAL (
                                SELECT seal, previous_seal FROM invoicing_invoice
                                 WHERE number = {number_sql("NEW.prefix", "ordinal")} AND series_id IS NOT DISTINCT FROM NEW.id
                                UNION ALL
                                SELECT seal, previous_seal FROM invoicing_creditnote
                                 WHERE number = {number_sql("NEW.prefix", "ordinal")} AND series_id IS NOT DISTINCT FROM NEW.id
                              ) AS document ON TRUE
                        ) AS counted
                        WHERE seal IS NULL OR previous_seal IS DISTINCT FROM seal_before
                           OR ordinal = NEW.next_number - 1 AND seal <> NEW.last_seal
                    ) THEN
                        RAISE EXCEPTION 'invoice series % counts a document that does not exist', NEW.prefix
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
            never_truncated(noun="invoice series"),
        ]

    def __str__(self) -> str:
        return self.prefix


def numbered_guards() -> list[Guard]:
    """Return the triggers by which an invoice is issued under a number that its series has not counted yet, and counts with it."""
    return [
        Guard(
            name="takes_a_new_number",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            referencing=pgtrigger.Referencing(old="were", new="became"),
            declare=[("wrong", "record")],
            # Of the numbers that its series has not counted yet; by the end of the transaction it has. The customers are locked: their
            # seller stays.
            func=f"""
                IF NOT EXISTS ({ISSUED}) THEN RETURN NULL; END IF;
                PERFORM 1 FROM invoicing_customer WHERE id = ANY(ARRAY(
                    SELECT issued.customer_id FROM ({ISSUED}) AS issued
                )) ORDER BY id FOR SHARE;
                SELECT issued.number INTO wrong FROM ({ISSUED}) AS issued
                  LEFT JOIN (
                    invoicing_invoiceseries series
                      JOIN invoicing_legalentity entity ON entity.key = series.legal_entity_id
                      JOIN invoicing_customer customer ON customer.legal_entity_id = entity.key
                  ) ON series.id = issued.series_id AND customer.id = issued.customer_id
                       AND series.prefix = entity.invoice_prefix || right(series.prefix, 5)
                       AND {is_of_the_year_sql("series.prefix", "issued.issued_at")}
                       AND entity.name = issued.seller ->> 'name'
                       AND {ordinal_sql("issued.number", "series.prefix")} >= series.next_number
                 WHERE series.id IS NULL LIMIT 1;
                IF FOUND THEN
                    RAISE EXCEPTION '% is not a new number of its seller, whom it names', wrong.number
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="is_counted_by_its_series",
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            timing=pgtrigger.Deferred,
            # That it is one of its numbers was asked when it was issued.
            func="""
                IF OLD.status <> 'draft' OR NEW.status = 'draft' THEN RETURN NULL; END IF;
                IF NOT EXISTS (
                    SELECT 1 FROM invoicing_invoiceseries
                     WHERE id = NEW.series_id AND next_number > substring(NEW.number FROM length(prefix) + 2)::integer
                ) THEN
                    RAISE EXCEPTION 'its series does not count invoice %', NEW.number
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
    ]
