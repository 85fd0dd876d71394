"""cuDNN's LRN across channels through ctypes: the library that PyTorch or CuPy ships, and the CUDA driver.

Loaded by worker.py from its path: it needs NumPy alone, so that a peer may live in any environment. Names and numbers
are those of cudnn.h and cuda.h.
"""

# mypy: ignore-errors
# As worker.py: it runs where no type stubs need be.

import ctypes
import importlib.util
import pathlib

import numpy as np

NAMES = ("libcudnn.so.9", "libcudnn.so.8", "libcudnn.so")
NCHW, NHWC = 0, 1
DATA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 9}
CROSS_CHANNEL_DIM1 = 0
MIN_N, MAX_N, MIN_K, MIN_BETA = 1, 16, 1e-5, 0.01


class AbsentError(Exception):
    """A library or a device that is not there."""


def find():
    """cuDNN, loaded: from the wheels that PyTorch and CuPy depend on, else from where the system looks."""
    candidates = []
    for package in ("nvidia.cudnn", "nvidia.cu13"):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in spec.submodule_search_locations or () if spec else ():
            candidates += [str(pathlib.Path(folder) / "lib" / name) for name in NAMES]
    for name in [*candidates, *NAMES]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    msg = "cuDNN is not installed: pip install nvidia-cudnn-cu13 (or nvidia-cudnn-cu12), or PyTorch for CUDA"
    raise AbsentError(msg)


class Driver:
    """What is needed of the CUDA driver: one context, memory, events. Everything runs on the legacy default stream."""

    def __init__(self):
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            msg = f"no CUDA driver ({error})"
            raise AbsentError(msg) from None
        try:
            self._call("cuInit", 0)
            device, context = ctypes.c_int(), ctypes.c_void_p()
            self._call("cuDeviceGet", ctypes.byref(device), 0)
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            self._call("cuCtxSetCurrent", context)
        except RuntimeError as error:
            msg = f"no CUDA device ({error})"
            raise AbsentError(msg) from None
        self._events = [self._event(), self._event()]

    def _call(self, name, *arguments):
        status = getattr(self._library, name)(*arguments)
        if status:
            msg = f"{name} returned {status}"
            raise RuntimeError(msg)

    def _event(self):
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), 0)
        return event

    def allocate(self, nbytes):
        """The address of new device memory."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(nbytes))
        return address.value

    def free(self, address):
        """Give memory back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, array):
        """The address of a copy of a NumPy array."""
        address = self.allocate(array.nbytes)
        source = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, ctypes.c_size_t(array.nbytes))
        return address

    def download(self, address, array):
        """Fill a NumPy array from the device."""
        target = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyDtoH_v2", target, ctypes.c_uint64(address), ctypes.c_size_t(array.nbytes))

    def synchronize(self):
        """Return when the device has finished."""
        self._call("cuCtxSynchronize")

    def seconds(self, run):
        """How long the device took for what ``run()`` puts on the default stream."""
        start, end = self._events
        self.synchronize()
        self._call("cuEventRecord", start, None)
        run()
        self._call("cuEventRecord", end, None)
        self._call("cuEventSynchronize", end)
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), start, end)
        return milliseconds.value / 1000


class CrossChannel:
    """cudnnLRNCrossChannelForward and Backward for arrays of one shape, layout and dtype."""

    def __init__(self, library):
        self._library = library
        library.cudnnGetErrorString.restype = ctypes.c_char_p
        library.cudnnGetVersion.restype = ctypes.c_size_t
        self._handle = self._create("cudnnCreate")
        self._norm = self._create("cudnnCreateLRNDescriptor")
        self._tensor = self._create("cudnnCreateTensorDescriptor")

    @property
    def version(self):
        """As 9.10.2."""
        number = self._library.cudnnGetVersion()
        major = number // 10000 if number >= 90000 else number // 1000
        minor, patch = divmod(number % (10000 if number >= 90000 else 1000), 100)
        return f"{major}.{minor}.{patch}"

    def _call(self, name, *arguments):
        status = getattr(self._library, name)(*arguments)
        if status:
            msg = f"{name}: {self._library.cudnnGetErrorString(status).decode()}"
            raise RuntimeError(msg)

    def _create(self, name):
        made = ctypes.c_void_p()
        self._call(name, ctypes.byref(made))
        return made

    def describe(self, shape, layout, dtype, size, alpha, beta, k):
        """Set the descriptors: ``shape`` is (N, C, H, W), alpha is divided by ``size`` inside."""
        form = NHWC if layout == "nhwc" else NCHW
        extents = [ctypes.c_int(extent) for extent in shape]
        self._call("cudnnSetTensor4dDescriptor", self._tensor, form, DATA_TYPES[dtype], *extents)
        numbers = [ctypes.c_double(number) for number in (alpha, beta, k)]
        self._call("cudnnSetLRNDescriptor", self._norm, ctypes.c_uint(size), *numbers)
        # y = one·normalized + zero·y; the factors of halves are float32.
        factor = ctypes.c_double if dtype == "float64" else ctypes.c_float
        self._one, self._zero = factor(1.0), factor(0.0)

    def forward(self, x, y):
        """Addresses in device memory."""
        tensor = self._tensor
        self._call(
            "cudnnLRNCrossChannelForward",
            *(self._handle, self._norm, CROSS_CHANNEL_DIM1),
            *(ctypes.byref(self._one), tensor, ctypes.c_void_p(x)),
            *(ctypes.byref(self._zero), tensor, ctypes.c_void_p(y)),
        )

    def backward(self, x, y, dy, dx):
        """``y`` is the result of :meth:`forward`."""
        tensor = self._tensor
        inputs = [argument for address in (y, dy, x) for argument in (tensor, ctypes.c_void_p(address))]
        self._call(
            "cudnnLRNCrossChannelBackward",
            *(self._handle, self._norm, CROSS_CHANNEL_DIM1),
            *(ctypes.byref(self._one), *inputs),
            *(ctypes.byref(self._zero), tensor, ctypes.c_void_p(dx)),
        )


def refusal(problem):
    """Why cuDNN cannot do a problem, or None: the limits of its documentation."""
    if problem["within"]:
        return "no LRN within channels"
    if len(problem["shape"]) != 4:
        return "four dimensions only"
    if problem["dtype"] not in DATA_TYPES:
        return f"no {problem['dtype']}"
    if not MIN_N <= problem["size"] <= MAX_N:
        return f"windows of {MIN_N} to {MAX_N} elements only"
    if problem["size"] % 2 == 0:
        return "computes another convention: the extra element of an even window lies after the centre"
    if problem["k"] < MIN_K:
        return f"k from {MIN_K:g} on only"
    if problem["beta"] < MIN_BETA:
        return f"beta from {MIN_BETA:g} on only"
    return None


class Buffers:
    """The arrays of the sets on the device."""

    def __init__(self, driver, sets):
        self._driver, self._held = driver, []
        self.sets = []
        for x, gradient in sets:
            given = [self._hold(driver.upload(array)) if array is not None else None for array in (x, gradient)]
            made = [self._hold(driver.allocate(x.nbytes)) for _ in range(2)]
            self.sets.append((*given, *made))
        self.like = np.empty_like(sets[0][0])

    def _hold(self, address):
        self._held.append(address)
        return address

    def close(self):
        """Give all back."""
        for address in self._held:
            self._driver.free(address)
        self._held.clear()
