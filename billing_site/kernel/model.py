"""What models share: triggers that carve rows in stone, and money columns."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pgtrigger
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Round
from djmoney.models.fields import MoneyField
from moneyed import Money, list_all_currencies

from billing_site.kernel.guard import Carving, Guard
from billing_site.kernel.money import EXACT, exponent

# 38 significant digits, 12 after the point: quantities and unit prices.
EXACT_DIGITS = 38
EXACT_PLACES = 12
# Rounded amounts: up to four decimals (CLF), 16 before the point.
AMOUNT_DIGITS = 20
AMOUNT_PLACES = 4
# So many are always written, so that an amount is the same text whoever wrote it and whenever: seals of evidence are made of it.
PLACES_WRITTEN = 3
LAST_WRITTEN = Decimal(1).scaleb(-PLACES_WRITTEN)

LOCKS = re.compile(r"\s+FOR (NO KEY UPDATE|UPDATE|SHARE|KEY SHARE)( OF \w+)?$")


def _currencies_with(decimals: int) -> list[str]:
    known = (currency.code for currency in list_all_currencies())
    return sorted(code for code in known if exponent(code) == decimals)


CURRENCIES_BY_EXPONENT = {decimals: _currencies_with(decimals) for decimals in (0, 3, 4)}


def exact_field(**options: Any) -> "models.DecimalField[Decimal, Decimal]":
    """Return a column for a quantity or a unit price: numeric(38, 12)."""
    return models.DecimalField(max_digits=EXACT_DIGITS, decimal_places=EXACT_PLACES, **options)


def sees_all_that_is_written(*, deed: str, where: str = "TRUE") -> str:
    """Return the beginning of a guard that sums what others write: only under READ COMMITTED a lock on what it belongs to shows it.

    In an older snapshot a row that somebody added meanwhile is missing, and no lock says so. `deed` says what is done, in the present;
    `where` is a condition under which it is done at all.
    """
    return f"""
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            IF {where} THEN
                RAISE EXCEPTION '{deed} under READ COMMITTED alone, which sees what others have written meanwhile'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END IF;
    """


def append_only(*, noun: str) -> list[Guard]:
    """Return triggers that refuse UPDATE, DELETE and TRUNCATE of every row, whoever asks."""
    message = f"{noun} are append-only: write a new row instead"
    return [
        Guard(
            name="append_only",
            when=pgtrigger.Before,
            operation=pgtrigger.Update | pgtrigger.Delete,
            func=f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
            carving=Carving(closed="TRUE"),
        ),
        never_truncated(noun=noun),
    ]


def never_truncated(*, noun: str) -> Guard:
    """Return a statement trigger that refuses TRUNCATE."""
    return Guard(
        name="never_truncated",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        func=f"RAISE EXCEPTION '{noun} cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
    )


def stays(*, noun: str, columns: Sequence[str]) -> Guard:
    """Return a trigger by which these columns (and the row's id) keep what they were first given."""
    kept = ", ".join(("{row}.id", *(f"{{row}}.{column}" for column in columns)))
    return Guard(
        name="stays_what_it_is",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func=f"""
            IF ({kept.format(row="OLD")}) IS DISTINCT FROM ({kept.format(row="NEW")}) THEN
                RAISE EXCEPTION '{", ".join(columns)} of {noun} % cannot be changed', OLD.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


def never_deleted(*, noun: str) -> Guard:
    """Return a trigger by which no row goes away; `noun` is in the plural. Columns that stay are guarded beside it."""
    return Guard(
        name="is_never_deleted",
        when=pgtrigger.Before,
        operation=pgtrigger.Delete,
        func=f"RAISE EXCEPTION '{noun} cannot be deleted' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
    )


def carved(*, noun: str, while_open: str, free_columns: Sequence[str]) -> list[Guard]:
    """Return triggers that freeze a row once it has left its open state.

    `while_open` is an SQL condition on OLD under which the row may still change or go; after that
    only `free_columns` may change. Every other column is compared, those added later included.
    """
    free = ", ".join(f"'{column}'" for column in free_columns) or "''"
    return [
        Guard(
            name="carved_in_stone",
            when=pgtrigger.Before,
            operation=pgtrigger.Update | pgtrigger.Delete,
            func=f"""
                IF ({while_open}) THEN
                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
                    RETURN NEW;
                END IF;
                IF TG_OP = 'DELETE' THEN
                    RAISE EXCEPTION '{noun} % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                -- As text: 12.30 and 12.300 are equal numbers, and two texts to whoever has sealed one of them.
                IF (to_jsonb(OLD) - ARRAY[{free}]::text[])::text <> (to_jsonb(NEW) - ARRAY[{free}]::text[])::text THEN
                    RAISE EXCEPTION '{noun} % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            """,
            carving=Carving(
                closed=f"NOT coalesce(({while_open.replace('OLD.', '{row}.')}), FALSE)",
                free_columns=tuple(free_columns),
            ),
        ),
        never_truncated(noun=noun),
    ]


