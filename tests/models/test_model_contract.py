"""The contract of models and labellers, on each kind and on a fake; the digest of a model."""

import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import xarray as xr
from fakes import MemorySource, Threshold
from pydantic import ValidationError
from sources import build, changed, content, gaussians_of, model_of

from pipeline import label
from pipeline.core.errors import ModelError
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels.class_records import with_statistics
from pipeline.labels.classify import LabelTask
from pipeline.models import store
from pipeline.models.base import ClusterModel, Layer
from pipeline.models.ranges import Ranges

pytestmark = pytest.mark.lowest


def threshold() -> ClusterModel:
    parts = {**content(), "classes": [{"id": n, "name": f"class {n}", "pixels": 1} for n in (1, 2)], "level": 90.5}
    del parts["centroids"], parts["counts"]
    model = model_of([[0, 0], [1, 1]], ("one", "two"))
    return Threshold.model_validate(parts | {"bands": model.bands, "units": model.units.model_dump()})


ALL_LAYERS: frozenset[Layer] = frozenset(get_args(Layer))


def ranges(*edges: float, outside: str = "extend") -> ClusterModel:
    parts = {**content(), "classes": [{"id": n, "name": f"class {n}", "pixels": 1} for n in range(1, len(edges))]}
    del parts["centroids"], parts["counts"]
    units = model_of([[0], [1]]).units.model_dump()
    return Ranges.model_validate(parts | {"bands": ("one",), "units": units, "edges": edges, "outside": outside})


def many_points() -> ClusterModel:
    rng = np.random.default_rng(1)
    return model_of(rng.integers(0, 255, (700, 2)), ("one", "two"), classes=(rng.permutation(700) % 9 + 1).tolist())


MODELS = {
    "prototypes": lambda: model_of([[50, 60], [120, 110], [200, 10]], ("one", "two")),
    "merged prototypes": lambda: model_of([[50, 60], [120, 110], [200, 10]], ("one", "two"), classes=(2, 1, 2)),
    "many prototypes": many_points,
    "gaussians": lambda: gaussians_of(
        [[50, 60], [120, 110], [200, 10]],
        [[[900, 200], [200, 400]], [[2500, -900], [-900, 1600]], [[400, 0], [0, 400]]],
        [0.3, 0.5, 0.2],
    ),
    "ranges": lambda: ranges(30, 60.5, 200),
    "fake": threshold,
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ClusterModel:
    """A model of each kind; the fake's is added by one line of the registry."""
    monkeypatch.setitem(store._KINDS, "threshold", "fakes:Threshold")
    made: ClusterModel = MODELS[request.param]()
    return made


def scene(bands: int = 2) -> MemorySource:
    rng = np.random.default_rng(5)
    return MemorySource(rng.integers(0, 255, (bands, 40, 50), np.uint8), rng.random((40, 50)) < 0.8)


def test_labels_are_0_where_a_pixel_is_not_valid_else_1_to_k(model: ClusterModel) -> None:
    source = scene(len(model.bands))
    labels = model.labeller(source.info)(source.data, source.valid).classes
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels == 0, ~source.valid)
    assert set(np.unique(labels[source.valid]).tolist()) == set(range(1, model.k + 1))


def test_labels_of_a_block_are_those_of_the_scene(model: ClusterModel) -> None:
    source = scene(len(model.bands))
    labeller = model.labeller(source.info)
    whole = labeller(source.data, source.valid).classes
    part = labeller(source.data[:, 7:30, 3:44], source.valid[7:30, 3:44]).classes
    np.testing.assert_array_equal(part, whole[7:30, 3:44])


def test_a_scene_is_labelled_by_blocks_and_lazily(model: ClusterModel) -> None:
    source = scene(len(model.bands))
    expected = model.labeller(source.info)(source.data, source.valid).classes
    source.blocks = tuple(source.info.grid.blocks((16, 16)))
    found = np.full(expected.shape, 255, np.uint8)
    task = LabelTask.of(source, model, PixelAreas(reason="none"), (lambda _block, _pixels, labels: labels,))
    for block in source.blocks:
        (found[block.slices],) = task(block).parts
    np.testing.assert_array_equal(found, expected)
    coords = {"band": list(model.bands), "valid": (("y", "x"), source.valid)}
    array = xr.DataArray(source.data, dims=("band", "y", "x"), coords=coords).chunk({"y": 13})
    np.testing.assert_array_equal(label(array, model).values, expected)


