"""The guard by which a line stands on the invoice of whoever pays for its subscription."""

import pgtrigger

from billing_site.kernel.guard import Guard


def stands_with_who_pays_for_it() -> Guard:
    """Return a trigger that refuses lines about a subscription of somebody else: not the invoice's customer, nor an account that is billed to it.

    The customer is locked as a foreign key locks it: nobody bills it to another at the same moment.
    """
    return Guard(
        name="stands_with_who_pays_for_it",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func="""
            IF NEW.subscription_id IS NULL THEN RETURN NEW; END IF;
            PERFORM 1 FROM invoicing_subscription subscription
              JOIN invoicing_customer consumer ON consumer.id = subscription.customer_id
              JOIN invoicing_invoice invoice ON invoice.id = NEW.invoice_id
             WHERE subscription.id = NEW.subscription_id
               AND coalesce(consumer.billed_to_id, consumer.id) = invoice.customer_id FOR KEY SHARE OF consumer;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'line % of invoice % is about subscription %, which another pays for', NEW.position,
                    NEW.invoice_id, NEW.subscription_id USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )
