"""The guards by which an invoice comes to what its lines and their taxes sum to."""

import pgtrigger

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import sees_all_that_is_written
from invoicing.invoices.models.series import ISSUED

MESSAGE = "invoice %: lines sum to %, subtotal says %; taxes to %, it says %"


def _sums(row: str) -> str:
    """Return the query for what the lines of an invoice and their taxes come to, and how many of them are of another currency."""
    return f"""
        SELECT coalesce(sum(line.amount), 0) AS lines, coalesce(sum(tax.amount), 0) AS taxes,
               coalesce(sum(tax.added), 0) AS added, coalesce(sum(tax.number), 0) AS number,
               count(*) FILTER (WHERE line.currency <> {row}.currency) + coalesce(sum(tax.stray), 0) AS stray
          FROM invoicing_invoiceline line CROSS JOIN LATERAL (
            SELECT sum(amount) AS amount, sum(amount) FILTER (WHERE NOT inclusive) AS added, count(*) AS number,
                   count(*) FILTER (WHERE currency <> {row}.currency) AS stray
              FROM invoicing_taxline WHERE line_id = line.id
          ) AS tax WHERE line.invoice_id = {row}.id
    """


def _differs(row: str, sums: str) -> str:
    return (
        f"({sums}.lines <> {row}.subtotal OR {sums}.stray > 0"
        f" OR {sums}.taxes <> coalesce({row}.tax_amount, 0) OR {sums}.added <> coalesce({row}.tax_added, 0)"
        f" OR {sums}.number > 0 AND {row}.tax_state <> 'taxed')"
    )


def sums_up() -> list[Guard]:
    """Return the triggers: a draft is asked in the end, since its lines come after it, an invoice as it is issued: from then on neither changes."""
    return [
        Guard(
            name="total_is_the_sum_of_its_lines",
            when=pgtrigger.After,
            operation=pgtrigger.Insert | pgtrigger.Update,
            timing=pgtrigger.Deferred,
            declare=[("sums", "record")],
            func=f"""
                IF NEW.status <> 'draft' THEN RETURN NULL; END IF;
                IF NOT EXISTS (SELECT 1 FROM invoicing_invoice WHERE id = NEW.id AND status IS NOT DISTINCT FROM 'draft'
                                  AND total = NEW.total AND subtotal = NEW.subtotal
                                  AND tax_amount IS NOT DISTINCT FROM NEW.tax_amount) THEN
                    RETURN NULL;
                END IF;
                {_sums("NEW").replace("FROM invoicing_invoiceline line", "INTO sums FROM invoicing_invoiceline line")};
                IF {_differs("NEW", "sums")} THEN
                    RAISE EXCEPTION '{MESSAGE}', NEW.id, sums.lines, NEW.subtotal, sums.taxes, coalesce(NEW.tax_amount, 0)
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="is_issued_as_its_lines_sum",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            referencing=pgtrigger.Referencing(old="were", new="became"),
            declare=[("wrong", "record")],
            func=f"""
                {sees_all_that_is_written(deed="invoices are issued", where=f"EXISTS ({ISSUED})")}
                SELECT issued.id, issued.subtotal, issued.tax_amount, sums.* INTO wrong
                  FROM ({ISSUED}) AS issued CROSS JOIN LATERAL ({_sums("issued")}) AS sums
                 WHERE {_differs("issued", "sums")} LIMIT 1;
                IF FOUND THEN
                    RAISE EXCEPTION '{MESSAGE}', wrong.id, wrong.lines, wrong.subtotal, wrong.taxes, coalesce(wrong.tax_amount, 0)
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
    ]
