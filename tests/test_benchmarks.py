"""The benchmarks compare like with like: the peers project the same, and the work is counted."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import engine, examples, gpu, occlusion, peers, stopwatch
from models.networks.build import build
from models.networks.catalogue import architecture
from models.networks.network import Network
from models.projection.record import Record, record
from models.projection.walk import project


def slim_vgg() -> Network:
    """VGG-11 with 8 maps a layer: its pools do not overlap, so the usual port is exact."""
    shapes, channels = {}, 3
    for block, kernels in enumerate(((1,), (1,), (1, 2), (1, 2), (1, 2)), 1):
        for place in kernels:
            shapes[f"conv{block}_{place}.weight"] = (8, channels, 3, 3)
            channels = 8
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(architecture("vgg11"), shapes)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return network.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def seen() -> Record:
    network = slim_vgg()
    return record(network, engine.pixels_of(network, 64))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_the_peers_project_what_we_project(seen: Record) -> None:
    layer = "conv3_2"
    units = engine.strongest_units(seen, layer, 4)
    arrived = project(seen, layer, units)
    ours = torch.stack([torch.from_numpy(each.canvas(seen.size)) for each in arrived])
    port = torch.cat(peers.Port(seen.network, layer, seen.pixels).project(units))
    captum = torch.cat(peers.Captum(seen.network, layer).project(seen.pixels, units))
    scales = torch.tensor([unit.activation for unit in units]).view(-1, 1, 1, 1)
    largest = float(ours.abs().max())
    assert largest > 0
    torch.testing.assert_close(port, ours, atol=1e-5 * largest, rtol=1e-4)
    torch.testing.assert_close(captum * scales, ours, atol=1e-5 * largest, rtol=1e-4)


def test_the_plain_network_computes_what_ours_does(seen: Record) -> None:
    plain, _ = peers.plain(seen.network)
    torch.testing.assert_close(plain(seen.pixels), seen.network(seen.pixels))


def test_the_dense_work_of_one_unit_is_counted_by_hand() -> None:
    network = slim_vgg()
    # conv2_1: one map of 1 cell spreads to 8 maps of 3 x 3; unpooled to 6 x 6, they spread to 3
    assert engine.dense_flop(network, "conv2_1", 10) == 2 * (9 * 8 + 36 * 8 * 3 * 9)


def test_units_begin_again_beyond_the_last_map(seen: Record) -> None:
    units = engine.strongest_units(seen, "conv3_2", 20)
    assert len(units) == 20
    assert units[0] == units[8] == units[16]


def test_a_comparison_times_every_way_as_often() -> None:
    calls: list[str] = []
    times = stopwatch.compare(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3
    )
    assert calls == ["a", "b"] * 4
    assert all(time.fastest <= time.median <= time.slowest for time in times.values())


def test_a_case_is_a_row_of_the_table() -> None:
    second = stopwatch.Time(1.0, 0.9, 1.1)
    times = dict.fromkeys(("captum", "port", "full", "click", "first"), second)
    case = engine.Case("zfnet", "conv5", 139, times, 10**9, 10**10)
    row = bench.case_table([case]).splitlines()[-1]
    assert "| zfnet conv5 (139) | 1000 ms ± 10 % |" in row
    assert "| 1 (8) |" in row
    assert row.endswith("| 1.0 | 0.10 |")


def test_the_gpu_benchmark_runs_on_the_cpu_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "LAYERS", {"vgg11": ("conv2_1",)})
    monkeypatch.setattr(gpu, "open_network", lambda name, device: slim_vgg())
    monkeypatch.setattr(gpu, "_captum", lambda layer, network: None)
    monkeypatch.setattr(gpu, "peak", lambda device: 1e9)
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--rounds", "1"])
    gpu.main()
    head, *rows = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert head["device"] == "cpu"
    assert [row["units"] for row in rows] == list(gpu.UNITS)
    assert all(row["same_bytes"] and row["click"] > 0 for row in rows)


def test_the_build_of_an_index_is_measured_beside_the_bare_forward_pass(toy: Network) -> None:
    found = examples.measure(toy, 40, rounds=1, processes=1)
    rates = found["photos_a_second"]
    assert isinstance(rates, dict) and min(rates.values()) > 0
    share = found["share_of_forward"]
    assert share == pytest.approx(rates["build"] / rates["forward"], abs=0.01)


def test_captum_s_occlusion_is_given_the_same_work(
    monkeypatch: pytest.MonkeyPatch, toy: Network
) -> None:
    monkeypatch.setattr(occlusion, "SQUARE", 8)
    monkeypatch.setattr(occlusion, "STRIDE", 4)
    case = occlusion.compare_with_captum(toy, occlusion.photo_of(toy), rounds=1)
    assert case.difference < 1e-6 and case.batch in occlusion.BATCHES
    assert case.ratio == case.times["captum"].median / case.times["ours"].median
    monkeypatch.setitem(occlusion.BARS, "toy", 2.0)
    assert bench.occlusion_table([case]).splitlines()[-1].startswith("| toy | ")


def test_a_part_that_is_written_down_leaves_the_others_be(tmp_path: Path) -> None:
    parts = [
        f"<!-- measured: {part} -->\nold {part}\n<!-- /measured: {part} -->\n" for part in "ab"
    ]
    (tmp_path / "performance.md").write_text("Before.\n" + "Between.\n".join(parts) + "After.\n")
    (tmp_path / "performance.json").write_text('{"a": 1, "b": 2}')
    bench.write("b", "new b", {"b": 3}, tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert "old a" in text and "new b" in text and "old b" not in text
    assert text.startswith("Before.") and "Between." in text and text.endswith("After.\n")
    assert json.loads((tmp_path / "performance.json").read_text()) == {"a": 1, "b": 3}


def test_the_document_has_a_place_for_every_part() -> None:
    text = (bench.DOCS / "performance.md").read_text()
    for part in bench.PARTS:
        assert f"<!-- measured: {part} -->" in text and f"<!-- /measured: {part} -->" in text
