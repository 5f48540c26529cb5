"""The result of a trace: its labels, its parts, its files, its tables and its pictures."""

import html.parser
import json
import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cellwright.nn import Recurrent
from cellwright.nn.trace import Trace
from cellwright.runtime.trail import TraceError
from tests.nn.examples import flat

close = torch.testing.assert_close
T, B = 6, 3
LENGTHS = [2, 6, 0]


def traced(names=("f", "f.pre", "c", "h.prev"), **options) -> Trace:
    torch.manual_seed(1)
    layer = Recurrent("lstm", 4, 9, 2, bidirectional=True, dtype=torch.float64)
    return layer.trace(torch.randn(T, B, 4, dtype=torch.float64), names=names, **options)


def equal(found: Trace, wanted: Trace) -> None:
    assert found.names == wanted.names
    for field in ("source", "dims", "time", "batch", "units", "tokens", "lengths", "bent"):
        assert getattr(found, field) == getattr(wanted, field), field
    pairs = zip(found.values.values(), wanted.values.values(), strict=True)
    for a, b in [*pairs, *zip(flat(found.output), flat(wanted.output), strict=True)]:
        close(a, b.detach(), rtol=0, atol=0)
        assert not a.requires_grad
    for a, b in zip(flat(found.state), flat(wanted.state), strict=True):
        close(a, b.detach(), rtol=0, atol=0)


def test_reading():
    trace = traced()
    assert len(trace) == len(list(trace)) == len(trace.names) == 16
    assert "layers.0.f" in trace and "c" in trace and "o" not in trace and 3 not in trace
    assert trace["layers.1_reverse.f.pre"] is trace.values["layers.1_reverse.f.pre"]
    one = trace.sel(layer=0, direction="forward")
    assert one["f"] is trace["layers.0.f"]
    assert one["c.next"] is trace["layers.0.c"]
    assert one.sel("f").tensor is one["f"]
    close(trace.stacked("f"), torch.stack([trace[n] for n in trace.sel(gate="f")]))
    with pytest.raises(TraceError, match=r"'f' is 4 values: layers\.0\.f, layers\.0_reverse\.f"):
        trace["f"]
    with pytest.raises(TraceError, match=r"holds no 'layers\.0\.ff'; did you mean layers\.0\.f"):
        trace["layers.0.ff"]
    with pytest.raises(TraceError, match="a trace of 16 values; name one"):
        trace.tensor  # noqa: B018


def test_selecting():
    trace = traced()
    part = trace.sel(layer=1, gate="f", unit=[3, 7], time=slice(2, 5), direction="reverse")
    assert part.names == ("layers.1_reverse.f",)
    assert (part.time, part.units["layers.1_reverse.f"]) == ((2, 3, 4), (3, 7))
    close(part.tensor, trace["layers.1_reverse.f"][2:5][..., [3, 7]])
    again = part.sel(time=[4, 2], unit=7)  # labels, not places
    assert (again.dims, again.time) == (("time", "batch"), (4, 2))
    close(again.tensor, trace["layers.1_reverse.f"][[4, 2]][..., 7])
    assert trace.sel(time=slice(-2, None)).time == (4, 5)
    assert trace.sel(time=-1, batch=0, unit=0).dims == ()
    assert trace.sel(["f", "*.c"], gate="c").names == trace.sel(gate="c").names
    assert trace.sel(layer=[0, 1], gate=["f.pre", "h.prev"]).names == tuple(
        n for n in trace.names if n.endswith(("f.pre", "h.prev"))
    )
    assert trace.sel(batch=[2, 0]).batch == (2, 0)
    assert traced(lengths=LENGTHS).sel(batch=[2, 0]).lengths == (0, 2)
    assert part.output is trace.output


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"layer": 2}, "layer: expected 0 to 1, got 2"),
        ({"gate": "o"}, "gate: no 'o' here"),
        ({"names": "o"}, "names: no 'o'"),
        ({"direction": "up"}, "direction: expected forward or reverse, got 'up'"),
        ({"time": 6}, "time: expected 0 to 5, got 6"),
        ({"unit": [3, 9]}, r"unit of layers\.0\.h\.prev: expected 0 to 8, got 9"),
        ({"batch": 1.5}, "batch: expected a number, a list of numbers or a slice"),
    ],
)
def test_selecting_what_is_not_there(choice, said):
    with pytest.raises(TraceError, match=said):
        traced().sel(**choice)
    with pytest.raises(TraceError, match="time: this trace has no such dimension any more"):
        traced().sel(time=1).sel(time=1)


def test_widths_that_differ():
    layer = Recurrent("lstm-projected", 4, 9, proj_size=2)
    trace = layer.trace(torch.randn(T, B, 4), names=["h", "c"])
    assert trace.units == {"layers.0.c": tuple(range(9)), "layers.0.h": (0, 1)}
    assert "unit 9 or 2" in repr(trace)
    with pytest.raises(TraceError, match=r"unit of layers\.0\.h: expected 0 to 1, got 5"):
        trace.sel(unit=5)
    assert trace.sel(unit=slice(1, 4)).units == {"layers.0.c": (1, 2, 3), "layers.0.h": (1,)}
    assert len(trace.table()["value"]) == T * B * 11


