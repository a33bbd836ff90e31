"""Training of what fxstyle learns: treated recordings made on the fly, and the loops over them."""
