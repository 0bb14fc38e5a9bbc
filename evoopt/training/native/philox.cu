// Uniform numbers of every member by its key, see `evoopt.training.counters`: out [members, size]. A thread draws
// four numbers of each member that its block's row has.

extern "C" __global__ void uniforms(const unsigned long long *keys, T *out, const long long *step, int members,
                                    int size, int tensor) {
  const unsigned block = blockIdx.x * blockDim.x + threadIdx.x;
  if (block >= (size + 3u) / 4) return;
  const unsigned left = size - 4 * block;
  for (int m = blockIdx.y; m < members; m += gridDim.y) {
    unsigned a = block, b = 0, c = unsigned(*step), d = tensor;
    philox(a, b, c, d, unsigned(keys[m]), unsigned(keys[m] >> 32));
    T *to = out + (long long)m * size + 4 * block;
    to[0] = uniform(a);
    if (left > 1) to[1] = uniform(b);
    if (left > 2) to[2] = uniform(c);
    if (left > 3) to[3] = uniform(d);
  }
}
