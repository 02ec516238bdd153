from django.db import migrations


class Migration(migrations.Migration):
    """Operators come in by the session that everybody has. What Django kept of theirs goes, with its table."""

    dependencies = [("console", "0012_feature_flags")]

    operations = [
        migrations.RunSQL(
            "DROP TABLE IF EXISTS django_session; DELETE FROM django_migrations WHERE app = 'sessions'",
            migrations.RunSQL.noop,
        ),
    ]
