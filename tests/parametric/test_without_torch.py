"""Without PyTorch the rest of the package works, and the error says what to install."""

import subprocess
import sys

import pytest


def test_the_error_names_the_extra():
    code = "import sys; sys.modules['torch'] = None; import tsne_ooc; import tsne_ooc.parametric"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and "needs torch" in last and "pip install 'safetensors>=0.4' 'torch>=2.2'" in last


@pytest.mark.parametrize("command", ["train", "place"])
def test_commands_say_it_in_one_line(command, tmp_path):
    (tmp_path / "x.npy").touch()
    arguments = [command, *(["encoder"] if command == "place" else []), "x.npy", "--out", "out"]
    # To place rows, the manifest must say that it is an encoder's.
    code = (
        # Not None in sys.modules, which SciPy takes for the package.
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from tsne_ooc import storage\n"
        "from tsne_ooc.cli import main\n"
        "storage.write_folder('encoder', 'encoder', {}, {})\n"
        f"sys.exit(main({arguments}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
    assert done.stderr.startswith("tsne-ooc: error: ") and "needs torch" in done.stderr
    assert "pip install 'safetensors>=0.4' 'torch>=2.2'" in done.stderr
