"""Spectral indices: a table of usual ones by name, expressions of bands, and their values in a block.

What is not a number by arithmetic alone is defined here, as one such pixel would spoil a fit:

- **Division by zero gives 0**, and so does any other result that is not finite although the bands are. Of a normalized
  difference it is the middle of the range. Google Earth Engine (`ee.Image.divide`) and the Orfeo ToolBox give 0, too;
  GRASS (`i.vi`) gives -1, and spyndex leaves NaN and infinities.
- **Negative reflectance counts as 0.** Atmospheric correction makes some water and shadow slightly negative, and a
  normalized difference of such pixels can be any number. Earth Engine's `normalizedDifference` masks these pixels, but
  here a pixel is nodata only if a band is; USGS limits the index to -1 and 1, which gives dark pixels its extremes.
- **Indices whose denominator has zeros among usual reflectances are limited to -1 and 1**, as USGS limits EVI (Landsat
  spectral indices): snow and clouds would be outliers. Expressions are not limited.

Elsewhere NaN comes out only where a band is NaN or infinite.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.band_names import COMMON_NAMES, bands_called, common_names, listed_names
from pipeline.core.errors import ConfigError
from pipeline.features.expressions import ALLOWED, Expression, evaluate, parse_expression

_TILE: Final = 1 << 15
"""Elements that are computed at once, so that intermediate results stay in the processor's cache."""


@dataclass(frozen=True)
class NamedIndex:
    """A line of the table of indices."""

    title: str
    """What it is, in a few words."""
    formula: str
    """Expression of common names of bands; may use `sqrt`."""
    source: str
    """Publication that defines it."""
    limits: tuple[float, float] | None = None
    """Smallest and largest value, to which others are set; None if reflectance gives no outliers."""


