"""Notes to the user about raster files whose map would be of little use."""

import rasterio

from pipeline.geo.gdal import display_path


def control_points_note(path: str, file: rasterio.DatasetReader) -> tuple[str, ...]:
    """Return a note if a file has ground control points but no grid of its own."""
    points, _ = file.gcps
    if not points or not file.transform.is_identity:
        return ()
    note = (
        f"{display_path(path)}: the file is georeferenced by {len(points)} ground control points and has no grid of "
        "its own, so the map will not be georeferenced; warp the file first: "
        "gdalwarp -t_srs EPSG:NNNN -tps FILE warped.tif"
    )
    return (note,)


def palette_note(path: str, index: int) -> str:
    """Return a note that the values of a band are no measurements."""
    return (
        f"{display_path(path)}: band {index} has a palette: its values are indexes of colours or classes, but "
        "k-means treats them as measurements"
    )
