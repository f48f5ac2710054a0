"""How well the classes of each method agree with labelled polygons, on every labelled scene of a folder.

    python -m benchmarks.truth FOLDER            (or: make truth TRUTH=FOLDER)

A labelled scene is a folder with rasters and a vector file whose polygons have a column `class`. For each method and
seed a model is fitted to the whole scene, and its map is compared with the polygons:

- `ARI`, `NMI`: adjusted Rand index and normalized mutual information of clusters and reference classes, over the pixels
  of the held-back polygons;
- `mapped`: the share of these pixels that are right if each cluster is called after the class that is most frequent
  in it among the other polygons. Polygons alternate between the halves, class by class.

Where GRASS is installed, its `i.cluster` and `i.maxlik` with their defaults are scored beside.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyogrio
import rasterio
import shapely
import xarray as xr
from rasterio.features import rasterize
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from benchmarks import grass
from pipeline import fit, label, open_scene
from pipeline.core.errors import TerrazzoError

INDICES: Final = ("ndvi", "ndwi", "mndwi", "ndbi", "brightness")

METHODS: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain k-means": {"standardize": "none"},
    "k-means (default)": {},
    "k-means, zscore": {"standardize": "zscore"},
    "k-means, robust": {"standardize": "robust"},
    "k-means, indices": {"indices": INDICES},
    "minibatch": {"method": "minibatch"},
    "Gaussian mixture": {"method": "gmm"},
    "Gaussians, indices": {"method": "gmm", "indices": INDICES},
    "k-means, 3 x 3 means": {"smooth": 3},
    "k-means, components": {"pca": 0.99},
    "k-means, unit norm": {"unit_norm": True, "standardize": "none"},
    "isodata": {"method": "isodata"},
    "sub-clusters (Birch)": {"method": "sklearn", "options": {"threshold": 0.2}},
}
"""Arguments of `fit` by name."""

_VECTORS: Final = (".geojson", ".gpkg", ".shp")
_RASTERS: Final = (".tif", ".jp2")


@dataclass(frozen=True)
class Reference:
    """Labelled pixels of a scene."""

    classes: npt.NDArray[np.int64]
    """Class of each pixel, 1 to n, shape (rows, columns); 0 where there is none."""
    held_back: npt.NDArray[np.bool_]
    """Pixels that maps are scored on, shape (rows, columns); the others name the clusters."""

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.classes.max())


@dataclass(frozen=True)
class Score:
    """Agreement of a map with a reference."""

    ari: float
    nmi: float
    mapped: float


def read_reference(vector: Path, scene: xr.DataArray) -> Reference:
    """Burn labelled polygons into the grid of a scene; every other polygon of a class is held back."""
    _, _, shapes, (names,) = pyogrio.raw.read(vector, columns=["class"])
    meta = pyogrio.read_info(vector)
    geometries = shapely.from_wkb(shapes)
    if meta["crs"] and scene.rio.crs:
        moved = [
            rasterio.warp.transform_geom(meta["crs"], scene.rio.crs, each.__geo_interface__) for each in geometries
        ]
    else:
        moved = [each.__geo_interface__ for each in geometries]
    known = sorted(set(names))
    turn = dict.fromkeys(known, 0)
    burned: dict[bool, list[tuple[Any, int]]] = {False: [], True: []}
    for geometry, name in zip(moved, names, strict=True):
        burned[turn[name] % 2 == 1].append((geometry, known.index(name) + 1))
        turn[name] += 1
    planes = [
        rasterize(parts, scene.shape[1:], transform=scene.rio.transform(), dtype="int32") if parts else np.int32(0)
        for parts in burned.values()
    ]
    return Reference(np.maximum(*planes).astype(np.int64), np.asarray(planes[1] > 0))


def score(classes: npt.NDArray[np.uint8], reference: Reference) -> Score:
    """Compare a map, shape (rows, columns), with a reference; nodata of the map is left out."""
    seen = (reference.classes > 0) & (classes > 0)
    scored, others = seen & reference.held_back, seen & ~reference.held_back
    votes = np.zeros((256, reference.count + 1), np.int64)
    np.add.at(votes, (classes[others], reference.classes[others]), 1)
    truth, found = reference.classes[scored], classes[scored]
    return Score(
        ari=float(adjusted_rand_score(truth, found)),
        nmi=float(normalized_mutual_info_score(truth, found)),
        mapped=float((votes.argmax(axis=1)[found] == truth).mean()),
    )


def score_method(scene: xr.DataArray, reference: Reference, k: int, seed: int, how: Mapping[str, Any]) -> Score:
    """Fit a model to a scene, and compare its map with a reference."""
    number = {"k_min": k, "k_max": k} if how.get("method") == "isodata" else {"k": k}
    return score(label(scene, fit(scene, seed=seed, **number, **how)).values, reference)


def score_grass(scene: xr.DataArray, reference: Reference, k: int) -> Score:
    """Compare the map that GRASS makes of a scene with a reference."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "scene.tif", Path(folder) / "classes.tif"
        scene.rio.to_raster(source)
        grass.write_map(source, out, k)
        with rasterio.open(out) as classes:
            return score(classes.read(1), reference)


def labelled_scenes(folder: Path) -> dict[str, tuple[xr.DataArray, Reference]]:
    """Open the labelled scenes of the folders below a folder, by name."""
    found = {}
    for vector in sorted(path for path in folder.rglob("*") if path.suffix in _VECTORS):
        rasters = sorted(path for path in vector.parent.iterdir() if path.suffix in _RASTERS)
        if rasters and "class" in pyogrio.read_info(vector)["fields"]:
            scene = open_scene(rasters, bands="all").load()
            found[vector.parent.name] = scene, read_reference(vector, scene)
    return found


def main() -> None:
    """Print the scores of every method on every labelled scene, as means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--k", type=int, nargs="*", default=[0, 20], help="numbers of classes; 0: as the reference has")
    options = parser.parse_args()
    scenes = labelled_scenes(options.folder)
    if not scenes:
        sys.exit(f"{options.folder}: no labelled scenes (rasters, and a vector file with a column 'class')")
    print(f"{'scene':28} {'k':>3}  {'method':24} {'ARI':>6} {'NMI':>6} {'mapped':>6}")
    for name, (scene, reference) in scenes.items():
        for k in (k or reference.count for k in options.k):
            for method, how in METHODS.items():
                try:
                    scores = [score_method(scene, reference, k, seed, how) for seed in range(options.seeds)]
                except TerrazzoError as error:
                    print(f"{name:28} {k:3}  {method:24} {error}")
                    continue
                _print_means(name, k, method, scores)
            if shutil.which("grass"):
                _print_means(name, k, "GRASS", [score_grass(scene, reference, k)])


def _print_means(name: str, k: int, method: str, scores: Sequence[Score]) -> None:
    """Print a line of the table."""
    means = [np.mean([getattr(each, part) for each in scores]) for part in ("ari", "nmi", "mapped")]
    print(f"{name:28} {k:3}  {method:24} {' '.join(f'{mean:6.3f}' for mean in means)}", flush=True)


if __name__ == "__main__":
    main()