INDICES: Final = {
    "ndvi": NamedIndex(
        "normalized difference vegetation index",
        "(nir - red) / (nir + red)",
        "Rouse, Haas, Schell, Deering 1974, NASA SP-351",
    ),
    "gndvi": NamedIndex(
        "green NDVI",
        "(nir - green) / (nir + green)",
        "Gitelson, Kaufman, Merzlyak 1996, doi:10.1016/S0034-4257(96)00072-7",
    ),
    "ndre": NamedIndex(
        "normalized difference red edge index",
        "(nir - rededge) / (nir + rededge)",
        "Gitelson, Merzlyak 1994, doi:10.1016/1011-1344(93)06963-4",
    ),
    "evi": NamedIndex(
        "enhanced vegetation index",
        "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)",
        "Huete, Liu, Batchily, van Leeuwen 1997, doi:10.1016/S0034-4257(96)00112-5",
        (-1, 1),
    ),
    "evi2": NamedIndex(
        "enhanced vegetation index without blue",
        "2.5 * (nir - red) / (nir + 2.4 * red + 1)",
        "Jiang, Huete, Didan, Miura 2008, doi:10.1016/j.rse.2008.06.006",
    ),
    "savi": NamedIndex(
        "soil-adjusted vegetation index, L = 0.5",
        "1.5 * (nir - red) / (nir + red + 0.5)",
        "Huete 1988, doi:10.1016/0034-4257(88)90106-X",
    ),
    "osavi": NamedIndex(
        "optimized soil-adjusted vegetation index",
        "(nir - red) / (nir + red + 0.16)",
        "Rondeaux, Steven, Baret 1996, doi:10.1016/0034-4257(95)00186-7",
    ),
    "msavi": NamedIndex(
        "modified soil-adjusted vegetation index (MSAVI2)",
        # the root's operand, (2 nir + 1)^2 - 8 (nir - red), as a sum that rounding can't make negative
        "(2 * nir + 1 - sqrt((2 * nir - 1) * (2 * nir - 1) + 8 * red)) / 2",
        "Qi, Chehbouni, Huete, Kerr, Sorooshian 1994, doi:10.1016/0034-4257(94)90134-1",
    ),
    "arvi": NamedIndex(
        "atmospherically resistant vegetation index, gamma = 1",
        # red is corrected to red - gamma (blue - red); some lists have the other sign, by which red cancels
        "(nir - 2 * red + blue) / (nir + 2 * red - blue)",
        "Kaufman, Tanré 1992, doi:10.1109/36.134076",
        (-1, 1),
    ),
    "vari": NamedIndex(
        "visible atmospherically resistant index",
        "(green - red) / (green + red - blue)",
        "Gitelson, Kaufman, Stark, Rundquist 2002, doi:10.1016/S0034-4257(01)00289-9",
        (-1, 1),
    ),
    "gli": NamedIndex(
        "green leaf index",
        "(2 * green - red - blue) / (2 * green + red + blue)",
        "Louhaichi, Borman, Johnson 2001, doi:10.1080/10106040108542184",
    ),
    "ndmi": NamedIndex(
        "normalized difference moisture index (Gao's NDWI)",
        "(nir - swir16) / (nir + swir16)",
        "Wilson, Sader 2002, doi:10.1016/S0034-4257(01)00318-2",
    ),
    "ndwi": NamedIndex(
        "normalized difference water index of open water",
        "(green - nir) / (green + nir)",
        "McFeeters 1996, doi:10.1080/01431169608948714",
    ),
    "mndwi": NamedIndex(
        "modified normalized difference water index",
        "(green - swir16) / (green + swir16)",
        "Xu 2006, doi:10.1080/01431160600589179",
    ),
    "aweinsh": NamedIndex(
        "automated water extraction index, without shadows",
        # some lists add swir22
        "4 * (green - swir16) - (0.25 * nir + 2.75 * swir22)",
        "Feyisa, Meilby, Fensholt, Proud 2014, doi:10.1016/j.rse.2013.08.029",
    ),
    "aweish": NamedIndex(
        "automated water extraction index, with shadows",
        "blue + 2.5 * green - 1.5 * (nir + swir16) - 0.25 * swir22",
        "Feyisa, Meilby, Fensholt, Proud 2014, doi:10.1016/j.rse.2013.08.029",
    ),
    "ndti": NamedIndex(
        "normalized difference turbidity index",
        "(red - green) / (red + green)",
        "Lacaux, Tourre, Vignolles, Ndione, Lafaye 2007, doi:10.1016/j.rse.2006.07.012",
    ),
    "ndci": NamedIndex(
        "normalized difference chlorophyll index of turbid water",
        "(rededge - red) / (rededge + red)",
        "Mishra, Mishra 2012, doi:10.1016/j.rse.2011.10.016",
    ),
    "ndsi": NamedIndex(
        "normalized difference snow index (equal to MNDWI)",
        "(green - swir16) / (green + swir16)",
        "Hall, Riggs, Salomonson 1995, doi:10.1016/0034-4257(95)00137-P",
    ),
    "ndbi": NamedIndex(
        "normalized difference built-up index (NDMI with the other sign)",
        "(swir16 - nir) / (swir16 + nir)",
        "Zha, Gao, Ni 2003, doi:10.1080/01431160304987",
    ),
    "ui": NamedIndex(
        "urban index (NBR with the other sign)",
        "(swir22 - nir) / (swir22 + nir)",
        "Kawamura, Jayamana, Tsujiko 1996, ISPRS Archives 31 B7",
    ),
    "bsi": NamedIndex(
        "bare soil index",
        "(swir16 + red - nir - blue) / (swir16 + red + nir + blue)",
        "Rikimaru, Roy, Miyatake 2002, Tropical Ecology 43(1)",
    ),
    "nbr": NamedIndex(
        "normalized burn ratio",
        "(nir - swir22) / (nir + swir22)",
        "López García, Caselles 1991, doi:10.1080/10106049109354290",
    ),
    "nbr2": NamedIndex(
        "normalized burn ratio 2",
        "(swir16 - swir22) / (swir16 + swir22)",
        "USGS, Landsat surface reflectance-derived spectral indices",
    ),
    "brightness": NamedIndex(
        "mean of the four bands that most sensors have",
        "(blue + green + red + nir) / 4",
        "defined here; an albedo would need weights for each sensor",
    ),
}
"""Indices by name, which is in lower case. Formulas use common names, so that they work for every sensor that has such
bands (`nir` and `rededge` are those of `find_band`: Landsat's `nir08`, Sentinel-2's `rededge071`)."""


