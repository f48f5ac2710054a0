"""How a picture is drawn, as section `output` says: bands, stretch, size, title and panels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

from pipeline.config.schema import OutputSection
from pipeline.core.band_names import bands_called, find_rgb, listed_names
from pipeline.core.errors import ConfigError
from pipeline.core.scene_info import SceneInfo

LARGEST_SIDE: Final = 2048
"""Longest side of the picture in pixels, unless the config says another."""


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How a picture is drawn."""

    rgb: tuple[str, ...] = ()
    """Names of the bands shown in red, green and blue, or of one shown in grey; empty if their names decide."""
    stretch: tuple[float, float] = (5, 95)
    """Percentiles of the valid pixels of a band that are black and white."""
    title: str = ""
    """Text above the picture; empty for none."""
    size: int = LARGEST_SIDE
    """Longest side of the picture in pixels, at most."""
    panels: Literal["both", "classes", "scene"] = "both"
    """What is shown: the scene, its classes, or both side by side."""
    bare: bool = False
    """True if the picture is its panel alone, without title and legend, so that a world file fits it."""

    @classmethod
    def of(cls, output: OutputSection) -> Self:
        """Take the options of a config.

        Raises
        ------
        ConfigError
            If a world file is wanted for a picture of two panels, or of one with a title.
        """
        bare = bool(getattr(output, "world_file", False))
        if bare and output.panels == "both":
            fix = "choose one with output.panels: classes, or scene"
            msg = f"output.world_file: the picture shows scene and classes side by side, and no world file fits; {fix}"
            raise ConfigError(msg)
        if bare and output.title:
            msg = "output.title: a picture with a world file has no title and no legend; leave one of the two keys out"
            raise ConfigError(msg)
        return cls(
            rgb=output.rgb or (),
            stretch=output.stretch,
            title=output.title or "",
            size=output.picture_size,
            panels=output.panels,
            bare=bare,
        )

    @property
    def shown(self) -> tuple[str, ...]:
        """The panels, from left to right."""
        return ("scene", "classes") if self.panels == "both" else (self.panels,)


DEFAULT_OPTIONS: Final = PictureOptions()
"""How a picture is drawn unless the config says otherwise."""


def shown_bands(bands: Sequence[str], common: Sequence[str | None] = (), wanted: Sequence[str] = ()) -> tuple[int, ...]:
    """Return the positions of the bands that a picture shows in red, green and blue, or of one that it shows in grey.

    Without wanted ones red, green and blue, if the bands with these names are known: no other band, such as near
    infrared, is shown in these colours by chance. Else the first band.

    Raises
    ------
    ConfigError
        If a wanted band is not among the bands, or its name is that of several.
    """
    if not wanted:
        return find_rgb(bands, common) or (0,)
    return tuple(_find(name, bands, common) for name in wanted)


def _find(name: str, bands: Sequence[str], common: Sequence[str | None]) -> int:
    matching = bands_called(name, bands, common if any(common) else None)
    if len(matching) == 1:
        return matching[0]
    if matching:
        several = ", ".join(bands[i] for i in matching)
        msg = f"output.rgb: {name!r} matches {several}; name one of them"
    else:
        fix = "use their names, or add the band to scene.bands"
        msg = f"output.rgb: {name!r} is not among the bands of the map, which are {listed_names(bands)}; {fix}"
    raise ConfigError(msg)


def check_shown(info: SceneInfo, output: OutputSection) -> tuple[int, ...]:
    """Return the positions of the bands that a picture of a scene shows, as `shown_bands`.

    Raises
    ------
    ConfigError
        If a band of `output.rgb` is not among those of the scene, or the palette is 'natural', but no colours of the
        scene are known.
    """
    shown = shown_bands(info.bands, info.common_names, output.rgb or ())
    if output.palette == "natural" and len(shown) == 1 and not output.rgb:
        found = f"which of {listed_names(info.bands)} are red, green and blue is not known"
        msg = f"output.palette: natural: {found}; choose three bands with output.rgb, or use 'auto'"
        raise ConfigError(msg)
    return shown
