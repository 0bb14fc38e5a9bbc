// Batch normalisation of a population's activations, with ReLU behind it where that follows; examples lie innermost.
//
// x [members or 1, channels, numbers], out, gradients [members, channels, numbers]; weight, bias, running mean and
// variance [members, channels] or null. `kept` [members, channels, 2] are the mean and 1 / deviation that a channel was
// normalised by. Sums are of vectors in parts whose totals are added in double.

#include <algorithm>
#include <cmath>

#include "vectors.h"

namespace {

struct Shape {
  long channels, numbers;
  long x_stride, w_stride, b_stride, dw_stride, db_stride;  // from one member to the next
  long of_batch;                      // whether a channel is normalised by its own mean and variance
};

constexpr long kPart = 256;  // vectors

// What `f` gives at all places, a vector or a number at a time.
template <class T, class F> inline double sum(long count, F f) {
  typedef typename Wide<T>::type V;
  constexpr long L = kLanes<T>;
  double whole = 0;
  long e = 0;
  while (e + L <= count) {
    V a = V{}, b = V{}, c = V{}, d = V{};
    const long stop = std::min(count, e + kPart * L);
    for (; e + 4 * L <= stop; e += 4 * L)
      a += f(V{}, e), b += f(V{}, e + L), c += f(V{}, e + 2 * L), d += f(V{}, e + 3 * L);
    for (; e + L <= stop; e += L) a += f(V{}, e);
    whole += total<T>(a + b + c + d);
  }
  for (; e < count; ++e) whole += f(T(0), e);
  return whole;
}

template <class T>
void scale(long n, const T *__restrict x, T mean, T by, T add, bool relu, T *__restrict out) {
  if (relu)
    for (long e = 0; e < n; ++e) {
      const T y = (x[e] - mean) * by + add;
      out[e] = y < 0 ? T(0) : y;  // NaN stays
    }
  else
    for (long e = 0; e < n; ++e) out[e] = (x[e] - mean) * by + add;
}

template <class T>
void forward(long start, long stop, const Shape &s, const T *x, const T *weight, const T *bias, T *mean, T *var,
             double momentum, double eps, bool relu, T *out, T *kept) {
  const long n = s.numbers;
  for (long m = start; m < stop; ++m)
    for (long c = 0; c < s.channels; ++c) {
      const long place = m * s.channels + c;
      const T *own = x + m * s.x_stride + c * n;
      T *mu = kept + 2 * place, *inverse = mu + 1;
      if (s.of_batch) {
        const T centre = *mu = T(sum<T>(n, [&](auto kind, long e) { return load<decltype(kind)>(own + e); }) / n);
        const double squares = sum<T>(n, [&](auto kind, long e) {
          const auto d = load<decltype(kind)>(own + e) - centre;
          return d * d;
        });
        *inverse = T(1 / std::sqrt(squares / n + eps));
        if (mean) {
          mean[place] = T((1 - momentum) * mean[place] + momentum * centre);
          var[place] = T((1 - momentum) * var[place] + momentum * squares / (n - 1));
        }
      } else {
        *mu = mean[place], *inverse = T(1 / std::sqrt(var[place] + eps));
      }
      const T by = weight ? *inverse * weight[m * s.w_stride + c] : *inverse;
      scale(n, own, *mu, by, bias ? bias[m * s.b_stride + c] : T(0), relu, out + place * n);
    }
}

// `out`, if not null, went through ReLU. `dx` is written to in any case.
template <class T>
void backward(long start, long stop, const Shape &s, const T *x, const T *weight, const T *out, const T *grad,
              const T *kept, T *d_weight, T *d_bias, T *dx) {
  const long n = s.numbers;
  for (long m = start; m < stop; ++m)
    for (long c = 0; c < s.channels; ++c) {
      const long place = m * s.channels + c;
      const T *own = x + m * s.x_stride + c * n, *g = grad + place * n, *passed = out ? out + place * n : nullptr;
      const T centre = kept[2 * place], inverse = kept[2 * place + 1];
      T *__restrict d = dx + place * n;
      if (passed) {
        for (long e = 0; e < n; ++e) d[e] = passed[e] <= 0 ? T(0) : g[e];
        g = d;
      }
      const double whole = sum<T>(n, [&](auto kind, long e) { return load<decltype(kind)>(g + e); });
      const double along = sum<T>(n, [&](auto kind, long e) {
        typedef decltype(kind) X;
        return load<X>(g + e) * (load<X>(own + e) - centre);
      });
      if (d_weight) d_weight[m * s.dw_stride + c] = T(along * inverse);
      if (d_bias) d_bias[m * s.db_stride + c] = T(whole);
      const T by = weight ? inverse * weight[m * s.w_stride + c] : inverse;
      const T mean = s.of_batch ? T(whole / n) : T(0), slope = s.of_batch ? T(along * inverse * inverse / n) : T(0);
      for (long e = 0; e < n; ++e) d[e] = by * (g[e] - mean - (own[e] - centre) * slope);
    }
}

}  // namespace

extern "C" {
#define EVOOPT_BATCH_NORM(T)                                                                                          \
  int forward_##T(long start, long stop, const Shape *s, const T *x, const T *weight, const T *bias, T *mean, T *var, \
                  double momentum, double eps, int relu, T *out, T *kept) {                                           \
    forward(start, stop, *s, x, weight, bias, mean, var, momentum, eps, relu != 0, out, kept);                        \
    return 1;                                                                                                         \
  }                                                                                                                   \
  int backward_##T(long start, long stop, const Shape *s, const T *x, const T *weight, const T *out, const T *grad,   \
                   const T *kept, T *d_weight, T *d_bias, T *dx) {                                                    \
    backward(start, stop, *s, x, weight, out, grad, kept, d_weight, d_bias, dx);                                      \
    return 1;                                                                                                         \
  }
EVOOPT_BATCH_NORM(float)
EVOOPT_BATCH_NORM(double)
}