@dataclass(frozen=True)
class Index:
    """A spectral index as requested: the name of a line of the table, or an expression of bands."""

    name: str
    """Name of its column: the request as it was written."""
    expression: Expression
    """Formula."""
    limits: tuple[float, float] | None = None
    """Smallest and largest value, to which others are set; None if there are none."""
    is_named: bool = False
    """Whether it is in the table, so that all of its bands are meant to be reflectance."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names or common names of the bands used, each once, shape (band,)."""
        return self.expression.bands

    @property
    def needs_reflectance(self) -> bool:
        """Whether numbers in the formula make it depend on the units of the bands, as those of EVI and SAVI do.

        Others may be computed from digital numbers, if all bands have one scale and no offset.
        """
        return self.expression.degree is None


def parse_index(text: str, key: str = "features.indices") -> Index:
    """Find an index by name, in any case, or read an expression.

    Parameters
    ----------
    text : str
        A name such as ndvi, or an expression such as (B8A - red) / B12.
    key : str, optional
        Config key named in messages.

    Raises
    ------
    ConfigError
        If it is neither; the message says why, and lists the names.
    """
    name = " ".join(text.split())
    known = INDICES.get(name.lower())
    if known:
        return Index(name, parse_expression(known.formula, with_sqrt=True), known.limits, is_named=True)
    shown = repr(name if len(name) <= 60 else f"{name[:57]}...")  # noqa: PLR2004 (characters that fit a line)
    if name.isidentifier() or not name:
        nearest = difflib.get_close_matches(name.lower()[:60], INDICES, n=1)
        hint = f"did you mean {nearest[0]}? There are " if nearest else "there are "
        if name.lower() in COMMON_NAMES:
            hint = "bands are chosen with scene.bands; there are "
        msg = f"{key}: {shown} is no index; {hint}{', '.join(INDICES)}; {ALLOWED}, such as nir / red"
        raise ConfigError(msg)
    try:
        return Index(name, parse_expression(name))
    except ValueError as error:
        msg = f"{key}: {shown}: {error}"
        raise ConfigError(msg) from error


def resolve(
    index: Index, names: Sequence[str], common: Sequence[str | None] = (), key: str = "features.indices"
) -> tuple[int, ...]:
    """Column of the scene for each band of an index: by name, else by common name, as `scene.bands` are found.

    Parameters
    ----------
    index : Index
        Index whose bands are wanted.
    names : sequence of str
        Names of the scene's bands, shape (column,).
    common : sequence of str or None, optional
        Common name per band, shape (column,); derived from the names if empty.
    key : str, optional
        Config key named in messages.

    Raises
    ------
    ConfigError
        If the scene has no such band, or several, or two names mean the same band; the message lists the bands.
    """
    common = common if any(common) else common_names(names)
    columns: dict[int, str] = {}
    for band in index.bands:
        found = bands_called(band, names, common)
        if len(found) > 1:
            several = ", ".join(names[i] for i in found)
            msg = f"{key}: {index.name}: {band!r} matches {several}; write an expression with the name of one of them"
            raise ConfigError(msg)
        if not found:
            msg = f"{key}: {index.name}: {_missing(band, names, common)}"
            raise ConfigError(msg)
        if found[0] in columns:
            both = f"{columns[found[0]]} and {band}"
            msg = f"{key}: {index.name}: {both} are the same band of this scene, {names[found[0]]}; name another"
            raise ConfigError(msg)
        columns[found[0]] = band
    return tuple(columns)


