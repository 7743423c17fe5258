"""What only some systems have is not needed to import any module, nor to answer a command."""

import forked_commands
from test_arrows import MODULES

PROGRAM = """
import importlib, os, sys
for name in [name for name in sys.modules if name.split(".")[0] in ("marsgen", "segmenter")]:
    del sys.modules[name]
sys.modules["fcntl"] = None  # as on Windows
for name in ("wait4", "fork", "sched_getaffinity", "getloadavg", "sysconf", "O_NOFOLLOW", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)
for module in sys.argv[1:]:
    importlib.import_module(module)
"""
ONLY_ON_CLUSTERS = {"marsgen.engines.ray_cluster"}
"""ray is an extra"""


def test_every_module_is_imported_without_what_windows_lacks(tmp_path):
    names = [name for name in MODULES if name not in ONLY_ON_CLUSTERS and not name.endswith("__main__")]
    assert len(names) > 200
    program, said = tmp_path / "program.py", tmp_path / "said"
    program.write_text(PROGRAM)
    assert forked_commands.run_script(program, *names, stderr=said) == 0, said.read_text()[-2000:]
