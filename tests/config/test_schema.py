"""The config: values, mistakes and their messages, paths, overrides, JSON Schema."""

import copy
import json
import logging
import re
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipeline.config.masks import AreaRecord, MaskRecord
from pipeline.config.record import parse_record
from pipeline.config.schema import ResourceConfig, TextureConfig
from pipeline.core.errors import ConfigError
from pipeline.core.text import size_words
from pipeline.jobs.config import FIT, RunConfig, config_schema, load_config
from pipeline.jobs.outputs import OutputPaths
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.registry import METHODS

CONFIGS = ROOT / "configs"

SMALLEST: dict[str, Any] = {"version": 1, "scene": {"source": "a.tif"}, "output": {"labels": "b.tif"}}

METHOD_NAMES = "'kmeans', 'minibatch', 'dask-ml', 'gmm', 'histogram', 'ranges', 'isodata' or 'sklearn'"


def with_setting(path: str, value: object, base: dict[str, Any] = SMALLEST) -> dict[str, Any]:
    """Copy of settings with a value at a dotted path."""
    settings = copy.deepcopy(base)
    *sections, key = path.split(".")
    reduce(lambda inner, section: inner.setdefault(section, {}), sections, settings)[key] = value
    return settings


def load(folder: Path, settings: object, *overrides: str) -> RunConfig:
    """Write settings (YAML text, or a value to dump as YAML) to a file in a folder, and load it as a config."""
    path = folder / "run.yaml"
    path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings), encoding="utf-8")
    return load_config(path, overrides)


def look_up(config: RunConfig, path: str) -> Any:
    """Value of a config at a dotted path."""
    return reduce(getattr, path.split("."), config)


def leaves(record: type[BaseModel] = RunConfig, start: str = "") -> Iterator[tuple[str, bool]]:
    """Dotted path of every key with a value, and whether it is required."""
    for name, field in record.model_fields.items():
        kind = KMeansSettings if name == "fit" else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{start}{name}.")
        else:
            yield start + name, field.is_required()


LEAVES = dict(leaves())

VALID = {
    "version": ("1", 1),
    "scene.source": ("[/x/a.tif, /x/b.tif]", ("/x/a.tif", "/x/b.tif")),
    "scene.bands": ("[B04, 3, red]", ("B04", "3", "red")),
    "scene.nodata": ("-9999", -9999.0),
    "scene.resolution": ("20", 20.0),
    "scene.time": ("2020-07-11", "2020-07-11"),
    "scene.date": ("2025-07-14T10:30:31+02:00", "2025-07-14T08:30:31Z"),
    "scene.resampling": ("{B05: cubic, default: average}", {"B05": "cubic", "default": "average"}),
    "scene.mask": (
        "{scl: [0, cirrus], dilate: 60}",
        MaskRecord(layer="scl", drop=(0, 10), dilate=60),
    ),
    "scene.names": ("{1: blue, B2: nir}", {"1": "blue", "B2": "nir"}),
    "scene.crop": ("blocks", "blocks"),
    "scene.aoi": ("[7.5, 50, 8, 51]", AreaRecord(bounds=(7.5, 50, 8, 51))),
    "fit.mask": ("/x/mask.tif", MaskRecord(path="/x/mask.tif")),
    "features.scale": ("none", "none"),
    "features.standardize": ("zscore", "zscore"),
    "features.indices": ("[ndvi, B8A / B12]", ("ndvi", "B8A / B12")),
    "features.assume": ("reflectance", "reflectance"),
    "features.smooth": ("3", 3),
    "features.unit_norm": ("true", True),
    "features.pca": ("0.99", 0.99),
    "features.texture": ("{bands: [3, nir], size: 7}", TextureConfig(bands=("3", "nir"), size=7)),
    "fit.method": ("minibatch", "minibatch"),
    "fit.k": ("254", 254),
    "fit.pixels": ("1000", 1000),
    "fit.seed": ("4294967295", 2**32 - 1),
    "fit.stratify": ("blocks", "blocks"),
    "fit.starts": ("1", 1),
    "fit.max_iter": ("7", 7),
    "fit.init": ("/x/centroids.csv", "/x/centroids.csv"),
    "fit.weights": ("{nir: 2}", {"nir": 2.0}),
    "fit.min_size": ("5 ha", "5 ha"),
    "fit.tol": ("1e-4", 0.0001),  # text in YAML, as it has no decimal point
    "output.labels": ("/y/c.tif", "/y/c.tif"),
    "output.model": ("/y/m.json", "/y/m.json"),
    "output.table": ("/y/t.csv", "/y/t.csv"),
    "output.picture": ("/y/p.png", "/y/p.png"),
    "output.sidecar": ("/y/c.tif.aux.xml", "/y/c.tif.aux.xml"),
    "output.qml": ("/y/c.qml", "/y/c.qml"),
    "output.clr": ("/y/c.clr", "/y/c.clr"),
    "output.stac": ("/y/s.json", "/y/s.json"),
    "output.report": ("/y/r.html", "/y/r.html"),
    "output.run": ("/y/r.json", "/y/r.json"),
    "output.zarr_format": ("3", 3),
    "output.zarr_overviews": ("true", True),
    "output.palette": ("[[1, 2, 3], '#0A0b0c']", ((1, 2, 3), (10, 11, 12))),
    "output.rgb": ("[nir, red, 3]", ("nir", "red", "3")),
    "output.stretch": ("[2, 98]", (2, 98)),
    "output.title": ("in spring", "in spring"),
    "output.picture_size": ("1024", 1024),
    "output.panels": ("classes", "classes"),
    "output.world_file": ("true", True),
    "run.workers": ("3", 3),
    "run.memory": ("1.5GiB", 3 * 2**29),
    "run.chunk": ("16", 16),
    "run.cluster": ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
    "run.cache": ("memory", "memory"),
    "run.cache_dir": ("/x/fast", "/x/fast"),
    "run.timeout": ("1.5", 1.5),
}


