"""Guards of invoices over what is paid ahead: credit that is drawn or sold, commitments, fees in advance."""

import pgtrigger

from billing_site.kernel.guard import Guard


def paid_ahead_guards() -> list[Guard]:
    """Return the triggers by which an invoice takes, gives and sells what its lines say, and no more than there is."""
    return [
        Guard(
            name="bills_once_what_was_stated",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            # Credit that is sold is the one line of its invoice, so that it is paid, or void, as a whole.
            func="""
                IF OLD.status <> 'draft' OR NEW.status = 'draft' OR NEW.kind <> 'one_off' THEN RETURN NEW; END IF;
                IF NOT EXISTS (
                    SELECT 1 FROM invoicing_invoiceline WHERE invoice_id = NEW.id
                    HAVING bool_and(kind = 'one_off') OR count(*) = 1 AND bool_and(kind = 'top_up') AND EXISTS (
                        SELECT 1 FROM invoicing_topup WHERE invoice_id = NEW.id AND amount = NEW.total)
                ) THEN
                    RAISE EXCEPTION 'one-off invoice % is neither what was stated nor a top-up', NEW.number
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
        ),
        Guard(
            name="closes_its_top_up_when_void",
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            func="""
                IF OLD.status = 'issued' AND NEW.status = 'void' THEN
                    UPDATE invoicing_topup SET status = 'closed' WHERE invoice_id = NEW.id;
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="gives_the_credit_that_it_sold",
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            timing=pgtrigger.Deferred,
            func="""
                IF OLD.status <> 'issued' OR NEW.status <> 'paid' THEN RETURN NULL; END IF;
                IF EXISTS (
                    SELECT 1 FROM invoicing_topup WHERE invoice_id = NEW.id AND status <> 'paid'
                ) THEN
                    RAISE EXCEPTION 'invoice % is paid, and does not give the credit that it sold', NEW.number
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="gives_back_credit_when_void",
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            # Whoever declares it void: each lot gets back what the invoice drew, as a new entry of its chain.
            func="""
                IF OLD.status = 'issued' AND NEW.status = 'void' THEN
                    PERFORM 1 FROM invoicing_creditgrant WHERE id IN (
                        SELECT grant_id FROM invoicing_creditentry WHERE kind = 'draw' AND reference = NEW.number
                    ) ORDER BY id FOR NO KEY UPDATE;
                    INSERT INTO invoicing_creditentry
                           (grant_id, sequence, kind, currency, amount, balance, reference, occurred_at, actor, reason)
                    SELECT draw.grant_id, last.sequence + 1, 'restore', draw.currency, -draw.amount,
                           last.balance - draw.amount, NEW.number, NEW.voided_at, 'void invoice', 'invoice ' || NEW.number || ' is void'
                      FROM invoicing_creditentry draw
                      JOIN LATERAL (SELECT sequence, balance FROM invoicing_creditentry
                                     WHERE grant_id = draw.grant_id ORDER BY sequence DESC LIMIT 1) last ON TRUE
                     WHERE draw.kind = 'draw' AND draw.reference = NEW.number;
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="draws_the_credit_of_its_lines",
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            timing=pgtrigger.Deferred,
            func="""
                IF OLD.status <> 'draft' OR NEW.status = 'draft' THEN RETURN NULL; END IF;
                IF EXISTS (
                    SELECT 1 FROM invoicing_invoiceline line
                     WHERE line.invoice_id = NEW.id AND line.credit_grant_id IS NOT NULL AND NOT EXISTS (
                        SELECT 1 FROM invoicing_creditentry entry
                         WHERE entry.grant_id = line.credit_grant_id AND entry.kind = 'draw'
                           AND entry.reference = NEW.number AND entry.amount = line.amount)
                ) THEN
                    RAISE EXCEPTION 'invoice % does not draw the credit that its lines say', NEW.number
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="settles_and_draws_what_is_there",
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            timing=pgtrigger.Deferred,
            # A draft may have been made before an earlier one was made again: by its issue it is told.
            func="""
                IF OLD.status <> 'draft' OR NEW.status = 'draft' THEN RETURN NULL; END IF;
                IF NOT EXISTS (
                    SELECT 1 FROM invoicing_invoiceline WHERE invoice_id = NEW.id
                       AND adjustment IN ('invoiced_in_advance', 'advance_credit', 'commitment_drawdown')
                ) THEN
                    RETURN NULL;
                END IF;
                PERFORM 1 FROM invoicing_subscription WHERE id IN (
                    SELECT subscription_id FROM invoicing_invoiceline WHERE invoice_id = NEW.id AND adjustment <> ''
                ) ORDER BY id FOR NO KEY UPDATE;
                IF EXISTS (
                    SELECT 1 FROM invoicing_invoiceline line
                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
                     WHERE line.subscription_id IN (SELECT subscription_id FROM invoicing_invoiceline
                                                     WHERE invoice_id = NEW.id AND adjustment IN ('invoiced_in_advance', 'advance_credit'))
                       AND line.adjustment IN ('in_advance', 'invoiced_in_advance', 'advance_credit')
                       AND (invoice.status <> 'draft'
                            OR (invoice.period_end, invoice.period_start) <= (NEW.period_end, NEW.period_start))
                     GROUP BY line.subscription_id HAVING sum(line.amount) < (
                        SELECT coalesce(sum(credited.released), 0) FROM invoicing_creditnoteline credited
                          JOIN invoicing_invoiceline own ON own.id = credited.line_id
                         WHERE own.subscription_id = line.subscription_id)
                ) OR EXISTS (
                    SELECT 1 FROM invoicing_invoiceline line
                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
                      JOIN invoicing_commitmenttranche tranche ON tranche.id = line.tranche_id
                     WHERE tranche.commitment_id IN (SELECT own.commitment_id FROM invoicing_commitmenttranche own
                                                       JOIN invoicing_invoiceline drawn ON drawn.tranche_id = own.id
                                                      WHERE drawn.invoice_id = NEW.id)
                       AND line.adjustment IN ('commitment_base', 'commitment_drawdown') AND line.kind = 'adjustment'
                       AND (invoice.status <> 'draft' OR invoice.period_start <= NEW.period_start)
                     GROUP BY tranche.commitment_id HAVING sum(line.amount) < 0
                ) THEN
                    RAISE EXCEPTION 'invoice % settles or draws more than is there', NEW.number
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
    ]


def keeps_to_its_commitment() -> Guard:
    """Return the trigger on lines by which a commitment is paid, drawn, trued up and ended as it was promised, and no further."""
    return Guard(
        name="keeps_to_its_commitment",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        declare=[("held", "record"), ("promised", "record")],
        # The commitment's row is locked, so that two invoices never draw the same money. Drafts of later periods do
        # not count: they are made again after this one.
        func="""
            IF NEW.kind <> 'adjustment' OR NEW.tranche_id IS NULL THEN RETURN NEW; END IF;
            SELECT tranche.*, commitment.payment INTO promised FROM invoicing_commitmenttranche tranche
              JOIN invoicing_commitment commitment ON commitment.id = tranche.commitment_id
             WHERE tranche.id = NEW.tranche_id FOR NO KEY UPDATE OF commitment;
            SELECT count(*) FILTER (WHERE line.adjustment = NEW.adjustment AND line.tranche_id = NEW.tranche_id)
                       AS same,
                   coalesce(sum(line.amount) FILTER (
                       WHERE line.adjustment IN ('commitment_base', 'commitment_drawdown')), 0) AS paid
              INTO held FROM invoicing_invoiceline line
              JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id AND invoice.status <> 'void'
              JOIN invoicing_invoice own ON own.id = NEW.invoice_id
              JOIN invoicing_commitmenttranche tranche ON tranche.id = line.tranche_id
             WHERE tranche.commitment_id = promised.commitment_id AND line.kind = 'adjustment'
               AND line.id IS DISTINCT FROM NEW.id
               AND (invoice.status <> 'draft' OR invoice.period_start <= own.period_start);
            IF (promised.subscription_id, promised.currency) <> (NEW.subscription_id, NEW.currency)
               OR NEW.adjustment IN ('commitment_base', 'commitment_true_up', 'commitment_expiry')
                  AND held.same > 0
               OR NEW.adjustment = 'commitment_base' AND NEW.amount <> promised.amount
               OR NEW.adjustment = 'commitment_true_up' AND NEW.amount > promised.amount
               OR NEW.adjustment = 'commitment_drawdown' AND held.paid + NEW.amount < 0
            THEN
                RAISE EXCEPTION '% % is more than tranche % promised, or has left', NEW.adjustment, NEW.amount,
                    NEW.tranche_id USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )
