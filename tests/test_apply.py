"""Files in, files out: the same numbers as one call in memory, in little memory, and nothing half-written."""

import os
import signal
import stat
import subprocess
import sys
import time
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn.apply import InputError, apply_file, npy
from numba_lrn.apply.npy import blocks
from numba_lrn.apply.pictures import displayable
from tests.support import assert_below, assert_same_bits, limit_of, optional, table_error

PARAMETERS = {"alpha": 2.0, "beta": 0.75, "k": 0.5}


def sample(shape, dtype="float32", order="C"):
    return np.asarray(np.random.default_rng(5).normal(0, 2, shape), dtype, order=order)


def applied(folder, x, **options):
    """What apply writes for ``x``, with the file's own memory order."""
    np.save(folder / "x.npy", x)
    apply_file(folder / "x.npy", folder / "y.npy", **{**PARAMETERS, **options})
    assert sorted(path.name for path in folder.iterdir()) == ["x.npy", "y.npy"]
    return np.load(folder / "y.npy")


def in_one_piece(x, size, axis):
    return lrn.local_response_norm(x, size, **PARAMETERS, axis=axis)


def assert_exact(y, x, size, axis):
    """Within the library's bound, or as near to the reference as the result in one piece where that is beyond it.

    Whether results in one piece keep the bound is not tested here.
    """
    op = lrn.LocalResponseNorm(size, **PARAMETERS, axis=axis)
    error, expected = table_error(op, "forward", y, x)
    in_one_piece_error, _ = table_error(op, "forward", op(x), x)
    limit = max(limit_of(y.dtype, op.beta, "forward"), in_one_piece_error.max())
    assert_below(error, limit, y, expected, op)


# The batch divided: the same bits as in one piece.
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_blocks_of_a_batch_give_the_same_bits(tmp_path, dtype, order):
    x = sample((6, 8, 24, 16), dtype, order)
    y = applied(tmp_path, x, size=5, block_bytes=x.nbytes // 6)
    assert y.dtype == x.dtype
    assert y.flags.f_contiguous == (order == "F")
    assert_same_bits(y, in_one_piece(x, 5, 1))


@pytest.mark.parametrize("block_bytes", [1, 3_000, 50_000, 10**9])
def test_any_block_size_gives_the_same_values(tmp_path, block_bytes):
    x = sample((3, 8, 24, 16))
    y = applied(tmp_path, x, size=5, block_bytes=block_bytes)
    assert_exact(y, x, 5, 1)


# Only the windowed axis is long. Even sizes reach further to the front.
@pytest.mark.parametrize("size", [1, 2, 4, 5, 16, 63, 1000, 10**9])
def test_blocks_with_a_halo(tmp_path, size):
    x = sample(5000)
    y = applied(tmp_path, x, size=size, axis=0, block_bytes=4 * 400)
    op = lrn.LocalResponseNorm(size, **PARAMETERS, axis=0)
    assert size > 1000 or len(blocks(op, x, 400)) > 1
    assert_exact(y, x, size, 0)


@pytest.mark.parametrize("size", [3, 40])
def test_blocks_with_a_halo_over_long_rows(tmp_path, size):
    x = sample((700, 33))
    y = applied(tmp_path, x, size=size, axis=0, block_bytes=4 * 33 * 4 * size)
    assert_exact(y, x, size, 0)


def test_blocks_of_a_box_with_halos(tmp_path):
    x = sample((2, 3, 40, 50))
    y = applied(tmp_path, x, size=(4, 5), within_channel=True, block_bytes=4 * 300)
    assert_exact(y, x, (4, 5), (2, 3))


def test_a_nan_reaches_its_windows_only_across_blocks(tmp_path):
    x = sample(5000)
    x[1234] = np.nan
    y = applied(tmp_path, x, size=5, axis=0, block_bytes=400)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(y)), np.arange(1232, 1237))


