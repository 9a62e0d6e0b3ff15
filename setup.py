"""Builds the compiled kernels; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup

FLAGS = ["-O3", "-g0", "-std=gnu11", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
if sys.platform.startswith("linux"):
    FLAGS.append("-fno-tree-loop-distribute-patterns")

KERNELS = Extension(
    "pushforward.native._kernels",
    sources=["pushforward/native/src/kernels.c"],
    depends=[str(header) for header in Path("pushforward/native/src").glob("*.h")],
    extra_compile_args=FLAGS,
    libraries=[] if sys.platform == "win32" else ["m"],
    # It calls nothing of Python, so one file serves every version from the first on.
    py_limited_api=True,
    # Without a C compiler the pure PyTorch kernels take over.
    optional=True,
)

setup(ext_modules=[KERNELS], options={"bdist_wheel": {"py_limited_api": "cp310"}})
