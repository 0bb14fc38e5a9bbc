// Convolutions of a population: every member has its own kernels, examples lie innermost in memory.
//
// x [members or 1, channels, height, width, examples], out [members, filters, height', width', examples],
// stride 1. A tile of filters x examples stays in registers while all of its inputs pass by, so nothing is
// copied, and the order of additions depends on neither the number of members nor on threads.
// The compiler turns vectors of 16 numbers into whatever the processor has.

#include <algorithm>
#include <vector>

namespace {

constexpr long kTileBytes = 24 << 10;  // parts of planes that stay in the first-level cache

template <class T> struct Wide {
  typedef T type __attribute__((vector_size(16 * sizeof(T)), aligned(sizeof(T)), may_alias));
};

struct Shape {
  long shared, channels, height, width, filters, kh, kw, down, right, out_height, out_width, examples;
};

template <class T, class V, int VECTORS, int FILTERS>
inline void tile(const Shape &s, const T *x, const T *packed, const T *bias, T *out, long row, long column, long e) {
  V sum[FILTERS][VECTORS];
  const long plane = s.out_height * s.out_width * s.examples;
#pragma GCC unroll 8
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) sum[f][v] = V{} + (bias ? bias[f] : T(0));
  const long top = row - s.down, left = column - s.right;
  const long i0 = top < 0 ? -top : 0, i1 = top + s.kh > s.height ? s.height - top : s.kh;
  const long j0 = left < 0 ? -left : 0, j1 = left + s.kw > s.width ? s.width - left : s.kw;
  for (long c = 0; c < s.channels; ++c)
    for (long i = i0; i < i1; ++i) {
      const T *in = x + ((c * s.height + top + i) * s.width + left) * s.examples + e;
      const T *w = packed + (c * s.kh + i) * s.kw * FILTERS;
      for (long j = j0; j < j1; ++j) {
        V seen[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) seen[v] = reinterpret_cast<const V *>(in + j * s.examples)[v];
#pragma GCC unroll 8
        for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 2
          for (int v = 0; v < VECTORS; ++v) sum[f][v] += w[j * FILTERS + f] * seen[v];
      }
    }
  T *to = out + (row * s.out_width + column) * s.examples + e;
#pragma GCC unroll 8
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) reinterpret_cast<V *>(to + f * plane)[v] = sum[f][v];
}

template <class T, class V, int VECTORS, int FILTERS>
void strip(const Shape &s, const T *x, const T *packed, const T *bias, T *out, long e) {
  for (long row = 0; row < s.out_height; ++row)
    for (long column = 0; column < s.out_width; ++column)
      tile<T, V, VECTORS, FILTERS>(s, x, packed, bias, out, row, column, e);
}

template <class T, int FILTERS>
void block(const Shape &s, const T *x, const T *packed, const T *bias, T *out) {
  typedef typename Wide<T>::type V;
  long e = 0;
  for (; e + 32 <= s.examples; e += 32) strip<T, V, 2, FILTERS>(s, x, packed, bias, out, e);
  for (; e + 16 <= s.examples; e += 16) strip<T, V, 1, FILTERS>(s, x, packed, bias, out, e);
  for (; e < s.examples; ++e) strip<T, T, 1, FILTERS>(s, x, packed, bias, out, e);
}

// Kernels of FILTERS filters side by side: [channels, kh, kw, FILTERS]. Flipped and transposed for gradients.
template <class T>
void pack(const Shape &s, const T *w, long first, long count, bool flipped, T *packed) {
  const long area = s.kh * s.kw;
  for (long c = 0; c < s.channels; ++c)
    for (long k = 0; k < area; ++k)
      for (long f = 0; f < count; ++f)
        packed[(c * area + k) * count + f] = flipped ? w[(c * s.filters + first + f) * area + area - 1 - k]
                                                     : w[((first + f) * s.channels + c) * area + k];
}

