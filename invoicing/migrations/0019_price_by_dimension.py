"""Prices may be matrices: dimensions, a default amount, and a table of cells that is frozen with its version."""

import billing_site.kernel.guard
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0018_agree_prices_of_their_own"),
        ("metering", "0012_compare_numbers_by_value"),
    ]

    operations = [
        migrations.CreateModel(
            name="PriceCell",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "first_value",
                    models.CharField(
                        blank=True, help_text="Empty: events without the first dimension.", max_length=100, null=True
                    ),
                ),
                (
                    "second_value",
                    models.CharField(
                        blank=True,
                        help_text="Empty: events without the second dimension, if there is one.",
                        max_length=100,
                        null=True,
                    ),
                ),
                ("unit_amount", models.DecimalField(decimal_places=12, default=0, max_digits=38)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="price",
            name="price_model_is_known",
        ),
        migrations.AddField(
            model_name="price",
            name="default_unit_amount",
            field=models.DecimalField(
                blank=True,
                decimal_places=12,
                help_text="Of a matrix: for values without a cell. Empty: such usage cannot be billed until somebody acts.",
                max_digits=38,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="price",
            name="first_dimension",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of a matrix: a dimension of the meter.",
                max_length=200,
            ),
        ),
        migrations.AddField(
            model_name="price",
            name="second_dimension",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AlterField(
            model_name="price",
            name="model",
            field=models.CharField(
                choices=[
                    ("flat", "Flat"),
                    ("per_unit", "Per unit"),
                    ("graduated", "Graduated"),
                    ("volume", "Volume"),
                    ("package", "Package"),
                    ("percentage", "Percentage"),
                    ("graduated_percentage", "Graduated percentage"),
                    ("matrix", "Matrix"),
                ],
                max_length=30,
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "model__in",
                        [
                            "flat",
                            "per_unit",
                            "graduated",
                            "volume",
                            "package",
                            "percentage",
                            "graduated_percentage",
                            "matrix",
                        ],
                    )
                ),
                name="price_model_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("second_dimension", ""),
                    models.Q(
                        models.Q(("first_dimension", ""), _negated=True),
                        models.Q(("first_dimension", models.F("second_dimension")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="price_second_dimension_is_another_than_the_first",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("default_unit_amount__isnull", True), ("default_unit_amount__gte", 0), _connector="OR"
                ),
                name="price_default_amount_is_not_negative",
            ),
        ),
        migrations.AddField(
            model_name="pricecell",
            name="price",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="cells", to="invoicing.price"
            ),
        ),
        migrations.AddConstraint(
            model_name="pricecell",
            constraint=models.UniqueConstraint(fields=("price", "position"), name="price_cell_position_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="pricecell",
            constraint=models.UniqueConstraint(
                fields=("price", "first_value", "second_value"),
                name="price_cell_of_some_values_is_one",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="pricecell",
            constraint=models.CheckConstraint(
                condition=models.Q(("unit_amount__gte", 0)), name="price_cell_amount_is_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="pricecell",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("first_value__isnull", True), models.Q(("first_value", ""), _negated=True), _connector="OR"
                    ),
                    models.Q(
                        ("second_value__isnull", True), models.Q(("second_value", ""), _negated=True), _connector="OR"
                    ),
                ),
                name="price_cell_value_is_a_text_or_none",
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="pricecell",
            trigger=pgtrigger.compiler.Trigger(
                name="frozen_with_parent_on_insert",
                sql=billing_site.kernel.guard.GuardSql(
                    func="\n            PERFORM 1 FROM (SELECT 1 FROM invoicing_price price JOIN invoicing_planversion version ON version.id = price.plan_version_id WHERE price.id = NEW.price_id AND version.published_at IS NULL FOR SHARE OF version) open_parent;\n            IF NOT FOUND THEN\n                RAISE EXCEPTION 'cells of the published price % cannot be added, changed or removed', NEW.price_id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n         RETURN NEW;",
                    hash="f271142c84e5903c04cf1ada13a84077d76b2541",
                    operation="INSERT",
                    pgid="pgtrigger_frozen_with_parent_on_insert_4b872",
                    table="invoicing_pricecell",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="pricecell",
            trigger=pgtrigger.compiler.Trigger(
                name="frozen_with_parent",
                sql=billing_site.kernel.guard.GuardSql(
                    func="\n                \n            PERFORM 1 FROM (SELECT 1 FROM invoicing_price price JOIN invoicing_planversion version ON version.id = price.plan_version_id WHERE price.id = OLD.price_id AND version.published_at IS NULL FOR SHARE OF version) open_parent;\n            IF NOT FOUND THEN\n                RAISE EXCEPTION 'cells of the published price % cannot be added, changed or removed', OLD.price_id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n        \n                IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                \n            PERFORM 1 FROM (SELECT 1 FROM invoicing_price price JOIN invoicing_planversion version ON version.id = price.plan_version_id WHERE price.id = NEW.price_id AND version.published_at IS NULL FOR SHARE OF version) open_parent;\n            IF NOT FOUND THEN\n                RAISE EXCEPTION 'cells of the published price % cannot be added, changed or removed', NEW.price_id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n        \n                RETURN NEW;\n            ",
                    hash="bc823a1585ff08e190ded4ffa0215ae094a5772a",
                    operation="UPDATE OR DELETE",
                    pgid="pgtrigger_frozen_with_parent_2a78b",
                    table="invoicing_pricecell",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="pricecell",
            trigger=pgtrigger.compiler.Trigger(
                name="never_truncated",
                sql=billing_site.kernel.guard.GuardSql(
                    func="RAISE EXCEPTION 'cells of the published price cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
                    hash="11471eef9e3187b3474fd7a33292c8caedf1fc4d",
                    level="STATEMENT",
                    operation="TRUNCATE",
                    pgid="pgtrigger_never_truncated_224a2",
                    table="invoicing_pricecell",
                    when="BEFORE",
                ),
            ),
        ),
    ]
