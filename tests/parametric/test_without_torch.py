"""Without PyTorch the rest of the package works, and the error says what to install."""

import subprocess
import sys


def test_the_error_names_the_extra():
    code = "import sys; sys.modules['torch'] = None; import tsne_ooc; import tsne_ooc.parametric"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and "needs torch" in last and "pip install 'tsne_ooc[neural]'" in last
