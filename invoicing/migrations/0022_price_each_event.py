"""A percentage may be of each event: a fixed part, a minimum and a maximum of what one event costs."""

import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0021_add_plans_to_plans"),
        ("metering", "0012_compare_numbers_by_value"),
    ]

    operations = [
        migrations.AddField(
            model_name="price",
            name="fixed_amount_per_event",
            field=models.DecimalField(
                blank=True,
                decimal_places=12,
                help_text="Of a percentage: each event is charged by itself, and this much more.",
                max_digits=38,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="price",
            name="maximum_amount_per_event",
            field=models.DecimalField(
                blank=True, decimal_places=12, help_text="What an event costs at most.", max_digits=38, null=True
            ),
        ),
        migrations.AddField(
            model_name="price",
            name="minimum_amount_per_event",
            field=models.DecimalField(
                blank=True, decimal_places=12, help_text="What an event costs at least.", max_digits=38, null=True
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("model", "percentage"),
                    models.Q(
                        ("fixed_amount_per_event__isnull", True),
                        ("maximum_amount_per_event__isnull", True),
                        ("minimum_amount_per_event__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="price_per_event_is_a_percentage",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("fixed_amount_per_event__isnull", True), ("fixed_amount_per_event__gte", 0), _connector="OR"
                    ),
                    models.Q(
                        ("minimum_amount_per_event__isnull", True),
                        ("minimum_amount_per_event__gte", 0),
                        _connector="OR",
                    ),
                    models.Q(
                        ("maximum_amount_per_event__isnull", True),
                        (
                            "maximum_amount_per_event__gte",
                            django.db.models.functions.comparison.Greatest(
                                "fixed_amount_per_event", "minimum_amount_per_event", 0
                            ),
                        ),
                        _connector="OR",
                    ),
                ),
                name="price_of_an_event_is_within_its_bounds",
            ),
        ),
    ]
