"""Model files: exact round trip, refusal of changed files, and files of version 1."""

import errno
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import build, changed, content

from pipeline.core.errors import ConfigError, ModelError, OutputError
from pipeline.models.base import ClusterModel
from pipeline.models.classes import ClassInfo

pytestmark = pytest.mark.lowest


def bits(model: ClusterModel) -> bytes:
    """All floats of a model as bytes, so that -0.0 and 0.0 differ."""
    numbers = [*np.ravel(model.centroids), *model.units.scales, *model.units.offsets, model.inertia, model.fitting.tol]
    return struct.pack(f"{len(numbers)}d", *numbers)


finite = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([5e-324, -0.0, 1.7976931348623157e308, 0.1])


@st.composite
def models(draw: st.DrawFn) -> ClusterModel:
    bands, k = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    each_band = st.lists(finite, min_size=bands, max_size=bands)
    point = st.lists(finite.filter(lambda number: abs(number) < 3e38), min_size=bands, max_size=bands)
    return build(
        content(
            bands=draw(st.lists(st.text(max_size=8), min_size=bands, max_size=bands, unique=True)),
            units={
                "dtype": draw(st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"])),
                "scales": draw(each_band),
                "offsets": draw(each_band),
            },
            nodata=draw(st.just("auto") | finite | st.integers(-(2**70), 2**70)),
            centroids=draw(st.lists(point, min_size=k, max_size=k)),
            counts=draw(st.lists(st.integers(0, 2**40), min_size=k, max_size=k)),
            inertia=draw(finite.map(abs)),
        )
    )


@settings(max_examples=150, deadline=None)
@given(model=models())
def test_model_read_back_from_json_is_bitwise_equal(
    tmp_path_factory: pytest.TempPathFactory, model: ClusterModel
) -> None:
    path = tmp_path_factory.getbasetemp() / "model.json"
    path.write_text(model.to_json(), encoding="utf-8")
    for read_back in (ClusterModel.load(path), ClusterModel.from_json(model.to_json())):
        assert read_back == model
        assert bits(read_back) == bits(model)
        assert read_back.digest == model.digest
        assert read_back.to_json() == model.to_json()


NUMBERS = set(content()["fitting"]) - {"method"}
"""Numbers of the fit in a model file."""


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("extra", 1, r"extra: there is no such key"),
        ("fitting.extra", 1, r"fitting\.extra: there is no such key"),
        ("schema_version", 3, r"schema_version: "),
        ("bands", [], r"bands: "),
        ("bands", ["B04"], r"units: expected a scale and an offset per band"),
        ("bands", ["B04", "B04"], r"two bands have the same name: B04, B04"),
        ("centroids", [[1.0, 2.0]], r"1 centroids and 3 counts"),
        ("centroids", [[1.0, 2.0], [1.0], [2.0, 3.0]], r"centroids have \[1, 2\] numbers each"),
        ("centroids", [[0.0, float(i)] for i in range(255)], r"255 centroids"),
        ("centroids", [[1.0, "x"], [1.0, 2.0], [2.0, 3.0]], r"centroids\.0\.1: "),
        ("centroids", [[1.0, float("nan")], [1.0, 2.0], [2.0, 3.0]], r"finite|NaN"),
        ("centroids", [[1.0, float("inf")], [1.0, 2.0], [2.0, 3.0]], r"finite|Infinity"),
        ("counts", [1, 2], r"centroids and counts: 3 centroids and 2 counts; expected as many of both, 2 to 254"),
        ("counts", [], r"3 centroids and 0 counts"),
        ("counts", [1, 2, 10**400], r"classes\.2\.pixels: |counts"),
        ("classes", [], r"classes: version 1 has no such key"),
        ("units.scales", [1.0], r"a scale and an offset per band"),
        ("units.offsets", [0.0, 0.0, 0.0], r"a scale and an offset per band"),
        ("units.dtype", "float99", r"units"),
        ("units.dtype", "object", r"units"),
        ("nodata", "none", r"nodata"),
        ("fitting.method", 5, r"fitting\.method: 5 is not allowed; it should be a valid string"),
        *((f"fitting.{key}", -1, rf"fitting\.{key}: .*greater than or equal to [01]") for key in sorted(NUMBERS)),
        *((f"fitting.{key}", 0, rf"fitting\.{key}: .*greater than or equal to 1") for key in ("starts", "max_iter")),
        *((f"fitting.{key}", float("nan"), rf"fitting\.{key}: ") for key in sorted(NUMBERS)),
        ("fitting.seed", 2**32, r"fitting\.seed: .*less than or equal to 4294967295"),
        ("fitting.valid_pixels", 59, r"fitting: 60 sampled, 59 valid and 100 pixels of the scene"),
        ("fitting.scene_pixels", 79, r"fitting: 60 sampled, 80 valid and 79 pixels of the scene"),
        ("inertia", -1.0, r"inertia: .*greater than or equal to 0"),
    ],
)
def test_changed_model_file_is_refused_naming_the_inconsistent_part(path: str, value: object, message: str) -> None:
    with pytest.raises(ModelError, match=rf"^m\.json: .*({message})"):
        ClusterModel.from_json(json.dumps({"format": "terrazzo-model", **changed(path, value)}), "m.json")


