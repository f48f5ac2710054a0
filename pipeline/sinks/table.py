"""The table of classes as CSV: pixels, share, area, mean and standard deviation per band."""

import csv
from pathlib import Path

from pipeline.engine.work_folder import output_error
from pipeline.labels.classify import ClassStatistics
from pipeline.sinks.palette import Colour


def write_table(path: Path, statistics: ClassStatistics, bands: tuple[str, ...], colours: tuple[Colour, ...]) -> None:
    """Write the table as CSV, one row per class.

    Columns: class, colour (#rrggbb), pixels, share (of the valid pixels, 0 to 1), area_ha (empty where the
    area is unknown), then mean and standard deviation per band in the units of the model (empty for a class without
    pixels in this scene).

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    header = ["class", "colour", "pixels", "share", "area_ha"]
    header += [f"{statistic}_{band}" for band in bands for statistic in ("mean", "std")]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(header)
            rows.writerows(table_rows(statistics, colours))
    except OSError as error:
        raise output_error(path, "the table of classes", "output.table", error) from error


def table_rows(statistics: ClassStatistics, colours: tuple[Colour, ...]) -> list[list[str]]:
    """Return the rows of the table as text, one per class."""
    valid = sum(statistics.counts[1:])
    rows = []
    for label, colour in enumerate(colours, start=1):
        pixels = statistics.counts[label]
        row = [str(label), "#{:02x}{:02x}{:02x}".format(*colour), str(pixels), f"{pixels / valid if valid else 0:.6f}"]
        hectares = statistics.hectares(label)
        row.append("" if hectares is None else f"{hectares:.4f}")
        for pair in zip(statistics.means(label), statistics.stds(label), strict=True):
            row += [f"{number:.7g}" if pixels else "" for number in pair]
        rows.append(row)
    return rows
