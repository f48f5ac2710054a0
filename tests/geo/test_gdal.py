"""GDAL settings for our own reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from pipeline.geo.gdal import settings_to_send

COUNTED = """
import resource, sys
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import run_config
labels, *source = sys.argv[1:]
sections = {"scene": {"source": source}, "fit": {"k": 4}, "output": {"labels": labels}}
run_config(RunConfig.model_validate({"version": 1, **sections}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw)
"""


def output_of(code: str, *arguments: str, **environment: str) -> str:
    """What code prints in a new process, without the thread settings of this one."""
    own = {key: value for key, value in os.environ.items() if key not in {"OPJ_NUM_THREADS", "GDAL_NUM_THREADS"}}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=own | {"PYTHONPATH": str(ROOT)} | environment,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count context switches")
def test_run_on_jpeg_2000_makes_few_context_switches(data: Path, tmp_path: Path) -> None:
    """A thread pool of OpenJPEG would cause hundreds of switches per tile, about 300,000 in all."""
    bands = [next((data / "s2-safe").glob(f"*T29UNU*/GRANULE/*/IMG_DATA/R60m/*{b}_60m.jp2")) for b in ("B02", "B04")]
    assert int(output_of(COUNTED, str(tmp_path / "map.tif"), *map(str, bands))) < 3000


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "0"),
        ({"GDAL_NUM_THREADS": "1"}, "0"),
        ({"GDAL_NUM_THREADS": "ALL_CPUS"}, "None"),  # the user has requested more threads
        ({"OPJ_NUM_THREADS": "2"}, "2"),
    ],
)
def test_openjpeg_starts_threads_only_on_request(environment: dict[str, str], expected: str) -> None:
    code = "import os, pipeline.geo.gdal; print(os.environ.get('OPJ_NUM_THREADS'))"
    assert output_of(code, **environment) == expected


SENT = {
    "GDAL_HTTP_TIMEOUT": "30",
    "GDAL_NUM_THREADS": "2",
    "CPL_VSIL_CURL_CHUNK_SIZE": "65536",
    "VSI_CACHE": "TRUE",
    "OGR_ENABLE_PARTIAL_REPROJECTION": "YES",
    "OPJ_NUM_THREADS": "0",
    "PROJ_NETWORK": "ON",
}

SECRET = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_CONNECTION_STRING", "CPL_AWS_CREDENTIALS_FILE", "CPL_GS_CREDENTIALS_FILE", "GDAL_CONFIG_FILE",
    "GDAL_HTTP_AUTH", "GDAL_HTTP_BEARER", "GDAL_HTTP_COOKIE", "GDAL_HTTP_COOKIEFILE", "GDAL_HTTP_HEADERS",
    "GDAL_HTTP_HEADER_FILE", "GDAL_HTTP_PROXY", "GDAL_HTTP_PROXYUSERPWD", "GDAL_HTTP_USERPWD",
    "GOOGLE_APPLICATION_CREDENTIALS", "GS_OAUTH2_CLIENT_SECRET", "GS_SECRET_ACCESS_KEY", "OSS_SECRET_ACCESS_KEY",
    "OS_PASSWORD", "SWIFT_KEY",
)  # fmt: skip


def test_settings_of_gdal_are_sent_and_credentials_are_named_only() -> None:
    others = {"PATH": "/bin", "HOME": "/home/me", "HTTPS_PROXY": "http://me:pwd@proxy", "PASSWORD": "pwd", "gdal": "x"}
    sent, secret = settings_to_send({**SENT, **dict.fromkeys(SECRET, "hunter2"), **others})
    assert sent == SENT
    assert secret == tuple(sorted(SECRET))


def test_paths_of_this_machine_are_not_sent_and_not_missed_elsewhere() -> None:
    paths = ("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_DATA", "PROJ_LIB", "CPL_LOG", "GDAL_HTTP_CAINFO")
    assert settings_to_send(dict.fromkeys(paths, "/usr/share/own")) == ({}, ())


def test_an_address_with_a_password_is_secret_whatever_its_name() -> None:
    environment = {"GDAL_ENDPOINT": "https://me:hunter2@server/", "GDAL_MIRROR": "https://server/"}
    assert settings_to_send(environment) == ({"GDAL_MIRROR": "https://server/"}, ("GDAL_ENDPOINT",))
