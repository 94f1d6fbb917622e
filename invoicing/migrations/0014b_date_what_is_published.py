"""The first published version of a plan was sold since ever, each later one from its publication on."""

from django.db import migrations

FORWARDS = """
    WITH dated AS (
        SELECT id, plan_id, number,
               CASE WHEN row_number() OVER earlier > 1 THEN max(published_at) OVER earlier END AS begins
          FROM invoicing_planversion WHERE published_at IS NOT NULL
        WINDOW earlier AS (PARTITION BY plan_id ORDER BY number)
    )
    UPDATE invoicing_planversion version
       SET effective_from = spans.begins, effective_to = spans.ends
      FROM (SELECT id, begins, lead(begins) OVER (PARTITION BY plan_id ORDER BY number) AS ends FROM dated) spans
     WHERE spans.id = version.id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0014_date_plan_versions"),
    ]

    operations = [
        migrations.RunSQL(FORWARDS, migrations.RunSQL.noop, elidable=True),
    ]
