"""Digests of carved rows, chained in blocks, and the anchors that name the head of the chain."""

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only


class EvidenceShape(models.Model):
    """The columns of a carved table that digests were made over. A migration that adds one makes a new shape."""

    table_name = models.CharField(max_length=100)
    columns = ArrayField(models.CharField(max_length=200), help_text="Names with types.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of table and columns.")

    objects = models.Manager["EvidenceShape"]()

    class Meta:
        triggers = append_only(noun="shapes of evidence")

    def __str__(self) -> str:
        return f"{self.table_name}, {len(self.columns)} columns"


class EvidenceRow(models.Model):
    """The SHA-256 of a carved row as it was when it was taken into the chain; numbered without gap."""

    number = models.BigIntegerField(primary_key=True)
    # No foreign key: it would be checked for each of very many rows, and `verify` asks for it anyway.
    shape_id = models.BigIntegerField()
    row_id = models.BigIntegerField(help_text="The row's primary key.")
    digest = models.BinaryField()

    objects = models.Manager["EvidenceRow"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["shape_id", "row_id"], name="evidence_is_taken_once_of_a_row"),
        ]
        triggers = [
            *append_only(noun="rows of evidence"),
            Guard(
                name="comes_after_the_last_block",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                referencing=pgtrigger.Referencing(new="new_rows"),
                func="""
                    IF (SELECT min(number) FROM new_rows) < (
                        SELECT first_row + row_count FROM invoicing_evidenceblock ORDER BY number DESC LIMIT 1
                    ) THEN
                        RAISE EXCEPTION 'evidence cannot be added to a block that is closed'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"evidence {self.number}"


class EvidenceBlock(models.Model):
    """A run of rows of evidence, chained to the block before it by that one's digest."""

    number = models.BigIntegerField(primary_key=True)
    made_at = models.DateTimeField()
    first_row = models.BigIntegerField(help_text="The number of its first row of evidence.")
    row_count = models.BigIntegerField()
    rows_digest = models.CharField(max_length=64, help_text="SHA-256 over its rows in their order.")
    previous_digest = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the whole block.")

    objects = models.Manager["EvidenceBlock"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(number__gte=1, first_row__gte=1, row_count__gte=1), name="evidence_block_holds_rows"
            ),
        ]
        triggers = [
            *append_only(noun="blocks of evidence"),
            Guard(
                name="continues_the_chain",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("last_number", "bigint"), ("next_row", "bigint"), ("last_digest", "text")],
                func="""
                    SELECT number, first_row + row_count, digest INTO last_number, next_row, last_digest
                      FROM invoicing_evidenceblock ORDER BY number DESC LIMIT 1;
                    IF (NEW.number, NEW.first_row, NEW.previous_digest)
                       <> (coalesce(last_number, 0) + 1, coalesce(next_row, 1), coalesce(last_digest, '')) THEN
                        RAISE EXCEPTION 'block % does not continue the chain of evidence', NEW.number
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"block {self.number}"

    @property
    def last_row(self) -> int:
        """The number of its last row of evidence."""
        return self.first_row + self.row_count - 1


class Anchor(models.Model):
    """The head of the chains at one moment: whoever keeps its document elsewhere can tell whether all was written anew."""

    made_at = models.DateTimeField()
    block_number = models.BigIntegerField()
    document = models.JSONField(help_text="What is downloaded and kept elsewhere.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the document.")

    objects = models.Manager["Anchor"]()

    class Meta:
        triggers = append_only(noun="anchors")

    def __str__(self) -> str:
        return f"anchor of {self.made_at:%Y-%m-%d %H:%M}"
