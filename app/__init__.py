"""The web and the command line."""

from importlib.metadata import version

VERSION = version("deconvnet")
"""The version that pyproject.toml gives, for the API, the pages and the command line."""
