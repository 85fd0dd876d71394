"""TensorFlow Lite: the optimized kernel and the reference kernel."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

from numba_lrn import conventions
from tests.conformance.harness import agree, cases, framework, running_sum_limit

tf = framework("tensorflow")

LIMIT = 32
CHANNELS_LAST = (0, 2, 3, 1)
RESOLVERS = {
    "optimized": tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": tf.lite.experimental.OpResolverType.BUILTIN_REF,
}


def convert(shape, radius, bias, alpha, beta):
    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def lrn(x):
        return tf.nn.local_response_normalization(x, radius, bias, alpha, beta)

    return tf.lite.TFLiteConverter.from_concrete_functions([lrn.get_concrete_function()]).convert()


def run(model, x, variant):
    interpreter = tf.lite.Interpreter(
        model_content=model, experimental_op_resolver_type=RESOLVERS[variant], num_threads=1
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_forward_of_both_kernels():
    for case in cases(10, odd=True):
        x = np.ascontiguousarray(case.x.transpose(CHANNELS_LAST))
        parameters = (case.n // 2, case.k, case.alpha, case.beta)
        model = convert(x.shape, *parameters)
        for variant in RESOLVERS:
            op = conventions.tflite(*parameters, variant=variant)
            limit = LIMIT + (running_sum_limit(op, x) if variant == "optimized" else 0)
            agree(f"TFLite {variant}", op, case, run(model, x, variant), limit=limit, axes=CHANNELS_LAST)


def test_defect_reference_kernel_ends_one_channel_early():
    """BUILTIN_REF sums [c − r, c + r − 1]; radius 1 on 1, 2, 3: squares 1, 1 + 4, 4 + 9."""
    x = np.array([1, 2, 3], np.float32).reshape(1, 1, 1, 3)
    model = convert(x.shape, 1, 1.0, 1.0, 1.0)
    np.testing.assert_allclose(run(model, x, "reference").ravel(), [1 / 2, 2 / 6, 3 / 14], rtol=1e-6)
    np.testing.assert_allclose(run(model, x, "optimized").ravel(), [1 / 6, 2 / 15, 3 / 14], rtol=1e-6)


def test_published_values_pass_the_optimized_kernel_only():
    x = np.array([-1.1, 0.6, 0.7, 1.2, -0.7, 0.1], np.float32).reshape(1, 1, 1, 6)
    expected = [-0.264926, 0.125109, 0.140112, 0.267261, -0.161788, 0.0244266]
    model = convert(x.shape, 2, 9.0, 4.0, 0.5)
    np.testing.assert_allclose(run(model, x, "optimized").ravel(), expected, rtol=5e-6)
    assert np.abs(run(model, x, "reference").ravel() - expected).max() > 0.01
