// Convolutions of a population, with max pooling and ReLU behind them: every member has its own kernels,
// examples lie innermost in memory.
//
// x [members or 1, channels, height, width, examples], out [members, filters, height', width', examples],
// stride 1. A tile of filters x examples stays in registers while all of its inputs pass by, so nothing is
// copied, and the order of additions depends on neither the number of members nor on threads. Of pooled
// outputs only the largest of a window is ever written.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

constexpr int kFilters = kBytes == 32 ? 6 : 8, kTall = kBytes == 64 ? 8 : 4;  // of tiles, for outputs and for kernels
constexpr int kWide = 2;               // channels
constexpr long kTileBytes = 24 << 10;  // parts of planes that stay in the first-level cache

// A number for each of a vector's.
template <class T> using Places = typename Wide<uint8_t, kLanes<T>>::type;

struct Shape {
  long shared, channels, height, width, filters, kh, kw, down, right, out_height, out_width, examples;
  long window_height, window_width;  // of max pooling, whose windows lie side by side; 1 and 1 for none
  long window() const { return window_height * window_width; }
  long pooled_height() const { return out_height / window_height; }
  long pooled_width() const { return out_width / window_width; }
};

struct Tap {
  long in, w;  // where its input lies, from that of the first one on, and which of the kernel's numbers it is
};

// What of a kernel meets the image at a place, in the order of the kernel; the same nearly everywhere.
struct Taps {
  long i0, i1, j0, j1;
  std::vector<Tap> list;
};

template <class T> struct Forward {
  const Shape &s;
  const T *x, *packed, *bias;
  bool relu;
  T *out;
  uint8_t *place;  // of the largest of a window
  T *sums;         // of a window's tiles
  std::vector<Taps> &known;

  const std::vector<Tap> &taps(long top, long left) const {
    const long i0 = top < 0 ? -top : 0, i1 = top + s.kh > s.height ? s.height - top : s.kh;
    const long j0 = left < 0 ? -left : 0, j1 = left + s.kw > s.width ? s.width - left : s.kw;
    for (const Taps &t : known)
      if (t.i0 == i0 && t.i1 == i1 && t.j0 == j0 && t.j1 == j1) return t.list;
    Taps t{i0, i1, j0, j1, {}};
    for (long c = 0; c < s.channels; ++c)
      for (long i = i0; i < i1; ++i)
        for (long j = j0; j < j1; ++j)
          t.list.push_back({((c * s.height + i) * s.width + j) * s.examples, (c * s.kh + i) * s.kw + j});
    known.push_back(t);
    return known.back().list;
  }
};

// Apart from what calls it, where the compiler would not keep the sums in registers.
template <class T, class V, int VECTORS, int FILTERS>
__attribute__((noinline)) void tile(const std::vector<Tap> &taps, const T *x, const T *packed, const T *bias,
                                    bool relu, T *to, long plane) {
  constexpr long lanes = sizeof(V) / sizeof(T);
  V sum[FILTERS][VECTORS];
#pragma GCC unroll 8
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) sum[f][v] = V{} + (bias ? bias[f] : T(0));
#pragma GCC unroll 1
  for (const Tap *t = taps.data(), *end = t + taps.size(); t < end; ++t) {
    const T *in = x + t->in, *w = packed + t->w * FILTERS;
    V seen[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) seen[v] = load<V>(in + v * lanes);
#pragma GCC unroll 8
    for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) sum[f][v] += w[f] * seen[v];
  }
#pragma GCC unroll 8
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v)
      store(to + f * plane + v * lanes, relu ? (sum[f][v] < 0 ? V{} : sum[f][v]) : sum[f][v]);
}

