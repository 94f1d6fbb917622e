"""The guards of lines that people have changed on a draft by hand."""

import pgtrigger

from billing_site.kernel.guard import Guard

# Of a line under an alias: it stands for a change of its customer and period that nobody has taken back, in its words, and is over no more.
_STANDS_FOR_A_CHANGE = """EXISTS (
    SELECT 1 FROM invoicing_lineedit edit
      JOIN invoicing_invoice invoice ON invoice.id = {row}.invoice_id
     WHERE ':edit/' || edit.id = {row}.rated -> 'inputs' ->> 'reference' AND edit.ended_at IS NULL
       AND (edit.customer_id, edit.period_start, edit.period_end)
           = (invoice.customer_id, invoice.period_start, invoice.period_end)
       AND (edit.currency, edit.description) = ({row}.currency, {row}.description)
       AND CASE WHEN edit.line <> '' THEN {row}.amount <= edit.amount
                ELSE {row}.amount = edit.amount OR {row}.amount BETWEEN edit.amount AND 0 END
)"""
_REFUSED = """RAISE EXCEPTION 'line % of invoice % stands for no change of its draft', {row}.position, {row}.invoice_id
    USING ERRCODE = 'integrity_constraint_violation';"""


def says_what_was_changed() -> tuple[Guard, Guard]:
    """Return the guards by which such a line stands for what somebody decided; new lines are looked at together, they are many.

    What late usage makes of one is a line of its own kind, and stands for its correction.
    """
    return (
        Guard(
            name="says_what_was_changed",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            func=f"""
                IF NEW.kind = 'adjustment' AND NEW.adjustment = 'edit' AND NOT {_STANDS_FOR_A_CHANGE.format(row="NEW")} THEN
                    {_REFUSED.format(row="NEW")}
                END IF;
                RETURN NEW;
            """,
        ),
        Guard(
            name="says_what_was_changed_on_insert",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Insert,
            referencing=pgtrigger.Referencing(new="added"),
            declare=[("line", "record")],
            func=f"""
                FOR line IN SELECT * FROM added WHERE added.kind = 'adjustment' AND added.adjustment = 'edit' LOOP
                    IF NOT {_STANDS_FOR_A_CHANGE.format(row="line")} THEN
                        {_REFUSED.format(row="line")}
                    END IF;
                END LOOP;
                RETURN NULL;
            """,
        ),
    )
