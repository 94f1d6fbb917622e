"""Guards of progressive invoices: each is of a period that runs, and the invoice of that period takes it off, once and whole."""

import pgtrigger

from billing_site.kernel.guard import Guard
from invoicing.core.invoice_life import STANDING_IN_SQL

# What of a progressive invoice, `progressive`, neither invoices other than {own} have taken off nor credit notes have given back.
# Of other drafts nothing counts: whoever issues first takes.
HELD = f"""
    greatest(taken.subtotal + coalesce((
        SELECT sum(line.amount) FROM invoicing_invoiceline line JOIN invoicing_invoice other ON other.id = line.invoice_id
         WHERE line.progressive_id = progressive.id AND other.id <> {{own}} AND other.status IN ({STANDING_IN_SQL})
    ), 0) - coalesce((
        SELECT sum(credited.amount) FROM invoicing_creditnoteline credited
          JOIN invoicing_invoiceline line ON line.id = credited.line_id WHERE line.invoice_id = taken.id
    ), 0), 0)
"""


def takes_off_what_stands() -> Guard:
    """Return the trigger by which a line takes off a progressive invoice of its own customer, on an invoice of a period."""
    return Guard(
        name="takes_off_what_stands",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func=f"""
            IF NEW.progressive_id IS NULL THEN RETURN NEW; END IF;
            IF NOT EXISTS (
                SELECT 1 FROM invoicing_progressiveinvoice progressive
                  JOIN invoicing_invoice taken ON taken.id = progressive.invoice_id AND taken.status IN ({STANDING_IN_SQL})
                  JOIN invoicing_invoice own ON own.id = NEW.invoice_id AND own.kind = 'period'
                   AND (own.customer_id, own.currency) = (taken.customer_id, taken.currency)
                 WHERE progressive.id = NEW.progressive_id AND own.period_end >= progressive.period_end
            ) THEN
                RAISE EXCEPTION 'line % of invoice % takes off what does not stand, or is not of its customer', NEW.position,
                    NEW.invoice_id USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


def progressive_guards() -> list[Guard]:
    """Return the triggers on invoices; each takes the lock of the customer's row first, as whoever bills a customer does."""
    return [
        Guard(
            name="is_of_a_period_that_runs",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            func=f"""
                IF OLD.status <> 'draft' OR NEW.status = 'draft' OR NEW.kind <> 'progressive' THEN RETURN NEW; END IF;
                PERFORM 1 FROM invoicing_customer WHERE id = NEW.customer_id FOR NO KEY UPDATE;
                IF NOT EXISTS (
                    SELECT 1 FROM invoicing_progressiveinvoice progressive
                     WHERE progressive.invoice_id = NEW.id AND progressive.customer_id = NEW.customer_id
                       AND NEW.issued_at >= progressive.period_start AND NEW.issued_at < progressive.period_end
                       AND NOT EXISTS (
                            SELECT 1 FROM invoicing_invoice final
                             WHERE final.customer_id = NEW.customer_id AND final.kind = 'period'
                               AND (final.period_start, final.period_end) = (progressive.period_start, progressive.period_end)
                               AND final.status IN ({STANDING_IN_SQL}))
                ) OR NOT EXISTS (
                    SELECT 1 FROM invoicing_invoiceline WHERE invoice_id = NEW.id HAVING bool_and(kind = 'progressive')
                -- Whose usage a line is about could not be told, and an account may go on to pay for itself.
                ) OR EXISTS (SELECT 1 FROM invoicing_customer account WHERE account.billed_to_id = NEW.customer_id) THEN
                    RAISE EXCEPTION 'progressive invoice % is of no period that runs, or charges something else than its usage',
                        NEW.number USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
        ),
        Guard(
            name="takes_off_its_progressive_invoices",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            declare=[("wrong", "text")],
            # All that is held, or, where the charges do not come to so much, all that they come to.
            func=f"""
                IF OLD.status <> 'draft' OR NEW.status = 'draft' OR NEW.kind <> 'period' THEN RETURN NEW; END IF;
                PERFORM 1 FROM invoicing_customer WHERE id = NEW.customer_id FOR NO KEY UPDATE;
                -- Most customers have none.
                IF NOT EXISTS (SELECT 1 FROM invoicing_progressiveinvoice WHERE customer_id = NEW.customer_id) THEN
                    RETURN NEW;
                END IF;
                SELECT string_agg(taken.number, ', ') INTO wrong FROM invoicing_progressiveinvoice progressive
                  JOIN invoicing_invoice taken ON taken.id = progressive.invoice_id
                  LEFT JOIN invoicing_invoiceline line ON line.progressive_id = progressive.id AND line.invoice_id = NEW.id
                 CROSS JOIN LATERAL (SELECT {HELD.format(own="NEW.id")} AS held) known
                 WHERE progressive.customer_id = NEW.customer_id
                   AND (line.id IS NOT NULL AND (taken.status NOT IN ({STANDING_IN_SQL}) OR -line.amount > known.held)
                        OR taken.status IN ({STANDING_IN_SQL})
                           AND (progressive.period_start, progressive.period_end) = (NEW.period_start, NEW.period_end)
                           AND -coalesce(line.amount, 0) <> known.held AND (
                                SELECT sum(amount) FROM invoicing_invoiceline
                                 WHERE invoice_id = NEW.id AND kind IN ('charge', 'adjustment') AND adjustment <> 'credit') <> 0);
                IF wrong IS NOT NULL THEN
                    RAISE EXCEPTION 'invoice % does not take off what % charged of its period', NEW.number, wrong
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
        ),
        Guard(
            name="stands_once_it_is_taken_off",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            func=f"""
                IF NEW.kind <> 'progressive' OR OLD.status = NEW.status OR NEW.status <> 'void' THEN RETURN NEW; END IF;
                PERFORM 1 FROM invoicing_customer WHERE id = NEW.customer_id FOR NO KEY UPDATE;
                IF EXISTS (
                    SELECT 1 FROM invoicing_invoiceline line
                      JOIN invoicing_progressiveinvoice progressive ON progressive.id = line.progressive_id
                      JOIN invoicing_invoice final ON final.id = line.invoice_id AND final.status IN ({STANDING_IN_SQL})
                     WHERE progressive.invoice_id = NEW.id AND line.amount <> 0
                ) THEN
                    RAISE EXCEPTION 'progressive invoice % is taken off by another one: it stays', NEW.number
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
        ),
    ]