template <class T>
void forward(long start, long stop, const Shape &s, const T *x, const T *w, long w_stride, const T *bias,
             long b_stride, T *out, bool flipped) {
  std::vector<T> packed(s.channels * s.kh * s.kw * 8);
  const long in_size = s.channels * s.height * s.width * s.examples;
  const long plane = s.out_height * s.out_width * s.examples;
  for (long m = start; m < stop; ++m) {
    const T *in = x + (s.shared ? 0 : m * in_size);
    for (long first = 0; first < s.filters;) {
      const long left = s.filters - first, count = left >= 8 ? 8 : left >= 6 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
      pack(s, w + m * w_stride, first, count, flipped, packed.data());
      const T *b = bias ? bias + m * b_stride + first : nullptr;
      T *to = out + (m * s.filters + first) * plane;
      if (count == 8) block<T, 8>(s, in, packed.data(), b, to);
      else if (count == 6) block<T, 6>(s, in, packed.data(), b, to);
      else if (count == 4) block<T, 4>(s, in, packed.data(), b, to);
      else if (count == 2) block<T, 2>(s, in, packed.data(), b, to);
      else block<T, 1>(s, in, packed.data(), b, to);
      first += count;
    }
  }
}

template <class T>
T total(const typename Wide<T>::type &v) {
  typedef T Eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
  typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
  const Eight *h = reinterpret_cast<const Eight *>(&v);
  const Eight eight = h[0] + h[1];
  const Four *q = reinterpret_cast<const Four *>(&eight);
  const Four four = q[0] + q[1];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

struct Part {
  long top, bottom, left, right;
};

// Adds, for one place in the kernel and a part of the output, the products of FILTERS x CHANNELS planes.
template <class T, int FILTERS, int CHANNELS>
inline void weights_tile(const Shape &s, const T *x, const T *g, long i, long j, const Part &part,
                         typename Wide<T>::type *sums, T *tails) {
  typedef typename Wide<T>::type V;
  const long plane = s.out_height * s.out_width * s.examples, in_plane = s.height * s.width * s.examples;
  const long h0 = std::max(part.top, s.down - i), h1 = std::min(part.bottom, s.height + s.down - i);
  const long w0 = std::max(part.left, s.right - j), w1 = std::min(part.right, s.width + s.right - j);
  const long run = w1 > w0 ? (w1 - w0) * s.examples : 0, whole = run / 16 * 16;
  V sum[FILTERS][CHANNELS];
#pragma GCC unroll 4
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 4
    for (int c = 0; c < CHANNELS; ++c) sum[f][c] = sums[f * CHANNELS + c];
  for (long h = h0; h < h1; ++h) {
    const T *gr = g + (h * s.out_width + w0) * s.examples;
    const T *xr = x + ((h + i - s.down) * s.width + w0 + j - s.right) * s.examples;
    for (long e = 0; e < whole; e += 16) {
      V gv[FILTERS], xv[CHANNELS];
#pragma GCC unroll 4
      for (int f = 0; f < FILTERS; ++f) gv[f] = *reinterpret_cast<const V *>(gr + f * plane + e);
#pragma GCC unroll 4
      for (int c = 0; c < CHANNELS; ++c) xv[c] = *reinterpret_cast<const V *>(xr + c * in_plane + e);
#pragma GCC unroll 4
      for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 4
        for (int c = 0; c < CHANNELS; ++c) sum[f][c] += gv[f] * xv[c];
    }
    for (long e = whole; e < run; ++e)
      for (int f = 0; f < FILTERS; ++f)
        for (int c = 0; c < CHANNELS; ++c) tails[f * CHANNELS + c] += gr[f * plane + e] * xr[c * in_plane + e];
  }
#pragma GCC unroll 4
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 4
    for (int c = 0; c < CHANNELS; ++c) sums[f * CHANNELS + c] = sum[f][c];
}

template <class T, int FILTERS, int CHANNELS>
void weights_block(const Shape &s, const T *x, const T *g, T *dw, std::vector<typename Wide<T>::type> &sums,
                   std::vector<T> &tails) {
  constexpr int pairs = FILTERS * CHANNELS;
  const long area = s.kh * s.kw, column_bytes = (FILTERS + CHANNELS) * std::max(1L, s.examples) * long(sizeof(T));
  const long columns = std::min(s.out_width, std::max(1L, kTileBytes / column_bytes));
  const long rows = std::max(1L, kTileBytes / (column_bytes * columns));
  sums.assign(area * pairs, typename Wide<T>::type{});
  tails.assign(area * pairs, T(0));
  for (long top = 0; top < s.out_height; top += rows)
    for (long left = 0; left < s.out_width; left += columns) {
      const Part part{top, std::min(top + rows, s.out_height), left, std::min(left + columns, s.out_width)};
      for (long i = 0; i < s.kh; ++i)
        for (long j = 0; j < s.kw; ++j)
          weights_tile<T, FILTERS, CHANNELS>(s, x, g, i, j, part, &sums[(i * s.kw + j) * pairs],
                                             &tails[(i * s.kw + j) * pairs]);
    }
  for (int f = 0; f < FILTERS; ++f)
    for (int c = 0; c < CHANNELS; ++c)
      for (long k = 0; k < area; ++k)
        dw[(f * s.channels + c) * area + k] =
            total<T>(sums[k * pairs + f * CHANNELS + c]) + tails[k * pairs + f * CHANNELS + c];
}

template <class T, int FILTERS>
void weights_row(const Shape &s, const T *x, const T *g, T *dw, std::vector<typename Wide<T>::type> &sums,
                 std::vector<T> &tails) {
  const long in_plane = s.height * s.width * s.examples, area = s.kh * s.kw;
  long c = 0;
  for (; c + 4 <= s.channels; c += 4)
    weights_block<T, FILTERS, 4>(s, x + c * in_plane, g, dw + c * area, sums, tails);
  for (; c + 2 <= s.channels; c += 2)
    weights_block<T, FILTERS, 2>(s, x + c * in_plane, g, dw + c * area, sums, tails);
  for (; c < s.channels; ++c)
    weights_block<T, FILTERS, 1>(s, x + c * in_plane, g, dw + c * area, sums, tails);
}

template <class T>
void weights(long start, long stop, const Shape &s, const T *x, const T *g, T *dw, long dw_stride) {
  std::vector<typename Wide<T>::type> sums;
  std::vector<T> tails;
  const long in_size = s.channels * s.height * s.width * s.examples;
  const long plane = s.out_height * s.out_width * s.examples, size = s.channels * s.kh * s.kw;
  for (long m = start; m < stop; ++m) {
    const T *in = x + (s.shared ? 0 : m * in_size), *gm = g + m * s.filters * plane;
    T *to = dw + m * dw_stride;
    long f = 0;
    for (; f + 4 <= s.filters; f += 4) weights_row<T, 4>(s, in, gm + f * plane, to + f * size, sums, tails);
    for (; f + 2 <= s.filters; f += 2) weights_row<T, 2>(s, in, gm + f * plane, to + f * size, sums, tails);
    for (; f < s.filters; ++f) weights_row<T, 1>(s, in, gm + f * plane, to + f * size, sums, tails);
  }
}

}  // namespace

// 1, or -1 where there is no memory: no exception may leave a function that Python calls.
extern "C" {
#define EVOOPT_CONVOLUTION(T)                                                                                  \
  int forward_##T(long start, long stop, const Shape *s, const T *x, const T *w, long w_stride, const T *bias, \
                  long b_stride, T *out, int flipped) try {                                                    \
    forward(start, stop, *s, x, w, w_stride, bias, b_stride, out, flipped != 0);                               \
    return 1;                                                                                                  \
  } catch (...) { return -1; }                                                                                 \
  int weights_##T(long start, long stop, const Shape *s, const T *x, const T *g, T *dw, long dw_stride) try {  \
    weights(start, stop, *s, x, g, dw, dw_stride);                                                             \
    return 1;                                                                                                  \
  } catch (...) { return -1; }
EVOOPT_CONVOLUTION(float)
EVOOPT_CONVOLUTION(double)
}
