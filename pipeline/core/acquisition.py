"""When a scene was acquired: a moment, a day or a period, as stated in metadata or in file names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final, Self

_EPOCH: Final = "1970-01-01"
"""Day that stands for an unknown time in many files, as the origin of computers' clocks."""

_PRODUCTS: Final = (
    re.compile(r"S2[A-D]_MSIL(?:1C|2A)_(\d{8}T\d{6})_"),
    re.compile(r"T\d\d[A-Z]{3}_(\d{8}T\d{6})_"),
    re.compile(r"L[COTEM]0\d_L\w{3}_\d{6}_(\d{8})_\d{8}_"),
    re.compile(r"HLS\.[LS]30\.T\w{5}\.(\d{7}T\d{6})\."),
)
"""Names of products and their images that state other dates, too: of Sentinel-2, Landsat collections, HLS."""

_MADE_AT: Final = re.compile(r"S2[A-D]_(OPER|USER)_")
"""Beginning of old names of Sentinel-2, whose date is that of processing."""

_DATE: Final = re.compile(r"(?<![^_.\s-])(\d{4})(-?)(\d\d)\2(\d\d)(?=T\d{4}|[_.\s-]|$)")
"""A date as a word of a file name: _20250714T, _20250714_, 2025-07-14."""

_YEARS: Final = range(1972, 2100)
"""Years in which eight digits of a file name are a date, from the first Landsat on."""


@dataclass(frozen=True)
class Acquisition:
    """A moment, a day, or a period from one to another, in which a scene was acquired."""

    start: str
    """First moment in UTC (2025-07-14T10:30:31Z) or first day (2025-07-14), in ISO 8601."""
    end: str
    """Last moment or day; equal to `start` unless it is a period."""

    @classmethod
    def parse(cls, text: str, end: str = "") -> Self | None:
        """Read a date, a time or an interval (start/end) in ISO 8601, times without a zone as UTC; None if it is none.

        With `end` the first text is the start. A period that ends before it starts is none.
        """
        first, slash, last = text.partition("/")
        start, stop = _normalised(first), _normalised(end or (last if slash else first))
        if start is None or stop is None:
            return None
        period = cls(start, stop)
        return period if period.first <= period.last else None

    @classmethod
    def of_stac(cls, properties: Mapping[str, Any]) -> Self | None:
        """Acquisition by the properties of a STAC item; None if they state none."""
        stated = [str(properties.get(key) or "") for key in ("start_datetime", "end_datetime", "datetime")]
        return cls.parse(*stated[:2]) or cls.parse(stated[2])

    @classmethod
    def spanning(cls, parts: Iterable[Self | None]) -> Self | None:
        """The period of several; None if there are none, or one of them is unknown."""
        known = list(dict.fromkeys(parts))
        periods = [period for period in known if period is not None]
        if not known or len(periods) < len(known):
            return None
        return cls(min(periods, key=lambda one: one.first).start, max(periods, key=lambda one: one.last).end)

    def __str__(self) -> str:
        return self.start if self.start == self.end else f"{self.start}/{self.end}"

    @property
    def first(self) -> datetime:
        """First moment."""
        return datetime.fromisoformat(self.start).replace(tzinfo=UTC)

    @property
    def last(self) -> datetime:
        """Last moment; of a day its last second."""
        if "T" in self.end:
            return datetime.fromisoformat(self.end)
        return datetime.combine(date.fromisoformat(self.end), time(23, 59, 59), UTC)


def moment_text(moment: datetime) -> str:
    """Text of a time in UTC by RFC 3339, with milliseconds if it has a fraction: 2025-07-14T10:30:31Z."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _normalised(text: str) -> str | None:
    """A date or time in ISO 8601 as in `Acquisition`; None if the text is none, or the day of unknown times."""
    text = text.strip()
    try:
        day = date.fromisoformat(text).isoformat()
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
            day = moment_text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            return None
    return None if day.startswith(_EPOCH) else day


def acquired_by_name(name: str) -> Acquisition | None:
    """Acquisition by the name of a file, without folders; None if it states no date, or several that differ."""
    if product := next(filter(None, (pattern.search(name) for pattern in _PRODUCTS)), None):
        return _of_digits(product[1])
    if _MADE_AT.match(name):
        return None
    stem = re.sub(r"(\.[A-Za-z]\w*)+$", "", name)
    found = {match[1] + match[3] + match[4] for match in _DATE.finditer(stem) if int(match[1]) in _YEARS}
    return _of_digits(found.pop()) if len(found) == 1 else None


def _of_digits(text: str) -> Acquisition | None:
    """Acquisition of digits such as 20250714, 20250714T103031, or with the number of the day: 2025195T103031."""
    day, _, clock = text.partition("T")
    form = "%Y%j" if len(day) == len("2025195") else "%Y%m%d"
    try:
        moment = datetime.strptime(day + clock, form + ("%H%M%S" if clock else "")).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Acquisition.parse(moment_text(moment) if clock else moment.date().isoformat())
