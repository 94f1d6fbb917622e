"""Guards of customers that are billed together: an account is billed to another customer, who gets one invoice for both."""

import pgtrigger

from billing_site.kernel.guard import Guard

# What the database says, as far as people are told at a field.
NOT_OF_ITS_COMPANY = "is billed only to a customer of the same currency, time zone and seller who is billed itself"
HAS_ACCOUNTS = "is billed itself: others are billed to it"
HAS_ITS_OWN = "has invoices, credit, coupons or rules of its own"
IS_INVOICED = "is on invoices or drafts of who is billed for it"
BEGAN_BEFORE = "has subscriptions in periods whose invoice is issued"


def is_billed_within_its_company() -> Guard:
    """Return a trigger by which an account is billed to somebody who is billed itself, on the same terms, and stays once it is invoiced.

    Who pays is written anew: a transaction with a snapshot of before, or beside this one, cannot make a chain of it. The account is locked
    against whatever names it at the same moment: an invoice, credit, a coupon, a line.
    """
    return Guard(
        name="is_billed_within_its_company",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func=f"""
            IF TG_OP = 'UPDATE' THEN
                IF (OLD.billed_to_id, OLD.legal_entity_id) IS NOT DISTINCT FROM (NEW.billed_to_id, NEW.legal_entity_id) THEN
                    RETURN NEW;
                END IF;
                IF EXISTS (SELECT 1 FROM invoicing_customer WHERE billed_to_id = NEW.id) THEN
                    RAISE EXCEPTION 'customer % {HAS_ACCOUNTS}', NEW.key USING ERRCODE = 'integrity_constraint_violation';
                END IF;
            END IF;
            IF TG_OP = 'UPDATE' AND OLD.billed_to_id IS DISTINCT FROM NEW.billed_to_id THEN
                PERFORM 1 FROM invoicing_customer WHERE id = NEW.id FOR UPDATE;
                IF EXISTS (SELECT 1 FROM invoicing_invoice WHERE customer_id = NEW.id)
                   OR EXISTS (SELECT 1 FROM invoicing_creditgrant WHERE customer_id = NEW.id)
                   OR EXISTS (SELECT 1 FROM invoicing_discount WHERE customer_id = NEW.id)
                   OR EXISTS (SELECT 1 FROM invoicing_topuprule WHERE customer_id = NEW.id)
                   OR EXISTS (SELECT 1 FROM invoicing_progressivethreshold WHERE customer_id = NEW.id)
                THEN
                    RAISE EXCEPTION 'customer % {HAS_ITS_OWN}', NEW.key USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                IF EXISTS (
                    SELECT 1 FROM invoicing_subscription subscription
                      JOIN invoicing_invoiceline line ON line.subscription_id = subscription.id
                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
                     WHERE subscription.customer_id = NEW.id
                ) THEN
                    RAISE EXCEPTION 'customer % {IS_INVOICED}', NEW.key USING ERRCODE = 'integrity_constraint_violation';
                END IF;
            END IF;
            IF NEW.billed_to_id IS NULL THEN RETURN NEW; END IF;
            IF NEW.billed_to_id <> NEW.id THEN
                UPDATE invoicing_customer SET created_at = created_at WHERE id = NEW.billed_to_id;
            END IF;
            IF NOT EXISTS (
                SELECT 1 FROM invoicing_customer payer
                 WHERE payer.id = NEW.billed_to_id AND payer.id <> NEW.id AND payer.billed_to_id IS NULL
                   AND (payer.currency, payer.timezone, payer.legal_entity_id)
                       = (NEW.currency, NEW.timezone, NEW.legal_entity_id)
            ) THEN
                RAISE EXCEPTION 'customer % {NOT_OF_ITS_COMPANY}', NEW.key
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF EXISTS (
                SELECT 1 FROM invoicing_subscription subscription
                  JOIN invoicing_invoice invoice ON invoice.customer_id = NEW.billed_to_id AND invoice.kind = 'period'
                   AND invoice.status NOT IN ('draft', 'void') AND invoice.period_end > subscription.started_at
                   AND invoice.period_start < coalesce(subscription.ended_at, 'infinity')
                 WHERE subscription.customer_id = NEW.id
            ) AND (TG_OP = 'INSERT' OR OLD.billed_to_id IS DISTINCT FROM NEW.billed_to_id) THEN
                RAISE EXCEPTION 'customer % {BEGAN_BEFORE}', NEW.key USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


def is_of_who_pays(*, noun: str) -> Guard:
    """Return a trigger by which rows of a table belong to customers who are billed themselves, never to an account of another.

    The customer is locked as a foreign key locks it: nobody makes an account of it at the same moment.
    """
    return Guard(
        name="is_of_who_pays",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func=f"""
            IF TG_OP = 'UPDATE' THEN
                IF OLD.customer_id = NEW.customer_id THEN RETURN NEW; END IF;
            END IF;
            -- Locked whoever it is, then asked again: what somebody else has changed meanwhile is seen.
            PERFORM 1 FROM invoicing_customer WHERE id = NEW.customer_id FOR KEY SHARE;
            IF EXISTS (SELECT 1 FROM invoicing_customer WHERE id = NEW.customer_id AND billed_to_id IS NOT NULL) THEN
                RAISE EXCEPTION '{noun} belongs to who is billed: customer % is billed to another', NEW.customer_id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )
