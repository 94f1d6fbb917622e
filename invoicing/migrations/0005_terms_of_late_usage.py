"""A customer says what becomes of late usage, below which amount it is absorbed, and how long a period waits for it."""

from decimal import Decimal

import django.db.models.functions.math
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0004_name_pushes_for_people")]

    operations = [
        migrations.AddField(
            model_name="customer",
            name="grace_hours",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="So long after the end of a period late usage still joins its invoice before it is issued.",
            ),
        ),
        migrations.AddField(
            model_name="customer",
            name="late_materiality",
            field=models.DecimalField(
                db_default=Decimal("0"),
                decimal_places=3,
                default=Decimal("0"),
                help_text="Late usage that changes an invoice line by less than this amount is absorbed.",
                max_digits=19,
            ),
        ),
        migrations.AddField(
            model_name="customer",
            name="late_usage_policy",
            field=models.CharField(
                choices=[
                    ("next_invoice", "Goes to the next invoice"),
                    ("absorb", "Is absorbed"),
                    ("ask", "Waits at the late-event desk"),
                ],
                db_default=models.Value("next_invoice"),
                default="next_invoice",
                help_text="What becomes of usage that arrives, or is cancelled, after its invoice was issued.",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="historicalcustomer",
            name="grace_hours",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="So long after the end of a period late usage still joins its invoice before it is issued.",
            ),
        ),
        migrations.AddField(
            model_name="historicalcustomer",
            name="late_materiality",
            field=models.DecimalField(
                db_default=Decimal("0"),
                decimal_places=3,
                default=Decimal("0"),
                help_text="Late usage that changes an invoice line by less than this amount is absorbed.",
                max_digits=19,
            ),
        ),
        migrations.AddField(
            model_name="historicalcustomer",
            name="late_usage_policy",
            field=models.CharField(
                choices=[
                    ("next_invoice", "Goes to the next invoice"),
                    ("absorb", "Is absorbed"),
                    ("ask", "Waits at the late-event desk"),
                ],
                db_default=models.Value("next_invoice"),
                default="next_invoice",
                help_text="What becomes of usage that arrives, or is cancelled, after its invoice was issued.",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="customer",
            constraint=models.CheckConstraint(
                condition=models.Q(("late_usage_policy__in", ["next_invoice", "absorb", "ask"])),
                name="customer_late_usage_policy_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="customer",
            constraint=models.CheckConstraint(
                condition=models.Q(("late_materiality__gte", 0)), name="customer_late_materiality_is_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="customer",
            constraint=models.CheckConstraint(
                condition=models.Q(("grace_hours__lte", 744)), name="customer_grace_is_within_a_month"
            ),
        ),
        migrations.AddConstraint(
            model_name="customer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("currency__in", ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
                        ("late_materiality", django.db.models.functions.math.Round("late_materiality", precision=2)),
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
                        ("late_materiality", django.db.models.functions.math.Round("late_materiality", precision=0)),
                        _connector="OR",
                    ),
                ),
                name="customer_late_materiality_fits_its_currency",
            ),
        ),
    ]
