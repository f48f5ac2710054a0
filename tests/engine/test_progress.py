"""Progress display: times of stages, a few log lines or a bar."""

import io
import logging
import sys
from types import SimpleNamespace
from typing import Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.engine import progress
from pipeline.engine.progress import BarProgress, LineProgress, Progress, console_progress, progress_of

pytestmark = pytest.mark.lowest


class Clock:
    """A clock that tests advance by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: self.now))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_times_of_stages_are_added_by_name_also_if_a_stage_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, shown = Clock(monkeypatch), Progress()
    for name, seconds in (("sample", 3.0), ("fit", 10.0), ("sample", 4.0)):
        with shown.stage(name, 2) as step:
            step()
            clock.now += seconds

    def fail() -> None:
        with shown.stage("label", 5):
            clock.now += 0.5
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert shown.seconds == {"sample": 7.0, "fit": 10.0, "label": 0.5}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(total=st.integers(1, 300))
def test_a_stage_logs_at_most_four_lines_and_the_last_at_its_end(caplog: pytest.LogCaptureFixture, total: int) -> None:
    caplog.clear()
    with caplog.at_level(logging.INFO, "pipeline.progress"), LineProgress().stage("label", total) as step:
        for _ in range(total):
            step()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == min(4, total)
    done = [int(line.split()[1]) for line in lines]
    assert done == sorted(set(done))
    assert lines[-1].startswith(f"label: {total} of {total}, ")
    assert lines[-1].endswith(" 0 s left")
    # evenly: at most a quarter of the steps, rounded up, between lines
    assert max(after - before for before, after in zip([0, *done], done, strict=False)) <= -(-total // 4)


def test_a_line_shows_the_time_left_at_the_current_pace(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    with caplog.at_level(logging.INFO, "pipeline.progress"), LineProgress().stage("label", 8) as step:
        for _ in range(8):
            clock.now += 5
            step()
    assert [record.getMessage() for record in caplog.records] == [
        f"label: {done} of 8, {5 * done:.1f} s, {5 * (8 - done)} s left" for done in (2, 4, 6, 8)
    ]


def test_a_bar_is_shown_on_standard_error_and_ends_at_100_percent(capsys: pytest.CaptureFixture[str]) -> None:
    shown = BarProgress()
    with shown.stage("label", 7) as step:
        for _ in range(7):
            step()
    out, err = capsys.readouterr()
    last = err.replace("\r", "\n").strip().splitlines()[-1]
    assert out == ""
    assert last.startswith("label")
    assert "100%" in last
    assert "7/7" in last
    assert set(shown.seconds) == {"label"}


def test_progress_is_a_bar_in_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    assert isinstance(console_progress(), BarProgress)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(console_progress(), LineProgress)


def test_the_argument_progress_is_nothing_or_bars_or_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = LineProgress()
    assert progress_of(own, "fit") is own
    assert [type(progress_of(none, "fit")) for none in (False, None)] == [Progress, Progress]
    with progress_of(wanted=True, function="fit").stage("fit", 2) as step:
        step()
        step()
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in err.splitlines()] == ["fit: 1 of 2", "fit: 2 of 2"]
    monkeypatch.setattr("sys.stderr", Terminal())
    assert isinstance(progress_of(wanted=True, function="fit"), BarProgress)
    with pytest.raises(ConfigError, match=r"^fit: progress: 'yes' is not allowed; expected True, False or a Progress$"):
        progress_of("yes", "fit")


def test_lines_on_a_closed_standard_error_are_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr("sys.stderr", io.StringIO())
        shown = progress_of(wanted=True, function="fit")
        monkeypatch.setattr("sys.stderr", stream)
        with shown.stage("fit", 1) as step:
            step()


def test_a_notebook_has_bars_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Bar:
        def __init__(self, **how: object) -> None:
            made.append(how["total"])

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            made.append("closed")

        def update(self) -> None:
            made.append("step")

    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    with progress_of(wanted=True, function="fit").stage("fit", 1) as step:
        step()
    assert made == [1, "step", "closed"]
