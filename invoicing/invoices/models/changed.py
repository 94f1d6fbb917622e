"""The guard of lines that people have changed on a draft by hand."""

import pgtrigger

from billing_site.kernel.guard import Guard


def says_what_was_changed() -> Guard:
    """Return the guard by which such a line stands for a change of its customer and period that nobody has taken back, in its words, and is over no more."""
    return Guard(
        name="says_what_was_changed",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func="""
            IF NEW.adjustment <> 'edit' THEN RETURN NEW; END IF;
            IF NOT EXISTS (
                SELECT 1 FROM invoicing_lineedit edit
                  JOIN invoicing_invoice invoice ON invoice.id = NEW.invoice_id
                 WHERE ':edit/' || edit.id = NEW.rated -> 'inputs' ->> 'reference' AND edit.ended_at IS NULL
                   AND (edit.customer_id, edit.period_start, edit.period_end)
                       = (invoice.customer_id, invoice.period_start, invoice.period_end)
                   AND (edit.currency, edit.description) = (NEW.currency, NEW.description)
                   AND CASE WHEN edit.line <> '' THEN NEW.amount <= edit.amount
                            ELSE NEW.amount = edit.amount OR NEW.amount BETWEEN edit.amount AND 0 END
            ) THEN
                RAISE EXCEPTION 'line % of invoice % stands for no change of its draft', NEW.position, NEW.invoice_id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )
