"""The end of an invoice's life in the database: what its status and its amounts may be, and which may follow which."""

import pgtrigger
from django.db import models

from billing_site.kernel.guard import Guard
from invoicing.core.invoice_life import STANDING, status_moves_in_sql


def written_off_sql(invoice: str) -> str:
    """Return what write-offs gave up of an invoice, less what was recovered, as an SQL expression."""
    return f"""(
        coalesce((SELECT sum(amount) FROM invoicing_writeoff WHERE invoice_id = {invoice}), 0)
        - coalesce((SELECT sum(recovery.amount) FROM invoicing_recovery recovery
                      JOIN invoicing_writeoff given_up ON given_up.id = recovery.write_off_id
                     WHERE given_up.invoice_id = {invoice}), 0))"""


def life_constraints() -> list[models.CheckConstraint]:
    """Return constraints by which an invoice is paid, credited and given up by at most its total, as its status says."""
    return [
        models.CheckConstraint(
            condition=~models.Q(status="paid")
            | models.Q(amount_paid__gte=models.F("total") - models.F("amount_credited"), paid_at__isnull=False),
            name="invoice_is_paid_or_credited_in_full",
        ),
        models.CheckConstraint(
            condition=models.Q(amount_paid=0, amount_credited=0)
            | models.Q(
                status__in=STANDING,
                amount_paid__gte=0,
                amount_credited__gte=0,
                amount_paid__lte=models.F("total") - models.F("amount_credited"),
            ),
            name="invoice_receives_at_most_its_total_and_only_while_owed",
        ),
        models.CheckConstraint(
            condition=models.Q(
                status="written_off",
                amount_written_off__gt=0,
                amount_written_off=models.F("total") - models.F("amount_paid") - models.F("amount_credited"),
            )
            | ~models.Q(status="written_off") & models.Q(amount_written_off=0),
            name="invoice_is_written_off_over_all_that_is_open",
        ),
    ]


def is_void_by_two() -> Guard:
    """Return a trigger by which a large invoice becomes void only where somebody else has approved it, as a credit note of its size would take.

    At the end of the transaction: what a preview does is taken back before.
    """
    return Guard(
        name="is_void_by_two",
        when=pgtrigger.After,
        operation=pgtrigger.UpdateOf("status"),
        timing=pgtrigger.Deferred,
        declare=[("large_from", "numeric")],
        func="""
            IF OLD.status = 'void' OR NEW.status <> 'void' THEN
                RETURN NULL;
            END IF;
            SELECT limits.amount INTO large_from FROM invoicing_approvallimit limits
             WHERE limits.deed = 'void' AND limits.currency = NEW.currency ORDER BY limits.number DESC LIMIT 1;
            IF NEW.total >= large_from AND NOT EXISTS (
                SELECT 1 FROM invoicing_approval approval
                 WHERE approval.deed = 'void' AND approval.subject = 'invoice ' || NEW.id
                   AND approval.decision = 'approved' AND (approval.asked ->> 'amount')::numeric = NEW.total
            ) THEN
                RAISE EXCEPTION 'invoice % over % % is large: nobody else has approved that it is void', NEW.number, NEW.total, NEW.currency
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        """,
    )


def follows_its_lifecycle() -> Guard:
    """Return a trigger by which status and amounts follow the table of `core/invoice_life.py`, and what stands in other tables of them."""
    return Guard(
        name="follows_its_lifecycle",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func=f"""
            IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN ({status_moves_in_sql()}) THEN
                RAISE EXCEPTION 'invoice % cannot go from % to %', OLD.id, OLD.status, NEW.status
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF NEW.paid_at IS DISTINCT FROM OLD.paid_at AND (OLD.status = 'paid' OR NEW.status <> 'paid')
               AND NOT ((OLD.status, NEW.status) = ('paid', 'issued') AND NEW.paid_at IS NULL) THEN
                RAISE EXCEPTION 'invoice % is paid when it becomes paid', OLD.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF (OLD.status, NEW.status) = ('paid', 'issued')
               AND (NEW.paid_at IS NOT NULL OR NEW.amount_paid >= OLD.amount_paid) THEN
                RAISE EXCEPTION 'invoice % is open again only where a payment of it is taken back', OLD.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            -- What other tables say is asked in conditions of their own: to begin a query costs more than all the rest.
            IF OLD.status <> NEW.status AND NEW.status = 'void' THEN
                IF EXISTS (SELECT 1 FROM invoicing_creditnote WHERE invoice_id = NEW.id) THEN
                    RAISE EXCEPTION 'invoice % has credit notes, and is never void', OLD.id
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
            END IF;
            IF (OLD.status, NEW.status) = ('issued', 'void') THEN
                NEW.voided_at := coalesce(NEW.voided_at, now());
            ELSIF NEW.voided_at IS DISTINCT FROM OLD.voided_at THEN
                RAISE EXCEPTION 'the moment at which invoice % became void cannot be changed', OLD.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            -- A payment, and that it was taken back, stand in rows of their own, which are written first.
            IF OLD.status <> 'draft' AND (NEW.amount_credited < OLD.amount_credited OR NEW.amount_paid <> OLD.amount_paid) THEN
                IF NEW.amount_credited < OLD.amount_credited
                   OR NEW.amount_paid <> (
                        SELECT coalesce(sum(amount), 0) FROM invoicing_payment payment WHERE invoice_id = NEW.id
                           AND NOT EXISTS (SELECT 1 FROM invoicing_paymentreversal WHERE payment_id = payment.id)) THEN
                    RAISE EXCEPTION 'invoice % has no payments of %, and what was paid or credited cannot be taken back', OLD.id, NEW.amount_paid
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
            END IF;
            IF NEW.amount_credited <> OLD.amount_credited THEN
                IF NEW.amount_credited <> (
                    SELECT coalesce(sum(offset_amount), 0) FROM invoicing_creditnote WHERE invoice_id = NEW.id
                ) THEN
                    RAISE EXCEPTION 'invoice %: credit notes did not take % off it', OLD.id, NEW.amount_credited
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
            END IF;
            IF 'written_off' IN (OLD.status, NEW.status) OR OLD.amount_written_off <> NEW.amount_written_off THEN
                IF NEW.amount_written_off <> {written_off_sql("NEW.id")} THEN
                    RAISE EXCEPTION 'invoice %: % of it are not given up', OLD.id, NEW.amount_written_off
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
            END IF;
            RETURN NEW;
        """,
    )