@pytest.mark.parametrize("key", sorted(content()))
def test_model_with_a_missing_part_is_refused(key: str) -> None:
    parts = json.loads(build(content()).to_json())
    del parts[key]
    with pytest.raises(ModelError, match=f"m.json: {key}: "):
        ClusterModel.from_json(json.dumps(parts), "m.json")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_truncated_model_file_is_refused(data: st.DataObject) -> None:
    text = build(content()).to_json().rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ModelError, match="not a Terrazzo model: it is not JSON"):
        ClusterModel.from_json(text[:cut])


@settings(max_examples=100, deadline=None)
@given(
    thing=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["format", "k"]), inner),
    )
)
def test_other_json_is_refused(thing: object) -> None:
    with pytest.raises(ModelError, match=r'this is JSON, but not a Terrazzo model \(expected "format": "terrazzo'):
        ClusterModel.from_json(json.dumps(thing))


def test_file_that_is_not_a_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_bytes(b"II*\0\xff\xfe\xfd")
    (tmp_path / "nested.json").write_text("[" * 100_000)
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(64 * 2**20 + 1)  # sparse, so that it takes no disk space
    reasons = {
        "none.json": "can't be read: No such file",
        ".": "can't be read: .*directory",
        "map.tif": "it is not text",
        "huge.json": "it is larger than 64 MB",
        "nested.json": "it is not JSON",
    }
    for name, reason in reasons.items():
        with pytest.raises(ModelError, match=reason) as caught:
            ClusterModel.load(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("key", ["centroids", "dtype"])
def test_repeated_key_is_refused_by_name(key: str) -> None:
    text = build(content()).to_json()
    start = text.index(f'"{key}"')
    stated = text[start : text.index(",\n", text.index("]\n", start) if key == "centroids" else start)]
    with pytest.raises(ModelError, match=rf"m\.json: the key '{key}' is given twice"):
        ClusterModel.from_json(text[:start] + stated + ", " + text[start:], "m.json")


def test_a_file_of_version_1_has_a_record_of_each_class_with_its_pixels() -> None:
    model = build(content())
    assert model.kind == "prototypes"
    assert model.classes == tuple(
        ClassInfo(id=label, name=f"class {label}", pixels=pixels) for label, pixels in ((1, 10), (2, 20), (3, 30))
    )
    assert model.counts == (10, 20, 30)


def test_version_2_still_names_what_readers_of_version_1_expect() -> None:
    """And for a model without standardization all of it: only what is new differs."""
    written = json.loads(build(content()).to_json())
    old = json.loads(json.dumps(content()))
    kept = {key: value for key, value in written.items() if key in old}
    kept["units"] = {key: kept["units"][key] for key in old["units"]}
    kept["fitting"] = {key: kept["fitting"][key] for key in old["fitting"]}
    assert kept == old
    assert (written["schema_version"], written["kind"]) == (2, "prototypes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 3}, r"schema_version: 3 is not known; expected 1 or 2"),
        ({"schema_version": True}, r"schema_version: True is not known"),
        ({"kind": "forest"}, r"kind: 'forest' is not known; expected one of prototypes"),
        ({"kind": None}, r"kind: None is not known"),
        ({"kind": ["prototypes"]}, r"kind: \[.prototypes.\] is not known"),
        ({"kind": "x" * 5000}, r"kind: .x{5,}\.\.\.x*. is not known"),
        ({"counts": [1.5, 20, 30]}, r"counts: expected the number of pixels of each class, whole numbers from 0"),
        ({"counts": [1, 2, 3]}, r"counts: \[1, 2, 3\] are not the pixels of the classes, \[10, 20, 30\]"),
        ({"counts": 3}, r"counts: expected the number of pixels of each class"),
        ({"classes": []}, r"classes: "),
        ({"classes_of_points": [1, 2]}, r"classes_of_points: expected 3 numbers, one per point"),
        ({"classes_of_points": [1, 2, 2]}, r"classes_of_points: .* with each class from 1 to 3"),
    ],
)
def test_a_changed_head_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=rf"^m\.json: {message}"):
        ClusterModel.from_json(json.dumps(json.loads(build(content()).to_json()) | changes), "m.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 2}, r"classes: the ids are \[2, 2, 3\]; expected 1 to 3, in this order"),
        ({"mean": [1.0, 2.0]}, r"classes\.0: .*class 1: expected a mean and a standard deviation per band, or neither"),
        ({"mean": [1.0], "std": [2.0]}, r"classes: expected means of 2 numbers, one per band"),
        ({"mean": [1.0, 2.0], "std": [1.0, -2.0]}, r"classes\.0\.std\.1: .*greater than or equal to 0"),
        ({"mean": [1.0, 2.0], "std": [1.0, float("nan")]}, r"classes\.0\.std\.1: .*finite"),
        ({"pixels": 2**63}, r"classes\.0\.pixels: "),
        ({"mean": [float("nan"), 1.0], "std": [2.0, 1.0]}, r"classes\.0\.mean\.0: .*finite"),
        ({"colour": [0, 0, 256]}, r"classes\.0\.colour\.2: "),
        ({"pixels": -1}, r"classes\.0\.pixels: "),
        ({"area": 1}, r"classes\.0\.area: "),
    ],
)
def test_a_changed_class_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    parts = json.loads(build(content()).to_json())
    parts["classes"][0] |= changes
    with pytest.raises(ModelError, match=rf"^m\.json: {message}"):
        ClusterModel.from_json(json.dumps(parts), "m.json")


