import csv
import gzip
import hashlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from raxx.market.feeds.tape import BadTape, read_tape
from raxx.market.quotes import Quote

WriteTape = Callable[..., Path]

ROWS = (
    "1000,AAPL,189.5,300,189.52,200",
    "1000,GOOG  151224C00750000,,0,0.05,7",
    "1001,AAPL,189.5001,300,,0",
    "1001,AAPL,0.0001,1,99999.9999,1",
    "1002,BRK.B,400,100,401.1,100",
)
QUOTES = [
    Quote("AAPL", 1000, 1_895_000, 300, 1_895_200, 200),
    Quote("GOOG151224C00750000", 1000, 0, 0, 500, 7),
    Quote("AAPL", 1001, 1_895_001, 300, 0, 0),
    Quote("AAPL", 1001, 1, 1, 999_999_999, 1),
    Quote("BRK.B", 1002, 4_000_000, 100, 4_011_000, 100),
]


@pytest.mark.parametrize("name", ["quotes_x.csv", "quotes_x.csv.gz"])
def test_rows_become_quotes(write_tape: WriteTape, name: str) -> None:
    tape = read_tape(write_tape(*ROWS, name=name))
    assert tape.rows(0, len(tape)) == QUOTES
    assert tape.rows(1, 3) == QUOTES[1:3]
    assert tape.symbols == ("AAPL", "GOOG151224C00750000", "BRK.B")


def test_windows_line_ends_and_a_missing_last_one(write_tape: WriteTape) -> None:
    path = write_tape(name="quotes_x.csv")
    path.write_bytes("\r\n".join([path.read_text().strip(), *ROWS]).encode())
    assert read_tape(path).rows(0, 5) == QUOTES


def test_zeros_beyond_the_fourth_decimal_change_nothing(write_tape: WriteTape) -> None:
    assert read_tape(write_tape("1,A,1.50000000,1,2,1")).rows(0, 1) == [Quote("A", 1, 15_000, 1, 20_000, 1)]


def test_several_files_are_merged_by_time_in_the_order_given(write_tape: WriteTape) -> None:
    one = write_tape("1,A,1,1,2,1", "3,A,1,1,2,2", "3,A,1,1,2,3", name="quotes_one.csv")
    two = write_tape("2,B,1,1,2,4", "3,B,1,1,2,5", name="quotes_two.csv")
    assert [q.ask_size for q in read_tape([one, two]).rows(0, 5)] == [1, 4, 2, 3, 5]
    assert [q.ask_size for q in read_tape([two, one]).rows(0, 5)] == [1, 4, 5, 2, 3]


def test_more_rows_than_one_chunk(write_tape: WriteTape) -> None:
    rows = [f"{n},A,{n / 100:.2f},{n},{n},{n}" for n in range(100, 30_100)]
    tape = read_tape(write_tape(*rows))
    assert tape.ts.tolist() == list(range(100, 30_100))
    assert tape.bid.tolist() == [n * 100 for n in range(100, 30_100)]
    assert tape.ask_size.tolist() == list(range(100, 30_100))


def test_identity_is_that_of_the_contents(write_tape: WriteTape) -> None:
    plain = write_tape(*ROWS, name="quotes_x.csv")
    packed = write_tape(*ROWS, name="quotes_x.csv.gz")
    other = write_tape(*ROWS[:-1], name="quotes_y.csv")
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    assert read_tape(plain).digest == read_tape(packed).digest == digest
    both = hashlib.sha256(f"{digest}\n{hashlib.sha256(other.read_bytes()).hexdigest()}".encode()).hexdigest()
    assert read_tape([plain, other]).digest == both


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["quotes_tick_IBM_20131007.csv.gz"], "IBM-20131007"),
        (["quotes_1min_options_GOOG_20151224.csv.gz"], "1min-options-GOOG-20151224"),
        (["mine.csv"], "mine"),
        (["quotes_tick_A_1.csv", "quotes_tick_B_1.csv"], "A-1+B-1"),
        (["my tape: (2).csv"], "my-tape-2-"),
    ],
)
def test_name(write_tape: WriteTape, names: list[str], expected: str) -> None:
    assert read_tape([write_tape(*ROWS, name=name) for name in names]).name == expected


