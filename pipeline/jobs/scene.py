"""Open the scene of a config, with the bands that its indices need."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.config.schema import SceneConfig
from pipeline.features.columns import Columns
from pipeline.features.indices import Index, parse_index, resolve
from pipeline.jobs.config import RunConfig
from pipeline.pixels.open import FeatureScene, Scene
from pipeline.scenes.choose_bands import catalogues_of
from pipeline.scenes.open import open_scene_config


def check_indices(config: RunConfig) -> list[Index]:
    """Return the indices of a config; raise ConfigError if one is unknown."""
    return [parse_index(text, "features.indices") for text in config.features.indices]


def open_features(config: RunConfig, excluded: Iterable[Path] = ()) -> Scene:
    """Open a config's scene, as reflectance or as stored numbers (`features.scale`), with the columns of `features`.

    Bands that only indices need are read, too, and are no columns.

    Raises
    ------
    SceneError, ConfigError
        If the scene can't be opened as the config says, or an index lacks a band.
    """
    indices, excluded, requested = check_indices(config), list(excluded), config.scene
    bands, extra = _bands_of_indices(indices, requested, excluded) if indices else ([], [])
    wanted = requested.model_copy(update={"bands": (*bands, *extra)}) if extra else requested
    scene = open_scene_config(wanted, excluded, config.fit.mask)
    if config.features.scale == "none":
        scene = scene.as_stored_numbers()
    columns = Columns.of(config.features, scene.info, len(scene.info.bands) - len(extra))
    return FeatureScene(scene, columns) if columns else scene


def _bands_of_indices(
    indices: Iterable[Index], config: SceneConfig, excluded: Iterable[Path]
) -> tuple[list[str], list[str]]:
    """Names of the requested bands, and of those that only indices need."""
    catalogue = catalogues_of(config, excluded)[0]
    requested = [offer.name for offer in catalogue.choose(config.bands)]
    needed = (
        catalogue.names[band]
        for index in indices
        for band in resolve(index, catalogue.names, catalogue.common_names, "features.indices")
    )
    return requested, [name for name in dict.fromkeys(needed) if name not in requested]