# -- files --------------------------------------------------------------------------------


def test_a_saved_trace_is_the_trace(tmp_path):
    for k, trace in enumerate(
        (traced(), traced(lengths=LENGTHS, time=[1, 4], units=3), traced(names="f").sel(batch=1))
    ):
        path = tmp_path / f"{k}.safetensors"
        trace.save(path)
        trace.save(str(path))  # over itself
        equal(Trace.load(path), trace)
        assert {p.name for p in tmp_path.iterdir()} == {f"{j}.safetensors" for j in range(k + 1)}
    layer = Recurrent("gru", 4, 9).bfloat16()
    half = layer.trace(torch.randn(T, 4).bfloat16(), names="z")
    half.save(tmp_path / "half")
    equal(Trace.load(tmp_path / "half"), half)


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "trace"
    traced().save(path)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TraceError, match="could not be written .No space left on device"):
        traced(names="f").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["trace"]
    with pytest.raises(TraceError, match="could not be written"):
        traced(names="f").save(tmp_path / "no" / "folder")


def test_files_that_are_no_traces(tmp_path):
    path = tmp_path / "trace"
    with pytest.raises(TraceError, match="no such file"):
        Trace.load(path)
    traced().save(path)
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole[:40], b"", b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(TraceError, match="not a trace, damaged or cut short"):
            Trace.load(path)
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    with pytest.raises(TraceError, match="its numbers are not the ones written"):
        Trace.load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(TraceError, match="a safetensors file, but no trace"):
        Trace.load(path)
    with pytest.raises(TraceError):
        Trace.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"names": []},
        {"names": ["../f"]},
        {"names": ["layers.9.f"]},
        {"time": [0, 1]},
        {"time": ["0"] * T},
        {"dims": ["time", "batch"]},
        {"dims": ["time", "batch", "colour"]},
        {"tokens": ["a"]},
        {"lengths": [1]},
        {"units": {}},
        {"nested": {"output": {"a": 1}, "state": None}},
        {"nested": {"output": "value:layers.7.f", "state": None}},
        {"bent": 3},
    ],
)
def test_every_field_of_a_file_is_checked(tmp_path, monkeypatch, change):
    path = tmp_path / "trace"
    trace = traced(names="f")
    dumps = json.dumps
    monkeypatch.setattr(
        "cellwright.nn.trace_file.json.dumps", lambda about, **kw: dumps({**about, **change}, **kw)
    )
    trace.save(path)
    with pytest.raises(TraceError, match="no trace that this version reads"):
        Trace.load(path)


def test_a_file_is_plain_safetensors(tmp_path):
    traced(names="f").save(tmp_path / "trace")
    with safe_open(tmp_path / "trace", framework="np") as file:
        assert file.get_tensor("value:layers.0.f").shape == (T, B, 9)


# -- elsewhere ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_table_has_every_number_once(batch_first):
    torch.manual_seed(1)
    layer = Recurrent("lstm", 4, 9, 2, batch_first=batch_first, dtype=torch.float64)
    x = torch.randn(T, B, 4, dtype=torch.float64)
    x = x.transpose(0, 1) if batch_first else x
    trace = layer.trace(x, names=["f.pre", "c"], lengths=LENGTHS, units=[8, 2])
    table = trace.table()
    assert list(table) == ["name", "layer", "direction", "gate", "time", "batch", "unit", "value"]
    assert {len(column) for column in table.values()} == {sum(LENGTHS) * 2 * 4}
    for row in range(0, len(table["value"]), 7):
        name, t, b, u = (table[key][row] for key in ("name", "time", "batch", "unit"))
        value = trace[name].transpose(0, 1) if batch_first else trace[name]
        assert table["value"][row] == value[t, b, [8, 2].index(u)]
        assert t < LENGTHS[b]
    assert set(table["gate"]) == {"f.pre", "c"}
    assert set(trace.sel(time=0, unit=2, batch=1).table()) == {
        "name", "layer", "direction", "gate", "value"
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["to_pandas", "to_xarray"])
def test_a_package_that_is_not_there_is_named(verb, monkeypatch):
    package = verb.removeprefix("to_")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TraceError, match=f"{verb} needs {package}.*pip install {package}"):
        getattr(traced(), verb)()


def test_a_frame_is_made_of_the_table(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda held: [held]))
    trace = traced(names="f")
    ((found,), wanted) = trace.to_pandas(), trace.table()
    assert found.keys() == wanted.keys()
    assert all((found[key] == wanted[key]).all() for key in wanted)


