// Linear layers of a population: every member has its own weights, examples lie innermost in memory.
//
// x [members or 1, inputs, examples], w [members, outputs, inputs], out [members, outputs, examples].
// Forward pass and both gradients are one kind of product, c[row, column] = sum over k of a[row, k] b[k, column],
// in tiles of rows x columns that stay in registers. Every number is one sum in the order of k, so it depends
// on neither the number of members nor on threads.

#include <vector>

#include "vectors.h"

namespace {

constexpr int kRows = kBytes == 32 ? 6 : 8;  // of a tile

struct Shape {
  long inputs, outputs, examples;
  long x_stride, w_stride, dw_stride, b_stride;  // from one member to the next; b is the bias or its gradient
};

template <class T> struct Product {
  long rows, columns, depth;
  const T *a;
  long a_row, a_step;  // from row to row, from k to k
  const T *b;
  long b_column, b_step;  // one of the two is 1
  T *c;                   // its rows lie one behind the other
  const T *bias;          // a number for each row, or null
  bool relu;              // whether negative sums become 0
};

// out[k, c] = b[c, k] for 4 x 4 numbers.
template <class T> inline void transpose4(const T *b, long from, T *out, long to) {
  typedef typename Wide<T, 4>::type V;
  const V p = load<V>(b), q = load<V>(b + from), r = load<V>(b + 2 * from), s = load<V>(b + 3 * from);
  const V pq = {p[0], q[0], p[1], q[1]}, pq2 = {p[2], q[2], p[3], q[3]};
  const V rs = {r[0], s[0], r[1], s[1]}, rs2 = {r[2], s[2], r[3], s[3]};
  store(out, V{pq[0], pq[1], rs[0], rs[1]});
  store(out + to, V{pq[2], pq[3], rs[2], rs[3]});
  store(out + 2 * to, V{pq2[0], pq2[1], rs2[0], rs2[1]});
  store(out + 3 * to, V{pq2[2], pq2[3], rs2[2], rs2[3]});
}

// Some columns of b side by side, [depth, WIDTH].
template <class T, int WIDTH> void pack(const Product<T> &p, const T *b, T *packed) {
  if (p.b_column == 1) {
    for (long k = 0; k < p.depth; ++k) std::memcpy(packed + k * WIDTH, b + k * p.b_step, WIDTH * sizeof(T));
    return;
  }
  long k = 0;
  if (WIDTH % 4 == 0)
    for (; k + 4 <= p.depth; k += 4)
      for (long c = 0; c < WIDTH; c += 4) transpose4(b + c * p.b_column + k, p.b_column, packed + k * WIDTH + c, WIDTH);
  for (; k < p.depth; ++k)
    for (long c = 0; c < WIDTH; ++c) packed[k * WIDTH + c] = b[c * p.b_column + k];
}

template <class T, int LANES, int VECTORS, int ROWS>
inline void tile(const Product<T> &p, const T *b, long step, long row, long column) {
  typedef typename Wide<T, LANES>::type V;
  V sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) sum[r][v] = V{} + (p.bias ? p.bias[row + r] : T(0));
  const long a_row = p.a_row, a_step = p.a_step;
  const T *a = p.a + row * a_row;
#pragma GCC unroll 1
  for (long k = 0; k < p.depth; ++k, a += a_step, b += step) {
    if (a_row == 1) __builtin_prefetch(a + 64 / sizeof(T));
    V seen[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) seen[v] = load<V>(b + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) sum[r][v] += a[r * a_row] * seen[v];
  }
  T *c = p.c + row * p.columns + column;
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v)
      store(c + r * p.columns + v * LANES, p.relu ? (sum[r][v] < 0 ? V{} : sum[r][v]) : sum[r][v]);
}

template <class T, int LANES, int VECTORS> void strip(const Product<T> &p, long column, T *packed) {
  constexpr int width = LANES * VECTORS;
  const T *b = p.b + column * p.b_column;
  long step = p.b_step, row = 0;
  // Steps of some hundred bytes would use but a part of the cache.
  if (step != width && (p.b_column != 1 || p.rows > 4 * kRows)) {
    pack<T, width>(p, b, packed);
    b = packed, step = width;
  }
  for (; row + kRows <= p.rows; row += kRows) tile<T, LANES, VECTORS, kRows>(p, b, step, row, column);
  for (; row + 4 <= p.rows; row += 4) tile<T, LANES, VECTORS, 4>(p, b, step, row, column);
  for (; row + 2 <= p.rows; row += 2) tile<T, LANES, VECTORS, 2>(p, b, step, row, column);
  for (; row < p.rows; ++row) tile<T, LANES, VECTORS, 1>(p, b, step, row, column);
}

