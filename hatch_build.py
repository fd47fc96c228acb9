"""The build hook of the distribution: it compiles the native engine if there is a C compiler; without one the wheel is pure Python.

``WKPIPE_BUILD_NATIVE=0`` does not compile it, ``WKPIPE_BUILD_NATIVE=1`` fails if it cannot be compiled. ``WKPIPE_BUILD_PLATFORM`` is the
platform in the wheel's tag if ``CC`` compiles for another one than this host's.
"""

from __future__ import annotations

import os
import runpy
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeEngine(BuildHookInterface):  # type: ignore[type-arg]
    """Add the compiled library to a wheel, which is then for this platform and for every Python.

    An editable install has it in the package's own directory.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the library before the wheel is put together."""
        wanted = os.environ.get("WKPIPE_BUILD_NATIVE", "")
        if wanted not in ("", "0", "1"):
            raise ValueError(f"WKPIPE_BUILD_NATIVE is {wanted!r}: expected 0 or 1")
        package = Path(self.root) / "wkpipe" / "native"
        builder = runpy.run_path(str(package / "build.py"))
        is_editable = version == "editable"
        if is_editable:
            (package / builder["NAME"]).unlink(missing_ok=True)
        if wanted == "0":
            return
        self._scratch = tempfile.TemporaryDirectory()
        try:
            library = builder["build"](package, package if is_editable else Path(self._scratch.name))
        except (OSError, RuntimeError) as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"wkpipe is built without its native engine: {error}")
            return
        if not is_editable:
            build_data["force_include"][str(library)] = f"wkpipe/native/{builder['NAME']}"
        build_data["pure_python"] = False
        platform = os.environ.get("WKPIPE_BUILD_PLATFORM") or sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the compiled library, which the wheel holds by now."""
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()
