"""What docs/operations.md and docs/alerts.yml name is what a server really tells."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.web.errors import STATUS
from tests.serving import client_in, photo, sent

DOCS = Path(__file__).parents[1] / "docs"
ALERTS = (DOCS / "alerts.yml").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()
PROMTOOL = shutil.which("promtool")
METRIC = re.compile(r"\bdeconvnet_\w+")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of all metrics."""
    with client_in(
        tmp_path_factory.mktemp("told"), networks="lenet5", random_weights=True
    ) as client:
        assert client.post("/visualize", **sent(photo())).status_code == 200
        assert client.get("/networks/none").status_code == 404
        text = client.get("/metrics").text
    return {match.group() for match in METRIC.finditer(re.sub("^#.*", "", text, flags=re.M))}


def test_every_metric_that_is_told_is_explained(told: set[str]) -> None:
    explained = set(METRIC.findall(OPERATIONS))
    held = re.compile(r"deconvnet_(records|answers|photos|networks)_(held|hits|misses)")
    parts = re.compile(r"_(bucket|sum|count|created)$")
    names = {parts.sub("", name) for name in told if not name.endswith("_created")}
    assert not {name for name in names - explained if not held.match(name)}
    assert explained <= names


def test_alerts_name_metrics_and_reasons_that_there_are(told: set[str]) -> None:
    asked = set(METRIC.findall(ALERTS)) - {"deconvnet"}
    assert len(asked) == 6 and asked <= told
    words = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in STATUS} | {"token"}
    reasons = re.findall(r'reason=~?"([^"]+)"', ALERTS)
    assert len(reasons) == 3 and {word for each in reasons for word in each.split("|")} <= words


def test_every_alert_says_what_to_do() -> None:
    alerts = re.findall(r"alert: (\w+)", ALERTS)
    assert len(alerts) > 8 and all(f"`{alert}`" in OPERATIONS for alert in alerts)


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: Debian's package is prometheus")
def test_prometheus_takes_the_alerts() -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "rules", DOCS / "alerts.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "SUCCESS: 9 rules found" in done.stdout, (
        done.stdout + done.stderr
    )