def test_classes_are_described_by_the_pixels_in_them(model: ClusterModel) -> None:
    source = scene(len(model.bands))
    points = np.ascontiguousarray(source.data[:, source.valid])
    labels = model.labeller(source.info)(source.data, source.valid).classes[source.valid]
    for each in with_statistics(model, source.info, points).classes:
        members = points[:, labels == each.id]
        np.testing.assert_allclose(each.mean, members.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(each.std, members.std(axis=1), rtol=1e-12)


def test_a_labeller_goes_through_pickle(model: ClusterModel) -> None:
    source = scene(len(model.bands))
    labeller = model.labeller(source.info)
    again = pickle.loads(pickle.dumps(labeller))  # noqa: S301 (our own)
    np.testing.assert_array_equal(again(source.data, source.valid).classes, labeller(source.data, source.valid).classes)
    with pytest.raises(AttributeError):
        labeller.anything = 1  # frozen


def test_a_layer_that_the_kind_does_not_give_is_refused(model: ClusterModel) -> None:
    for layer in ALL_LAYERS - model.layers:
        with pytest.raises(ModelError, match="only class"):
            model.labeller(scene().info, frozenset({"class", layer}))


def test_layers_that_the_kind_gives_are_given_and_leave_the_classes_as_they_are(model: ClusterModel) -> None:
    source = scene()
    classes = model.labeller(source.info)(source.data, source.valid)
    given = model.labeller(source.info, model.layers)(source.data, source.valid)
    np.testing.assert_array_equal(given.classes, classes.classes)
    assert classes.confidence is None
    assert (given.confidence is not None) == ("confidence" in model.layers)
    if given.confidence is not None:
        np.testing.assert_array_equal(given.confidence == 0, ~source.valid)
        assert given.confidence.shape == source.valid.shape
        assert given.confidence.dtype == np.float32
        assert (given.confidence[source.valid] >= 1 / model.k).all()
        assert given.confidence.max() <= 1


def test_a_model_of_any_kind_is_loaded_by_the_name_of_its_kind(model: ClusterModel, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(model.to_json())
    again = ClusterModel.load(tmp_path / "m.json")
    assert type(again) is type(model)
    assert again == model
    assert again.digest == model.digest
    assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301 (our own)


def test_each_class_has_a_centre(model: ClusterModel) -> None:
    assert model.centres.shape == (model.k, len(model.bands))
    assert np.isfinite(model.centres).all()


def test_models_of_other_kinds_or_numbers_have_other_digests() -> None:
    digests = {make().digest for make in MODELS.values()}
    assert len(digests) == len(MODELS)
    assert threshold().digest != threshold().model_copy(update={"level": 91.0}).digest


def test_centres_are_the_centroids_as_an_array() -> None:
    model = build(content())
    assert model.k == 3
    assert model.centres.dtype == np.float64
    assert model.centres.tolist() == [list(row) for row in model.centroids]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("bands", ("B08", "B04")),
        ("units.dtype", "int16"),
        ("units.scales", (1e-4, 1e-3)),
        ("units.offsets", (0.0, -0.1)),
        ("nodata", "auto"),
        ("nodata", 1.0),
        ("centroids", ((100.5, 2000.25), (1000.1, 1500.0), (3000.0, np.nextafter(3100.7, 0)))),
        ("centroids", ((1000.1, 1500.0), (100.5, 2000.25), (3000.0, 3100.7))),
    ],
)
def test_digest_depends_on_all_that_determines_labels(path: str, value: object) -> None:
    assert build(changed(path, value)).digest != build(content()).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("counts", (1, 2, 3)),
        ("inertia", 3.0),
        ("fitting.seed", 9),
        ("fitting.iterations", 3),
        ("fitting.method", "minibatch"),
        ("fitting.valid_pixels", 61),
        ("provenance.version", "9"),
        ("provenance.sources", ("b.tif", "c.tif")),
        ("provenance.crs", "EPSG:32633"),
    ],
)
def test_digest_does_not_depend_on_counts_fitting_and_provenance(path: str, value: object) -> None:
    other = build(changed(path, value))
    assert other != build(content())
    assert other.digest == build(content()).digest


def test_digest_is_the_same_for_integer_and_float_nodata() -> None:
    whole, real = (build(content(nodata=number)) for number in (-9999, -9999.0))
    assert whole.digest == real.digest


def test_model_is_frozen() -> None:
    model = build(content())
    for name in type(model).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, name, getattr(model, name))
    with pytest.raises(ValidationError, match="frozen"):
        model.units.dtype = "uint8"  # type: ignore[misc]
    assert hash(model) == hash(build(content()))  # no list or dict inside
