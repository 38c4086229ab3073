"""Where the pages' files lie: inside the installed package, or beside it in a checkout."""

from pathlib import Path


def folder(name: str) -> Path:
    """Find the folder `templates` or `static`."""
    app = Path(__file__).parents[1]
    return app / name if (app / name).is_dir() else app.parent / name