@pytest.mark.lowest
@pytest.mark.parametrize("path", LEAVES)
def test_every_key_can_be_set_in_the_file_and_overridden_alone(tmp_path: Path, path: str) -> None:
    text, value = VALID[path]
    before = load(tmp_path, SMALLEST)
    assert look_up(load(tmp_path, with_setting(path, yaml.safe_load(text))), path) == value
    after = load(tmp_path, SMALLEST, f"{path}={text}")
    assert look_up(after, path) == value
    assert [other for other in LEAVES if look_up(after, other) != look_up(before, other)] in ([], [path])


def test_later_overrides_win_and_mappings_are_merged(tmp_path: Path) -> None:
    config = load(tmp_path, with_setting("fit.seed", 5), "fit.k=12", "fit={k: 13, starts: 2}", "fit.starts=3")
    assert (config.fit.seed, config.fit.k, config.fit.starts) == (5, 13, 3)


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("version", 2, "expected 1,"),
        ("scene.source", [], "a raster file or its address, or one file per band"),
        ("scene.source", "", "a raster file or its address, or one file per band"),
        ("scene.source", 5, "a raster file or its address, or one file per band"),
        ("scene.source", ["a.tif", 5], "a raster file or its address, or one file per band"),
        ("scene.bands", "red", "'all', or a list"),
        ("scene.bands", [], "'all', or a list"),
        ("scene.bands", [""], "'all', or a list"),
        ("scene.bands", [1.5], "'all', or a list"),
        ("scene.nodata", "none", "the number that marks"),
        ("scene.nodata", float("nan"), "the number that marks"),
        (
            "fit.method",
            "dbscan",
            METHOD_NAMES,
        ),
        ("fit.method", None, METHOD_NAMES),
        (
            "fit.method",
            ["kmeans"],
            METHOD_NAMES,
        ),
        ("fit.k", 1, "from 2 to 254"),
        ("fit.k", 255, "from 2 to 254"),
        ("fit.k", 8.5, "from 2 to 254"),
        ("fit.k", [8], "from 2 to 254"),
        ("fit.pixels", 0, "1 to 100000000"),
        ("fit.seed", -1, "from 0 to 4294967295"),
        ("fit.seed", 2**32, "from 0 to 4294967295"),
        ("fit.starts", 0, "1 to 1000"),
        ("fit.max_iter", 0, "at least 1"),
        ("fit.tol", -0.1, "a number from 0"),
        ("fit.tol", float("inf"), "a number from 0"),
        ("output.labels", "", "the path of the map"),
        ("output.labels", None, "the path of the map"),
        ("output.palette", ["red"], "a list with a colour for each class"),
        ("output.palette", [], "a list with a colour for each class"),
        ("output.palette", [[0, 0, 256]], "a list with a colour for each class"),
        ("output.palette", [[0, 0]], "a list with a colour for each class"),
        ("output.palette", [None], "a list with a colour for each class"),  # an unquoted #ff0000 is a comment
        ("output.palette", ["#12345"], "a list with a colour for each class"),
        ("output.rgb", ["nir", "red"], "a list of three bands"),
        ("output.rgb", "nir", "a list of three bands"),
        ("output.stretch", [95, 5], "two percentiles"),
        ("output.stretch", [0, 101], "two percentiles"),
        ("output.title", "x" * 201, "of at most 200 characters"),
        ("output.picture_size", 100, "512 to 8192"),
        ("output.panels", "map", "'both'"),
        ("output.world_file", "x.pgw", "true or false"),
        ("run.workers", 0, "1 to 1024"),
        ("run.workers", "many", "1 to 1024"),
        ("run.memory", 0, "such as 2GB or 800MB"),
        ("run.memory", -5, "such as 2GB or 800MB"),
        ("run.memory", "plenty", "such as 2GB or 800MB"),
        ("run.memory", "2 parsecs", "such as 2GB or 800MB"),
        ("run.memory", "2,5GB", "such as 2GB or 800MB"),
        ("run.memory", "2GB/3", "such as 2GB or 800MB"),
        ("run.memory", "1e9GB", "such as 2GB or 800MB"),
        ("run.memory", "\N{FULLWIDTH DIGIT TWO}GB", "such as 2GB or 800MB"),
        ("run.memory", "0e9", "such as 2GB or 800MB"),
        ("run.chunk", 15, "16 to 65536"),
        ("run.chunk", 65537, "16 to 65536"),
        ("scene", "a.tif", "a mapping: source, bands, names, nodata"),
        ("fit", [8], "a mapping: method, mask, pixels, seed, stratify, k"),
        ("run", None, "a mapping: workers, cluster"),
    ],
)
def test_invalid_value_is_refused_naming_its_path_and_allowed_values(
    tmp_path: Path, path: str, value: object, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, with_setting(path, value))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'run.yaml'}: {path}: ")
    assert allowed in message


