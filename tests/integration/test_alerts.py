"""The alert rules by Prometheus' own tool: each fires when it should, and only then."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[2] / "ops" / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def promtool() -> str:
    """The tool; without it nothing here is known, so its absence is a failure, not a skip."""
    found = shutil.which("promtool")
    if not found:
        pytest.fail(
            "promtool is missing: `apt-get install --no-install-recommends prometheus` brings it (the service it "
            "installs need not run)",
            pytrace=False,
        )
    return found


def _run(*command: str | Path) -> str:
    run = subprocess.run([*map(str, command)], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def _names(file: str, *, fires: bool | None = None) -> set[str]:
    """Alerts of the rules, or those for which the tests have a case that fires (or does not)."""
    data: Any = YAML(typ="safe").load(FOLDER / file)
    if fires is None:
        return {rule["alert"] for group in data["groups"] for rule in group["rules"]}
    checks = [check for test in data["tests"] for check in test["alert_rule_test"]]
    return {check["alertname"] for check in checks if bool(check["exp_alerts"]) is fires}


def test_prometheus_takes_the_configuration(promtool: str) -> None:
    """prometheus.yml names the rules, and both are right as they stand."""
    said = _run(promtool, "check", "config", "prometheus.yml")

    assert "1 rule files found" in said
    assert f"{len(_names('alerts.yml'))} rules found" in said


def test_every_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    """alerts_test.yml: severity, summary and runbook of each alert that fires, and silence where all is well."""
    assert _run(promtool, "test", "rules", "alerts_test.yml").split()[-1] == "SUCCESS"


def test_no_alert_is_untested() -> None:
    """Each rule has a case in which it fires and one in which it does not."""
    alerts = _names("alerts.yml")

    assert _names("alerts_test.yml", fires=True) == alerts
    assert _names("alerts_test.yml", fires=False) == alerts


def test_the_expressions_of_the_dashboard_are_promql(promtool: str, tmp_path: Path) -> None:
    """Every panel's expression can be read by Prometheus."""
    dashboard: Any = YAML(typ="safe").load(FOLDER / "grafana" / "dashboards" / "motionq.json")
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    rules = {
        "groups": [{"name": "g", "rules": [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(asked)]}]
    }
    YAML(typ="safe").dump(rules, tmp_path / "panels.yml")

    assert f"{len(asked)} rules found" in _run(promtool, "check", "rules", tmp_path / "panels.yml")
