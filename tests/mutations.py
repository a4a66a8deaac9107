"""Damage to saved models: one seeded change after the other, with or without the sums that would go with it.

Run as a program in a process of its own, for what it looks for is a crash of the interpreter:
``python mutations.py FOLDER FIRST LAST``. It prints the number of each mutation before it loads the result. FOLDER
holds saved maps and encoders; those of the tests and 10,000 mutations take some 5 minutes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

import tsne_ooc
from tsne_ooc.storage.manifest import sum_of as manifest_sum

NUMBERS = [True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**400, 0.5, -0.5, 1e300, 1e-300]
SCALARS = [None, *NUMBERS, "", "x", [], {}, [0], "../x"]


def places(value, path=()):
    """Paths to everything within a piece of JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*path, key)
        yield from places(inside, (*path, key))


def mutate_json(value, rng):
    """Change, remove or copy one thing within a piece of JSON."""
    *above, last = list(places(value))[rng.integers(sum(1 for _ in places(value)))]
    home = value
    for key in above:
        home = home[key]
    action = rng.integers(4)
    if action == 0 and isinstance(home[last], int | float) and not isinstance(home[last], bool):
        home[last] += int(rng.choice([-1, 1]))
    elif action == 1:
        del home[last]
    elif action == 2:
        everything = [value, *(_at(value, path) for path in places(value))]
        home[last] = json.loads(json.dumps(everything[rng.integers(len(everything))]))
    else:
        home[last] = SCALARS[rng.integers(len(SCALARS))]


def _at(value, path):
    for key in path:
        value = value[key]
    return value


def mutate_bytes(file, rng, others):
    """Flip bits, overwrite, cut, grow, or take another file's contents."""
    data = bytearray(file.read_bytes())
    action = rng.integers(7)
    # Numbers come after 128 bytes of header; small changes to them are the likelier to pass the checks.
    first = 0 if rng.integers(4) == 0 or len(data) <= 128 else 128
    if action <= 1:
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(first, len(data))] ^= 1 << int(rng.integers(8))
    elif action == 2:
        start = int(rng.integers(first, len(data)))
        data[start : start + 8] = rng.bytes(min(8, len(data) - start))
    elif action == 3:
        start = int(rng.integers(first, len(data)))
        word = [b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x00\x00\xc0\x7f", b"\x00\x00\x00\x00"][rng.integers(4)]
        start -= start % 4
        data[start : start + 4] = word[: len(data) - start]
    elif action == 4:
        del data[int(rng.integers(len(data))) :]
    elif action == 5:
        data += rng.bytes(int(rng.integers(1, 64)))
    else:
        data = bytearray(others[rng.integers(len(others))].read_bytes())
    file.write_bytes(data)


def mutate_numbers(file, rng):
    """Change the array itself, so that only its meaning can give it away."""
    array = np.load(file)
    if not array.size:
        return
    flat = array.reshape(-1)
    at = rng.integers(len(flat), size=rng.integers(1, 4))
    action = rng.integers(4)
    if action == 0:
        flat[at] = flat[rng.integers(len(flat), size=len(at))]
    elif action == 1 and array.dtype.kind in "iu":
        flat[at] = rng.integers(np.iinfo(array.dtype).max, size=len(at), dtype=array.dtype)
    elif action == 2:
        flat[at] = (flat[at].astype(np.float64) + rng.choice([-1, 1])).astype(array.dtype)
    else:
        array = array[: rng.integers(len(array) + 1)] if array.ndim else array
    np.save(file, array)


def mutate_weights(file, rng):
    """Other weights, which the library writes as it would any: of another shape, type or name, or no numbers."""
    from safetensors.numpy import load, save

    weights = {name: array.copy() for name, array in load(file.read_bytes()).items()}
    name = list(weights)[rng.integers(len(weights))]
    array = weights[name]
    action = rng.integers(8)
    if action == 0:
        weights[name] = np.resize(array, tuple(rng.integers(0, 40, size=max(1, array.ndim))))
    elif action == 1:
        weights[name] = array.astype([np.float64, np.float16, np.int64, np.uint8, bool][rng.integers(5)])
    elif action == 2:
        del weights[name]
    elif action == 3:
        weights[f"{name}x"] = weights.pop(name)
    elif action == 4:
        weights[name] = array.T.copy() if array.ndim > 1 else array[None]
    elif array.size:
        bad = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0][rng.integers(7)]
        array.reshape(-1)[rng.integers(array.size)] = bad
    file.write_bytes(save(weights))