@pytest.mark.parametrize(
    "setting",
    ["scene.nodata=no", "fit.seed=on", "fit.starts=yes", "fit.tol=off", "run.workers=true", "run.memory=yes",
     "scene.bands=[yes]", "output.model=no"],
)  # fmt: skip
def test_yaml_booleans_are_neither_numbers_nor_names(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match=setting.split("=", maxsplit=1)[0]):
        load(tmp_path, SMALLEST, setting)


@pytest.mark.parametrize("path", [path for path, required in LEAVES.items() if required])
def test_missing_key_is_named_with_its_path(tmp_path: Path, path: str) -> None:
    settings = copy.deepcopy(SMALLEST)
    *sections, key = path.split(".")
    del reduce(dict.__getitem__, sections, settings)[key]
    with pytest.raises(ConfigError, match=rf": {path}: missing; expected "):
        load(tmp_path, settings)


@pytest.mark.parametrize("path", LEAVES)
def test_misspelt_key_is_named_with_its_path_and_the_nearest_key(tmp_path: Path, path: str) -> None:
    *sections, key = path.split(".")
    wrong = ".".join([*sections, key + key[-1]])
    settings = with_setting(wrong, 1)
    if LEAVES[path]:  # a misspelt required key is also missing
        del reduce(dict.__getitem__, sections, settings)[key]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, settings)
    assert wrong in str(caught.value)
    assert f"did you mean {path}?" in str(caught.value)


WITHOUT_K: dict[str, Any] = {"histogram": {}, "ranges": {"edges": [0, 1]}, "isodata": {}}
"""Settings that are required, by the methods that have no number of classes."""


@pytest.mark.parametrize("method", [name for name in METHODS if name not in WITHOUT_K])
def test_mistakes_in_the_settings_of_a_method_are_named_by_their_path_alone(tmp_path: Path, method: str) -> None:
    settings = with_setting("fit.method", method)
    with pytest.raises(ConfigError, match=r"run\.yaml: fit\.k: 1 is not allowed; expected the number of classes"):
        load(tmp_path, with_setting("fit.k", 1, settings))
    with pytest.raises(
        ConfigError, match=r"run\.yaml: fit\.seeds: unknown key; did you mean fit\.seed\? allowed here:"
    ):
        load(tmp_path, with_setting("fit.seeds", 1, settings))
    with pytest.raises(ConfigError, match=r"run\.yaml: fit\.mask\.pat: unknown key; did you mean fit\.mask\.path\?"):
        load(tmp_path, with_setting("fit.mask.pat", "m.tif", settings))
    with pytest.raises(
        ConfigError, match=r"run\.yaml: fit: 3 sampled pixels are too few for 8 classes; raise fit\.pixels"
    ):
        load(tmp_path, with_setting("fit.pixels", 3, settings))


@pytest.mark.parametrize("method", WITHOUT_K)
def test_a_key_of_another_method_is_refused_naming_the_methods_that_have_it(tmp_path: Path, method: str) -> None:
    settings = with_setting("fit", {"method": method, **WITHOUT_K[method]})
    own = {
        "histogram": "mask, pixels, seed, bins, by",
        "ranges": "mask, pixels, seed, edges, outside",
        "isodata": "mask, pixels, seed, stratify, weights, k_min, k_max, min_size, max_std, min_distance, max_iter",
    }[method]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, with_setting("fit.k", 5, settings))
    having = ", ".join(name for name, each in METHODS.items() if "k" in each.settings.model_fields)
    assert str(caught.value).endswith(f"run.yaml: fit.k: a key of {having}; fit.method: {method} has {own}")
    with pytest.raises(ConfigError, match=r"fit\.maxiter: unknown key; .*allowed here: method, "):
        load(tmp_path, with_setting("fit.maxiter", 5, settings))
    with pytest.raises(ConfigError, match=r"^fit: edges: a key of ranges; method: kmeans has mask, pixels, seed,"):
        FIT.parse({"edges": [1, 2]}, "fit")


