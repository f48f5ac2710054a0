"""The architecture: a lower floor never imports a higher one, and each floor knows only what it may."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

FLOORS = [
    {"printable", "regular"},
    {"errors"},
    {"runtime"},
    {"grid", "settings", "fields", "record", "jsontext", "masklayers", "mistaken"},
    {"areas"},
    {"config"},
    {"kernels"},
    {"units", "arguments"},
    {"model"},
    {"scenes"},
    {"fitting"},
    {"labels"},
    {"sinks"},
    {"plan"},
    {"mapping", "inspection", "reading"},
    {"account", "template"},
    {"run", "api"},
    {"words", "demo", "terminal", "faults"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))


def floor_of(module: Path) -> str:
    return module.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")


def imports(module: Path) -> set[str]:
    """Dotted names that a module imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_a_floor_above_it(module: Path) -> None:
    own = floor_of(module)
    if own == "__init__":
        return  # the front door: names of every floor, imported when first asked for
    assert own in LEVEL, f"{own} stands on no floor; add it to FLOORS"
    for name in imports(module):
        if name.startswith("pipeline."):
            other = name.split(".")[1]
            assert LEVEL[other] < LEVEL[own] or other == own, f"{own} imports {other}, which is above it"


@pytest.mark.parametrize(
    ("floor", "allowed"),
    [
        ("kernels", {"numpy", "numba", "llvmlite"}),  # the last is a part of numba
        ("grid", {"affine"}),
        ("errors", set()),
        ("model", {"numpy", "pydantic"}),
        ("runtime", {"tqdm", "numpy"}),
    ],
)
def test_low_floors_know_few_libraries(floor: str, allowed: set[str]) -> None:
    import sys

    for module in MODULES:
        if floor_of(module) == floor:
            outside = {name.split(".")[0] for name in imports(module)} - set(sys.stdlib_module_names) - {"pipeline"}
            assert outside <= allowed, f"{module.name} imports {outside - allowed}"


def test_dask_and_xarray_stay_where_graphs_are_made() -> None:
    lazy = {
        "pipeline/scenes/arrayaxes.py",
        "pipeline/scenes/arraycrs.py",
        "pipeline/scenes/dataarraycrs.py",
        "pipeline/scenes/arraydims.py",
        "pipeline/scenes/arraygrids.py",
        "pipeline/scenes/arrayplaces.py",
        "pipeline/scenes/arrayplanes.py",
        "pipeline/scenes/arrays.py",
        "pipeline/scenes/arraytimes.py",
        "pipeline/scenes/arrayvalidity.py",
        "pipeline/scenes/arrayvalues.py",
        "pipeline/scenes/stores.py",
        "pipeline/scenes/arraysource.py",
        "pipeline/scenes/computing.py",
        "pipeline/scenes/datasets.py",
        "pipeline/scenes/georeference.py",
        "pipeline/scenes/lazy.py",
        "pipeline/labels/lazy.py",
        "pipeline/api.py",
        "pipeline/fitting/daskml.py",
    }
    users = {
        str(module.relative_to(ROOT))
        for module in MODULES
        if imports(module) & {"dask", "dask.array", "xarray", "rioxarray"}
    }
    assert users == lazy


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_over_three_hundred_lines(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 300


def test_a_run_of_plain_files_loads_no_library_of_other_scenes() -> None:
    """Each of them takes a noticeable part of a small run, and of its memory."""
    import subprocess
    import sys

    heavy = {
        "xarray",
        "zarr",
        "dask",
        "pandas",
        "h5py",
        "shapely",
        "pyogrio",
        "pystac",
        "pyproj",
        "sklearn",
        "PIL",
        "http.client",
    }
    code = f"import sys, pipeline.run; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