def frozen_with_parent(*, noun: str, parent_column: str, open_parent: str) -> list[Guard]:
    """Return triggers by which rows may be added, changed or removed only while their parent is open.

    `open_parent` is an SQL query that finds the parent of the row `{row}` by `parent_column` alone, while it is open; it
    should lock the parent (FOR SHARE), so that nobody closes it at the same moment. New rows are looked at together, each parent once.
    """

    def refuse_unless_open(row: str) -> str:
        return f"""
            PERFORM 1 FROM ({open_parent.format(row=row)}) open_parent;
            IF NOT FOUND THEN
                RAISE EXCEPTION '{noun} % cannot be added, changed or removed', {row}.{parent_column}
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        """

    return [
        Guard(
            name="frozen_with_parent_on_insert",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Insert,
            referencing=pgtrigger.Referencing(new="added"),
            declare=[("closed", "record")],
            func=f"""
                SELECT parent.{parent_column} INTO closed FROM (SELECT DISTINCT {parent_column} FROM added) AS parent
                  LEFT JOIN LATERAL ({open_parent.format(row="parent")}) AS open_parent(is_open) ON TRUE
                 WHERE open_parent.is_open IS NULL ORDER BY 1 LIMIT 1;
                IF FOUND THEN
                    RAISE EXCEPTION '{noun} % cannot be added, changed or removed', closed.{parent_column}
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NULL;
            """,
        ),
        Guard(
            name="frozen_with_parent",
            when=pgtrigger.Before,
            operation=pgtrigger.Update | pgtrigger.Delete,
            func=f"""
                {refuse_unless_open("OLD")}
                IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
                {refuse_unless_open("NEW")}
                RETURN NEW;
            """,
            carving=Carving(closed=f"NOT EXISTS ({LOCKS.sub('', open_parent)})"),
        ),
        never_truncated(noun=noun),
    ]


def _as_written(number: Any) -> Any:
    """Return an amount with the decimals that are always written; one that has more keeps them, and the constraint judges it."""
    if not isinstance(number, Decimal) or not number.is_finite():
        return number
    written = number.quantize(LAST_WRITTEN, context=EXACT)
    return written if written == number else number


class AmountColumn(models.DecimalField[Any, Any]):
    """A column for a rounded amount. PostgreSQL's type has no scale; `fits_currency` bounds digits and decimals by the currency.

    So a fourth decimal cost no table a rewriting, and left every stored amount the text that it was.
    """

    # Assigned as money or as a number: what the type checker would otherwise take from the class above.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type without precision and scale."""
        return "numeric"

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        """Return the amount as it is always written: 12.30 as 12.300."""
        amount = value.amount if isinstance(value, Money) else value
        if type(amount) is not Decimal or not amount.is_finite():
            amount = super().get_db_prep_save(value, connection)
        return _as_written(amount)


class MoneyColumn(AmountColumn, MoneyField):
    """A column for a rounded amount that comes as money of the row's currency."""


def amount_field(**options: Any) -> AmountColumn:
    """Return a column for a rounded amount in a currency that the row may lack."""
    return AmountColumn(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, **options)


def money_field(**options: Any) -> MoneyField:
    """Return a column for a rounded amount whose currency is the row's one `currency` column."""
    known: dict[str, Any] = {"currency_field_name": "currency", "default_currency": None}
    return MoneyColumn(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, **(known | options))


def fits_currency(*fields: str, name: str) -> models.CheckConstraint:
    """Return a constraint by which the amounts are whole minor units of the row's currency, of 16 digits before the point (S0-107)."""
    limit = Decimal(10) ** (AMOUNT_DIGITS - AMOUNT_PLACES)
    condition = models.Q()
    for field in fields:

        def has(places: int, field: str = field) -> models.Q:
            return models.Q(**{field: Round(field, precision=places)})

        # NaN is larger than any number.
        condition &= models.Q(**{f"{field}__gt": -limit, f"{field}__lt": limit}) & has(4)
        condition &= models.Q(currency__in=CURRENCIES_BY_EXPONENT[4]) | has(3)
        condition &= models.Q(currency__in=CURRENCIES_BY_EXPONENT[4] + CURRENCIES_BY_EXPONENT[3]) | has(2)
        condition &= ~models.Q(currency__in=CURRENCIES_BY_EXPONENT[0]) | has(0)
    return models.CheckConstraint(condition=condition, name=name)