def test_a_long_name_is_cut_and_stays_one_of_a_kind(write_tape: WriteTape) -> None:
    tape = read_tape([write_tape(*ROWS, name=f"quotes_tick_LONGNAME{n}_20240108.csv") for n in range(5)])
    assert len(tape.name) == 40
    assert tape.name.endswith(f"-{tape.digest[:8]}")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("x,A,1,1,2,1", "ts_ns_utc"),
        (",A,1,1,2,1", "ts_ns_utc"),
        ("-5,A,1,1,2,1", "ts_ns_utc"),
        ("1_000,A,1,1,2,1", "ts_ns_utc"),
        ("9999999999999999999,A,1,1,2,1", "ts_ns_utc"),
        ("99999999999999999999999,A,1,1,2,1", "ts_ns_utc"),
        ("٣,A,1,1,2,1", "ts_ns_utc"),
        ("4,a,1,1,2,1", "symbol"),
        ("4,GOOG  151324C00750000,1,1,2,1", "symbol"),
        ("4,A,1.00001,1,2,1", "bid"),
        ("4,A,-1,1,2,1", "bid"),
        ("4,A,1e2,1,2,1", "bid"),
        ("4,A,nan,1,2,1", "bid"),
        ("4,A,0.00,0,2,1", "bid"),
        ("4,A,1,1,1_0,1", "ask"),
        ("4,A,1,1, 2,1", "ask"),
        ("4,A,1,1.5,2,1", "bid_size"),
        ("4,A,1,-1,2,1", "bid_size"),
        ("4,A,1,,2,1", "bid_size"),
        ("4,A,1,0,2,1", "bid_size"),
        ("4,A,,5,2,1", "bid_size"),
        ("4,A,1,1,,1", "ask_size"),
        ("2,A,1,1,2,1", "ts_ns_utc"),
    ],
)
def test_a_bad_cell_is_named_with_its_line(write_tape: WriteTape, row: str, field: str) -> None:
    path = write_tape("3,A,1,1,2,1", "3,A,1,1,2,1", row, "9,A,1,1,2,1")
    with pytest.raises(BadTape) as refusal:
        read_tape(path)
    details = refusal.value.details
    assert refusal.value.code == "BAD_TAPE"
    assert (details["file"], details["line"], details["field"]) == (str(path), "4", field)
    assert {"rule", "value", "remedy"} <= details.keys()
    assert f"line 4, {field}" in refusal.value.message


@pytest.mark.parametrize("row", ["4,A,1,1,2", "4,A,1,1,2,1,1", "", "4;A;1;1;2;1"])
def test_a_row_of_the_wrong_length_is_named(write_tape: WriteTape, row: str) -> None:
    with pytest.raises(BadTape) as refusal:
        read_tape(write_tape("3,A,1,1,2,1", row, "9,A,1,1,2,1"))
    assert refusal.value.details["line"] == "3"


def test_lines_are_counted_over_chunks(write_tape: WriteTape) -> None:
    rows = [f"{n},A,1,1,2,1" for n in range(30_000)]
    rows[29_000] = "29000,A,1,1,2,one"
    with pytest.raises(BadTape) as refusal:
        read_tape(write_tape(*rows))
    assert refusal.value.details["line"] == "29002"


def test_a_file_may_not_run_backwards_over_chunks_either(write_tape: WriteTape) -> None:
    rows = [f"{n},A,1,1,2,1" for n in range(1, 20_001)] + ["19999,A,1,1,2,1"]
    with pytest.raises(BadTape, match="line 20002, ts_ns_utc"):
        read_tape(write_tape(*rows))


def test_trades_are_not_quotes(write_tape: WriteTape) -> None:
    with pytest.raises(BadTape, match="line 1: the first line is ts_ns_utc"):
        read_tape(write_tape("1,A,1,1,2,1", header="ts_ns_utc,symbol,price,size,exchange,cond_hex\n"))


def test_a_tape_without_rows(write_tape: WriteTape) -> None:
    with pytest.raises(BadTape, match="at least one quote"):
        read_tape(write_tape())


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "quotes_x.csv"
    path.touch()
    with pytest.raises(BadTape, match="the first line is"):
        read_tape(path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda packed: gzip.decompress(packed), id="not gzip"),
        pytest.param(lambda packed: packed[: len(packed) // 2], id="truncated"),
        pytest.param(lambda packed: packed[:-6], id="without its checksum"),
        pytest.param(lambda packed: packed[:40] + b"\xff\xff\xff" + packed[43:], id="altered"),
    ],
)
def test_a_damaged_gzip_file(write_tape: WriteTape, damage: Callable[[bytes], bytes]) -> None:
    path = write_tape(*[f"{n},A,1,1,2,1" for n in range(2_000)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadTape, match="complete and undamaged gzip"):
        read_tape(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadTape, match="No such file"):
        read_tape(tmp_path / "quotes_x.csv.gz")


@pytest.mark.tapes
@pytest.mark.parametrize(
    ("name", "rows", "symbols"),
    [
        ("quotes_tick_IBM_20131007.csv.gz", 54_534, 1),
        ("quotes_1min_options_GOOG_20151223.csv.gz", 28_688, 118),
        ("quotes_1min_options_SPXW_20210104.csv.gz", 4_565, 12),
    ],
)
def test_recorded_tapes_come_out_as_they_are_written(tapes: Path, name: str, rows: int, symbols: int) -> None:
    def ticks(text: str) -> int:
        return int(Decimal(text or 0) * 10_000)

    with gzip.open(tapes / name, "rt") as file:
        expected = [
            Quote(r["symbol"].replace(" ", ""), int(r["ts_ns_utc"]), ticks(r["bid"]), int(r["bid_size"]), ticks(r["ask"]), int(r["ask_size"]))
            for r in csv.DictReader(file)
        ]  # fmt: skip
    tape = read_tape(tapes / name)
    assert (len(tape), len(tape.symbols)) == (rows, symbols)
    assert tape.rows(0, rows) == expected


@pytest.mark.tapes
def test_the_largest_recorded_tape(tapes: Path) -> None:
    tape = read_tape(tapes / "quotes_tick_AIG_20131007.csv.gz")
    assert len(tape) == 539_968
    both = (tape.bid > 0) & (tape.ask > 0)
    # Counted in the description of the data.
    assert int((both & (tape.bid > tape.ask)).sum()) == 95
    assert int((both & (tape.bid == tape.ask)).sum()) == 13_882
