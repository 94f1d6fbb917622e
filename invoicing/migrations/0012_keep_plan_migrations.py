"""Moves of subscribers to another version are kept with their dry run until somebody commits them."""

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import billing_site.kernel.guard


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0008c_guard_phases"),
    ]

    operations = [
        migrations.CreateModel(
            name="PlanMigration",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sources", models.JSONField(help_text="The versions whose subscribers move, by their ids.")),
                (
                    "from_date",
                    models.DateField(
                        help_text="Each moves with the first billing period that begins then or later, in its own zone."
                    ),
                ),
                ("proposed_by", models.CharField(max_length=200)),
                ("proposed_at", models.DateTimeField()),
                ("figures", models.JSONField(help_text="What the dry run said, subscription by subscription.")),
                ("figures_digest", models.CharField(max_length=64)),
                ("shown_at", models.DateTimeField(help_text="When the dry run was made.")),
                ("committed_at", models.DateTimeField(blank=True, null=True)),
                ("committed_by", models.CharField(blank=True, max_length=200)),
                ("reason", models.CharField(blank=True, max_length=300)),
                (
                    "target",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="invoicing.planversion"
                    ),
                ),
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
                        name="plan_migration_is_committed_by_somebody_with_reason",
                    )
                ],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="planmigration",
            trigger=pgtrigger.compiler.Trigger(
                name="carved_in_stone",
                sql=billing_site.kernel.guard.GuardSql(
                    func="\n                IF (OLD.committed_at IS NULL) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'committed plan migration % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                IF to_jsonb(OLD) - ARRAY['']::text[] IS DISTINCT FROM to_jsonb(NEW) - ARRAY['']::text[] THEN\n                    RAISE EXCEPTION 'committed plan migration % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ",
                    hash="a30c0ad4bfecd4c177d1951a18f1087f5c5dfa21",
                    operation="UPDATE OR DELETE",
                    pgid="pgtrigger_carved_in_stone_1ea90",
                    table="invoicing_planmigration",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="planmigration",
            trigger=pgtrigger.compiler.Trigger(
                name="never_truncated",
                sql=billing_site.kernel.guard.GuardSql(
                    func="RAISE EXCEPTION 'committed plan migration cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
                    hash="a46524c81c8d4a073f4b85334a2a30ab869d8e40",
                    level="STATEMENT",
                    operation="TRUNCATE",
                    pgid="pgtrigger_never_truncated_994f2",
                    table="invoicing_planmigration",
                    when="BEFORE",
                ),
            ),
        ),
    ]
