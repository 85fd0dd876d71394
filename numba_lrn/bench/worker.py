"""One peer in a process of its own: reads JSON lines, answers JSON lines. Needs NumPy and the peer, nothing else.

A process each keeps their thread pools, allocators and crashes apart, and lets a peer live in another environment.

    {"command": "hello"}                                   -> {"version": "2.13.0"} or {"absent": reason}
    {"command": "make", "problem": {...}, "direction": …}  -> {"first_call": seconds, "note": …} or {"unable": reason}
    {"command": "run", "calls": 3}                         -> {"seconds": a call}
    {"command": "save", "path": …}                         -> {"parts": 1}, the last result in the input's layout: path0
"""

# mypy: ignore-errors
# It runs where no type stubs and, but for NumbaLrn, no part of this package need be. What each method does is said
# once, in Peer.
# ruff: noqa: D102

import importlib.util
import json
import os
import pathlib
import signal
import sys
import time

import numpy as np


class UnableError(Exception):
    """The peer cannot do this case, or computes something else for it."""


class Peer:
    """What a peer implements: ``load``, ``check``, ``prepare``, a method for each direction and ``result``."""

    note = ""
    device = "cpu"

    def load(self, threads):
        """Import the framework and return its version."""
        raise NotImplementedError

    def seconds(self, run):
        """How long ``run()`` takes; on a CUDA device by its events."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def finish(self):
        """Return when the device has finished."""

    def close(self):
        """Give back what a problem holds."""

    def check(self, problem, direction):
        """Raise UnableError with the reason."""

    def prepare(self, problem, sets):
        """Take over (x, grad_output, tangent) of each buffer set, None for what the direction does not take."""
        raise NotImplementedError

    def forward(self, index):
        """The forward pass on buffer set ``index``."""
        raise NotImplementedError

    def backward(self, index):
        """The backward pass on buffer set ``index``."""
        raise NotImplementedError

    def result(self):
        """The last result as the raw words of a NumPy array in the input's layout, or a tuple of them."""
        raise NotImplementedError