@pytest.mark.parametrize("elements", [1, 7, 100, 10**6])
@pytest.mark.parametrize("axis", [0, 1, (0, 2), (0, 1, 2)])
def test_blocks_cover_the_array_once_and_hold_what_their_windows_reach(axis, elements):
    x = np.zeros((7, 11, 13))
    op = lrn.LocalResponseNorm(4, axis=axis)
    covered = np.zeros(x.shape, int)
    for core, reach, inside in blocks(op, x, elements):
        covered[core] += 1
        assert covered[reach][inside].shape == covered[core].shape
        for index, (part, around) in enumerate(zip(core, reach, strict=True)):
            before, after = op.windows(3).get(index, (0, 0))
            assert around.start == max(part.start - before, 0)
            assert around.stop == min(part.stop + after, x.shape[index])
    np.testing.assert_array_equal(covered, 1)


def test_a_block_needs_little_memory(tmp_path):
    x = sample((64, 8, 64, 64))
    np.save(tmp_path / "x.npy", x)
    apply_file(tmp_path / "x.npy", tmp_path / "y.npy", size=5)  # compiled before memory is measured
    expected = in_one_piece(x, 5, 1)
    tracemalloc.start()
    apply_file(tmp_path / "x.npy", tmp_path / "y.npy", size=5, **PARAMETERS, block_bytes=256 * 1024)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
    assert x.nbytes == 8 * 1024 * 1024
    assert peak < 1024 * 1024


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
def test_empty_arrays(tmp_path, shape):
    y = applied(tmp_path, np.zeros(shape, "float32"), size=3, axis=0)
    assert y.shape == shape
    assert y.dtype == "float32"


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float64", ">f4", "longdouble"])
def test_dtype_converts(tmp_path, dtype):
    x = np.abs(sample((2, 8, 64)) * 20).astype(dtype)
    y = applied(tmp_path, x, size=5, dtype="float32")
    assert y.dtype == "float32"
    np.testing.assert_array_equal(y, in_one_piece(x.astype("float32"), 5, 1))


def test_values_beyond_the_wanted_dtype_become_infinite(tmp_path):
    y = applied(tmp_path, np.array([[1e300, 1.0, 2.0]]), size=1, dtype="float32")
    np.testing.assert_array_equal(y, in_one_piece(np.array([[np.inf, 1, 2]], "float32"), 1, 1))


def test_the_other_byte_order_is_read_as_it_is(tmp_path):
    x = sample((2, 8, 64))
    y = applied(tmp_path, x.astype(">f4"), size=5)
    assert y.dtype == np.dtype("float32")
    np.testing.assert_array_equal(y, in_one_piece(x, 5, 1))


def write_text(folder):
    (folder / "x.npy").write_text("no array")


def write_nothing(folder):
    (folder / "x.npy").touch()


def write_truncated(folder):
    np.save(folder / "x.npy", sample((4, 5)))
    os.truncate(folder / "x.npy", 150)


def write_truncated_header(folder):
    np.save(folder / "x.npy", sample((4, 5)))
    os.truncate(folder / "x.npy", 60)


def write_damaged_header(folder):
    np.save(folder / "x.npy", sample((4, 5)))
    (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes().replace(b"'shape': (4, 5)", b"'shape': (4, (("))


def write_negative_shape(folder):
    np.save(folder / "x.npy", sample((4, 5)))
    (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes().replace(b"(4, 5)", b"(-4,5)"))


def write_shape(shape):
    def write(folder):
        np.save(folder / "x.npy", sample((4, 5)))
        data = (folder / "x.npy").read_bytes()
        spare = len(shape) - len(b"(4, 5)")
        (folder / "x.npy").write_bytes(data.replace(b"(4, 5), }" + b" " * spare, shape + b", }"))

    return write


def write_nothing_at_all(folder):
    pass


def write_folder(folder):
    (folder / "x.npy").mkdir()


