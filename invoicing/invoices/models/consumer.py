"""The guard by which a line stands on the invoice of whoever pays for its subscription."""

import pgtrigger

from billing_site.kernel.guard import Guard

MESSAGE = "line % of invoice % is about subscription %, which another pays for"


def _is_paid_for(row: str) -> str:
    """Return the query for the customer of a line's subscription, where it is the invoice's, or an account that is billed to that."""
    return f"""
        SELECT consumer.id FROM invoicing_subscription subscription
          JOIN invoicing_customer consumer ON consumer.id = subscription.customer_id
          JOIN invoicing_invoice invoice ON invoice.id = {row}.invoice_id
         WHERE subscription.id = {row}.subscription_id
           AND coalesce(consumer.billed_to_id, consumer.id) = invoice.customer_id
    """


def stands_with_who_pays_for_it() -> list[Guard]:
    """Return the triggers that refuse lines about a subscription of somebody else: not the invoice's customer, nor an account that is billed to it.

    The customer is locked as a foreign key locks it: nobody bills it to another at the same moment. New lines are looked at together;
    an array, and a query that has an offset, are looked up by their numbers, however many there are.
    """
    return [
        Guard(
            name="stands_with_who_pays_for_it_on_insert",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Insert,
            referencing=pgtrigger.Referencing(new="added"),
            declare=[("stray", "record")],
            func=f"""
                PERFORM 1 FROM invoicing_customer WHERE id = ANY(ARRAY(
                    SELECT DISTINCT subscription.customer_id FROM invoicing_subscription subscription
                     WHERE subscription.id = ANY(ARRAY(SELECT DISTINCT added.subscription_id FROM added))
                )) ORDER BY id FOR KEY SHARE;
                SELECT min(added.position) AS position, added.invoice_id, added.subscription_id INTO stray FROM added
                 WHERE added.subscription_id IS NOT NULL GROUP BY added.invoice_id, added.subscription_id
                HAVING NOT EXISTS ({_is_paid_for("added")} OFFSET 0) LIMIT 1;
                IF FOUND THEN
                    RAISE EXCEPTION '{MESSAGE}', stray.position, stray.invoice_id, stray.subscription_id
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="stands_with_who_pays_for_it",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            func=f"""
                IF NEW.subscription_id IS NULL THEN RETURN NEW; END IF;
                PERFORM 1 FROM ({_is_paid_for("NEW")} FOR KEY SHARE OF consumer) paid_for;
                IF NOT FOUND THEN
                    RAISE EXCEPTION '{MESSAGE}', NEW.position, NEW.invoice_id, NEW.subscription_id
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
        ),
    ]