def test_another_estimator_drops_settings_of_the_last_one_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    birch = with_setting("fit", {"method": "sklearn", "k": 5, "options": {"threshold": 0.1, "n_clusters": 5}})
    found = load(tmp_path, birch, "fit.estimator=cluster.DBSCAN", "fit.options.eps=0.3").fit
    assert (found.estimator, found.k, found.options) == ("cluster.DBSCAN", None, {"eps": 0.3})
    dropped = "fit.k, fit.options.n_clusters, fit.options.threshold"
    assert caplog.messages == [f"{dropped}: left out, as fit.estimator: cluster.DBSCAN does not have or allow that"]
    assert load(tmp_path, birch, "fit.estimator=cluster.KMeans").fit.options == {"n_clusters": 5}
    found = load(tmp_path, birch, "fit.estimator=mixture.GaussianMixture").fit
    assert (found.k, found.options, found.wanted) == (5, {}, 5)
    kmeans = with_setting("fit", {"k": 5})
    found = load(tmp_path, kmeans, "fit.method=sklearn", "fit.estimator=cluster.OPTICS").fit
    assert (found.estimator, found.k) == ("cluster.OPTICS", None)
    typo = with_setting("fit", {"method": "sklearn", "options": {"treshold": 0.1}})
    with pytest.raises(ConfigError, match="has no option 'treshold' here"):
        load(tmp_path, typo, "fit.estimator=cluster.DBSCAN")


@pytest.mark.parametrize("wrong", [5, "kmeans", ["gmm"], None])
def test_a_section_that_is_no_mapping_is_told_whatever_is_overridden(tmp_path: Path, wrong: object) -> None:
    for override in ("fit.method=gmm", "fit.k=3"):
        with pytest.raises(ConfigError, match=r"run\.yaml: fit: .* is not allowed; expected a mapping: method"):
            load(tmp_path, with_setting("fit", wrong), override)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"clip": [98, 2]}, "features.standardize: clip: percentile 98 is not smaller than 2; write clip: [2, 98]"),
        ({"clip": [2, 2]}, "features.standardize: clip: percentile 2 is not smaller than 2; give two that differ,"),
        ({"clip": [2, 101]}, "features.standardize.clip: 101 is not allowed; expected two percentiles from 0 to 100,"),
        ({"clip": [2]}, "features.standardize.clip: a list of 1 is not allowed; expected two percentiles"),
        ({}, "features.standardize.clip: missing; expected two percentiles"),
        ({"klip": [2, 98]}, "features.standardize.klip: unknown key; did you mean features.standardize.clip?"),
        ("klip", "features.standardize: 'klip' is not allowed; expected how bands"),
    ],
)
def test_a_wrong_form_of_a_value_is_told_as_what_it_was_meant_to_be(
    tmp_path: Path, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, with_setting("features.standardize", value))
    assert f"run.yaml: {message}" in str(caught.value)


def test_another_method_drops_settings_that_it_does_not_have_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = with_setting("fit", {"method": "kmeans", "k": 5, "starts": 2, "pixels": 7000, "seed": 3, "mask": "scl"})
    kept = load(tmp_path, settings, "fit.seed=4", "fit.method=minibatch").fit
    assert kept == METHODS["minibatch"].settings(method="minibatch", k=5, starts=2, pixels=7000, seed=4, mask="scl")
    assert not caplog.messages
    config = load(tmp_path, settings, "fit.method=histogram", "fit.bins=7")
    assert config.fit == METHODS["histogram"].settings(method="histogram", bins=7, seed=3, mask="scl")
    assert caplog.messages == [
        "fit.k, fit.pixels, fit.starts: left out, as fit.method: histogram does not have or allow that"
    ]
    ranges = load(tmp_path, settings, "fit={method: ranges, edges: [0, 1]}").fit
    assert ranges.model_dump(exclude={"mask"}) == {
        "method": "ranges", "edges": (0, 1), "outside": "unclassified", "pixels": 7000, "seed": 3
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fit.k": 5}, "fit.k: a key of"),  # given with the method
        ({"fit.pixels": 7000}, "fit.pixels: 7000 is not allowed; expected 'all'"),
        ({"fit.method": "histogrm"}, "fit.method: 'histogrm' is not allowed"),
    ],
)
def test_overrides_that_a_new_method_does_not_have_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    overrides = [f"{key}={value}" for key, value in ({"fit.method": "histogram"} | changes).items()]
    with pytest.raises(ConfigError, match=re.escape(words)):
        load(tmp_path, with_setting("fit.k", 5), *overrides)


