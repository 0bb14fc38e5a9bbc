// Max pooling of stacked activations: planes [height, width, examples], examples innermost.
//
// As in torch, the first of equal numbers wins and NaN is larger than any number.

#include <algorithm>
#include <cstdint>

#include "vectors.h"

namespace {

constexpr long kTogether = 16;  // examples

template <class T> struct Whole;
template <> struct Whole<float> { typedef int32_t Integer; };
template <> struct Whole<double> { typedef int64_t Integer; };

typedef Wide<uint8_t, kTogether>::type Places;

struct Shape {
  long channels, height, width, kh, kw, stride_down, stride_right, down, right, out_height, out_width, examples;
};

struct Window {
  long h0, h1, w0, w1, top, left;
  Window(const Shape &s, long row, long column)
      : top(row * s.stride_down - s.down), left(column * s.stride_right - s.right) {
    h0 = top < 0 ? 0 : top, w0 = left < 0 ? 0 : left;
    h1 = top + s.kh < s.height ? top + s.kh : s.height, w1 = left + s.kw < s.width ? left + s.kw : s.width;
  }
};

template <class T>
void forward(long start, long stop, const Shape &s, const T *x, T *out, uint8_t *place) {
  typedef typename Whole<T>::Integer Integer;
  typedef typename Wide<T, kTogether>::type V;
  typedef typename Wide<Integer, kTogether>::type M;
  const long size = s.height * s.width * s.examples, pooled = s.out_height * s.out_width * s.examples;
  x += start * s.channels * size, out += start * s.channels * pooled, place += start * s.channels * pooled;
  for (long p = start * s.channels; p < stop * s.channels; ++p, x += size)
    for (long row = 0; row < s.out_height; ++row)
      for (long column = 0; column < s.out_width; ++column, out += s.examples, place += s.examples) {
        const Window at(s, row, column);
        const long start = (at.h0 - at.top) * s.kw + at.w0 - at.left;
        long e = 0;
        for (; e + kTogether <= s.examples; e += kTogether) {
          V best = load<V>(x + (at.h0 * s.width + at.w0) * s.examples + e);
          M which = M{} + Integer(start);
          for (long h = at.h0; h < at.h1; ++h)
            for (long w = at.w0; w < at.w1; ++w) {
              const V seen = load<V>(x + (h * s.width + w) * s.examples + e);
              const M larger = (seen > best) | (seen != seen);
              best = larger ? seen : best;
              which = larger ? M{} + Integer((h - at.top) * s.kw + w - at.left) : which;
            }
          store(out + e, best);
          store(place + e, __builtin_convertvector(which, Places));
        }
        for (; e < s.examples; ++e) {
          out[e] = x[(at.h0 * s.width + at.w0) * s.examples + e];
          place[e] = uint8_t(start);
          for (long h = at.h0; h < at.h1; ++h)
            for (long w = at.w0; w < at.w1; ++w) {
              const T seen = x[(h * s.width + w) * s.examples + e];
              if (seen > out[e] || seen != seen)
                out[e] = seen, place[e] = uint8_t((h - at.top) * s.kw + w - at.left);
            }
        }
      }
}

template <class T>
void backward(long start, long stop, const Shape &s, const T *g, const uint8_t *place, T *dx) {
  typedef typename Whole<T>::Integer Integer;
  typedef typename Wide<T, kTogether>::type V;
  typedef typename Wide<Integer, kTogether>::type M;
  const long size = s.height * s.width * s.examples, pooled = s.out_height * s.out_width * s.examples;
  g += start * s.channels * pooled, place += start * s.channels * pooled, dx += start * s.channels * size;
  for (long p = start * s.channels; p < stop * s.channels; ++p, dx += size) {
    std::fill_n(dx, size, T(0));
    for (long row = 0; row < s.out_height; ++row)
      for (long column = 0; column < s.out_width; ++column, g += s.examples, place += s.examples) {
        const Window at(s, row, column);
        long e = 0;
        for (; e + kTogether <= s.examples; e += kTogether) {
          const V flows = load<V>(g + e);
          const M which = __builtin_convertvector(load<Places>(place + e), M);
          for (long h = at.h0; h < at.h1; ++h)
            for (long w = at.w0; w < at.w1; ++w) {
              const Integer k((h - at.top) * s.kw + w - at.left);
              T *to = dx + (h * s.width + w) * s.examples + e;
              store(to, V(load<V>(to) + (which == k ? flows : V{})));
            }
        }
        for (; e < s.examples; ++e)
          dx[((at.top + place[e] / s.kw) * s.width + at.left + place[e] % s.kw) * s.examples + e] += g[e];
      }
  }
}

}  // namespace

extern "C" {
#define EVOOPT_POOLING(T)                                                                            \
  int forward_##T(long start, long stop, const Shape *s, const T *x, T *out, uint8_t *place) {       \
    return forward(start, stop, *s, x, out, place), 1;                                               \
  }                                                                                                  \
  int backward_##T(long start, long stop, const Shape *s, const T *g, const uint8_t *place, T *dx) { \
    return backward(start, stop, *s, g, place, dx), 1;                                               \
  }
EVOOPT_POOLING(float)
EVOOPT_POOLING(double)
}
