"""Open the scene of a config, with the bands that its indices need."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.config.schema import FeaturesConfig
from pipeline.core.band_names import find_band
from pipeline.features.columns import Columns
from pipeline.features.indices import Index, parse_index, resolve
from pipeline.formats.catalogue import Catalogue
from pipeline.jobs.config import RunConfig
from pipeline.methods.registry import method_of
from pipeline.pixels.open import FeatureScene, Scene
from pipeline.scenes.choose_bands import catalogues_of
from pipeline.scenes.open import open_scene_config


def check_indices(config: RunConfig) -> list[Index]:
    """Return the indices of a config; raise ConfigError if one is unknown."""
    return [parse_index(text, "features.indices") for text in config.features.indices]


def open_features(config: RunConfig, excluded: Iterable[Path] = ()) -> Scene:
    """Open a config's scene, as reflectance or as stored numbers (`features.scale`), with the columns of `features`.

    Bands that only indices or textures need are read, too, and are no columns. For a method of one band that is to be
    chosen, indices are the only columns: a histogram of NDVI.

    Raises
    ------
    SceneError, ConfigError
        If the scene can't be opened as the config says, or an index lacks a band.
    """
    features, requested, extra = config.features, config.scene, list[str]()
    indices, chooses = check_indices(config), requested.bands == "auto"
    indices_only = bool(indices) and chooses and method_of(config.fit).one_band
    if indices or features.texture:
        catalogue = catalogues_of(requested, excluded := list(excluded))[0]
        features = _with_names(features, catalogue)
        chosen = [] if indices_only else [offer.name for offer in catalogue.choose(requested.bands)]
        extra = [name for name in _bands_of(features, catalogue) if name not in chosen]
        if extra:
            requested = requested.model_copy(update={"bands": (*chosen, *extra)})
    scene = open_scene_config(requested, excluded, config.fit.mask)
    if features.scale == "none":
        scene = scene.as_stored_numbers()
    columns = Columns.of(features, scene.info, len(scene.info.bands) - len(extra))
    return FeatureScene(scene, columns) if columns else scene


def _with_names(features: FeaturesConfig, catalogue: Catalogue) -> FeaturesConfig:
    """Name the bands of textures as the source does: numbers and common names may be of others among those read."""
    if features.texture is None:
        return features
    key = "features.texture.bands"
    bands = [find_band(band, catalogue.names, catalogue.common_names, key=key) for band in features.texture.bands]
    texture = features.texture.model_copy(update={"bands": tuple(catalogue.names[band] for band in bands)})
    return features.model_copy(update={"texture": texture})


def _bands_of(features: FeaturesConfig, catalogue: Catalogue) -> list[str]:
    """Names of the bands that indices and textures need."""
    names, common = catalogue.names, catalogue.common_names
    indices = [parse_index(text, "features.indices") for text in features.indices]
    needed = [names[band] for index in indices for band in resolve(index, names, common, "features.indices")]
    return list(dict.fromkeys([*needed, *(features.texture.bands if features.texture else ())]))
