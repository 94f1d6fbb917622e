"""Price lists tried on closed periods are kept with what each invoice would have been."""

import django.db.models.deletion
import django.db.models.functions.math
import djmoney.models.fields
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import billing_site.kernel.guard


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0007_keep_backfills"),
    ]

    operations = [
        migrations.CreateModel(
            name="WhatIfFigure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(help_text="The month of the period's last day, by its first day.")),
                ("currency", models.CharField(max_length=3)),
                (
                    "before",
                    djmoney.models.fields.MoneyField(
                        currency_field_name="currency", decimal_places=3, default_currency=None, max_digits=19
                    ),
                ),
                (
                    "after",
                    djmoney.models.fields.MoneyField(
                        blank=True,
                        currency_field_name="currency",
                        decimal_places=3,
                        default_currency=None,
                        max_digits=19,
                        null=True,
                    ),
                ),
                ("problem", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "verbose_name": "what-if figure",
            },
        ),
        migrations.CreateModel(
            name="WhatIf",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=300)),
                (
                    "cards",
                    models.JSONField(
                        help_text="The price lists: plan, where it comes from, and the plan as in a catalog file."
                    ),
                ),
                ("month_count", models.PositiveSmallIntegerField()),
                ("first_date", models.DateField()),
                ("last_date", models.DateField()),
                ("asked_by", models.CharField(max_length=200)),
                ("asked_at", models.DateTimeField()),
                ("invoice_count", models.PositiveIntegerField(default=0, help_text="Invoices to compute.")),
                ("done_count", models.PositiveIntegerField(default=0, help_text="Invoices that are computed.")),
                (
                    "done_through",
                    models.BigIntegerField(
                        default=0, help_text="The last invoice that is computed; they go by their ids."
                    ),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "figures",
                    models.JSONField(
                        default=dict, help_text="Totals, months and groups by currency, once it is finished."
                    ),
                ),
                (
                    "figures_digest",
                    models.CharField(
                        blank=True,
                        help_text="SHA-256 over the price lists, each invoice's seal, and each figure.",
                        max_length=64,
                    ),
                ),
            ],
            options={
                "verbose_name": "what-if",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("figures_digest", ""), ("finished_at__isnull", True)),
                            models.Q(
                                ("done_count", models.F("invoice_count")),
                                ("finished_at__isnull", False),
                                models.Q(("figures_digest", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="what_if_is_finished_whole_and_with_its_digest",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("last_date__gt", models.F("first_date")), ("month_count__gt", 0)),
                        name="what_if_looks_at_time",
                    ),
                ],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="whatif",
            trigger=pgtrigger.compiler.Trigger(
                name="carved_in_stone",
                sql=billing_site.kernel.guard.GuardSql(
                    func="\n                IF (OLD.finished_at IS NULL) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'finished what-if % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                IF to_jsonb(OLD) - ARRAY['']::text[] IS DISTINCT FROM to_jsonb(NEW) - ARRAY['']::text[] THEN\n                    RAISE EXCEPTION 'finished what-if % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ",
                    hash="b4d2b185db266ed1e6bef641d652956948c0a364",
                    operation="UPDATE OR DELETE",
                    pgid="pgtrigger_carved_in_stone_5757e",
                    table="invoicing_whatif",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="whatif",
            trigger=pgtrigger.compiler.Trigger(
                name="never_truncated",
                sql=billing_site.kernel.guard.GuardSql(
                    func="RAISE EXCEPTION 'finished what-if cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
                    hash="b83819839d0c3ab69ee0178e81858c0b36fe0709",
                    level="STATEMENT",
                    operation="TRUNCATE",
                    pgid="pgtrigger_never_truncated_c52e9",
                    table="invoicing_whatif",
                    when="BEFORE",
                ),
            ),
        ),
        migrations.AddField(
            model_name="whatiffigure",
            name="customer",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="invoicing.customer"
            ),
        ),
        migrations.AddField(
            model_name="whatiffigure",
            name="invoice",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="invoicing.invoice"
            ),
        ),
        migrations.AddField(
            model_name="whatiffigure",
            name="what_if",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="rows", to="invoicing.whatif"
            ),
        ),
        migrations.AddIndex(
            model_name="whatiffigure",
            index=models.Index(fields=["what_if", "currency", "customer"], name="what_if_by_customer"),
        ),
        migrations.AddConstraint(
            model_name="whatiffigure",
            constraint=models.UniqueConstraint(fields=("what_if", "invoice"), name="what_if_computes_an_invoice_once"),
        ),
        migrations.AddConstraint(
            model_name="whatiffigure",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("after__isnull", False), ("problem", "")),
                    models.Q(("after__isnull", True), models.Q(("problem", ""), _negated=True)),
                    _connector="OR",
                ),
                name="what_if_figure_is_an_amount_or_a_problem",
            ),
        ),
        migrations.AddConstraint(
            model_name="whatiffigure",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("currency__in", ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
                        ("before", django.db.models.functions.math.Round("before", precision=2)),
                        _connector="OR",
                    ),
                    models.Q(
                        models.Q(
                            (
                                "currency__in",
                                [
                                    "ADP",
                                    "ALK",
                                    "AOK",
                                    "AON",
                                    "AOR",
                                    "BAN",
                                    "BEC",
                                    "BEL",
                                    "BGM",
                                    "BGO",
                                    "BIF",
                                    "BOL",
                                    "BUK",
                                    "BYR",
                                    "CLE",
                                    "CLP",
                                    "CSK",
                                    "DDM",
                                    "DJF",
                                    "ECS",
                                    "ESA",
                                    "ESB",
                                    "ESP",
                                    "GEK",
                                    "GNF",
                                    "GNS",
                                    "GQE",
                                    "GWE",
                                    "ISK",
                                    "ITL",
                                    "JPY",
                                    "KMF",
                                    "KRH",
                                    "KRO",
                                    "KRW",
                                    "LUC",
                                    "LUL",
                                    "MDC",
                                    "MGF",
                                    "MKN",
                                    "MLF",
                                    "MTP",
                                    "MVP",
                                    "MXP",
                                    "PEI",
                                    "PTE",
                                    "PYG",
                                    "ROL",
                                    "RWF",
                                    "SDP",
                                    "SUR",
                                    "TJR",
                                    "TPE",
                                    "TRL",
                                    "UGS",
                                    "UGX",
                                    "UYI",
                                    "VND",
                                    "VNN",
                                    "VUV",
                                    "XAF",
                                    "XAG",
                                    "XAU",
                                    "XBA",
                                    "XBB",
                                    "XBC",
                                    "XBD",
                                    "XDR",
                                    "XEU",
                                    "XFO",
                                    "XFU",
                                    "XOF",
                                    "XPD",
                                    "XPF",
                                    "XPT",
                                    "XRE",
                                    "XSU",
                                    "XTS",
                                    "XUA",
                                    "XXX",
                                    "YDD",
                                ],
                            ),
                            _negated=True,
                        ),
                        ("before", django.db.models.functions.math.Round("before", precision=0)),
                        _connector="OR",
                    ),
                    models.Q(
                        ("currency__in", ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
                        ("after", django.db.models.functions.math.Round("after", precision=2)),
                        _connector="OR",
                    ),
                    models.Q(
                        models.Q(
                            (
                                "currency__in",
                                [
                                    "ADP",
                                    "ALK",
                                    "AOK",
                                    "AON",
                                    "AOR",
                                    "BAN",
                                    "BEC",
                                    "BEL",
                                    "BGM",
                                    "BGO",
                                    "BIF",
                                    "BOL",
                                    "BUK",
                                    "BYR",
                                    "CLE",
                                    "CLP",
                                    "CSK",
                                    "DDM",
                                    "DJF",
                                    "ECS",
                                    "ESA",
                                    "ESB",
                                    "ESP",
                                    "GEK",
                                    "GNF",
                                    "GNS",
                                    "GQE",
                                    "GWE",
                                    "ISK",
                                    "ITL",
                                    "JPY",
                                    "KMF",
                                    "KRH",
                                    "KRO",
                                    "KRW",
                                    "LUC",
                                    "LUL",
                                    "MDC",
                                    "MGF",
                                    "MKN",
                                    "MLF",
                                    "MTP",
                                    "MVP",
                                    "MXP",
                                    "PEI",
                                    "PTE",
                                    "PYG",
                                    "ROL",
                                    "RWF",
                                    "SDP",
                                    "SUR",
                                    "TJR",
                                    "TPE",
                                    "TRL",
                                    "UGS",
                                    "UGX",
                                    "UYI",
                                    "VND",
                                    "VNN",
                                    "VUV",
                                    "XAF",
                                    "XAG",
                                    "XAU",
                                    "XBA",
                                    "XBB",
                                    "XBC",
                                    "XBD",
                                    "XDR",
                                    "XEU",
                                    "XFO",
                                    "XFU",
                                    "XOF",
                                    "XPD",
                                    "XPF",
                                    "XPT",
                                    "XRE",
                                    "XSU",
                                    "XTS",
                                    "XUA",
                                    "XXX",
                                    "YDD",
                                ],
                            ),
                            _negated=True,
                        ),
                        ("after", django.db.models.functions.math.Round("after", precision=0)),
                        _connector="OR",
                    ),
                ),
                name="what_if_amounts_fit_their_currency",
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="whatiffigure",
            trigger=pgtrigger.compiler.Trigger(
                name="frozen_with_parent_on_insert",
                sql=billing_site.kernel.guard.GuardSql(
                    func="\n            PERFORM 1 FROM (SELECT 1 FROM invoicing_whatif asked WHERE asked.id = NEW.what_if_id AND asked.finished_at IS NULL FOR SHARE) open_parent;\n            IF NOT FOUND THEN\n                RAISE EXCEPTION 'figures of finished what-if % cannot be added, changed or removed', NEW.what_if_id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n         RETURN NEW;",
                    hash="69a6e432c4bfa13b6578d2ec7d621e0821ccc84a",
                    operation="INSERT",
                    pgid="pgtrigger_frozen_with_parent_on_insert_95a3e",
                    table="invoicing_whatiffigure",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="whatiffigure",
            trigger=pgtrigger.compiler.Trigger(
                name="frozen_with_parent",
                sql=billing_site.kernel.guard.GuardSql(
                    func="\n                \n            PERFORM 1 FROM (SELECT 1 FROM invoicing_whatif asked WHERE asked.id = OLD.what_if_id AND asked.finished_at IS NULL FOR SHARE) open_parent;\n            IF NOT FOUND THEN\n                RAISE EXCEPTION 'figures of finished what-if % cannot be added, changed or removed', OLD.what_if_id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n        \n                IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                \n            PERFORM 1 FROM (SELECT 1 FROM invoicing_whatif asked WHERE asked.id = NEW.what_if_id AND asked.finished_at IS NULL FOR SHARE) open_parent;\n            IF NOT FOUND THEN\n                RAISE EXCEPTION 'figures of finished what-if % cannot be added, changed or removed', NEW.what_if_id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n        \n                RETURN NEW;\n            ",
                    hash="a96aeb08f1106e4fcc2d67b28e0f1bc83bf3537f",
                    operation="UPDATE OR DELETE",
                    pgid="pgtrigger_frozen_with_parent_93ce6",
                    table="invoicing_whatiffigure",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="whatiffigure",
            trigger=pgtrigger.compiler.Trigger(
                name="never_truncated",
                sql=billing_site.kernel.guard.GuardSql(
                    func="RAISE EXCEPTION 'figures of finished what-if cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
                    hash="aa78aaff6f903831559b000f270a41b9f83e7064",
                    level="STATEMENT",
                    operation="TRUNCATE",
                    pgid="pgtrigger_never_truncated_f69c2",
                    table="invoicing_whatiffigure",
                    when="BEFORE",
                ),
            ),
        ),
    ]