def test_a_frame():
    import pandas

    trace = traced(lengths=LENGTHS)
    frame = trace.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    means = frame[frame.direction == "reverse"].groupby("name").value.mean()
    v = trace["layers.0_reverse.f"].detach()
    wanted = torch.cat([v[:n, k].flatten() for k, n in enumerate(LENGTHS)]).mean()
    assert abs(means["layers.0_reverse.f"] - wanted.item()) < 1e-12


@pytest.mark.parametrize("tokens", [None, tuple("tokens")])
def test_a_dataset(tokens):
    import xarray

    trace = traced(lengths=LENGTHS)
    made = Trace(**{**vars(trace), "tokens": tokens}).to_xarray()
    assert isinstance(made, xarray.Dataset)
    assert made["f"].dims == ("layer", "time", "batch", "unit")
    assert list(made.layer.values) == ["0", "0_reverse", "1", "1_reverse"]
    v = made["f.pre"].sel(layer="1", batch=1, time=slice(2, 3), unit=[4, 0])
    close(torch.tensor(v.values), trace["layers.1.f.pre"].detach()[2:4, 1][:, [4, 0]])
    assert np.isnan(made["c"].sel(batch=0, time=2)).all()
    assert (tokens is None) or list(made.token.values) == list(tokens)
    layer = Recurrent("lstm-projected", 4, 9, proj_size=2)
    narrow = layer.trace(torch.randn(T, B, 4), names=["h", "c"]).to_xarray()
    assert np.isnan(narrow["h"].sel(unit=5)).all() and not np.isnan(narrow["c"]).any()
    one = trace.sel(layer=0, direction="forward", gate="f", time=2, unit=1).to_xarray()
    assert one["f"].dims == ("layer", "batch")


# -- pictures -----------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """The tags of a page, and those that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_repr_says_what_there_is():
    said = repr(traced())
    assert said.startswith("Trace of LSTM (2 layers, bidirectional): time 6 x batch 3 x unit 9\n")
    assert re.search(r"layers\.0\.f: 0\.\d+ to 0\.\d+, mean 0\.\d+", said)
    many = traced(names=["*", "*.pre", "*.prev"])
    assert repr(many).endswith(f"  and {len(many) - 24} more")
    assert "numbers" in repr(traced(names="layers.0.f").sel(time=0, batch=0, unit=0))


def test_a_page_has_no_script_and_asks_nobody():
    hostile = Trace(**{**vars(traced()), "tokens": ("</script>", "<b>", "&", '"', "é", "'")})
    for trace in (hostile, traced(names=["*", "*.pre", "*.prev"]), traced(names="f", time=0)):
        made = trace._repr_html_()
        page = Page(made)
        assert not page.open
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "b "})
        fetched = {"src", "href", "onclick", "onload"}
        assert not any(fetched & attrs.keys() for _, attrs in page.tags)
        assert "http" not in made.replace("http://www.w3.org/2000/svg", "")
        assert len(made.encode()) < 200_000
        assert all(name in page.text for name in trace.names[:24])


def test_a_large_trace_is_a_small_page():
    layer = Recurrent("lstm", 4, 300, 3)
    made = layer.trace(torch.randn(400, 2, 4))._repr_html_()
    assert len(made.encode()) < 200_000
    assert "of 400 steps" in made and "of 300 units drawn" in made
    steps = [int(n) for n in re.findall(r"(\d+) of 400 steps", made)]
    assert min(steps) >= 20  # time comes first: a trace of few steps would show nothing of it


def test_long_tokens_leave_a_small_page():
    layer = Recurrent("lstm", 4, 300, 3)
    whole = vars(layer.trace(torch.randn(400, 1, 4)))
    made = Trace(**{**whole, "tokens": ("'&<\"é\u05d0" * 9,) * 400})._repr_html_()
    assert len(made.encode()) < 200_000 and "…" in made


def test_scales_are_fixed_printed_and_never_of_one_step():
    trace = traced(names=["f", "g", "c"]).sel(layer=0, direction="forward")
    page = Page(trace._repr_html_())
    scales = re.findall(r"scale -?[\d.]+ to [\d.]", page.text)
    assert scales[:2] == ["scale 0 to 1", "scale -1 to 1"]
    edge = torch.quantile(trace["c"].detach()[:, 0].abs().float(), 0.99).item()
    assert f"scale -{edge:.3g} to {edge:.3g}, the 99th percentile" in page.text
    fields = [attrs for tag, attrs in page.tags if tag == "path"]
    assert len(fields) == 3 * T * 9
    value = trace["f"][0, 0, 0].item()
    assert f"{value:+.3g} unit 0 step 0" in page.text  # the number and its sign are there to read


def test_numbers_that_are_not_numbers_are_drawn():
    trace = traced(names="layers.0.f.pre")
    trace.tensor.data[0, 0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    made = trace._repr_html_()
    assert "#808080" in made and "nan unit 0" in made and "+inf unit 1" in made