def saves(x):
    return lambda folder: np.save(folder / "x.npy", x)


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (write_text, r"x\.npy is not a \.npy file, or a damaged one: the magic string"),
        (write_nothing, r"x\.npy is not a \.npy file, or a damaged one: EOF"),
        (write_truncated, r"truncated: its header promises 80 bytes of float32 \(4, 5\), 22 are there"),
        (write_truncated_header, r"x\.npy is not a \.npy file, or a damaged one: EOF"),
        (write_damaged_header, r"x\.npy is not a \.npy file, or a damaged one: "),
        (write_negative_shape, r"truncated: its header promises"),
        (write_shape(b"(0, 99999999999999999999)"), r"x\.npy is not a \.npy file, or a damaged one: its shape is"),
        (write_shape(b"(0, 4611686018427387904)"), r"x\.npy is not a \.npy file, or a damaged one: its shape is"),
        (write_shape(b"(True, 5)"), r"x\.npy is not a \.npy file, or a damaged one: its shape is"),
        (write_nothing_at_all, r"INPUT .*x\.npy does not exist"),
        (write_folder, r"cannot read .*x\.npy: Is a directory"),
        (saves(np.arange(6)), r"x\.npy holds int64; .*add --dtype float32 to convert it"),
        (saves(np.array([True])), r"x\.npy holds bool; .*add --dtype float32 to convert it"),
        (saves(np.ones(3, "longdouble")), r"x\.npy holds float\d+; .*add --dtype float32 to convert it"),
        (saves(np.ones(3, "complex64")), r"x\.npy holds complex64, which are not real numbers"),
        (saves(np.array(["a"])), r"x\.npy holds <U1, which are not real numbers"),
        (saves(np.zeros(2, "datetime64[s]")), r"x\.npy holds datetime64\[s\], which are not real numbers"),
        (saves(np.zeros(3, [("a", "f4"), ("b", "i4")])), r"x\.npy holds \[\('a', .*which are not real numbers"),
        (saves(np.array([{}, None])), r"x\.npy holds Python objects; save it as"),
        (saves(np.ones(3, ml_dtypes.bfloat16)), r"bfloat16 is saved: \.npy has no type for it\. Save x\.astype"),
        (saves(np.float32(3)), r"INPUT has no dimensions"),
    ],
)
def test_files_that_are_refused(tmp_path, write, text):
    write(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError, match=text) as caught:
        apply_file(tmp_path / "x.npy", tmp_path / "y.npy", axis=0)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("dtype", ["complex64", "U1", "datetime64[s]"])