class Torch(Peer):
    """torch.nn.functional.local_response_norm, eager."""

    compiled = False

    def load(self, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UnableError(f"PyTorch {torch.__version__} sees no CUDA device")
        return torch.__version__

    def seconds(self, run):
        if self.device != "cuda":
            return super().seconds(run)
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000

    def finish(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def check(self, problem, direction):
        if problem["within"]:
            if len(problem["shape"]) != 4:
                raise UnableError("no LRN within channels, and its avg_pool2d takes (N, C, H, W) only")
            if problem["size"] % 2 == 0:
                raise UnableError("no LRN within channels, and avg_pool2d has no even window")
            self.note = "composed of avg_pool2d"
            if direction == "parameters":
                raise UnableError("no LRN within channels")
        elif len(problem["shape"]) < 3:
            raise UnableError("takes three dimensions or more")
        if self.compiled and direction not in ("forward", "backward"):
            raise UnableError("torch.compile differentiates once, and backwards")

    def prepare(self, problem, sets):
        torch = self.torch
        dtype = getattr(torch, problem["dtype"])
        ndim = len(problem["shape"])
        self.to_channels_last = problem["layout"] == "nhwc"

        def tensor(array):
            if array.dtype == np.uint16:
                found = torch.from_numpy(array.view(np.int16)).view(dtype)
            else:
                found = torch.from_numpy(array)
            found = found.to(self.device)
            return found.permute(0, ndim - 1, *range(1, ndim - 1)) if self.to_channels_last else found

        size, alpha, beta, k = (problem[name] for name in ("size", "alpha", "beta", "k"))
        functional = torch.nn.functional

        def within(x):
            return x * (functional.avg_pool2d(x * x, size, 1, size // 2) * alpha + k) ** -beta

        def across(x):
            return functional.local_response_norm(x, size, alpha, beta, k)

        self.normalize = within if problem["within"] else across
        if self.compiled:
            self.normalize = torch.compile(self.normalize, dynamic=False)

        def composed(x, alpha, beta, k):
            """``across`` for parameters that are tensors, which the library function does not take."""
            square = functional.pad((x * x).unsqueeze(1), (0, 0) * (ndim - 2) + (size // 2, (size - 1) // 2))
            flat = square.reshape(x.shape[0], 1, square.shape[2], -1)
            mean = functional.avg_pool2d(flat, (size, 1), 1).reshape(x.shape)
            return x * (mean * alpha + k) ** -beta

        self.composed = composed
        self.tensors = [
            torch.tensor(value, dtype=dtype, device=self.device, requires_grad=True) for value in (alpha, beta, k)
        ]
        self.size = size
        self.sets = [tuple(None if array is None else tensor(array) for array in arrays) for arrays in sets]
        for x, g, _ in self.sets:
            x.requires_grad_()
            if g is not None:
                g.requires_grad_(problem["direction"] == "double_backward")
        self.graphs = [None] * len(sets)

    def forward(self, index):
        with self.torch.no_grad():
            self.last = self.normalize(self.sets[index][0])

    def before_backward(self, index):
        """The forward pass that the backward one needs, outside the timed call."""
        if self.graphs[index] is None:
            self.graphs[index] = self.normalize(self.sets[index][0])

    def backward(self, index):
        x, g, _ = self.sets[index]
        (self.last,) = self.torch.autograd.grad(self.graphs[index], x, g, retain_graph=True)

    def jvp(self, index):
        x, _, v = self.sets[index]
        self.last = self.torch.func.jvp(self.normalize, (x.detach(),), (v,))[1]

    def before_parameters(self, index):
        if self.graphs[index] is None:
            self.graphs[index] = self.composed(self.sets[index][0], *self.tensors)

    def parameters(self, index):
        x, g, _ = self.sets[index]
        gradients = self.torch.autograd.grad(self.graphs[index], (x, *self.tensors), g, retain_graph=True)
        self.last = (gradients[0], gradients[1] * self.size, *gradients[2:])

    def before_double_backward(self, index):
        """The forward and the first backward pass, outside the timed call."""
        if self.graphs[index] is None:
            x, g, _ = self.sets[index]
            (self.graphs[index],) = self.torch.autograd.grad(self.normalize(x), x, g, create_graph=True)

    def double_backward(self, index):
        x, g, u = self.sets[index]
        self.last = self.torch.autograd.grad(self.graphs[index], (g, x), u, retain_graph=True)

    def result(self):
        last = self.last if isinstance(self.last, tuple) else (self.last,)
        return tuple(self._words(part.detach()) for part in last)

    def _words(self, tensor):
        if self.to_channels_last and tensor.ndim:
            tensor = tensor.permute(0, *range(2, tensor.ndim), 1)
        tensor = tensor.contiguous().cpu()
        return (tensor.view(self.torch.int16) if tensor.element_size() == 2 else tensor).numpy()


class TorchCompile(Torch):
    """The same through torch.compile."""

    compiled = True

    def load(self, threads):
        version = super().load(threads)
        # Donated buffers forbid to run one graph's backward pass again and again, as the rounds do.
        import torch._functorch.config

        torch._functorch.config.donated_buffer = False
        return version

    def prepare(self, problem, sets):
        # Else the ninth case reaches the limit of recompilations, and runs eagerly without a word.
        self.torch._dynamo.reset()
        super().prepare(problem, sets)


class NumbaLrn(Torch):
    """numba_lrn.torch: what the front costs over the bare call."""

    def load(self, threads):
        super().load(threads)
        import numba

        import numba_lrn
        from numba_lrn.torch import local_response_norm

        numba.set_num_threads(threads)
        self.function = local_response_norm
        return numba_lrn.__version__

    def check(self, problem, direction):
        if len(problem["shape"]) < 3 and not problem["within"]:
            raise UnableError("takes three dimensions or more, as PyTorch")

    def prepare(self, problem, sets):
        super().prepare(problem, sets)
        size, alpha, beta, k = (problem[name] for name in ("size", "alpha", "beta", "k"))
        axis = tuple(range(2, len(problem["shape"]))) if problem["within"] else 1

        def normalize(x, alpha=alpha, beta=beta, k=k):
            return self.function(x, size, alpha, beta, k, axis=axis)

        self.normalize = self.composed = normalize


class OnnxRuntime(Peer):
    """onnxruntime's LRN on its CPU provider."""

    def load(self, threads):
        import onnxruntime
        from onnx import TensorProto, helper

        self.runtime, self.helper, self.types, self.threads = onnxruntime, helper, TensorProto, threads
        return onnxruntime.__version__

    def check(self, problem, direction):
        if direction != "forward":
            raise UnableError("no backward pass")
        if problem["within"]:
            raise UnableError("no LRN within channels")
        if problem["layout"] != "nchw":
            raise UnableError("NCHW only")
        if problem["dtype"] != "float32":
            raise UnableError("float32 only")
        if problem["size"] % 2 == 0:
            raise UnableError("refuses even sizes")
        if len(problem["shape"]) != 4:
            raise UnableError("four dimensions only")

    def prepare(self, problem, sets):
        helper, types = self.helper, self.types
        node = helper.make_node(
            "LRN", ["x"], ["y"], alpha=problem["alpha"], beta=problem["beta"], bias=problem["k"], size=problem["size"]
        )
        tensors = [helper.make_tensor_value_info(name, types.FLOAT, problem["shape"]) for name in ("x", "y")]
        graph = helper.make_graph([node], "lrn", tensors[:1], tensors[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 9
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.session = self.runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.sets = sets

    def forward(self, index):
        (self.last,) = self.session.run(None, {"x": self.sets[index][0]})

    def result(self):
        return self.last


class OpenVino(Peer):
    """OpenVINO's LRN on its CPU plugin."""

    def load(self, threads):
        import openvino

        self.openvino, self.threads = openvino, threads
        return openvino.__version__

    def check(self, problem, direction):
        if direction != "forward":
            raise UnableError("no backward pass")
        if problem["layout"] != "nchw":
            raise UnableError("NCHW only")
        if problem["dtype"] != "float32":
            raise UnableError("float32 only")
        if problem["size"] % 2 == 0:
            raise UnableError("computes another convention: an even window of n has n − 1 elements")
        if problem["k"] != int(problem["k"]):
            raise UnableError("computes another convention: the bias is cut to an integer")
        if not 2 <= len(problem["shape"]) <= 5:
            raise UnableError("two to five dimensions only")

    def prepare(self, problem, sets):
        opset = self.openvino.opset13
        x = opset.parameter(list(problem["shape"]), self.openvino.Type.f32)
        axes = list(range(2, len(problem["shape"]))) if problem["within"] else [1]
        node = opset.lrn(x, axes, problem["alpha"], problem["beta"], problem["k"], problem["size"])
        model = self.openvino.Model([node], [x], "lrn")
        settings = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = self.openvino.Core().compile_model(model, "CPU", settings)
        self.requests = []
        for array, _, _ in sets:
            request = compiled.create_infer_request()
            request.set_input_tensor(self.openvino.Tensor(array, shared_memory=True))
            self.requests.append(request)

    def forward(self, index):
        self.requests[index].infer()
        self.last = self.requests[index]

    def result(self):
        return self.last.get_output_tensor().data


class TensorFlow(Peer):
    """tf.raw_ops.LRN and LRNGrad."""

    def load(self, threads):
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.tensorflow = tf
        return tf.__version__

    def check(self, problem, direction):
        if direction not in ("forward", "backward"):
            raise UnableError("no derivative but the backward pass")
        if problem["within"]:
            raise UnableError("no LRN within channels")
        if problem["layout"] != "nhwc":
            raise UnableError("NHWC only")
        if problem["size"] % 2 == 0:
            raise UnableError("computes another convention: its window has 2·radius + 1 elements, never an even number")
        if problem["dtype"] not in ("float32", "float16"):
            raise UnableError("float32 and float16 only")
        if len(problem["shape"]) != 4:
            raise UnableError("four dimensions only")

    def prepare(self, problem, sets):
        tensorflow = self.tensorflow
        dtype = np.dtype(problem["dtype"])
        self.settings = {
            "depth_radius": problem["size"] // 2,
            "bias": problem["k"],
            "alpha": problem["alpha"] / problem["size"],
            "beta": problem["beta"],
        }
        self.sets = [
            tuple(None if array is None else tensorflow.constant(array.view(dtype)) for array in arrays)
            for arrays in sets
        ]
        self.outputs = [None] * len(sets)

    def forward(self, index):
        self.last = self.tensorflow.raw_ops.LRN(input=self.sets[index][0], **self.settings)

    def before_backward(self, index):
        """The forward result that LRNGrad takes, outside the timed call."""
        if self.outputs[index] is None:
            self.outputs[index] = self.tensorflow.raw_ops.LRN(input=self.sets[index][0], **self.settings)

    def backward(self, index):
        x, g, _ = self.sets[index]
        self.last = self.tensorflow.raw_ops.LRNGrad(
            input_grads=g, input_image=x, output_image=self.outputs[index], **self.settings
        )

    def result(self):
        return self.last.numpy()


class Cudnn(Peer):
    """cudnnLRNCrossChannelForward and Backward."""

    buffers = None

    def load(self, threads):
        # Beside this file, and not on the module path of the peer's interpreter.
        path = pathlib.Path(__file__).with_name("cudnn.py")
        spec = importlib.util.spec_from_file_location("cudnn", path)
        self.cudnn = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.cudnn)
        try:
            self.driver = self.cudnn.Driver()
            self.operation = self.cudnn.CrossChannel(self.cudnn.find())
        except self.cudnn.AbsentError as error:
            raise UnableError(str(error)) from None
        return self.operation.version

    def seconds(self, run):
        return self.driver.seconds(run)

    def finish(self):
        self.driver.synchronize()

    def check(self, problem, direction):
        if direction not in ("forward", "backward"):
            raise UnableError("no derivative but the backward pass")
        reason = self.cudnn.refusal(problem)
        if reason:
            raise UnableError(reason)

    def prepare(self, problem, sets):
        names = ("shape", "layout", "dtype", "size", "alpha", "beta", "k")
        self.operation.describe(*(problem[name] for name in names))
        self.buffers = self.cudnn.Buffers(self.driver, [arrays[:2] for arrays in sets])

    def forward(self, index):
        x, _, y, _ = self.buffers.sets[index]
        self.operation.forward(x, y)
        self.last = y

    def before_backward(self, index):
        """The forward result that the backward pass takes, outside the timed call."""
        self.forward(index)

    def backward(self, index):
        x, g, y, dx = self.buffers.sets[index]
        self.operation.backward(x, y, g, dx)
        self.last = dx

    def result(self):
        self.driver.download(self.last, self.buffers.like)
        return self.buffers.like

    def close(self):
        if self.buffers is not None:
            self.buffers.close()


PEERS = {
    "torch": Torch,
    "torch.compile": TorchCompile,
    "numba_lrn.torch": NumbaLrn,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "tensorflow": TensorFlow,
    "cudnn": Cudnn,
}


# What a direction takes.
TAKEN = {
    "forward": ("x",),
    "backward": ("x", "grad_output"),
    "jvp": ("x", "tangent"),
    "parameters": ("x", "grad_output"),
    "double_backward": ("x", "grad_output", "tangent"),
}


class Worker:
    """Answers the commands."""

    def __init__(self, name, threads, device):
        self.peer = PEERS[name]()
        self.peer.device = device
        self.threads = threads

    def hello(self, command):
        try:
            return {"version": self.peer.load(self.threads)}
        except ImportError as error:
            return {"absent": f"not installed ({error})"}
        except UnableError as error:
            return {"absent": str(error)}

    def make(self, command):
        problem, self.direction = command["problem"], command["direction"]
        self.peer.note = ""
        self.peer.close()
        self.peer.check(problem, self.direction)
        words = np.uint16 if problem["dtype"] in ("float16", "bfloat16") else np.dtype(problem["dtype"])

        def read(path):
            return np.fromfile(path, words).reshape(problem["array_shape"])

        taken = TAKEN[self.direction]
        first = [read(problem[name]) if name in taken else None for name in ("x", "grad_output", "tangent")]
        copies = [tuple(None if array is None else array.copy() for array in first) for _ in range(command["sets"] - 1)]
        self.index, self.sets = 0, [tuple(first), *copies]
        self.peer.prepare({**problem, "direction": self.direction}, self.sets)
        before = getattr(self.peer, f"before_{self.direction}", None)
        for index in range(len(self.sets)):
            if before is not None:
                before(index)
        self.call = getattr(self.peer, self.direction)
        self.peer.finish()
        start = time.perf_counter()
        self.call(0)
        self.peer.finish()
        return {"first_call": time.perf_counter() - start, "note": self.peer.note}

    def run(self, command):
        def turns():
            for _ in range(command["calls"]):
                self.index = (self.index + 1) % len(self.sets)
                self.call(self.index)

        return {"seconds": self.peer.seconds(turns) / command["calls"]}

    def save(self, command):
        result = self.peer.result()
        parts = result if isinstance(result, tuple) else (result,)
        for index, part in enumerate(parts):
            np.ascontiguousarray(part).tofile(f"{command['path']}{index}")
        return {"parts": len(parts)}


def main():
    """Serve until the input ends; whatever a framework prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command["command"])(command)
        except UnableError as error:
            answer = {"unable": str(error)}
        except Exception as error:
            answer = {"unable": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