@pytest.mark.parametrize("setting", [{"k": "five"}, {"seed": -1}, {"sed": 1}, {"mask": {"pat": "a.tif"}}])
def test_a_mistake_in_the_file_is_not_dropped_with_the_method(tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"fit\.{next(iter(setting))}"):
        load(tmp_path, with_setting("fit", setting), "fit.method=histogram")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("fit.edges", [1], "fit.edges: a list of 1 is not allowed; expected a list of 2 to 255 finite numbers"),
        ("fit.edges", list(range(256)), "fit.edges: a list of 256 is not allowed; expected a list of 2 to 255"),
        ("fit.edges", [0, float("nan")], "fit.edges: nan is not allowed; expected a list of 2 to 255 finite numbers"),
        ("fit.edges", [0, True], "fit.edges: True is not allowed"),
        ("fit.edges", 5, "fit.edges: 5 is not allowed; expected a list"),
        ("fit.edges", [0, 2, 1], "fit: edges: edge 3 is 1, and the one before 2; list them in ascending order"),
        ("fit.edges", [0, 1, 1], "fit: edges: edge 3 is 1, and the one before 1; list them in ascending order"),
        ("fit.outside", "drop", "fit.outside: 'drop' is not allowed; expected 'unclassified'"),
    ],
)
def test_edges_that_make_no_ranges_are_refused(tmp_path: Path, path: str, value: object, words: str) -> None:
    settings = with_setting("fit", {"method": "ranges", "edges": [0, 1]})
    with pytest.raises(ConfigError, match=re.escape(words)):
        load(tmp_path, with_setting(path, value, settings))


@pytest.mark.parametrize("bins", [1, 255, 2.5, "many"])
def test_bins_that_do_not_fit_are_refused(tmp_path: Path, bins: object) -> None:
    settings = with_setting("fit", {"method": "histogram", "bins": bins})
    with pytest.raises(ConfigError, match=r"fit\.bins: .* is not allowed; expected the number of bins, a whole number"):
        load(tmp_path, settings)


def test_unknown_key_is_refused_listing_the_allowed_keys(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"run\.gpu: unknown key; allowed here: workers, cluster, memory, chunk, cache, cache_dir, timeout$",
    ):
        load(tmp_path, with_setting("run.gpu", 1))


@pytest.mark.parametrize("path", ["", "scene", "scene.mask", "fit", "output", "run"])
@pytest.mark.parametrize("key", ["5", "null", "true", "-7"])
def test_a_key_that_is_no_word_is_named_as_key(tmp_path: Path, path: str, key: str) -> None:
    """Regression: it was reported as the value of its section."""
    base = with_setting("scene.mask", {"path": "m.tif"}, with_setting("fit.method", "minibatch"))
    settings = with_setting(f"{path}.{key}".lstrip("."), 1, with_setting("run.workers", 1, base))
    section = reduce(dict.__getitem__, path.split("."), settings) if path else settings
    section[yaml.safe_load(key)] = section.pop(key)
    start = f"{path}: " if path else ""
    with pytest.raises(ConfigError, match=rf"run\.yaml: {re.escape(start)}key {key}: keys are words; allowed here: \w"):
        load(tmp_path, settings)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "scene.resampling",
            {"red": "cubi"},
            r"scene\.resampling: 'cubi' is not allowed; expected the method by which",
        ),
        ("scene.resampling", {None: "cubic"}, r"scene\.resampling: key null is not allowed; expected the method"),
        ("scene.names", {"B1": 5}, r"scene\.names: 5 is not allowed; expected names"),
        ("scene.names", {1.5: "red"}, r"scene\.names: key 1\.5 is not allowed; expected names"),
        ("scene.bands", ["red", None], r"scene\.bands: None is not allowed; expected 'auto'"),
    ],
)
def test_the_wrong_part_of_a_value_is_named_once(tmp_path: Path, path: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, with_setting(path, value))
    assert "more" not in str(caught.value)


@pytest.mark.parametrize(("old", "new"), [("run.scratch", "run.cache"), ("run.scratch_dir", "run.cache_dir")])
def test_renamed_key_is_refused_with_its_new_name(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(old)}: this key is now {re.escape(new)}; rename it$"):
        load(tmp_path, with_setting(old, "disk"))


