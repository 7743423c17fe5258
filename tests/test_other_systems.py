"""What only some systems have is not needed to import any module, nor to answer a command."""

import subprocess
import sys

from test_arrows import MODULES

PROGRAM = """
import importlib, os, sys
sys.modules["fcntl"] = None  # as on Windows
for name in ("wait4", "fork", "sched_getaffinity", "getloadavg", "sysconf", "O_NOFOLLOW", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)
for module in sys.argv[1:]:
    importlib.import_module(module)
"""
ONLY_ON_CLUSTERS = {"marsgen.engines.ray_cluster"}
"""ray is an extra"""


def test_every_module_is_imported_without_what_windows_lacks():
    names = [name for name in MODULES if name not in ONLY_ON_CLUSTERS and not name.endswith("__main__")]
    assert len(names) > 200
    done = subprocess.run([sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
