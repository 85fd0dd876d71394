"""The CUDA side of the benchmark, as far as it can be tested without a card: cuDNN by a stand-in for its library."""

import ctypes

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.bench import cudnn
from numba_lrn.bench.devices import DEVICES
from numba_lrn.bench.peers import CPU_PEERS, CUDA_PEERS, Peer, UnableError
from numba_lrn.cli import main
from tests.support import optional

SHAPE = (2, 7, 3, 4)
PROBLEM = {"shape": SHAPE, "dtype": "float32", "layout": "nchw", "within": False, "size": 5, "k": 2.0, "beta": 0.75}


FUNCTIONS = {
    "cudnnCreate": "_made",
    "cudnnCreateLRNDescriptor": "_made",
    "cudnnCreateTensorDescriptor": "_made",
    "cudnnSetTensor4dDescriptor": "_set_tensor",
    "cudnnSetLRNDescriptor": "_set_window",
    "cudnnLRNCrossChannelForward": "_forward",
    "cudnnLRNCrossChannelBackward": "_backward",
}


class Library:
    """The functions of cudnn.h in NumPy, on host memory, with the argument lists of its declarations."""

    def __init__(self, status=0):
        self.status = status
        self.cudnnGetErrorString = Function(lambda status: b"CUDNN_STATUS_BAD_PARAM")
        self.cudnnGetVersion = Function(lambda: 91002)

    def _made(self, pointer):
        pointer._obj.value = 1
        return 0

    def __getattr__(self, name):
        return getattr(self, FUNCTIONS[name])

    def _set_tensor(self, descriptor, form, dtype, n, c, h, w):
        extents = tuple(int(extent.value) for extent in (n, c, h, w))
        self.axis = 1 if form == 0 else 3
        self.shape = extents if form == 0 else tuple(extents[i] for i in (0, 2, 3, 1))
        self.dtype = {0: np.float32, 1: np.float64, 2: np.float16}[dtype]
        return 0

    def _set_window(self, descriptor, n, alpha, beta, k):
        assert type(n) is ctypes.c_uint
        before = (n.value - 1) // 2
        scale = alpha.value / n.value
        self.op = LocalResponseNorm.from_window(self.axis, before, n.value - before - 1, scale, beta.value, k.value)
        return self.status

    def _array(self, address):
        nbytes = int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize
        memory = (ctypes.c_char * nbytes).from_address(address.value)
        return np.frombuffer(memory, self.dtype).reshape(self.shape)

    def _blend(self, one, zero):
        factor = ctypes.c_double if self.dtype == np.float64 else ctypes.c_float
        assert type(one._obj) is type(zero._obj) is factor
        assert (one._obj.value, zero._obj.value) == (1.0, 0.0)

    def _forward(self, handle, norm, mode, one, x_descriptor, x, zero, y_descriptor, y):
        self._blend(one, zero)
        assert mode == 0
        self._array(y)[...] = reference.forward(self.op, self._array(x))
        return 0

    def _backward(
        self, handle, norm, mode, one, y_descriptor, y, dy_descriptor, dy, x_descriptor, x, zero, dx_descriptor, dx
    ):
        self._blend(one, zero)
        np.testing.assert_allclose(self._array(y), reference.forward(self.op, self._array(x)), rtol=1e-2)
        self._array(dx)[...] = reference.backward(self.op, self._array(dy), self._array(x))
        return 0


class Function:
    """A function of a library, which has a result type."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        return self.function(*arguments)


class HostDriver:
    """The driver's memory in host memory."""

    def __init__(self):
        self.held = {}

    def allocate(self, nbytes):
        memory = np.zeros(nbytes, np.uint8)
        self.held[memory.ctypes.data] = memory
        return memory.ctypes.data

    def upload(self, array):
        address = self.allocate(array.nbytes)
        self.held[address][...] = np.frombuffer(array.tobytes(), np.uint8)
        return address

    def download(self, address, array):
        array[...] = self.held[address].view(array.dtype).reshape(array.shape)

    def free(self, address):
        del self.held[address]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_cudnn_computes_the_problem(layout, dtype):
    generator = np.random.default_rng(0)
    shape = SHAPE if layout == "nchw" else (2, 3, 4, 7)
    x, g = generator.standard_normal((2, *shape)).astype(dtype)
    operation, driver = cudnn.CrossChannel(Library()), HostDriver()
    operation.describe(SHAPE, layout, dtype, 5, 1.5, 0.75, 2.0)
    buffers = cudnn.Buffers(driver, [(x, g)])
    (addresses,) = buffers.sets
    operation.forward(addresses[0], addresses[2])
    operation.backward(addresses[0], addresses[2], addresses[1], addresses[3])
    op = LocalResponseNorm(5, 1.5, 0.75, 2.0, axis=1 if layout == "nchw" else -1)
    for address, expected in ((addresses[2], reference.forward(op, x)), (addresses[3], reference.backward(op, g, x))):
        driver.download(address, buffers.like)
        np.testing.assert_allclose(buffers.like, expected, rtol=1e-2 if dtype == "float16" else 1e-5, atol=1e-3)
    buffers.close()
    assert not driver.held


def test_versions_of_cudnn():
    operation = cudnn.CrossChannel(Library())
    for number, text in ((91002, "9.10.2"), (90100, "9.1.0"), (8907, "8.9.7")):
        operation._library.cudnnGetVersion = Function(lambda number=number: number)
        assert operation.version == text


def test_an_error_of_cudnn_is_named():
    operation = cudnn.CrossChannel(Library(status=3000))
    with pytest.raises(RuntimeError, match="cudnnSetLRNDescriptor: CUDNN_STATUS_BAD_PARAM"):
        operation.describe(SHAPE, "nchw", "float32", 17, 1.0, 0.75, 1.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"size": 15}, None),
        ({"size": 17}, "windows of 1 to 16 elements only"),
        ({"size": 4}, "the extra element of an even window lies after the centre"),
        ({"k": 0.0}, "k from 1e-05 on only"),
        ({"beta": 0.001}, "beta from 0.01 on only"),
        ({"within": True}, "no LRN within channels"),
        ({"shape": (2, 7, 12)}, "four dimensions only"),
    ],
)
def test_the_limits_of_cudnn(change, reason):
    found = cudnn.refusal(PROBLEM | change)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize("name", sorted(set(CPU_PEERS) - set(CUDA_PEERS)))
def test_peers_of_the_cpu_are_no_peers_on_a_card(name):
    with pytest.raises(UnableError, match="runs on the CPU only; measured is the backend cuda"):
        Peer(name, "cuda", 1)


def test_cudnn_is_no_peer_on_the_cpu():
    with pytest.raises(UnableError, match="runs on a CUDA device only; measured is the backend cpu"):
        Peer("cudnn", "cpu", 1)


def test_cudnn_says_what_is_missing():
    try:
        cudnn.Driver()
    except cudnn.AbsentError:
        with pytest.raises(UnableError, match=r"no CUDA d(river|evice)"):
            Peer("cudnn", "cuda", 1)
    else:
        pytest.skip("there is a GPU")


def test_the_backend_says_what_is_missing(capsys):
    reason = DEVICES["cuda"].unavailable()
    if reason is None:
        pytest.skip("there is a GPU")
    assert main(["bench", "--backend", "cuda", "--against", "torch,cudnn"]) == 2
    assert f"--backend cuda: {reason}" in capsys.readouterr().err
    assert "CuPy is not installed" in reason or "no CUDA device" in reason


def test_pytorch_without_a_card_says_so():
    torch = optional("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UnableError, match=r"PyTorch .* sees no CUDA device"):
        Peer("torch", "cuda", 1)
