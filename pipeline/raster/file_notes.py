"""What makes a raster file's map useless, in words."""

import rasterio

from pipeline.geo.gdal import display_path


def control_points(path: str, file: rasterio.DatasetReader) -> tuple[str, ...]:
    """Say that a file lies nowhere until it is warped, if it does."""
    points, _ = file.gcps
    if not points or not file.transform.is_identity:
        return ()
    told = (
        f"{display_path(path)}: the file is placed by {len(points)} ground control points and has no grid of "
        "its own: the map "
        "will lie nowhere; warp the file first: gdalwarp -t_srs EPSG:NNNN -tps FILE warped.tif"
    )
    return (told,)


def palette_note(path: str, index: int) -> str:
    """Say that numbers of a band measure nothing."""
    return (
        f"{display_path(path)}: band {index} has a palette: its numbers are indexes of colours or classes, and "
        "k-means takes "
        "them for measurements"
    )
