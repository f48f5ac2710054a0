"""Kinds of layers of a product, recognised by name."""

import pytest

from pipeline.core.layer_kinds import layer_kind, layer_kinds

LANDSAT = "LC08_L2SP_008059_20191201_20200825_02_T1"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["B02", "SR_B4", "ST_B10", "T33UUU_20170216T102101_B8A", "SENTINEL2A_20180101-1054_FRE_B2"], "measured"),
        (
            [
                "red",
                "nir",
                "nbart_swir_2",
                "nbart_coastal_aerosol",
                "sur_refl_b01",
                "Nadir_Reflectance_Band1",
                "AnalyticMS",
                "B5",
            ],
            "measured",
        ),
        (["HLS.S30.T29UNU.2022278T115411.v2.0.B04", "CBERS_4_AWFI_L2_BAND13", "IMG_0001_3"], "measured"),
        (["QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_QA", "BQA", "QA60", "B01qa", "pixel_qa"], "quality layer"),
        (["Fmask", "oa_fmask", "SCL", "udm2", "AnalyticMS_DN_udm", "MSK_CLDPRB_20m", "DQF"], "quality layer"),
        (["sur_refl_state_500m", "state_1km_1", "sur_refl_day_of_year", "oa_time-delta", "dataMask"], "quality layer"),
        (["sur_refl_szen", "sur_refl_vzen", "sur_refl_raz", "Day_view_angl", "azimuthal-exiting"], "angles"),
        (["B02_cloud_masked", "CloudFree_B03", "farm_cloudless", "aerosol-corrected_red", "state_forest"], "measured"),
        (["landcover", "lulc_2020", "scene_classes"], "labels"),
        (["alpha", "cloud_mask", "X_CLM_R1", "X_MG2_R2", "sur_refl_qc_500m", "observation_count"], "quality layer"),
        (["SAA", "SZA", "VAA", "VZA", "SensorZenith", "solar_azimuth_band4", "relative_azimuth"], "angles"),
        (["TCI", "T31_TCI_10m", "PVI", "visual", "thumb_large", "overview", "preview"], "picture"),
        (["AOT", "T31_WVP_10m", "ST_EMIS", "ST_ATRAN", "water_vapour", "X_ATB_R1", "sr_atmos_opacity"], "atmosphere"),
    ],
)
def test_kind_of_layer_is_recognised_by_name(names: list[str], kind: str) -> None:
    assert {name: layer_kind(name) for name in names} == dict.fromkeys(names, kind)


def test_words_shared_by_all_names_are_ignored() -> None:
    assert layer_kinds(["cloud_free_B02", "cloud_free_B03", "cloud_free_mask"]) == [
        "measured",
        "measured",
        "quality layer",
    ]
    assert layer_kinds(["mask"]) == ["measured"]
    assert layer_kinds(["qa_a", "mask_b"]) == ["measured", "measured"]
    assert layer_kinds([f"{LANDSAT}_SR_B2", f"{LANDSAT}_QA_PIXEL"]) == ["measured", "quality layer"]
