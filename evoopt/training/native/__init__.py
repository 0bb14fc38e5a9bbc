"""Kernels in C++ for what torch has no fast form of on a CPU; without a compiler torch's own are used."""
