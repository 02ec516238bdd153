"""A person's copy of their data, as the file that a browser saves."""

from collections.abc import Iterator

from django.http import StreamingHttpResponse

from console.models import DataExport


def as_file(export: DataExport, parts: Iterator[bytes]) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(parts, content_type="application/zip")
    answer["Content-Length"] = str(export.size)
    answer["Content-Disposition"] = f'attachment; filename="raxx-data-{export.made_at:%Y-%m-%d}.zip"'
    answer["Digest"] = f"sha-256={export.sha256}"
    return answer
