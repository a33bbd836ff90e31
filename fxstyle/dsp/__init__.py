"""Signal processing on the CPU: numba kernels with their adjoints, and the arrays of settings they read.

What an effect is made of: recursions (`recurrence`, `sections`, `biquad`, `crossover`), levels and their
followers (`levels`, `detector`, `follow`, `hold`, `curve`, `ranged`, `dynamics`, `lookahead`, `truepeak`),
curves and rates (`waveshaper`, `oversample`), delays (`echo`, `varispeed`, `oscillator`), convolution
(`convolve`, `noise`), and what the kernels share (`kernel`, `threads`, `lanes`, `octaves`). `fxstyle.device`
holds the same arithmetic for tensors that are not on the CPU. Nothing here knows an effect by name.
"""
