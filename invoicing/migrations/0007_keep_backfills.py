"""Files of old events are kept with their dry run until somebody commits them."""

import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import billing_site.kernel.guard


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0006_correct_issued_lines"),
    ]

    operations = [
        migrations.CreateModel(
            name="Backfill",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                ("content", models.BinaryField(help_text="The file, until it is committed.")),
                ("content_digest", models.CharField(help_text="SHA-256 of the file.", max_length=64)),
                ("preset", models.CharField(blank=True, max_length=50)),
                (
                    "rules",
                    models.JSONField(default=list, help_text="FIELD=COLUMN and FIELD==CONSTANT, as they were written."),
                ),
                (
                    "timezone",
                    models.CharField(blank=True, help_text="What timestamps without an offset mean.", max_length=60),
                ),
                ("uploaded_by", models.CharField(max_length=200)),
                ("uploaded_at", models.DateTimeField()),
                ("figures", models.JSONField(help_text="What the dry run said.")),
                ("figures_digest", models.CharField(max_length=64)),
                ("shown_at", models.DateTimeField(help_text="When the dry run was made.")),
                ("committed_at", models.DateTimeField(blank=True, null=True)),
                ("committed_by", models.CharField(blank=True, max_length=200)),
                ("reason", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("committed_at__isnull", True), ("committed_by", ""), ("reason", "")),
                            models.Q(
                                ("committed_at__isnull", False),
                                models.Q(("committed_by", ""), _negated=True),
                                models.Q(("reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="backfill_is_committed_by_somebody_with_reason",
                    )
                ],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="backfill",
            trigger=pgtrigger.compiler.Trigger(
                name="carved_in_stone",
                sql=billing_site.kernel.guard.GuardSql(
                    func="\n                IF (OLD.committed_at IS NULL) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'committed backfill % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                IF to_jsonb(OLD) - ARRAY['']::text[] IS DISTINCT FROM to_jsonb(NEW) - ARRAY['']::text[] THEN\n                    RAISE EXCEPTION 'committed backfill % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ",
                    hash="6e5efd909ee3dc8e59d80f453acc77e31ac68a8f",
                    operation="UPDATE OR DELETE",
                    pgid="pgtrigger_carved_in_stone_624cd",
                    table="invoicing_backfill",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="backfill",
            trigger=pgtrigger.compiler.Trigger(
                name="never_truncated",
                sql=billing_site.kernel.guard.GuardSql(
                    func="RAISE EXCEPTION 'committed backfill cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
                    hash="52bdfd5078d572e60fc7d6906c315cb5aa7cb812",
                    level="STATEMENT",
                    operation="TRUNCATE",
                    pgid="pgtrigger_never_truncated_13981",
                    table="invoicing_backfill",
                    when="BEFORE",
                ),
            ),
        ),
    ]