def test_several_mistakes_are_counted_and_named(tmp_path: Path) -> None:
    settings = with_setting("fit.k", 1, with_setting("fit.seed", -1, with_setting("run.chunk", 3)))
    with pytest.raises(ConfigError, match=r"and 2 more") as caught:
        load(tmp_path, settings)
    assert all(path in str(caught.value) for path in ("fit.k", "fit.seed", "run.chunk"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nversion: 1\n", r"line 1, .*the key 'version' is given twice"),
        ("version: 1\nfit:\n  k: 3\n  seed: 1\n  k: 4\n", r"line 3, .*the key 'k' is given twice"),
        ("fit: !!python/object/apply:os.getcwd []\n", r"line 1, .*not plain YAML.*python/object/apply"),
        ("fit: !!python/name:os.getcwd\n", r"line 1, .*not plain YAML"),
        ("version: 1\n---\nversion: 1\n", r"line 2, .*not plain YAML"),
        ("version: [1\n", r"not plain YAML"),
        ("\tversion: 1\n", r"line 1, .*not plain YAML"),
        ("? [a]\n: 1\n", r"not plain YAML"),
        ("version: 2020-02-31\n", r"not plain YAML: day is out of range"),
        ("a: " + "[" * 5000, r"not plain YAML"),
        ("a: \x07\n", r"not plain YAML"),
        ("", r"expected a mapping with version, scene, features, fit, output, run, found nothing"),
        ("- version: 1\n", r"expected a mapping with version, .*, found a list"),
        ("version\n", r"expected a mapping with version, .*, found a str"),
        ("1\n", r"expected a mapping with version, .*, found an int$"),
    ],
)
def test_text_that_is_not_a_plain_yaml_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize("text", ["fit={k: 3, k: 4}", "fit=!!python/name:os.getcwd", "fit.k=["])
def test_overrides_must_be_plain_yaml(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set .*not plain YAML"):
        load(tmp_path, SMALLEST, text)


@pytest.mark.parametrize("text", ["fit.k", "=3", ".k=3", "fit.=3", "fit..k=3", ""])
def test_override_without_key_or_value_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected key\.path=value, for example fit\.k=12"):
        load(tmp_path, SMALLEST, text)


def test_unreadable_config_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "latin1.yaml").write_bytes("# Größe\nversion: 1\n".encode("latin-1"))
    for name, reason in (("none.yaml", "No such file"), ("latin1.yaml", "not UTF-8 text")):
        with pytest.raises(ConfigError, match=rf"can't be read: .*{reason}"):
            load_config(tmp_path / name)


FEATURES = {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("scene.tif", b"II*\0" + bytes(20), "a raster (TIFF)"),
        ("odd name.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "a raster (JPEG 2000)"),
        ("scene.vrt", b'<VRTDataset rasterXSize="2"></VRTDataset>', "a raster (VRT)"),
        ("MTD.xml", b"\xef\xbb\xbf<?xml version='1.0'?><a/>", "an XML file"),
        ("product.SAFE.zip", b"PK\3\4" + bytes(20), "a zip"),
        ("cube.nc", b"\x89HDF\r\n" + bytes(20), "an HDF5 or NetCDF file"),
        ("item.json", json.dumps({"type": "Feature", "stac_version": "1.0.0"}).encode(), "a STAC item"),
        ("items.json", json.dumps(FEATURES).encode(), "a GeoJSON FeatureCollection"),
        ("pixels.bil", bytes(100), "a binary file"),
        ("folder", None, "a folder"),
    ],
)
def test_scene_in_place_of_a_config_is_refused_with_the_command_that_writes_one(
    tmp_path: Path, name: str, content: bytes | None, kind: str
) -> None:
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    quoted = f"'{path}'" if " " in name else str(path)
    assert str(error.value).startswith(f"{path}: this is {kind}, not a config")
    assert str(error.value).endswith(f"terrazzo init {quoted} > my.yaml")


