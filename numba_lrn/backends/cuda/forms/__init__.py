"""The bodies of the kernels: plain functions whose free names kernels.py injects, for the card or for the simulator.

Every form has one signature, ``(local, pointers, integers, par, sums)``: local arrays, of the sizes that
``local_sizes`` tells; the caller's arrays and temporaries; columns, length, inner, chunk and what else the form takes;
the parameters; and the thread's sums over all elements, where the recipe has some. The array in memory order is
(outer, length, inner).

What is done for each array, or for each stage of a phase, is a function that kernels.py repeats, one copy after
another, each with constants of its own: ``helpers`` tells which, under the name by which the form calls all of them.
FIELD is the place of an array among those that the function is given, POINTER that among the pointers.
"""
