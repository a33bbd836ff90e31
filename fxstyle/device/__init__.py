"""Forms of the effects for tensors that do not lie on the CPU.

The effects stay one file each: where their CPU form calls a numba kernel, a tensor from elsewhere goes to
the function of this package that computes the same thing where the tensor lies.

    linear, time-invariant parts    frequency sampling on a damped circle, in torch       spectral.py
    recursions that are not linear  one thread per lane (row and channel), numba.cuda     loops.py
    reading where a signal sways    one thread per sample, likewise                       varispeed.py
    everything else                 plain torch, gradients by autograd

A lane function is written once, in what numba compiles for both machines: on a CPU tensor it runs as a
compiled loop, which is how the tests compare it with the CPU's own kernels at full length. What would need
kernels where numba cannot compile any goes to the CPU and back (host.py).

Every form takes and returns tensors on one device, float32 or float64, and computes levels, delays and
recursions in float64. Devices without float64 (Apple's MPS) cannot hold the knobs; give the whole effect
to `host.via_host` there.
"""