def _missing(band: str, names: Sequence[str], common: Sequence[str | None]) -> str:
    """Message for a band that the scene does not have."""
    both = [f"{name} ({other})" if other else name for name, other in zip(names, common, strict=True)]
    if band.lower() in INDICES:
        hint = f"{band} is an index: write its formula, {INDICES[band.lower()].formula}; the scene has "
    else:
        nearest = difflib.get_close_matches(band, [*names, *filter(None, common)], n=1)
        hint = f"did you mean {nearest[0]}? It has " if nearest else "it has "
    return f"the scene has no band {band!r}; {hint}{listed_names(both)}"


def index_dtype(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[np.floating]:
    """Data type of an index of bands with these data types: float32, or float64 if float32 can't represent a band."""
    wide = any(dtype.itemsize > (4 if dtype.kind == "f" else 2) for dtype in dtypes)
    return np.dtype(np.float64 if wide else np.float32)


def compute(
    index: Index,
    planes: Sequence[npt.NDArray[Any]],
    scaling: Sequence[tuple[float, float]] | None = None,
    reflectance: Sequence[bool] | None = None,
) -> npt.NDArray[np.floating]:
    """Compute an index elementwise: a value depends on its own pixel only, to the bit.

    Parameters
    ----------
    index : Index
        What to compute.
    planes : sequence of ndarray
        Values of `index.bands`, in that order: arrays of one shape and of any integer or floating dtype.
    scaling : sequence of (float, float), optional
        Scale per band and the offset that is added after scaling, if planes are stored numbers.
    reflectance : sequence of bool, optional
        Whether the values of a band below 0 count as 0. All do for an index of the table, and by default none for an
        expression.

    Returns
    -------
    ndarray, same shape as the planes
        Values in `index_dtype` of the planes: finite where all bands are, else NaN.
    """
    scalings = scaling or [(1.0, 0.0)] * len(planes)
    floors = [index.is_named or floor for floor in reflectance or [False] * len(planes)]
    values = np.empty(planes[0].shape, index_dtype([plane.dtype for plane in planes]))
    tiles = list(_tiles(values.shape))
    buffers = np.empty((len(planes) + index.expression.depth - 1, *values[tiles[0]].shape), values.dtype)
    with np.errstate(all="ignore"):  # what is undefined is replaced
        for tile in tiles:
            result = values[tile]
            spare = buffers[:, : len(result)]
            bands = [
                _physical(plane[tile], *pair, non_negative=floor, out=buffer)
                for plane, pair, floor, buffer in zip(planes, scalings, floors, spare, strict=False)
            ]
            named = dict(zip(index.bands, bands, strict=True))
            evaluate(index.expression, named, [result, *spare[len(planes) :]])
            _replace_undefined(result, bands)
            if index.limits:
                np.clip(result, *index.limits, out=result)
    return values


def _tiles(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the first axis with about `_TILE` elements; at least one."""
    rows = max(1, _TILE // max(1, int(np.prod(shape[1:]))))
    return (slice(start, min(start + rows, shape[0])) for start in range(0, max(1, shape[0]), rows))


def _physical(
    stored: npt.NDArray[Any], scale: float, offset: float, *, non_negative: bool, out: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Values of a band in the dtype of `out`: `out`, or the stored array if it is what is wanted."""
    if stored.dtype == out.dtype and (scale, offset) == (1, 0):
        return np.maximum(stored, 0, out=out) if non_negative else stored
    np.copyto(out, stored, casting="unsafe")
    if offset:
        # added first, as it often is a whole stored number: what is 0 then is exactly 0, not a rounding error
        out += offset / scale
    if scale != 1:
        out *= scale
    return np.maximum(out, 0, out=out) if non_negative else out


def _replace_undefined(result: npt.NDArray[np.floating], bands: Sequence[npt.NDArray[np.floating]]) -> None:
    """Set results that are not finite to 0 where all bands are finite, and to NaN elsewhere."""
    defined = np.isfinite(result)
    if defined.all():
        return
    undefined = ~defined
    for band in bands:
        defined |= ~np.isfinite(band)
    np.copyto(result, np.nan, where=undefined)
    np.copyto(result, 0, where=~defined)