def test_names_and_colours_of_classes_are_read_back(tmp_path: Path) -> None:
    parts = json.loads(build(content()).to_json())
    parts["classes"][1] |= {"name": "Wälder\u200b", "colour": [0, 120, 255], "mean": [1.5, -0.0], "std": [0.0, 1e-300]}
    model = ClusterModel.from_json(json.dumps(parts))
    (tmp_path / "m.json").write_text(model.to_json(), encoding="utf-8")
    again = ClusterModel.load(tmp_path / "m.json")
    assert again == model
    assert (again.classes[1].name, again.classes[1].colour) == ("Wälder\u200b", (0, 120, 255))
    assert again.digest == build(content()).digest


def test_a_saved_model_is_the_file_of_a_run_and_is_replaced_on_request_only(tmp_path: Path) -> None:
    model, other = build(content()), build(content(inertia=13.0))
    path = tmp_path / "saved.model.json"
    assert model.save(str(path)) == path
    assert path.read_text(encoding="utf-8") == model.to_json()
    assert ClusterModel.load(path) == model
    with pytest.raises(OutputError, match=r"saved\.model\.json: the file exists already; allow overwriting"):
        other.save(path)
    assert ClusterModel.load(path) == model
    other.save(path, overwrite=True)
    assert ClusterModel.load(path) == other
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_model_that_can_not_be_saved_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.json"
    build(content()).save(path)
    before = path.read_bytes()

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"m\.json: the model can't be written \(No space left on device\); make room"
    ):
        build(content(inertia=13.0)).save(path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("m.txt", ConfigError, r"m\.txt: a model is a JSON file; use a name that ends in \.json"),
        ("folder.json", ConfigError, r"folder\.json: the model can't have this path \(this is a folder\)"),
        (f"{'x' * 300}.json", ConfigError, "the model can't have this path .*long"),
        ("none/m.json", OutputError, r"none/m\.json: the folder .*none does not exist; create it first"),
    ],
)
def test_paths_that_can_not_be_those_of_a_model_are_refused(
    tmp_path: Path, name: str, kind: type[Exception], message: str
) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(kind, match=message):
        build(content()).save(tmp_path / name, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.json"]
