"""The package: one version, one wheel for every platform, pinned checks."""

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.house.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PROJECT["project"]["version"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", package.lower()): version for package, version in pairs}


def wanted() -> list[str]:
    """Every requirement's name: of the package and of the checks."""
    groups = PROJECT["dependency-groups"].values()
    lines = [*PROJECT["project"]["dependencies"], *(r for group in groups for r in group)]
    names = [re.match(r"[\w.-]+", line) for line in lines]
    return [re.sub(r"[-_.]+", "-", found[0].lower()) for found in names if found]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    program = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out)]
    done = subprocess.run([*program, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.iterdir()
    return path


def test_the_wheel_is_pure_and_complete(wheel):
    assert wheel.name == f"cellwright-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    source = ROOT / "src"
    code = {p.relative_to(source).as_posix() for p in (source / "cellwright").rglob("*.py")}
    assert code | {"cellwright/py.typed"} <= inside
    assert any(entry.endswith("licenses/LICENSE") for entry in inside)
    assert not [p for p in inside if not p.startswith(("cellwright/", "cellwright-"))]


@pytest.mark.slow
def test_the_wheel_installs(wheel, tmp_path):
    """Into a new environment, without what it depends on: the lower floors need nothing."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps",
               "--no-index", "--quiet", str(wheel)]  # fmt: skip
    subprocess.run(install, check=True, capture_output=True)
    program = "import cellwright.cells as cells; print(cells.__file__, len(cells.CATALOGUE))"
    done = subprocess.run(
        [python, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    place, count = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path / "env")
    assert int(count) > 0


def test_the_changelog_has_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(VERSION)}\b", text, re.M)


def test_torch_is_pinned_without_a_build():
    """`2.13.0+cpu` would tie the checks to one index; `2.13.0` takes any build of it."""
    assert pins()["torch"] == "2.13.0"


def test_everything_the_checks_install_is_pinned():
    assert set(wanted()) <= set(pins())
    assert "pip" in pins()


def test_ranges_are_honest():
    """The package asks for least versions only; exact pins are for the checks."""
    assert not [line for line in PROJECT["project"]["dependencies"] if "==" in line]