def test_dtype_does_not_make_numbers_of_anything(tmp_path, dtype):
    np.save(tmp_path / "x.npy", np.zeros(2, dtype))
    with pytest.raises(InputError, match="not real numbers"):
        apply_file(tmp_path / "x.npy", tmp_path / "y.npy", axis=0, dtype="float32")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"size": (3, 3)}, "size has 2 entries for 1 axes"),
        ({"axis": 2}, "axis 2 is out of range for an array of 2 dimensions; allowed: -2 to 1"),
        ({"axis": (1, -1)}, "names axis 1 twice"),
        ({"alpha": float("nan")}, "alpha must be finite, got nan"),
        ({"k": float("inf")}, "k must be finite, got inf"),
        ({"within_channel": True}, "--within-channel needs the shape .* got 2 dimensions; name the axes with --axis"),
        ({"dtype": "bfloat16"}, "--dtype must be one of .* bfloat16 type: take float32, and convert after loading"),
        ({"dtype": "int8"}, "--dtype must be one of float16, float32, float64, got 'int8'"),
    ],
)
def test_parameters_that_are_refused(tmp_path, options, text):
    np.save(tmp_path / "x.npy", sample((4, 5)))
    with pytest.raises(InputError, match=text):
        apply_file(tmp_path / "x.npy", tmp_path / "y.npy", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("x.npy", "none/y.npy", r"the folder of OUTPUT .*y\.npy does not exist; make it first"),
        ("x.npy", "x.npy", "are the same file; give another OUTPUT"),
        ("x.npy", "link.npy", "are the same file; give another OUTPUT"),
        ("x.npy", "folder.npy", "is a folder; name a file"),
        ("x.npy", "y", r"OUTPUT .*y has the extension ''; it must be one of \.npy, \.png, \.jpg, \.jpeg"),
        ("x.tif", "y.npy", r"INPUT .*x\.tif has the extension '\.tif'; it must be one of"),
        ("x.npy", "y.png", r"must both be \.npy files or both be pictures"),
        ("x.npy", "y" * 250 + ".npy", "cannot write .*File name too long"),
    ],
)
def test_paths_that_are_refused(tmp_path, source, target, text):
    np.save(tmp_path / "x.npy", sample((4, 5)))
    (tmp_path / "link.npy").symlink_to(tmp_path / "x.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputError, match=text):
        apply_file(tmp_path / source, tmp_path / target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.npy", "link.npy", "x.npy"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError("Unable to allocate 9 TiB"), InputError),
        (OSError(28, "No space left on device"), InputError),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)
def test_nothing_half_written_stays_and_the_old_file_does(tmp_path, monkeypatch, error, raised):
    np.save(tmp_path / "x.npy", sample((4, 5)))
    np.save(tmp_path / "y.npy", np.arange(3))
    converted = npy._converted
    calls = []

    def fail_at_the_third(x, dtype):
        calls.append(sorted(path.name for path in tmp_path.iterdir()))
        if len(calls) == 3:
            raise error
        return converted(x, dtype)

    monkeypatch.setattr(npy, "_converted", fail_at_the_third)
    with pytest.raises(raised):
        apply_file(tmp_path / "x.npy", tmp_path / "y.npy", block_bytes=20)
    assert len(calls[-1]) == 3  # the third is the unfinished one
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "y.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.arange(3))


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    def full(descriptor, offset, length):
        raise OSError(28, "No space left on device")

    np.save(tmp_path / "x.npy", sample((4, 5)))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"cannot write .*y\.npy: No space left on device"):
        apply_file(tmp_path / "x.npy", tmp_path / "y.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def heed_ctrl_c():
    """A shell's background jobs, and all that they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "status", "text"),
    [(signal.SIGINT, 130, "numba-lrn: interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_what_ends_a_process_leaves_nothing(tmp_path, number, status, text):
    np.save(tmp_path / "x.npy", sample((4, 5)))
    command = [sys.executable, "-m", "numba_lrn", "apply", "x.npy", "y.npy"]
    # Without its cache the first block waits seconds for the compiler.
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"NUMBA_LRN_CACHE": "0"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".y.npy.*.part")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert errors == text
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    np.save(tmp_path / "x.npy", sample((4, 5)))
    for names, said in ((("pipe.npy", "y.npy"), "INPUT"), (("x.npy", "pipe.npy"), "OUTPUT")):
        with pytest.raises(InputError, match=rf"{said} .*pipe\.npy is a pipe or a device; name a regular file"):
            apply_file(*(tmp_path / name for name in names), size=3)


def test_links_stay_links_and_files_keep_their_mode(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "x.npy", sample((4, 5)))
    held, link = tmp_path / "elsewhere" / "held.npy", tmp_path / "y.npy"
    held.write_bytes(b"old")
    held.chmod(0o600)
    link.symlink_to(held)
    apply_file(tmp_path / "x.npy", link, size=3)
    assert link.is_symlink()
    assert np.load(held).shape == (4, 5)
    assert stat.S_IMODE(held.stat().st_mode) == 0o600
    assert [path.name for path in held.parent.iterdir()] == ["held.npy"]


def test_displayable_maps_percentiles():
    y = np.linspace(-3, 5, 1001, dtype="float32").reshape(7, 143, 1)
    levels, low, high = displayable(y)
    assert (low, high) == pytest.approx(tuple(np.percentile(y, (0.5, 99.5))))
    assert levels.dtype == "uint8"
    assert (levels.min(), levels.max()) == (0, 255)
    assert levels[y == 1.0] == 128


@pytest.mark.parametrize(("value", "level"), [(0.0, 0), (1.0, 255), (0.2, 51), (7.0, 255), (np.nan, 0)])
def test_displayable_shows_one_value_as_it_is(value, level):
    levels, _, _ = displayable(np.full((2, 3, 1), value, "float32"))
    np.testing.assert_array_equal(levels, level)


# Pictures.


@pytest.fixture
def image():
    optional("PIL")
    import PIL.Image

    return PIL.Image


def picture(image, mode, size=(13, 9)):
    channels = len(image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(6).integers(0, 256, (size[1], size[0], channels), dtype="uint8")
    return image.fromarray(values[..., 0] if channels == 1 else values)


def read(image, path):
    with image.open(path) as opened:
        levels = np.asarray(opened)
    return levels if levels.ndim == 3 else levels[..., np.newaxis]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("within_channel", [False, True])
def test_a_picture_is_normalised_and_rescaled(image, tmp_path, mode, within_channel):
    original = picture(image, mode)
    original.save(tmp_path / "x.png")
    apply_file(tmp_path / "x.png", tmp_path / "y.png", size=5, **PARAMETERS, within_channel=within_channel)
    levels = np.asarray(original).reshape(9, 13, -1)
    colours = 1 if mode.startswith("L") else 3
    x = (levels[..., :colours] / 255).astype("float32")
    y = in_one_piece(x, 5, (0, 1) if within_channel else -1)
    expected, _, _ = displayable(y)
    shown = read(image, tmp_path / "y.png")
    np.testing.assert_array_equal(shown[..., :colours], expected)
    np.testing.assert_array_equal(shown[..., colours:], levels[..., colours:])  # transparency as it was
    with image.open(tmp_path / "y.png") as result:
        assert result.mode == mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "y.png"]


def test_a_palette_is_looked_up(image, tmp_path):
    colours = picture(image, "RGB").quantize(256)
    colours.save(tmp_path / "x.png")
    colours.convert("RGB").save(tmp_path / "same.png")
    for name in ("x", "same"):
        apply_file(tmp_path / f"{name}.png", tmp_path / f"{name}-y.png", **PARAMETERS)
    np.testing.assert_array_equal(read(image, tmp_path / "x-y.png"), read(image, tmp_path / "same-y.png"))


def test_sixteen_bits_of_grey(image, tmp_path):
    values = np.random.default_rng(6).integers(0, 65536, (9, 13), dtype="uint16")
    image.fromarray(values).save(tmp_path / "x.png")
    apply_file(tmp_path / "x.png", tmp_path / "y.png", **PARAMETERS, within_channel=True)
    y = in_one_piece((values / 65535).astype("float32")[..., np.newaxis], 5, (0, 1))
    np.testing.assert_array_equal(read(image, tmp_path / "y.png"), displayable(y)[0])


def test_jpeg_to_jpeg_stands_upright(image, tmp_path):
    exif = image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by a quarter
    picture(image, "RGB").save(tmp_path / "x.jpg", exif=exif)
    summary = apply_file(tmp_path / "x.jpg", tmp_path / "y.JPEG", **PARAMETERS)
    assert "RGB picture of 9 x 13" in summary
    with image.open(tmp_path / "y.JPEG") as result:
        assert (result.format, result.size) == ("JPEG", (9, 13))


def test_a_weak_alpha_is_told(image, tmp_path):
    picture(image, "RGB").save(tmp_path / "x.png")
    assert "try --alpha 30" in apply_file(tmp_path / "x.png", tmp_path / "y.png")
    assert "try" not in apply_file(tmp_path / "x.png", tmp_path / "y.png", **PARAMETERS)


def test_pictures_that_are_refused(image, tmp_path):
    picture(image, "RGBA").save(tmp_path / "x.png")
    with pytest.raises(InputError, match="transparency, which JPEG cannot keep"):
        apply_file(tmp_path / "x.png", tmp_path / "y.jpg", **PARAMETERS)
    with pytest.raises(InputError, match="axis 3 is out of range for an array of 3 dimensions"):
        apply_file(tmp_path / "x.png", tmp_path / "y.png", axis=3)
    data = (tmp_path / "x.png").read_bytes()
    for damaged in (data[:200], data[:40], b"", b"no picture"):
        (tmp_path / "x.png").write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.png cannot be read as a picture: ."):
            apply_file(tmp_path / "x.png", tmp_path / "y.png", **PARAMETERS)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_without_pillow_the_extra_is_named(image, tmp_path, monkeypatch):
    picture(image, "RGB").save(tmp_path / "x.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image")
    with pytest.raises(InputError, match=r"need Pillow.*pip install 'numba-lrn\[bench\]'"):
        apply_file(tmp_path / "x.png", tmp_path / "y.png")
