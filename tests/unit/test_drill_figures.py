"""Statistics, limits, verdicts and the table of a drill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils.drill import figures
from plugins.module_utils.drill.figures import Check, Limits, Result
from plugins.module_utils.drill.table import drill_failures, drill_table

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "group_vars/all/drill.yml").read_text())["llm_drill_limits"]


def test_median_and_percentile() -> None:
    assert figures.median([3, 1, 2]) == 2
    assert figures.median([4, 1, 2, 3]) == 2.5
    assert figures.percentile(list(range(1, 101)), 95) == 95
    assert figures.percentile([7.0], 95) == 7
    assert figures.percentile([1, 2], 1) == 1


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=60), st.floats(1, 100))
def test_a_percentile_is_a_value_that_enough_values_keep(values: list[float], percent: float) -> None:
    found = figures.percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


@pytest.mark.parametrize("statistic", [figures.median, lambda values: figures.percentile(values, 95)])
def test_nothing_has_no_statistics(statistic: Any) -> None:
    with pytest.raises(ValueError, match="no values"):
        statistic([])


def test_the_shipped_limits_are_the_promised_ones() -> None:
    assert figures.read_limits(SHIPPED) == Limits(0.3, 2.5, 0.05, 0.1, 0.7, 3, 0, 0.5)


def test_every_mistake_in_the_limits_is_named() -> None:
    wrong = {**SHIPPED, "load_failed": True, "open_extra_seconds": -1, "refused": 1}
    del wrong["hang_first_seconds"]
    with pytest.raises(ValueError, match="llm_drill_limits") as refused:
        figures.read_limits(wrong)
    for said in (
        "refused is not a limit",
        "hang_first_seconds is missing",
        "load_failed is True",
        "open_extra_seconds is -1",
    ):
        assert said in str(refused.value)
    with pytest.raises(ValueError, match="write a mapping"):
        figures.read_limits([0.3])


@pytest.mark.parametrize(("measured", "kept"), [(0.3, True), (0.299, True), (0.3001, False)])
def test_a_limit_is_kept_up_to_itself(measured: float, kept: bool) -> None:
    assert Check("refused_extra_seconds", "extra time", measured, 0.3).kept is kept


@pytest.mark.parametrize(
    ("value", "unit", "says"),
    [(0.0412, "s", "41 ms"), (2.048, "s", "2.05 s"), (-0.004, "s", "-4 ms"), (3, "of 40 requests", "3 of 40 requests")],
)
def test_amounts_read_well(value: float, unit: str, says: str) -> None:
    assert figures.amount(value, unit) == says


def results() -> list[dict[str, Any]]:
    good = Result("hang", "a provider hangs", healthy_seconds=0.02, first_seconds=[2.05, 2.04, 2.06], open_seconds=0.03)
    good.recovery_seconds = 10.2
    good.checks.append(Check("hang_first_seconds", "first request", 2.05, 2.5))
    for _ in range(8):
        good.saw("200")
    bad = Result("refused", "a provider refuses connections", problems=["request 2 ended with 503"])
    bad.checks.append(Check("refused_extra_seconds", "extra time of the first request", 0.4, 0.3))
    bad.saw("200")
    bad.saw("503")
    return [good.as_dict(), bad.as_dict()]


def ran(*found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"item": {"title": result["title"]}, "result": result} for result in found]


def test_a_result_tells_whether_it_passed_and_what_broke() -> None:
    good, bad = results()
    assert good["passed"]
    assert good["failures"] == []
    assert not bad["passed"]
    assert bad["failures"] == [
        f"a provider refuses connections: {said}"
        for said in (
            "request 2 ended with 503",
            "extra time of the first request: 400 ms, at most 300 ms (refused_extra_seconds)",
        )
    ]
    assert drill_failures(ran(*results())) == bad["failures"]


def test_the_table_shows_times_verdicts_and_the_file() -> None:
    text = drill_table(ran(*results()), "/var/lib/x.json")
    head, hang, refused = text.splitlines()[:3]
    assert head.split("  ")[0] == "what fails"
    for cell in ("a provider hangs", "8 x 200", "20 ms", "2.05 s", "2.04 s", "2.06 s", "30 ms", "10.20 s", "ok"):
        assert cell in hang
    assert "1 x 200, 1 x 503" in refused
    assert refused.endswith("NOT OK")
    assert "- a provider hangs: first request 2.05 s (at most 2.50 s)" in text
    assert "request 2 ended with 503" in text
    assert text.endswith("As JSON, on the box: /var/lib/x.json")
    assert "Every limit is kept." not in text
    assert "Every limit is kept." in drill_table(ran(results()[0]), "/x")


def test_a_case_that_could_not_be_run_is_a_failure_and_hides_no_other() -> None:
    broken = {"item": {"title": "Redis stops"}, "failed": True, "msg": "container llm-gateway-redis is exited"}
    found = [broken, *ran(*results())]
    assert drill_failures(found)[0] == "Redis stops: not run. container llm-gateway-redis is exited"
    assert len(drill_failures(found)) == 3
    assert "a provider hangs" in drill_table(found, "/x")
    assert "- Redis stops: not run." in drill_table(found, "/x")