def mutate_header(file, rng):
    """What stands before the numbers, so that they mean something else."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + length])
    mutate_json(head, rng)
    text = json.dumps(head).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def correct_sums(folder):
    """Make the manifest agree with the files, as somebody would who wants to be believed."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        for entry in manifest["arrays"].values():
            file = folder / entry["file"]
            if file.is_file():
                data = file.read_bytes()
                entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
                try:
                    array = np.load(file)
                    entry.update(shape=list(array.shape), dtype=array.dtype.str)
                except Exception:
                    pass
        for file in folder.glob("*.safetensors"):
            weights = manifest["content"]["weights"]
            weights.update(file=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
        manifest["sha256"] = manifest_sum(manifest)
        path.write_text(json.dumps(manifest))
    except Exception:
        # Where the mutation left no manifest to correct, it stays as it is.
        return


def mutate(folder, rng):
    """One mutation; True where the sums were made to agree with it."""
    arrays = sorted(folder.glob("*.npy"))
    weights = sorted(folder.glob("*.safetensors"))
    files = [*arrays, *weights, folder / "manifest.json"]
    action = rng.integers(10)
    if weights and rng.integers(2):
        change = [mutate_weights, mutate_weights, mutate_header][rng.integers(3)]
        change(weights[0], rng)
    elif action <= 2:
        mutate_bytes(files[rng.integers(len(files))], rng, files)
    elif action <= 5:
        mutate_numbers(arrays[rng.integers(len(arrays))], rng)
    elif action <= 8:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        mutate_json(manifest if rng.integers(3) == 0 else manifest["content"], rng)
        path.write_text(json.dumps(manifest))
    else:
        files[rng.integers(len(files))].unlink()
    corrected = bool(rng.integers(4))
    if corrected:
        correct_sums(folder)
    return corrected


def load_any(folder, kind):
    """A map or an encoder, as the folder was before."""
    if kind == "encoder":
        from tsne_ooc.parametric import load

        return load(folder)
    return tsne_ooc.load(folder)


def judge(folder, new, expected, corrected, kind):
    """What came of loading a mutated folder; an AssertionError where it should not have."""
    try:
        model = load_any(folder, kind)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and str(folder) in str(error), repr(error)
        return "refused"
    try:
        placed = model.transform(new)
    except (ValueError, TypeError) as error:
        # The sums agree: a forged option is met as that of a user would be.
        assert corrected and "\n" not in str(error), repr(error)
        return "refused later"
    if corrected:
        assert placed.shape == (new.shape[0], model.embedding_.shape[1]) and np.isfinite(placed).all()
        return "taken"
    assert placed.tobytes() == expected.tobytes(), "other content was loaded without a word"
    return "unharmed"


def main(home, first, last):
    # Forged numbers may overflow on their way to an error.
    warnings.simplefilter("ignore")
    originals = sorted(path for path in Path(home).iterdir() if path.is_dir())
    Q = np.load(Path(home) / "Q.npy")
    kinds = {path: json.loads((path / "manifest.json").read_text())["kind"] for path in originals}
    new = {path: csr_array(np.maximum(Q, 0)) if path.name == "sparse" else Q for path in originals}
    expected = {path: load_any(path, kinds[path]).transform(new[path]) for path in originals}
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        for number in range(first, last):
            rng = np.random.default_rng([7, number])
            original = originals[rng.integers(len(originals))]
            folder = Path(scratch) / "model"
            shutil.copytree(original, folder)
            corrected = mutate(folder, rng)
            print(number, original.name, end=" ", flush=True)
            print(judge(folder, new[original], expected[original], corrected, kinds[original]), flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