// As in torch, the first of equal numbers wins and NaN is larger than any number.
template <class T, class V, int VECTORS, int FILTERS>
__attribute__((noinline)) void largest(const T *sums, int window, bool relu, T *out, uint8_t *place, long plane) {
  typedef decltype((V{} < V{}) + 0) M;
  constexpr long lanes = sizeof(V) / sizeof(T);
  constexpr int some = FILTERS < 4 ? FILTERS : 4;  // filters at a time, the last ones again where they overlap
  for (int at = 0; at < FILTERS; at += some) {
    const int first = at + some > FILTERS ? FILTERS - some : at;
    const T *from = sums + first * VECTORS * lanes;
    V best[some][VECTORS];
    M which[some][VECTORS] = {};
#pragma GCC unroll 4
    for (int f = 0; f < some; ++f)
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) best[f][v] = load<V>(from + (f * VECTORS + v) * lanes);
#pragma GCC unroll 1
    for (int k = 1; k < window; ++k) {
      from += FILTERS * VECTORS * lanes;
#pragma GCC unroll 4
      for (int f = 0; f < some; ++f)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) {
          const V seen = load<V>(from + (f * VECTORS + v) * lanes);
          const M larger = (seen > best[f][v]) | (seen != seen);
          best[f][v] = larger ? seen : best[f][v];
          which[f][v] = larger ? M{} + k : which[f][v];
        }
    }
#pragma GCC unroll 4
    for (int f = 0; f < some; ++f)
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) {
        const V top = best[f][v];
        store(out + (first + f) * plane + v * lanes, relu ? (top < 0 ? V{} : top) : top);
        if (!place) continue;
        uint8_t *to = place + (first + f) * plane + v * lanes;
        if constexpr (lanes == 1) *to = uint8_t(which[f][v]);
        else store(to, __builtin_convertvector(which[f][v], Places<T>));
      }
  }
}

template <class T, class V, int VECTORS, int FILTERS> void outputs(const Forward<T> &p, long first, long row, long e) {
  const Shape &s = p.s;
  const T *packed = p.packed + first * s.channels * s.kh * s.kw, *bias = p.bias ? p.bias + first : nullptr;
  constexpr long run = VECTORS * sizeof(V) / sizeof(T);
  const long width = s.pooled_width(), plane = s.pooled_height() * width * s.examples, window = s.window();
  long at = first * plane + row * width * s.examples + e;
  for (long column = 0; column < width; ++column, at += s.examples) {
    T *to = window == 1 ? p.out + at : p.sums;
    for (long h = 0; h < s.window_height; ++h)
      for (long w = 0; w < s.window_width; ++w, to += FILTERS * run) {
        const long top = row * s.window_height + h - s.down, left = column * s.window_width + w - s.right;
        tile<T, V, VECTORS, FILTERS>(p.taps(top, left), p.x + (top * s.width + left) * s.examples + e, packed, bias,
                                     p.relu && window == 1, to, window == 1 ? plane : run);
      }
    if (window > 1)
      largest<T, V, VECTORS, FILTERS>(p.sums, window, p.relu, p.out + at, p.place ? p.place + at : nullptr, plane);
  }
}

// How many filters to begin with, so that tiles are about equally large.
inline long block(long filters) {
  const long blocks = (filters + kFilters - 1) / kFilters;
  return (filters + blocks - 1) / blocks;
}

// Row by row, so that what the next filters read of the images is still in the cache.
template <class T, class V, int VECTORS> void strip(const Forward<T> &p, long e) {
  for (long row = 0; row < p.s.pooled_height(); ++row)
    for (long first = 0, count; first < p.s.filters; first += count) {
      count = block(p.s.filters - first);
      if (count == kFilters) outputs<T, V, VECTORS, kFilters>(p, first, row, e);
      else if (count == 7) outputs<T, V, VECTORS, 7>(p, first, row, e);
      else if (count == 6) outputs<T, V, VECTORS, 6>(p, first, row, e);
      else if (count == 5) outputs<T, V, VECTORS, 5>(p, first, row, e);
      else if (count == 4) outputs<T, V, VECTORS, 4>(p, first, row, e);
      else if (count == 3) outputs<T, V, VECTORS, 3>(p, first, row, e);
      else if (count == 2) outputs<T, V, VECTORS, 2>(p, first, row, e);
      else outputs<T, V, VECTORS, 1>(p, first, row, e);
    }
}