@pytest.mark.parametrize(
    "address",
    ["https://example.org/a.tif", "s3://bucket/a.tif", "/vsicurl/https://example.org/a.tif", "/vsizip/a.zip/b.tif"],
)
def test_address_in_place_of_a_config_is_refused_with_the_command_that_writes_one(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{address}: this is an address, .* terrazzo init {address} > my.yaml$"):
        load_config(Path(address))


def test_config_may_be_json(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"version": 1, "scene": {"source": "a.tif"}, "output": {"labels": "b.tif"}}')
    assert load_config(tmp_path / "c.json").scene.source == (str(tmp_path / "a.tif"),)


def test_paths_in_the_file_start_at_its_folder_and_paths_in_overrides_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    (there / "run.yaml").write_text(
        yaml.safe_dump(with_setting("scene.source", ["a.tif", "../b.tif"], with_setting("output.model", "m.json")))
    )
    config = load_config("../there/run.yaml", ["output.table=t.csv"])
    assert [Path(path).resolve() for path in config.scene.source] == [there / "a.tif", tmp_path / "b.tif"]
    assert all(Path(path).is_absolute() for path in config.scene.source)
    assert Path(str(config.output.model)).resolve() == there / "m.json"
    assert Path(config.output.labels).resolve() == there / "b.tif"
    assert Path(str(config.output.table)).resolve() == here / "t.csv"
    assert (config.output.palette, config.output.picture) == ("auto", None)
    assert load_config("../there/run.yaml", ["scene={source: c.tif}"]).scene.source == (str(here / "c.tif"),)


@pytest.mark.parametrize(
    "path",
    ["/vsizip/a.zip/b.tif", "/vsicurl/https://example.org/a.tif?x=1", "https://example.org/a.tif", "s3://bucket/a.tif",
     "/data/a.tif"],
)  # fmt: skip
def test_absolute_paths_virtual_paths_and_addresses_are_not_changed(tmp_path: Path, path: str) -> None:
    assert load(tmp_path, with_setting("scene.source", path)).scene.source == (path,)
    assert load(tmp_path, SMALLEST, f"scene.source={json.dumps([path])}").scene.source == (path,)


def test_output_with_a_colon_in_its_name_is_a_path_in_the_folder(tmp_path: Path) -> None:
    config = load(tmp_path, with_setting("output.labels", "run:1.tif"))
    assert config.output.labels == str(tmp_path / "run:1.tif")


@pytest.mark.parametrize("word", ["none", "None", " none ", "NONE\t"])
def test_an_output_that_is_switched_off_is_no_path(tmp_path: Path, word: str) -> None:
    for config in (
        load(tmp_path, with_setting("output.table", word)),
        load(tmp_path, SMALLEST, f"output.table={json.dumps(word)}"),
    ):
        assert config.output.table == word
        written = {sink.key for sink in OutputPaths.of(config.output, fits=True).sinks}
        assert "table" not in written
        assert {"picture", "model", "run"} < written
    for path in ("scene.mask", "fit.mask"):
        assert look_up(load(tmp_path, with_setting(path, word)), path) is None
    assert load(tmp_path, with_setting("output.table", "./none")).output.table == str(tmp_path / "none")


def test_tilde_is_replaced_by_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    assert load(tmp_path, with_setting("output.labels", "~/b.tif")).output.labels == "/home/user/b.tif"


def test_file_name_that_starts_with_a_tilde_is_not_a_home_folder(tmp_path: Path) -> None:
    assert load(tmp_path, with_setting("scene.source", "~scene.tif")).scene.source == (str(tmp_path / "~scene.tif"),)


words = st.sampled_from(["a.tif", "auto", "all", "~x", "", "1e-4", "2GB", "kmeans", "B04", "\0", "é"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([*LEAVES, "scene", "fit", "output", "run", "fit.x"]), values, max_size=4)
)
def test_config_with_any_values_is_loaded_or_refused_with_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    settings = SMALLEST
    for path, value in sorted(changes.items()):
        if "." not in path or isinstance(settings.get(path.split(".")[0], {}), dict):
            settings = with_setting(path, value, settings)
    message = ""
    try:
        config = load(tmp_path_factory.getbasetemp(), settings)
    except ConfigError as error:
        message = str(error)
    if message:
        assert any(path.split(".")[0] in message for path in changes)
    else:
        assert RunConfig.model_validate(config.model_dump()) == config


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_is_refused_with_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"any\.yaml"):
        load_config(path)


def test_records_and_their_sections_are_frozen(tmp_path: Path) -> None:
    config = load(tmp_path, with_setting("scene.bands", ["B02"]))
    assert hash(config) == hash(config.model_copy(deep=True))  # no list or dict inside
    for path in LEAVES:
        *sections, key = path.split(".")
        with pytest.raises(ValidationError, match="frozen"):
            setattr(reduce(getattr, sections, config), key, 1)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("2GB", 2 * 10**9), ("800MB", 8 * 10**8), ("0.5 GB", 5 * 10**8), ("2GiB", 2**31), ("512mib", 2**29),
        (10**9, 10**9), ("1e9", 10**9), ("1.5E+9", 15 * 10**8), (1e9, 10**9),
    ],
)  # fmt: skip
def test_memory_is_parsed_from_numbers_and_units(words: object, size: int) -> None:
    assert parse_record(ResourceConfig, {"memory": words}, "here").memory == size


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (2e9, "2.00 GB")]
)
def test_size_words_writes_bytes_with_a_decimal_unit(size: float, words: str) -> None:
    assert size_words(size) == words


def test_error_of_a_single_record_names_origin_and_key() -> None:
    with pytest.raises(ConfigError, match=r"^open_scene: chunk: 'big' is not allowed; expected 'auto'"):
        parse_record(ResourceConfig, {"chunk": "big"}, "open_scene")


@pytest.mark.lowest
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_example_configs_load_and_match_the_schema(path: Path) -> None:
    config = load_config(path)
    assert config.version == 1
    assert Path(config.output.labels).parent == CONFIGS
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads((CONFIGS / "schema.json").read_text()))


