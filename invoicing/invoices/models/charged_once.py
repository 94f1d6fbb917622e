"""The guard by which no moment of a service is charged twice, whatever the bounds of the periods."""

import pgtrigger

from billing_site.kernel.guard import Guard

MESSAGE = "% of subscription % is charged already for a part of % to %"


def _charges(row: str) -> str:
    """Say in SQL that a line charges a service, or bounds what it costs."""
    return f"({row}.kind = 'charge' OR {row}.adjustment IN ('minimum_spend', 'maximum_spend') AND {row}.kind <> 'correction')"


def _charged_by_another(row: str) -> str:
    """Return the query for a line that charges a moment of a line's service, too.

    Found by the subscription alone, and each asked for its invoice: PostgreSQL would begin with the invoices, and go through all of them
    for each line, where it knows too little of the tables.
    """
    return f"""
        SELECT line.id FROM invoicing_invoiceline line
         WHERE line.subscription_id = {row}.subscription_id AND line.price_id IS NOT DISTINCT FROM {row}.price_id
           AND line.id IS DISTINCT FROM {row}.id AND line.kind IS NOT DISTINCT FROM {row}.kind
           AND line.adjustment = {row}.adjustment AND line.service_start < {row}.service_end
           AND {row}.service_start < line.service_end
           AND (SELECT invoice.status FROM invoicing_invoice invoice WHERE invoice.id = line.invoice_id) <> 'void'
         LIMIT 1
    """


def is_charged_once() -> list[Guard]:
    """Return the triggers: the bounds of a period can move (a zone's rules change), so the uniqueness of periods is not enough.

    Subscriptions are locked before their lines are looked at: nobody charges the same at the same moment. New lines are looked at
    together, once they are there; an array is looked up by the index, however many there are of both.
    """
    return [
        Guard(
            name="is_charged_once_on_insert",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Insert,
            referencing=pgtrigger.Referencing(new="added"),
            declare=[("again", "record")],
            func=f"""
                PERFORM 1 FROM invoicing_subscription WHERE id = ANY(ARRAY(
                    SELECT DISTINCT added.subscription_id FROM added WHERE {_charges("added")}
                )) ORDER BY id FOR NO KEY UPDATE;
                SELECT added.* INTO again FROM added CROSS JOIN LATERAL ({_charged_by_another("added")}) AS other
                 WHERE {_charges("added")} LIMIT 1;
                IF FOUND THEN
                    RAISE EXCEPTION '{MESSAGE}', again.description, again.subscription_id, again.service_start,
                        again.service_end USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="is_charged_once",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            func=f"""
                IF NOT {_charges("NEW")} THEN RETURN NEW; END IF;
                PERFORM 1 FROM invoicing_subscription WHERE id = NEW.subscription_id FOR NO KEY UPDATE;
                IF EXISTS ({_charged_by_another("NEW")}) THEN
                    RAISE EXCEPTION '{MESSAGE}', NEW.description, NEW.subscription_id, NEW.service_start, NEW.service_end
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
        ),
    ]
