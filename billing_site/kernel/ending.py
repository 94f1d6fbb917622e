"""The guard of rows that never go away and end once: who ended them, when and why."""

import pgtrigger

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import never_truncated

END = ("ended_at", "ended_by", "ended_because")


def ends_once(*, noun: str, columns: tuple[str, ...] = END) -> list[Guard]:
    """Return triggers by which a row never goes away, and of what it says only its end is added, once."""
    listed = ", ".join(f"'{column}'" for column in columns)
    return [
        Guard(
            name="ends_once",
            when=pgtrigger.Before,
            operation=pgtrigger.Update | pgtrigger.Delete,
            func=f"""
                IF TG_OP = 'DELETE' OR OLD.ended_at IS NOT NULL AND to_jsonb(OLD) <> to_jsonb(NEW)
                   OR to_jsonb(OLD) - ARRAY[{listed}] <> to_jsonb(NEW) - ARRAY[{listed}] THEN
                    RAISE EXCEPTION '{noun} % stays what it is: it ends once', OLD.id
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
        ),
        never_truncated(noun=f"rows of {noun}"),
    ]
