"""The yardsticks still work: all of them import, and those without servers run at a small size."""

import importlib
import py_compile
from pathlib import Path

import pytest

from bench import decode_match, market, replay
from bench.__main__ import SCRIPTS
from bench.common import Contestant, Goal, Options, Report, interleave, percentile, ratio
from bench.load import _is_whole

QUICK = Options(quick=True, rounds=1)


@pytest.mark.parametrize("name", [*SCRIPTS, "engine_probe", "stream_reader", "house", "load"])
def test_every_script_imports(name: str) -> None:
    importlib.import_module(f"bench.{name}")


def test_the_rival_compiles(tmp_path: Path) -> None:
    source = Path(decode_match.__file__).with_name("rival.py")  # imports what is not installed here
    py_compile.compile(str(source), cfile=str(tmp_path / "rival.pyc"), doraise=True)


def test_the_engine_fills_what_a_naive_scan_fills() -> None:
    quotes = market.quotes(5_000)
    scene = decode_match.play(2_000, quotes, market.wire_frames(quotes), 0.001)
    decode_match.check(scene, quotes)
    assert len(scene.fills) > 100


def test_both_kinds_of_frames_hold_the_quotes() -> None:
    quotes = market.quotes(250)
    for frames in (market.lean_frames(quotes), market.wire_frames(quotes)):
        assert [quote for frame in frames for quote in decode_match._decode(frame)] == quotes


def test_a_replay_of_a_made_up_tape_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAXX_TAPES", str(tmp_path))
    report = Report("replay")
    replay.run(QUICK, report)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio({"a": [2.0, 30.0, 8.0], "b": [1.0, 10.0, 2.0]}, "a", "b") == 3.0


def test_contestants_run_in_turn_and_the_warm_round_does_not_count() -> None:
    seen: list[str] = []
    times = iter(range(1_000))

    def contestant(name: str, units: int) -> Contestant:
        def run() -> int:
            seen.append(name)
            return units

        return lambda: run

    rates = interleave(
        {"a": contestant("a", 2), "b": contestant("b", 6)},
        rounds=2, clock=lambda: float(next(times)),
    )  # fmt: skip
    assert seen == ["a", "b"] * 3
    assert rates == {"a": [2.0, 2.0], "b": [6.0, 6.0]}


@pytest.mark.parametrize(("per_cent", "value"), [(50, 5.0), (90, 9.0), (99, 10.0), (100, 10.0), (1, 1.0)])
def test_percentiles_are_nearest_rank(per_cent: float, value: float) -> None:
    assert percentile([float(n) for n in range(10, 0, -1)], per_cent) == value


@pytest.mark.parametrize(
    ("measured", "at_most", "is_met"),
    [(0.6, False, True), (0.59, False, False), (0.6, True, True), (0.61, True, False)],
)
def test_a_goal_is_a_least_or_a_most(measured: float, at_most: bool, is_met: bool) -> None:
    assert Goal("g", measured, 0.6, at_most).is_met is is_met


@pytest.mark.parametrize(
    ("head", "body", "whole"),
    [
        (b"HTTP/1.1 201 Created\r\nContent-Length: 3", b"ab", False),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 3", b"abc", True),
        (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked", b"3\r\nabc\r\n", False),
        (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_read_to_its_end(head: bytes, body: bytes, whole: bool) -> None:
    assert _is_whole(head, body) is whole
