"""When a scene was acquired, by texts of metadata and names of files."""

import pickle

import pytest

from pipeline.core.acquisition import Acquisition, acquired_by_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-07-14", "2025-07-14"),
        ("20250714", "2025-07-14"),
        ("2025-07-14T10:30:31Z", "2025-07-14T10:30:31Z"),
        ("2025-07-14T10:30:31.024000+00:00", "2025-07-14T10:30:31.024Z"),
        ("2025-07-14T01:30:31+03:00", "2025-07-13T22:30:31Z"),
        ("2025-07-14 10:30", "2025-07-14T10:30:00Z"),
        ("2025-06-01/2025-08-31", "2025-06-01/2025-08-31"),
        ("2025-06-01/2025-06-01", "2025-06-01"),
        *((text, None) for text in ("", "2025", "2025-13-01", "2025-06-01/", "2025-06-02/2025-06-01", "soon")),
        *((text, None) for text in ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00", "number 3")),
    ],
)
def test_dates_times_and_periods_are_read(text: str, expected: str | None) -> None:
    read = Acquisition.parse(text)
    assert read == (expected and Acquisition.parse(expected))
    assert (read and str(read)) == expected
    assert pickle.loads(pickle.dumps(read)) == read  # noqa: S301 (our own)


def test_several_span_a_period_unless_one_is_unknown() -> None:
    morning, day, later = map(Acquisition.parse, ("2025-07-14T10:30:31.5Z", "2025-07-14", "2025-07-19T10:30:29Z"))
    assert str(Acquisition.spanning([later, morning])) == "2025-07-14T10:30:31.500Z/2025-07-19T10:30:29Z"
    assert str(Acquisition.spanning([morning, day])) == "2025-07-14", "a day begins before and ends after its times"
    assert Acquisition.spanning([morning, morning]) == morning
    assert Acquisition.spanning([morning, None]) is None
    assert Acquisition.spanning([]) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S2A_MSIL2A_20200223T033741_N0214_R018_T48QUE_20200223T071234.SAFE", "2020-02-23T03:37:41Z"),
        ("T33UUU_20170216T102101_B02.jp2", "2017-02-16T10:21:01Z"),
        ("LC08_L2SP_008059_20191201_20200825_02_T1_SR_B2.TIF", "2019-12-01"),
        ("HLS.S30.T48QUE.2021001T033141.v2.0.B02.tif", "2021-01-01T03:31:41Z"),
        ("20170831_172754_101c_3B_AnalyticMS.tif", "2017-08-31"),
        ("S1A_IW_GRDH_1SDV_20200101T050505_20200101T050530_030613.tiff", "2020-01-01"),
        ("fields 2025-07-14 rgb.tif", "2025-07-14"),
        ("20250714.tif", "2025-07-14"),
        ("20250714T1030.nc.zip", "2025-07-14"),
        # two days, old names with the time of processing, numbers that are no dates, dates within words
        ("before_20250714_after_20250724.tif", None),
        ("S2A_OPER_MSI_L1C_TL_SGS__20160111T161720_A002895_T22HBD_B02.jp2", None),
        ("m_3008501_ne_16_1_20110815_20111017.tif", None),
        ("tile_20251345_99999999.tif", None),
        ("x20250714y.tif", None),
        ("1234520250714.tif", None),
        ("2025.tif", None),
    ],
)
def test_names_of_files_state_a_day_if_they_state_one_only(name: str, expected: str | None) -> None:
    assert acquired_by_name(name) == (expected and Acquisition.parse(expected))