// Kernels of some filters side by side: [channels, kh, kw, count]. Flipped and transposed for gradients.
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
             long b_stride, T *out, uint8_t *place, bool relu, bool flipped) {
  typedef typename Wide<T>::type V;
  constexpr long lanes = kLanes<T>;
  const long taps = s.channels * s.kh * s.kw, in_size = s.channels * s.height * s.width * s.examples;
  const long out_size = s.filters * s.pooled_height() * s.pooled_width() * s.examples;
  std::vector<T> packed(taps * s.filters), sums(s.window() * kFilters * 2 * lanes);
  std::vector<Taps> known;
  for (long m = start; m < stop; ++m) {
    for (long first = 0, count; first < s.filters; first += count) {
      count = block(s.filters - first);
      pack(s, w + m * w_stride, first, count, flipped, packed.data() + first * taps);
    }
    const Forward<T> p{s, x + (s.shared ? 0 : m * in_size), packed.data(), bias ? bias + m * b_stride : nullptr,
                       relu, out + m * out_size, place ? place + m * out_size : nullptr, sums.data(),
                       known};
    long e = 0;
    for (; e + 2 * lanes <= s.examples; e += 2 * lanes) strip<T, V, 2>(p, e);
    for (; e + lanes <= s.examples; e += lanes) strip<T, V, 1>(p, e);
    // What is left once more with examples before it, which get the same numbers again.
    if (e < s.examples && s.examples > lanes) strip<T, V, 1>(p, s.examples - lanes);
    else for (; e < s.examples; ++e) strip<T, T, 1>(p, e);
  }
}

// The gradient of a convolution's outputs from that of what ReLU and pooling made of them, and its sums.
template <class T>
void through(long start, long stop, const Shape &s, const T *g, const T *out, const uint8_t *place, T *to, T *sums,
             long sums_stride) {
  typedef typename Wide<T>::type V;
  typedef decltype((V{} < V{}) + 0) M;
  constexpr long lanes = kLanes<T>;
  const long height = s.pooled_height(), width = s.pooled_width(), row_size = s.out_width * s.examples;
  for (long m = start; m < stop; ++m)
    for (long f = 0; f < s.filters; ++f) {
      V sum = {};
      T tail = 0;
      if (to) {  // what no window covers
        T *plane = to + (m * s.filters + f) * s.out_height * row_size;
        const long covered = width * s.window_width * s.examples;
        for (long h = 0; h < s.out_height; ++h) {
          const long from = h < height * s.window_height ? covered : 0;
          std::memset(plane + h * row_size + from, 0, (row_size - from) * sizeof(T));
        }
      }
      for (long row = 0; row < height; ++row)
        for (long column = 0; column < width; ++column) {
          const long at = (((m * s.filters + f) * height + row) * width + column) * s.examples;
          T *corner = to ? to + (((m * s.filters + f) * s.out_height + row * s.window_height) * s.out_width +
                                 column * s.window_width) * s.examples : nullptr;
          long e = 0;
          for (; e + lanes <= s.examples; e += lanes) {
            V flows = load<V>(g + at + e);
            if (out) flows = load<V>(out + at + e) <= 0 ? V{} : flows;
            sum += flows;
            if (!to) continue;
            const M which = place ? __builtin_convertvector(load<Places<T>>(place + at + e), M) : M{};
            int k = 0;
            for (long h = 0; h < s.window_height; ++h)
              for (long w = 0; w < s.window_width; ++w, ++k)
                store(corner + h * row_size + w * s.examples + e, which == k ? flows : V{});
          }
          for (; e < s.examples; ++e) {
            const T flows = out && out[at + e] <= 0 ? T(0) : g[at + e];
            tail += flows;
            if (!to) continue;
            int k = 0;
            for (long h = 0; h < s.window_height; ++h)
              for (long w = 0; w < s.window_width; ++w, ++k)
                corner[h * row_size + w * s.examples + e] = k == (place ? place[at + e] : 0) ? flows : T(0);
          }
        }
      if (sums) sums[m * sums_stride + f] = total<T>(sum) + tail;
    }
}

struct Part {
  long top, bottom, left, right;
};

// Some planes, as many at a time as a tile has on this side.
template <int MOST, class Visit> void in_tiles(long count, Visit visit) {
  long k = 0;
  for (; k + MOST <= count; k += MOST) visit(k, std::integral_constant<int, MOST>{});
  if constexpr (MOST > 1) in_tiles<MOST / 2>(count - k, [&](long more, auto side) { visit(k + more, side); });
}

// Apart from what calls it, which has no registers left for it.
template <class T, int FILTERS, int CHANNELS>
__attribute__((noinline)) void weights_tail(const T *g, long plane, const T *x, long in_plane, long count, T *tails) {
  for (long e = 0; e < count; ++e)
    for (int f = 0; f < FILTERS; ++f)
      for (int c = 0; c < CHANNELS; ++c) tails[f * CHANNELS + c] += g[f * plane + e] * x[c * in_plane + e];
}

