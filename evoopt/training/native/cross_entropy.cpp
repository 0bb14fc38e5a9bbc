// Mean cross-entropy of a population's outputs and its gradient; examples lie innermost in memory.
//
// outputs and gradients [members, classes, examples], classes of the examples [members or 1, examples].

#include <cmath>
#include <vector>

namespace {

struct Shape {
  long classes, examples, y_stride;
};

// False if a class is none of the outputs'; what has been written is of no use then.
template <class T>
bool cross_entropy(long start, long stop, const Shape &s, const T *out, const long long *y, T *losses, T *grad) {
  const long b = s.examples, size = s.classes * b;
  std::vector<T> largest(b), sum(b);
  out += start * size, grad += start * size, y += start * s.y_stride;
  for (long m = start; m < stop; ++m, out += size, grad += size, y += s.y_stride) {
    for (long e = 0; e < b; ++e) largest[e] = out[e], sum[e] = 0;
    for (long c = 1; c < s.classes; ++c)
      for (long e = 0; e < b; ++e) largest[e] = out[c * b + e] > largest[e] ? out[c * b + e] : largest[e];
    for (long k = 0; k < size; k += b)
      for (long e = 0; e < b; ++e) grad[k + e] = std::exp(out[k + e] - largest[e]);
    for (long k = 0; k < size; k += b)
      for (long e = 0; e < b; ++e) sum[e] += grad[k + e];
    T total = 0;
    for (long e = 0; e < b; ++e) {
      if (y[e] < 0 || y[e] >= s.classes) return false;
      total += std::log(sum[e]) - (out[y[e] * b + e] - largest[e]);
      sum[e] = 1 / (sum[e] * b);
    }
    losses[m] = total / b;
    for (long k = 0; k < size; k += b)
      for (long e = 0; e < b; ++e) grad[k + e] *= sum[e];
    for (long e = 0; e < b; ++e) grad[y[e] * b + e] -= T(1) / b;
  }
  return true;
}

}  // namespace

// 1, 0 where a class is none of the outputs', or -1 where there is no memory: no exception may leave a function
// that Python calls.
extern "C" {
#define EVOOPT_CROSS_ENTROPY(T)                                                                             \
  int cross_entropy_##T(long start, long stop, const Shape *s, const T *out, const long long *y, T *losses, \
                        T *grad) try {                                                                      \
    return cross_entropy(start, stop, *s, out, y, losses, grad);                                            \
  } catch (...) { return -1; }
EVOOPT_CROSS_ENTROPY(float)
EVOOPT_CROSS_ENTROPY(double)
}
