// Uniform numbers of every member by its key, see `evoopt.training.counters`: out [members, numbers].

namespace {

struct Shape {
  long numbers, tensor;
};

void uniforms(long start, long stop, const Shape &s, const unsigned long long *keys, const long long *at, float *out) {
  out += start * s.numbers;
  for (long m = start; m < stop; ++m, out += s.numbers) {
    const unsigned k0 = unsigned(keys[m]), k1 = unsigned(keys[m] >> 32), step = *at, tensor = s.tensor;
    const long blocks = s.numbers / 4, left = s.numbers % 4;
    for (long i = 0; i < blocks; ++i) {
      unsigned a = i, b = (unsigned long long)i >> 32, c = step, d = tensor;
      philox(a, b, c, d, k0, k1);
      out[4 * i] = uniform(a), out[4 * i + 1] = uniform(b), out[4 * i + 2] = uniform(c), out[4 * i + 3] = uniform(d);
    }
    unsigned last[4] = {unsigned(blocks), unsigned((unsigned long long)blocks >> 32), step, tensor};
    philox(last[0], last[1], last[2], last[3], k0, k1);
    for (long k = 0; k < left; ++k) out[4 * blocks + k] = uniform(last[k]);
  }
}

}  // namespace

extern "C" int uniforms_float(long start, long stop, const Shape *s, const unsigned long long *keys, const long long *at,
                              float *out) {
  uniforms(start, stop, *s, keys, at, out);
  return 1;
}
