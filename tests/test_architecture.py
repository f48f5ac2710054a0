"""The architecture: an import only points down, from folder to folder and from module to module."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "pipeline"

FOLDERS = {
    "core": """version late_import libraries text errors arrays numbers grid units regular_files strict_json strict_xml
        timeouts mask_layers layer_kinds band_names wavelengths acquisition scene_info pixels needs""",
    "config": "record fields masks mistaken_scene yaml schema argument_messages",
    "kernels": """validity areas arithmetic vectors vector_code code_cache machine compiled gather checksum
        majority hashing fixed nearest assign gaussians mixture distances sums move_points mover""",
    "engine": """memory progress owner_mark leftovers killed_runs signals work_folder cache time_limits executor inputs
        parcels worker shards cluster_workers cluster""",
    "geo": "gdal coordinates crs cf overlap pixel_areas align footprint area_of_interest",
    "raster": "alpha file_dates file_notes stored_blocks virtual_files file_bands file_parts readers regrid file_cache",
    "stores": "dimensions axes crs locate groups times values grids variables preview",
    "formats": """registry sensors paths fetch product_files catalogue versions renaming landsat_mtl file_sets sentinel2
        sentinel2_radiometry safe aws_tiles archives stac_assets stac_layers stac_items stac eopf
        store_catalogue detect""",
    "scenes": """choose_grid preview coarse value_checks band_checks empty_bands file_stamps choose_bands cut plan_parts
        masks scene_masks facts reading raster_scene raster_source crop mosaic mosaic_source open""",
    "dataarrays": "computing dimensions crs grids georeference datasets validity planes source given_source lazy",
    "features": "components base expressions indices standardize moving_windows columns",
    "models": "classes colours inputs summary store base prototypes gaussians ranges",
    "pixels": "gdal_memory needs table pieces block_cache cached_windows feature_source open",
    "labels": "flags classify class_records measures lazy",
    "methods": """strata settings lloyd swaps passes sample pixel_checks small_classes method starts exact batches
        sample_batches isodata initial_centroids kmeans minibatch em gaussian_classes gmm counts histogram ranges
        estimators sklearn_estimator dask_ml dask_ml_passes registry fit""",
    "sinks": """colour_difference colour_maps natural_colours palette_files palette picture_options store_folders
        provenance base legend text_files table sidecar qml clr stac overviews verify raw_map zarr_map geotiff
        zarr_layout zarr_chunks zarr_writer quicklook picture picture_grid world_file report html_page chart_axes charts
        report_content class_distances report_facts report_figures report_sections report_page report_writer registry
        publish output_set staging""",
    "jobs": """config scene outputs crew plan planned_reading cluster map write_labels arrays report run predict
        run_records grid demo inspect template""",
    "api": "",
    "estimator": "",
    "plot": "",
    "cli": "faults terminal text commands main",
    "__main__": "",
}
"""Folders and modules of the package from the ground up: each may import those before it, and none after it."""

ORDER = [
    f"{folder}.{module}" if module else folder
    for folder, names in FOLDERS.items()
    for module in (names.split() or [""])
]
MODULES = sorted(file for file in PACKAGE.rglob("*.py") if file.name != "__init__.py")

LIBRARIES = {
    "core": {"numpy", "affine", "pydantic"},
    "config": {"pydantic", "yaml"},
    "kernels": {"numpy", "numba", "llvmlite"},  # the last is numba's own
    "engine": {"numpy"},
    "features": {"numpy", "pydantic"},
    "models": {"numpy", "pydantic"},
}
"""All that modules of a folder import from outside the standard library and the package."""

WITH_DASK_OR_XARRAY = {"stores", "dataarrays", "labels.lazy", "methods.dask_ml_passes", "api", "estimator", "plot"}
"""Folders and modules in which lazy arrays are opened or made."""

WITH_LATE_IMPORTS = {
    "core.late_import",  # for the registries
    "kernels.machine",  # a module of numba, without its linear algebra
    "kernels.compiled",  # machine code: numba is loaded while the first blocks are read
    "cli.commands",  # what a command calls
    "__main__",  # the command line, once signals are handled
}
"""Modules that import others when these are needed, and not before."""

HEAVY = {
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
"""Libraries that take a noticeable part of a small run, and of its memory."""


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def imports(file: Path, *, late: bool | None = None) -> set[str]:
    """Dotted names of the modules that a module imports: everywhere, or only within (outside of) functions.

    What only type checkers read is left out.
    """
    found = set()
    tree = tree_of(file)
    unread = {id(node) for block in tree.body if is_for_type_checkers(block) for node in ast.walk(block)}
    within = {id(node) for function in ast.walk(tree) if is_function(function) for node in ast.walk(function)}
    for node in ast.walk(tree):
        if id(node) in unread or late not in (None, id(node) in within):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} if module.count(".") < 2 else {module}
            found.add(module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            found.add("importlib.import_module")
    return found


def is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_every_module_has_a_place_in_the_order() -> None:
    assert sorted(ORDER) == [name_of(file) for file in MODULES]


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_an_import_only_points_down(file: Path) -> None:
    own = name_of(file)
    known = {f"pipeline.{name}": ORDER.index(name) for name in ORDER}
    for other in imports(file) & known.keys():
        assert known[other] < ORDER.index(own), f"{own} imports {other}, which is above it"


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_late_imports_stand_at_the_registries_only(file: Path) -> None:
    assert not imports(file, late=True) or name_of(file) in WITH_LATE_IMPORTS


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_no_except_clause_imports_a_library(file: Path) -> None:
    """An import there would replace the error that is being handled, such as an interrupted import."""
    handlers = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.ExceptHandler)]
    assert not [handler.lineno for handler in handlers if handler.type and "libraries." in ast.unparse(handler.type)]


@pytest.mark.parametrize("name", ["core.libraries", "formats.registry"])
def test_a_registry_gives_what_type_checkers_read(name: str) -> None:
    registry = import_module(f"pipeline.{name}")
    (block,) = filter(is_for_type_checkers, ast.parse(Path(registry.__file__).read_text()).body)
    read = {
        alias.asname or alias.name: f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in block.body
        for alias in node.names
    }
    assert {each: home.replace(":", ".") for each, home in registry._HOMES.items()} == read
    for each in read:
        assert getattr(registry, each) is not None


@pytest.mark.parametrize("folder", LIBRARIES)
def test_low_folders_import_few_libraries(folder: str) -> None:
    for file in (PACKAGE / folder).glob("*.py"):
        outside = {name.split(".")[0] for name in imports(file)} - set(sys.stdlib_module_names) - {"pipeline"}
        assert outside <= LIBRARIES[folder], f"{file.name} imports {outside - LIBRARIES[folder]}"


def test_dask_and_xarray_are_imported_only_where_arrays_are_lazy() -> None:
    lazy = {"dask", "dask.array", "xarray", "rioxarray"}
    users = {name_of(file) for file in MODULES if imports(file) & lazy}
    assert {user if user in WITH_DASK_OR_XARRAY else user.split(".")[0] for user in users} == WITH_DASK_OR_XARRAY


def test_no_folder_holds_more_than_a_fifth_of_the_lines() -> None:
    lines = {file: len(file.read_text().splitlines()) for file in MODULES}
    for folder in FOLDERS:
        assert sum(count for file, count in lines.items() if name_of(file).startswith(folder)) < sum(lines.values()) / 5


def test_a_run_of_plain_files_imports_no_library_of_other_scenes() -> None:
    code = f"import sys, pipeline.jobs.run; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("names", "libraries"),
    [
        ("ClusterModel, load_config, run_config, predict", HEAVY | {"matplotlib", "tqdm"}),
        ("open_scene, fit, label, write, plot_classes", {"sklearn", "matplotlib", "PIL", "tqdm", "pystac", "pyogrio"}),
    ],
)
def test_public_names_import_no_library_before_it_is_used(names: str, libraries: set[str]) -> None:
    code = f"import sys; from pipeline import {names}; print(*sorted({libraries} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("page", [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
def test_documents_name_test_files_that_exist(page: Path) -> None:
    for path in re.findall(r"`(tests/[\w/]+\.py)`", page.read_text()):
        assert (ROOT / path).is_file(), path


def test_the_page_on_the_architecture_names_folders_and_files_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = re.findall(r"(?m)^ (\w+)/", page)
    assert sorted(drawn) == sorted(folder for folder in FOLDERS if (PACKAGE / folder).is_dir())
    for path in re.findall(r"`([\w/]+\.py)`", page):
        assert (ROOT / path if path.startswith("tests/") else PACKAGE / path).is_file(), path
