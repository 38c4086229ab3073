"""Static files."""

from typing import Any

from fastapi import Response
from fastapi.staticfiles import StaticFiles

FOR_EVER = "public, max-age=31536000, immutable"


class Static(StaticFiles):
    """Static files, cached for ever where the link names their content."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Answer with a file."""
        response = super().file_response(*args, **options)
        names_content = args[2]["query_string"].startswith(b"v=")
        response.headers["Cache-Control"] = FOR_EVER if names_content else "no-cache"
        return response
