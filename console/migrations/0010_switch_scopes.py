import django.db.models.functions
from django.db import migrations, models

# What was said by two names before is one switch in two modes.
MOVE = """
DROP FUNCTION console_gate();
INSERT INTO console_switches_scoped
       (key, mode, reason, changed_at, changed_by, release_to, release_asked_by, release_reason)
SELECT 'broker:mbt', CASE name WHEN 'MBT_TRADING_DISABLED' THEN 'halted' ELSE 'reducing' END, reason, changed_at, changed_by,
       '', '', ''
  FROM console_switches WHERE is_on ORDER BY name DESC LIMIT 1;
"""

# Why this is a function: console/switches.py. Why VOLATILE: only so does each of its statements see the database as
# it is then, and the second one runs after the lock was granted.
CREATE = """
CREATE FUNCTION console_stops(asked text[]) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_object_agg(key, jsonb_build_object(
        'mode', mode, 'reason', reason, 'since', changed_at, 'until', expected_until)), '{}')
    FROM console_switches WHERE key = ANY(asked) AND mode <> 'active'
$$;
CREATE FUNCTION console_gate(asked text[]) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1380014168, 1);
    RETURN (
        SELECT coalesce(jsonb_object_agg(key, jsonb_build_object(
            'mode', mode, 'reason', reason, 'since', changed_at, 'until', expected_until)), '{}')
        FROM console_switches WHERE key = ANY(asked) AND mode <> 'active'
    );
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("console", "0002_gate")]

    operations = [
        migrations.CreateModel(
            name="Switch",
            fields=[
                ("key", models.CharField(verbose_name="switch", max_length=100, primary_key=True, serialize=False)),
                (
                    "mode",
                    models.CharField(
                        choices=[("active", "Active"), ("reducing", "Reducing"), ("halted", "Halted")], max_length=8
                    ),
                ),
                ("reason", models.CharField(default="", max_length=500)),
                ("expected_until", models.DateTimeField(null=True)),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.Now())),
                ("changed_by", models.CharField(max_length=48)),
                ("release_to", models.CharField(default="", max_length=8)),
                ("release_asked_by", models.CharField(default="", max_length=48)),
                ("release_asked_at", models.DateTimeField(null=True)),
                ("release_reason", models.CharField(default="", max_length=500)),
            ],
            options={
                "db_table": "console_switches_scoped",
                "verbose_name": "kill switch",
                "verbose_name_plural": "kill switches",
                "ordering": ["key"],
            },
        ),
        migrations.RunSQL(MOVE, migrations.RunSQL.noop),
        migrations.DeleteModel(name="SwitchRow"),
        migrations.AlterModelTable(name="switch", table="console_switches"),
        migrations.RunSQL(CREATE, "DROP FUNCTION console_gate(text[]); DROP FUNCTION console_stops(text[]);"),
    ]
