"""The table of classes as CSV: pixels, share, area, and statistics per band."""

import csv
from pathlib import Path
from typing import Final

from pipeline.labels.classify import STATISTICS, ClassStatistics
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Sink, Summary, Writer
from pipeline.sinks.palette import Colour, unclassified_colour

TABLE: Final = Sink(key="table", what="the table of classes", ending=".csv", writer="pipeline.sinks.table:TableWriter")


class TableWriter(Writer):
    """Writes the table, one row per class, and one of unclassified pixels (class 255) if there are any.

    Columns: class, colour (#rrggbb), pixels, share (of the valid pixels, 0 to 1), area_ha (empty where the
    area is unknown), then mean, standard deviation, minimum and maximum per band in the units of the model (empty for a
    class without pixels in this scene).
    """

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._bands, self._colours = path, job.info.bands, job.colours

    def finish(self, summary: Summary) -> None:
        """Write the file; raise OutputError if it can't be written."""
        header = ["class", "colour", "pixels", "share", "area_ha"]
        header += [f"{statistic}_{band}" for band in self._bands for statistic in STATISTICS]
        try:
            with self._path.open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(header)
                rows.writerows(table_rows(summary.statistics, self._colours))
        except OSError as error:
            raise TABLE.failure(self._path, error) from error


def table_rows(statistics: ClassStatistics, colours: tuple[Colour, ...]) -> list[list[str]]:
    """Return the rows of the table as text, one per class, and one of unclassified pixels if there are any."""
    rows, listed = [], dict(enumerate(colours, start=1))
    if statistics.unclassified:
        listed[UNCLASSIFIED] = unclassified_colour(colours)
    for label, colour in listed.items():
        pixels, share = statistics.pixels(label), statistics.share(label)
        row = [str(label), "#{:02x}{:02x}{:02x}".format(*colour), str(pixels), f"{share:.6f}"]
        hectares = statistics.hectares(label)
        row.append("" if hectares is None else f"{hectares:.4f}")
        for numbers in statistics.of_bands(label):
            row += [f"{number:.7g}" if pixels else "" for number in numbers]
        rows.append(row)
    return rows
