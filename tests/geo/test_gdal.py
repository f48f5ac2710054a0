"""GDAL settings for our own reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

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