// Adds, for one place in the kernel and a part of the output, the products of FILTERS x CHANNELS planes.
template <class T, int FILTERS, int CHANNELS>
__attribute__((noinline)) void weights_tile(const Shape &s, const T *x, const T *g, long i, long j, const Part &part,
                         typename Wide<T>::type *sums, T *tails) {
  typedef typename Wide<T>::type V;
  const long plane = s.out_height * s.out_width * s.examples, in_plane = s.height * s.width * s.examples;
  const long h0 = std::max(part.top, s.down - i), h1 = std::min(part.bottom, s.height + s.down - i);
  const long w0 = std::max(part.left, s.right - j), w1 = std::min(part.right, s.width + s.right - j);
  const long run = w1 > w0 ? (w1 - w0) * s.examples : 0, whole = run / kLanes<T> * kLanes<T>;
  V sum[FILTERS][CHANNELS];
#pragma GCC unroll 8
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 8
    for (int c = 0; c < CHANNELS; ++c) sum[f][c] = sums[f * CHANNELS + c];
  for (long h = h0; h < h1; ++h) {
    const T *gr = g + (h * s.out_width + w0) * s.examples;
    const T *xr = x + ((h + i - s.down) * s.width + w0 + j - s.right) * s.examples;
#pragma GCC unroll 1
    for (long e = 0; e < whole; e += kLanes<T>) {
      V gv[FILTERS], xv[CHANNELS];
#pragma GCC unroll 8
      for (int f = 0; f < FILTERS; ++f) gv[f] = load<V>(gr + f * plane + e);
#pragma GCC unroll 8
      for (int c = 0; c < CHANNELS; ++c) xv[c] = load<V>(xr + c * in_plane + e);
#pragma GCC unroll 8
      for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c) sum[f][c] += gv[f] * xv[c];
    }
    if (whole < run)
      weights_tail<T, FILTERS, CHANNELS>(gr + whole, plane, xr + whole, in_plane, run - whole, tails);
  }
#pragma GCC unroll 8
  for (int f = 0; f < FILTERS; ++f)
#pragma GCC unroll 8
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

template <class T>
void weights(long start, long stop, const Shape &s, const T *x, const T *g, T *dw, long dw_stride) {
  std::vector<typename Wide<T>::type> sums;
  std::vector<T> tails;
  const long in_plane = s.height * s.width * s.examples, plane = s.out_height * s.out_width * s.examples;
  for (long m = start; m < stop; ++m) {
    const T *in = x + (s.shared ? 0 : m * s.channels) * in_plane, *gm = g + m * s.filters * plane;
    in_tiles<kTall>(s.filters, [&](long f, auto filters) {
      in_tiles<kWide>(s.channels, [&](long c, auto channels) {
        weights_block<T, filters, channels>(s, in + c * in_plane, gm + f * plane,
                                            dw + m * dw_stride + (f * s.channels + c) * s.kh * s.kw, sums, tails);
      });
    });
  }
}

}  // namespace

// 1, or -1 where there is no memory: no exception may leave a function that Python calls.
extern "C" {
#define EVOOPT_CONVOLUTION(T)                                                                                  \
  int forward_##T(long start, long stop, const Shape *s, const T *x, const T *w, long w_stride, const T *bias, \
                  long b_stride, T *out, uint8_t *place, int relu, int flipped) try {                          \
    forward(start, stop, *s, x, w, w_stride, bias, b_stride, out, place, relu != 0, flipped != 0);             \
    return 1;                                                                                                  \
  } catch (...) { return -1; }                                                                                 \
  int through_##T(long start, long stop, const Shape *s, const T *g, const T *out, const uint8_t *place, T *to, \
                  T *sums, long sums_stride) {                                                                 \
    return through(start, stop, *s, g, out, place, to, sums, sums_stride), 1;                                  \
  }                                                                                                            \
  int weights_##T(long start, long stop, const Shape *s, const T *x, const T *g, T *dw, long dw_stride) try {  \
    weights(start, stop, *s, x, g, dw, dw_stride);                                                             \
    return 1;                                                                                                  \
  } catch (...) { return -1; }
EVOOPT_CONVOLUTION(float)
EVOOPT_CONVOLUTION(double)
}
