"""How Numba compiles here: functions for their callers alone, and vectors as wide as the processor's.

Numba optimises every function by itself, makes machine code of it, and then optimises it again as a part of each
caller; its ``inline="always"`` avoids that, but copies and types the function anew for every call. The parts of a
kernel are typed once and handed on as LLVM code, which is optimised where an entry point has been put together.
That took the first call of forward from 6.8 to 4.1 s of processor time and that of backward from 11.1 to 6.1 (n = 5,
float32; before, loops were compiled by themselves and all else was inlined).
"""

from typing import Any

from llvmlite import ir
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.typed_passes import NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes

from numba_lrn.algorithm.binding import complete

PART = b"numba-lrn-part"  # marks the functions of parts


class EntryLibrary(JITCodeLibrary):
    """LLVM code with 512-bit vectors, where the processor has them.

    On Intel's servers LLVM takes 256 bits by default. The power of β = 3/4 takes 0.35 ns an element with 512 bits
    and 0.40 with 256, the whole forward pass over 74 MB 1.36 × a copy against 1.67. llvmlite knows no attributes with
    a value, hence the set's own ``add``.
    """

    def add_ir_module(self, ir_module: Any) -> None:
        """Add the functions of a module."""
        for function in ir_module.functions:
            if not function.is_declaration:
                set.add(function.attributes, '"prefer-vector-width"="512"')
        super().add_ir_module(ir_module)

    def _optimize_final_module(self) -> None:
        """With the parts known to be called from here alone, arguments that nobody uses are not passed."""
        for function in self._final_module.functions:
            if not function.is_declaration and any(PART in attributes for attributes in function.attributes):
                function.linkage = "internal"
        super()._optimize_final_module()


class PartLibrary(EntryLibrary):
    """LLVM code that is neither optimised nor made into machine code by itself.

    Its arrays belong to the caller of the entry point: nothing counts references to them.
    """

    def add_ir_module(self, ir_module: Any) -> None:
        """Add the functions of a module."""
        for function in ir_module.functions:
            if function.name in ("NRT_incref", "NRT_decref"):
                function.linkage = "internal"
                ir.IRBuilder(function.append_basic_block()).ret_void()
            if not function.is_declaration:
                set.add(function.attributes, f'"{PART.decode()}"')
        super().add_ir_module(ir_module)

    @property
    def codegen(self) -> Any:
        """The code generator, for those who would store into machine code."""
        return _WithoutEnvironments(self._codegen)

    def _optimize_final_module(self) -> None:
        """The caller's library does it, for all that it is linked with."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Null: no machine code."""
        self._ensure_finalized()
        return 0


class LoopLibrary(PartLibrary):
    """The same for loops over neighbours, which stay functions of their own.

    LLVM copies them to wherever they are called from: n = 63 took 5.2 s of processor time forward and 8.2 backward,
    with this 3.4 and 5.6 (float32), and runs as fast.

    And what a loop finds in ``buffers``, parts of a workspace, it reaches by no other way. Where LLVM does not know
    this it tests at run time which arrays overlap, and leaves a loop of more than eight such pairs without vectors;
    the code of n = 63 has a fifth more instructions.
    """

    ALONE: tuple[str, ...] = ("arg.buffers.",)  # arguments whose arrays nothing else reaches, or writes to

    def add_ir_module(self, ir_module: Any) -> None:
        """Add the functions of a module."""
        for function in ir_module.functions:
            if not function.is_declaration:
                set.add(function.attributes, "noinline")
                for argument in function.args:
                    if argument.name.startswith(self.ALONE) and isinstance(argument.type, ir.PointerType):
                        argument.add_attribute("noalias")
        super().add_ir_module(ir_module)


class ApartLoopLibrary(LoopLibrary):
    """The same for loops whose results lie apart from all that they read.

    Two rows at a time make 30 pairs of addresses to compare before each strip: backward of one image takes 1.05 × as
    long with them. Two inputs may be one array: what is only read may be reached by two ways.
    """

    ALONE = ("arg.buffers.", "arg.arrays.")


class _WithoutEnvironments:
    """A code generator for functions that have no machine code, and so no place for Python's objects either."""

    def __init__(self, codegen: Any):
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: object) -> None:
        """There is nothing to set."""


class EntryCompiler(Compiler):
    """Numba's own compiler, for entry points."""

    library = EntryLibrary

    def compile_extra(self, func: Any) -> Any:
        """Compile a function, which no cache has."""
        complete(func)
        self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)


class PartCompiler(EntryCompiler):
    """The same for what they call, which has neither closures nor arithmetic of whole arrays.

    Without the passes that look for these n = 63 takes 3.7 s of processor time backward instead of 4.0.
    """

    library = PartLibrary

    def define_pipelines(self) -> Any:
        """Numba's passes but for two."""
        pipelines = super().define_pipelines()
        for pipeline in pipelines:
            pipeline.passes = [
                each for each in pipeline.passes if each[0] not in (InlineClosureLikes, NopythonRewrites)
            ]
        return pipelines


class LoopCompiler(PartCompiler):
    """The same for their loops."""

    library = LoopLibrary


class ApartLoopCompiler(LoopCompiler):
    """The same for those whose results lie apart."""

    library = ApartLoopLibrary
