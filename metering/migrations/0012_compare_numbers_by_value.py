"""Compare remembered contents as stored ones are compared: 1.0 in a property is 1."""

from django.db import migrations

# jsonb says that 1.0 = 1, but writes them differently, and the digest is made of what is written.
PLAIN = """
    CREATE FUNCTION metering_plain_numbers(document jsonb) RETURNS jsonb AS $$
    BEGIN
        CASE jsonb_typeof(document)
            WHEN 'number' THEN
                RETURN to_jsonb(trim_scale(document::numeric));
            WHEN 'array' THEN
                RETURN (SELECT COALESCE(jsonb_agg(metering_plain_numbers(member) ORDER BY place), '[]')
                        FROM jsonb_array_elements(document) WITH ORDINALITY AS members(member, place));
            WHEN 'object' THEN
                RETURN (SELECT COALESCE(jsonb_object_agg(name, metering_plain_numbers(member)), '{}')
                        FROM jsonb_each(document) AS members(name, member));
            ELSE
                RETURN document;
        END CASE;
    END;
    $$ LANGUAGE plpgsql IMMUTABLE;
"""
DIGEST = """
    CREATE OR REPLACE FUNCTION metering_content_digest(
        event_type text, quantity numeric, namespace_id text, properties jsonb
    ) RETURNS bytea AS $$
        SELECT substring(sha256(convert_to(
            jsonb_build_array(event_type, trim_scale(quantity), namespace_id, %(properties)s)::text, 'UTF8'
        )) FOR 16)
    $$ LANGUAGE sql IMMUTABLE;
"""
# Few events hold a number that ends in zeros after the point; the others keep the digest that they had.
BY_VALUE = r"CASE WHEN properties::text ~ '[.][0-9]*0([^0-9]|$)' THEN metering_plain_numbers(properties) ELSE properties END"


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0011_name_lists_for_people'),
    ]

    operations = [
        migrations.RunSQL(
            PLAIN + DIGEST.replace("%(properties)s", BY_VALUE),
            DIGEST.replace("%(properties)s", "properties") + "DROP FUNCTION metering_plain_numbers(jsonb);",
        ),
    ]
