"""All benchmarks in one run: ``make bench``; the results go to docs/performance.{json,md,svg}."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import engine, occlusion, service
from benchmarks.engine import BARS, Case, Scale
from benchmarks.stopwatch import peak

DOCS = Path(__file__).parents[1] / "docs"
PARTS = ("engine", "occlusion", "service")


def main() -> None:
    """Measure everything, print it, and write it down where --write says so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--only", choices=PARTS, help="one part; --write leaves the others be")
    parser.add_argument("--write", action="store_true", help="write docs/performance.*")
    chosen = parser.parse_args()
    for part in PARTS if chosen.only is None else (chosen.only,):
        results: dict[str, Any] = {}
        tables = measure(part, chosen.rounds, results)
        text = "\n\n".join([f"Measured on {machine()}.", *tables])
        print(text, flush=True)
        if chosen.write:
            write(part, text, {**results, f"{part}_machine": machine()})


def measure(part: str, rounds: int, results: dict[str, Any]) -> list[str]:
    """Measure one part into ``results``; return its tables."""
    if part == "engine":
        return measure_engine(rounds, results)
    if part == "service":
        results["service"] = service.measure(rounds)
        return [service_table(results["service"])]
    cases = []
    for case in occlusion.measure(min(rounds, 3)):
        cases.append(case)
        print(f"  {case.network} occlusion: {case.ratio:.1f} x", flush=True)
    results["occlusion"] = [case.document() for case in cases]
    return [occlusion_table(cases)]


def machine() -> str:
    """Describe what this runs on."""
    threads, version = torch.get_num_threads(), torch.__version__.partition("+")[0]
    return f"{_processor()}, {threads} threads, torch {version}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measure_engine(rounds: int, results: dict[str, Any]) -> list[str]:
    """Time the engine against its peers and at scale; return the tables."""
    fastest = peak()
    cases = []
    for case in engine.against_peers(fastest, rounds):
        cases.append(case)
        print(f"  {case.network} {case.layer}: {case.click:.0f} x", flush=True)
    scales = list(engine.at_scale(rounds=3))
    overheads = engine.forward_overhead(4 * rounds)
    results |= {
        "peak_flop_per_second": fastest,
        "cases": [case.document() for case in cases],
        "scales": [asdict(scale) for scale in scales],
        "record_over_forward": overheads,
    }
    recording = ", ".join(f"{name} {ratio:.2f}" for name, ratio in overheads.items())
    return [
        f"The machine's matrix rate is {fastest / 1e9:.0f} Gflop/s.",
        case_table(cases),
        f"Recording forward / bare forward of the same network: {recording}.",
        scale_table(scales),
    ]


def case_table(cases: Iterable[Case]) -> str:
    """Write the comparison with the peers as a table."""
    head = (
        "layer (window)",
        "Captum",
        "port",
        "full frame",
        "click",
        "first answer",
        "Captum / click (bar)",
        "Captum / first (bar)",
        "dense Gflop",
        "of peak",
    )
    return table(head, [_case_row(case) for case in cases])


def _case_row(case: Case) -> Sequence[str]:
    click, first = BARS.get((case.network, case.layer), (None, None))
    times = [_milliseconds(case, way) for way in ("captum", "port", "full", "click", "first")]
    return (
        f"{case.network} {case.layer} ({case.window})",
        *times,
        f"{case.click:.0f} ({click or '-'})",
        f"{case.first:.1f} ({first or '-'})",
        f"{case.dense_flop / 1e9:.1f}",
        f"{case.fraction:.2f}",
    )


def _milliseconds(case: Case, way: str) -> str:
    time = case.times[way]
    spread = (time.slowest - time.fastest) / 2 / time.median
    return f"{1000 * time.median:.4g} ms ± {100 * spread:.0f} %"


def occlusion_table(cases: Iterable[occlusion.Case]) -> str:
    """Write occlusion beside Captum's as a table."""
    head = ("occlusion", "Captum (batch)", "ours", "Captum / ours (bar)", "furthest apart")
    return table(head, [_occlusion_row(case) for case in cases])


def _occlusion_row(case: occlusion.Case) -> Sequence[str]:
    return (
        case.network,
        f"{case.times['captum'].median:.3g} s ({case.batch})",
        f"{case.times['ours'].median:.3g} s",
        f"{case.ratio:.1f} ({occlusion.BARS[case.network]:g})",
        f"{case.difference:.1e}",
    )


def scale_table(scales: Sequence[Scale]) -> str:
    """Write ours alone, at other batches and sizes, as a table of milliseconds."""
    columns = [f"{n} {seed}" for n, seed in ((1, "unit"), (16, "unit"), (144, "unit"), (4, "map"))]
    rows: dict[str, list[str]] = {}
    for scale in scales:
        row = rows.setdefault(f"{scale.network} {scale.layer} at {scale.side}", [])
        row.append(f"{1000 * scale.seconds:.4g} ms")
    return table(["layer", *columns], [[name, *row] for name, row in rows.items()])


def service_table(lines: dict[str, float]) -> str:
    """Write what was measured of the server."""
    return table(("the server", ""), [(name, f"{value:.4g}") for name, value in lines.items()])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(part: str, text: str, results: dict[str, Any], docs: Path = DOCS) -> None:
    """Put a part's tables into docs/performance.md, its numbers and the plot beside it.

    What was measured of the other parts stays as it is.
    """
    page, numbers = docs / "performance.md", docs / "performance.json"
    begin, end = f"<!-- measured: {part} -->", f"<!-- /measured: {part} -->"
    before, _, rest = page.read_text().partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
    numbers.write_text(json.dumps(json.loads(numbers.read_text()) | results, indent=1) + "\n")
    if "cases" in results:
        plot(results["cases"], docs / "pictures" / "performance.svg")


def plot(cases: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw how many times faster than Captum a click and a first answer are."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "deconvnet"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    names = [f"{case['network']} {case['layer']}" for case in cases][::-1]
    heights = range(len(names))
    for shift, way, colour in ((0.2, "click", "#1f6feb"), (-0.2, "first", "#9aa4b2")):
        ratios = [case["ratios"][way] for case in cases][::-1]
        label = {"click": "click (record held)", "first": "first answer"}[way]
        bars = axes.barh([p + shift for p in heights], ratios, 0.38, label=label, color=colour)
        axes.bar_label(bars, [f"{ratio:.0f} x" for ratio in ratios], padding=3, fontsize=7)
    axes.set_yticks(list(heights), names)
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("Captum's time / ours, 16 units")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
