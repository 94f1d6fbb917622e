"""The guard by which no invoice is issued that the gate holds."""

import pgtrigger

from billing_site.kernel.guard import Guard
from invoicing.core.gate_states import ISSUED_FROM, GateState

RELEASED = GateState.READY.value


def is_not_held() -> Guard:
    """Return a trigger that refuses the issue of a draft whose hold is in force, unless it was released as it is.

    The state of a draft that no hold in force names is `draft`; the table of `core/gate_states.py` says from where it is issued.
    """
    assert set(ISSUED_FROM) == {GateState.DRAFT, GateState.READY}, "the trigger knows these two"
    return Guard(
        name="is_not_held",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func=f"""
            IF OLD.status = 'draft' AND NEW.status <> 'draft' AND EXISTS (
                SELECT 1 FROM invoicing_invoicehold
                 WHERE invoice_id = NEW.id AND state IN ('{GateState.HELD.value}', '{RELEASED}')
                   AND NOT (state = '{RELEASED}' AND content_digest = NEW.content_digest AND total = NEW.total)
            ) THEN
                RAISE EXCEPTION 'invoice % is held before issue: release it as it is', NEW.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )
