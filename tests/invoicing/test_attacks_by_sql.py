"""Random attacks by SQL on what is carved in stone: refused to whoever is no superuser, found by `verify` if one was.

`ATTACKS=10000` tries more; `ATTACK_SEED` plays one run again.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from invoicing.evidence.chain import extend_chain
from invoicing.evidence.tables import PROVEN_ELSEWHERE, carved_tables
from invoicing.workflows.verify import verify
from tests.factories import SEPTEMBER
from tests.invoicing.carved_rows import (
    Attack,
    a_busy_house,
    an_attack,
    attackable,
    carved_columns,
    carved_rows,
    proven_by_the_chain,
)

ATTACKS = int(os.environ.get("ATTACKS", "300"))
SEED = int(os.environ.get("ATTACK_SEED", secrets.randbits(32)))
AT_ONCE = 30

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(300 + ATTACKS // 2)]


@pytest.fixture
def house() -> dict[str, list[int]]:
    a_busy_house()
    assert verify() == []
    extend_chain(at=SEPTEMBER)
    return carved_rows()


@contextmanager
def taken_back() -> Iterator[None]:
    """What is done within is rolled back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def be_the_application() -> None:
    """Become what web and worker connect as."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {settings.DATABASE_APPLICATION_USER}")


def may_everything_but_own() -> None:
    """Become a role with every right on rows of every table that may be granted, which owns nothing: only guards stand in its way."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE billing_attacker; GRANT USAGE ON SCHEMA public TO billing_attacker")
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO billing_attacker")
        cursor.execute("SET LOCAL ROLE billing_attacker")


def refusal(statement: str) -> str:
    """Why a statement was refused; empty where it was not."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            if cursor.rowcount == 0:
                return "no such row"
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except DatabaseError as refused:
        return str(refused)
    return ""


@pytest.mark.requirement("S0-106")
@pytest.mark.parametrize("become", [be_the_application, may_everything_but_own])
def test_every_attack_on_a_carved_row_is_refused_to_whoever_does_not_own_the_table(
    house: dict[str, list[int]], become: Callable[[], None]
) -> None:
    chance = Random(SEED)
    columns = attackable(rows=house)

    with taken_back():
        become()
        attacks = [an_attack(chance=chance, columns=columns, rows=house) for _ in range(ATTACKS)]
        went_through = [attack.statement for attack in attacks if not refusal(attack.statement)]
        truncated = [
            table for table in {column.table for column in columns} if not refusal(f"TRUNCATE {table} CASCADE")
        ]
        switched_off = [
            statement
            for statement in (
                "SET session_replication_role = replica",
                "ALTER TABLE invoicing_invoice DISABLE TRIGGER USER",
                "DROP TABLE invoicing_posting CASCADE",
            )
            if not refusal(statement)
        ]

    assert (went_through, truncated, switched_off) == ([], [], []), f"ATTACK_SEED={SEED}"


@pytest.mark.requirement("S0-106")
def test_no_decimal_is_added_to_a_carved_amount_or_cut_off_it(house: dict[str, list[int]]) -> None:
    amounts = [column for column in attackable(rows=house) if column.kind == "numeric"]
    went_through, refused = [], set()

    with taken_back():
        be_the_application()
        for column in amounts:
            for change in (f'trim_scale("{column.name}" + 0.0000)', f'"{column.name}" + 0.00000'):
                # Where the column has a number of decimals, nothing is another text, and nothing changes.
                statement = (
                    f'UPDATE {column.table} SET "{column.name}" = {change}'
                    f' WHERE "{column.key}" = ANY(ARRAY{house[column.table]}) AND "{column.name}"::text'
                    f" <> (({change})::numeric)::text AND NOT EXISTS (SELECT FROM information_schema.columns WHERE"
                    f" table_name = '{column.table}' AND column_name = '{column.name}' AND numeric_scale IS NOT NULL)"
                    " RETURNING 1"
                )
                with connection.cursor() as cursor:
                    try:
                        with transaction.atomic():
                            cursor.execute(statement)
                            went_through += [statement] if cursor.rowcount else []
                    except DatabaseError as problem:
                        refused |= {column.name} if "cannot be changed" in str(problem) else set()

    assert went_through == []
    # By the guard and not for want of a privilege.
    assert {"total", "subtotal"} <= refused


def behind_the_triggers(attacks: list[Attack]) -> list[Attack]:
    """Make attacks as a superuser with triggers off; return those that no constraint has refused."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        made = [attack for attack in attacks if not refusal(attack.statement)]
        cursor.execute("SET LOCAL session_replication_role = origin")
    return made


@pytest.mark.requirement("S0-106")
def test_every_attack_of_a_superuser_with_triggers_off_is_found_and_its_row_named(house: dict[str, list[int]]) -> None:
    chance = Random(SEED)
    columns = attackable(rows=house)
    missed, tried, made = [], 0, 0

    while tried < ATTACKS:
        with taken_back():
            # Who destroys the evidence of a row beside the row is found, but not which row it was.
            on_chain = chance.randrange(6) == 0
            aims = [column for column in columns if (column.table in PROVEN_ELSEWHERE) == on_chain]
            count = 1 if on_chain else AT_ONCE
            wanted = [an_attack(chance=chance, columns=aims, rows=house) for _ in range(count)]
            # One attack for each row: two of them could put it right again.
            some = list({attack.subject: attack for attack in wanted}.values())
            done = behind_the_triggers(some)
            named = {finding.subject for finding in verify()}
            missed += [attack.statement for attack in done if attack.subject not in named]
        tried += len(some)
        made += len(done)

    assert missed == [], (f"ATTACK_SEED={SEED}", missed)
    assert made > tried * 3 / 4, "constraints refuse too much: the attacks prove little"


def test_every_carved_table_refuses_change_deletion_and_truncation_by_triggers_that_are_on() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname, bit_or(tgtype::int) & 56 FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
            WHERE tgname ~ '^pgtrigger_(append_only|carved_in_stone|frozen_with_parent|only_marks_change|never_truncated)_[0-9a-f]{5}$'
              AND tgenabled IN ('O', 'A') AND tgqual IS NULL AND NOT relispartition GROUP BY 1
            """
        )
        refused = dict(cursor.fetchall())

    update_delete_and_truncate = 16 + 8 + 32
    tables = {column.table for column in carved_columns()}
    assert {table for table in tables if refused[table] != update_delete_and_truncate} == set()
    assert len(tables) > 30


def test_the_chain_knows_every_carved_table_with_all_columns_that_may_not_move() -> None:
    known = {(table.name, column.split(" ")[0]) for table in carved_tables() for column in table.columns}

    assert {table.name for table in carved_tables()} == proven_by_the_chain()
    assert {(one.table, one.name) for one in carved_columns() if one.table in proven_by_the_chain()} == known


def test_the_busy_house_has_rows_in_most_carved_tables(house: dict[str, list[int]]) -> None:
    empty = proven_by_the_chain() - set(house)

    assert len(empty) < len(house) / 2, sorted(empty)