template <class T, int LANES> void narrow(const Product<T> &p, long column, T *packed) {
  for (; column + LANES <= p.columns; column += LANES) strip<T, LANES, 1>(p, column, packed);
  if constexpr (LANES > 1) narrow<T, LANES / 2>(p, column, packed);
}

template <class T> void product(const Product<T> &p, std::vector<T> &packed) {
  constexpr int lanes = kLanes<T>;
  packed.resize(p.depth * 2 * lanes);
  if (p.columns < lanes) return narrow<T, lanes / 2>(p, 0, packed.data());
  long column = 0;
  for (; column + 2 * lanes <= p.columns; column += 2 * lanes) strip<T, lanes, 2>(p, column, packed.data());
  for (; column + lanes <= p.columns; column += lanes) strip<T, lanes, 1>(p, column, packed.data());
  // What is left once more with columns before it, which get the same numbers again.
  if (column < p.columns && p.columns - column <= lanes / 2)
    strip<T, lanes / 2, 1>(p, p.columns - lanes / 2, packed.data());
  else if (column < p.columns)
    strip<T, lanes, 1>(p, p.columns - lanes, packed.data());
}

// The gradient that comes through a ReLU with these outputs, and its sums over the examples.
template <class T> void gated(const Shape &s, const T *g, const T *out, T *to, T *sums) {
  constexpr int lanes = kLanes<T>;
  typedef typename Wide<T>::type V;
  for (long o = 0; o < s.outputs; ++o, g += s.examples, to += s.examples) {
    V sum = {};
    T tail = 0;
    long e = 0;
    for (; e + lanes <= s.examples; e += lanes) {
      V flows = load<V>(g + e);
      if (out) flows = load<V>(out + o * s.examples + e) <= 0 ? V{} : flows;
      store(to + e, flows);
      sum += flows;
    }
    for (; e < s.examples; ++e) tail += to[e] = out && out[o * s.examples + e] <= 0 ? T(0) : g[e];
    if (sums) sums[o] = total<T>(sum) + tail;
  }
}

template <class T>
void forward(long start, long stop, const Shape &s, const T *x, const T *w, const T *bias, T *out, bool relu) {
  std::vector<T> packed;
  const long b = s.examples;
  for (long m = start; m < stop; ++m)
    product<T>({s.outputs, b, s.inputs, w + m * s.w_stride, s.inputs, 1, x + m * s.x_stride, 1, b,
                out + m * s.outputs * b, bias ? bias + m * s.b_stride : nullptr, relu}, packed);
}

template <class T>
void backward(long start, long stop, const Shape &s, const T *x, const T *w, const T *grad, const T *out, T *dw, T *db,
              T *dx) {
  const long b = s.examples, size = s.outputs * b;
  std::vector<T> packed, scratch(size);
  const T *g = scratch.data();
  for (long m = start; m < stop; ++m) {
    gated(s, grad + m * size, out ? out + m * size : nullptr, scratch.data(), db ? db + m * s.b_stride : nullptr);
    product<T>({s.outputs, s.inputs, b, g, b, 1, x + m * s.x_stride, b, 1, dw + m * s.dw_stride, nullptr, false},
               packed);
    if (dx)
      product<T>({s.inputs, b, s.outputs, w + m * s.w_stride, 1, s.inputs, g, 1, b, dx + m * s.inputs * b, nullptr,
                  false}, packed);
  }
}

}  // namespace

// 1, or -1 where there is no memory: no exception may leave a function that Python calls.
extern "C" {
#define EVOOPT_LINEAR(T)                                                                                       \
  int forward_##T(long start, long stop, const Shape *s, const T *x, const T *w, const T *bias, T *out,        \
                  int relu) try {                                                                              \
    forward(start, stop, *s, x, w, bias, out, relu != 0);                                                      \
    return 1;                                                                                                  \
  } catch (...) { return -1; }                                                                                 \
  int backward_##T(long start, long stop, const Shape *s, const T *x, const T *w, const T *grad, const T *out, \
                   T *dw, T *db, T *dx) try {                                                                  \
    backward(start, stop, *s, x, w, grad, out, dw, db, dx);                                                    \
    return 1;                                                                                                  \
  } catch (...) { return -1; }
EVOOPT_LINEAR(float)
EVOOPT_LINEAR(double)
}