def test_stored_schema_equals_the_generated_one() -> None:
    schema = json.loads((CONFIGS / "schema.json").read_text())
    assert schema == json.loads(json.dumps(config_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return config_schema()


@pytest.mark.lowest
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 1), ("version", 2), ("scene.source", "a.tif"), ("scene.source", ["a.tif", "b.tif"]),
        ("scene.source", []), ("scene.source", 5), ("scene.bands", "all"), ("scene.bands", ["B04", 3]),
        ("scene.bands", "red"), ("scene.bands", []), ("scene.nodata", "auto"), ("scene.nodata", 0),
        ("scene.nodata", -1.5), ("scene.nodata", "none"), ("scene.extra", 1), ("fit.method", "minibatch"),
        ("fit.method", "other"), ("fit.k", 2), ("fit.k", 254), ("fit.k", 1), ("fit.k", 255), ("fit.tol", 0),
        ("fit.tol", -1), ("fit.extra", 1), ("output.model", None), ("output.model", "m.json"), ("output.labels", ""),
        ("output.palette", "tab20"), ("run.memory", "2GB"), ("run.memory", 10**9), ("run.memory", -1),
        ("run.memory", "1e9"), ("run.memory", "1e999"), ("run.memory", "1e9 MB"), ("run.memory", ".3GB"),
        ("run.memory", "1.2.3GB"), ("run.memory", "1.5 gib"),
        ("run.memory", "plenty"), ("run.workers", "auto"), ("run.workers", 4), ("run.workers", 0), ("run.chunk", 512),
        ("run.chunk", "big"), ("run.timeout", 0.5), ("run.timeout", 86400), ("run.timeout", 0), ("run.timeout", 86401),
        ("run.timeout", "2 min"), ("extra", 1), ("fit", []),
        ("fit", {"k": 3, "seed": 1}), ("fit", {"method": "dask-ml", "k": 3}), ("fit", {"method": "dask-ml", "q": 3}),
        ("fit", {"method": None}), ("fit.mask", None), ("scene.names", {"B1": "blue"}), ("scene.names", {}),
        ("scene.resampling", {"default": "cubic"}), ("scene.resampling", {"default": "other"}),
        ("scene.resampling", {"1": "cubic"}),
        ("scene.time", 0), ("scene.time", "last"), ("scene.time", ""), ("scene.mask", "scl"), ("scene.mask", ""),
        ("scene.mask", {"scl": ["cirrus", 9], "dilate": 60}), ("scene.mask", {"scl": "default"}),
        ("scene.mask", {"qa_pixel": [["cloud", 9], 3]}), ("scene.mask", {"qa_pixel": {}}), ("scene.mask", {"scm": [9]}),
        ("scene.mask", {"path": "m.tif", "keep": [1]}), ("scene.mask", {"path": "m.tif", "dilate": -1}),
        ("scene.aoi", [7, 50, 8, 51]), ("scene.aoi", [7, 50, 8]), ("scene.aoi", "a.gpkg"), ("scene.aoi", {"path": ""}),
        ("scene.aoi", {"bounds": [7, 50, 8, 51], "crs": "EPSG:4326"}), ("scene.aoi", {"box": [7, 50, 8, 51]}),
    ],
)  # fmt: skip
def test_schema_and_loader_accept_the_same_configs(
    tmp_path: Path, schema: dict[str, Any], path: str, value: object
) -> None:
    settings = with_setting(path, value, with_setting("scene.source", ["a.tif"]))
    try:
        load(tmp_path, settings)
    except ConfigError:
        loads = False
    else:
        loads = True
    assert jsonschema.Draft202012Validator(schema).is_valid(settings) is loads


@pytest.mark.parametrize("form", ["{}", "[{}]", "{{a: {}}}", "{{? {} : a}}"])
@pytest.mark.parametrize(
    "number", ["0x" + "f" * 5000, "9" * 5000, "-0b" + "1" * 20_000, "0" + "7" * 5000, "5:" * 4000 + "5"]
)
def test_endless_whole_numbers_are_refused_with_a_short_message(tmp_path: Path, form: str, number: str) -> None:
    """Regression: Python refuses to write integers of more than 4300 digits, as in messages."""
    text = form.format(number)
    for key in ("fit.k", "fit.method", "scene.mask", "scene.nodata", "version"):
        with pytest.raises(ConfigError, match=rf"a whole number of {len(number)} characters is too long") as caught:
            load(tmp_path, SMALLEST, f"{key}={text}")
        assert len(str(caught.value)) < 500
    with pytest.raises(ConfigError, match=r"run\.yaml, line 1, column .* is too long"):
        load(tmp_path, f"version: {text}\n")


def test_a_huge_number_of_python_is_shown_in_a_few_words() -> None:
    with pytest.raises(
        ConfigError, match=r"f: chunk: an int of thousands of digits is not allowed; expected 'auto', or"
    ):
        parse_record(ResourceConfig, {"chunk": 1 << 20_000}, "f")


def test_nested_yaml_aliases_are_refused_with_a_short_message(tmp_path: Path) -> None:
    levels = "".join(f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in pairwise("abcdefghij"))
    text = f"a: &a [x, x]\n{levels}version: *j\n"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert len(str(caught.value)) < 1000
