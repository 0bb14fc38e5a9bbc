// The update of a population: every member moves by its own rule.
//
// The same operations as `run_program` in evoopt/training/batched_update.py. Terms of weight zero, whose values it adds as
// zeros, are left out. evoopt/training/native/update.py writes two lists before this file:
// EVOOPT_CONSTANTS, of CONSTANT(name): what a table of coefficients begins with;
// EVOOPT_TERMS, of TERM(place among the weights, whether it reads v, expression): what follows.

#include <cmath>
#include <type_traits>

#include "vectors.h"

namespace {

struct Shape {
  long size, terms;
  long w_stride, g_stride, m_stride, v_stride, columns;  // from one member, or row of the table, to the next
};

#define TERM(...) +1
constexpr int kTerms = EVOOPT_TERMS;
#undef TERM

// A column of the table of coefficients.
template <class T> struct Rule {
#define CONSTANT(NAME) T NAME;
  EVOOPT_CONSTANTS
#undef CONSTANT
  T weight[kTerms] = {};
  bool used[kTerms] = {}, reads_v;  // quicker to test, for every few numbers, than weights are

  Rule(const Shape &s, const T *column, const long *places) {
#define CONSTANT(NAME) NAME = *column, column += s.columns;
    EVOOPT_CONSTANTS
#undef CONSTANT
    for (long t = 0; t < s.terms; ++t, column += s.columns) used[places[t]] = (weight[places[t]] = *column) != 0;
#define TERM(PLACE, READS_V, ...) || (READS_V && used[PLACE])
    reads_v = false EVOOPT_TERMS;
#undef TERM
  }
};

// The weighted sums of terms, each told to `to` with its place; COUNT vectors at a time, so that the tests for terms
// cost little.
template <class T, int LANES, int COUNT, class To>
inline void direction(const Rule<T> &r, const T *g_at, T *m_at, T *v_at, To to) {
  typedef typename Wide<T, LANES>::type V;
  const V one = V{} + T(1), high = V{} + r.clip;
  V gs[COUNT], ms[COUNT], vs[COUNT], previous[COUNT], total[COUNT];
  const auto each = [](auto work) {
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) work(i);
  };
  each([&](int i) {
    V x = load<V>(g_at + i * LANES);
    x = x > high ? high : x;
    gs[i] = ms[i] = previous[i] = x < -high ? -high : x;
    vs[i] = gs[i] * gs[i];
    total[i] = V{};
  });
  if (m_at)
    each([&](int i) {
      previous[i] = load<V>(m_at + i * LANES);
      const V kept = r.beta1 * previous[i] + r.one_minus_beta1 * gs[i];
      store(m_at + i * LANES, kept);
      ms[i] = kept * r.m_scale;
    });
  if (v_at)
    each([&](int i) {
      const V kept = r.beta2 * load<V>(v_at + i * LANES) + r.one_minus_beta2 * vs[i];
      store(v_at + i * LANES, kept);
      vs[i] = kept * r.v_scale;
    });

  // What terms are written in.
  const auto sign = [&](V x) { return (x > 0 ? one : V{}) - (x < 0 ? one : V{}); };
  const auto abs = [](V x) { return x < 0 ? -x : x; };
  const auto sqrt = [](V x) {
    for (int l = 0; l < LANES; ++l) x[l] = std::sqrt(x[l]);
    return x;
  };
  const T eps = r.eps, nesterov_beta = r.nesterov_beta, beta3 = r.beta3;
  if (r.reads_v) each([&](int i) { vs[i] = sqrt(vs[i]) + eps; });
#define TERM(PLACE, READS_V, ...)                                                \
  if (__builtin_expect(r.used[PLACE], false)) each([&](int i) {                  \
    const V g = gs[i], m = ms[i], denom = vs[i], m_prev = previous[i];           \
    total[i] += (__VA_ARGS__) * r.weight[PLACE];                                 \
  });
  EVOOPT_TERMS
#undef TERM

  each([&](int i) { to(i, total[i]); });
}

template <class T, int LANES, int COUNT>
inline void move(const Rule<T> &r, T *w_at, const T *g_at, T *m_at, T *v_at) {
  typedef typename Wide<T, LANES>::type V;
  direction<T, LANES, COUNT>(r, g_at, m_at, v_at, [&](int i, V total) {
    store(w_at + i * LANES, V(load<V>(w_at + i * LANES) * r.decay - total * r.lr));
  });
}

template <class T>
void update(long start, long stop, const Shape &s, T *w, const T *g, T *m, T *v, const T *table, const long *places) {
  constexpr int lanes = kLanes<T>;
  for (long p = start; p < stop; ++p) {
    const Rule<T> rule(s, table + p, places);
    T *wp = w + p * s.w_stride, *mp = m ? m + p * s.m_stride : nullptr;
    T *vp = v ? v + p * s.v_stride : nullptr;
    const T *gp = g + p * s.g_stride;
    long k = 0;
    for (; k + 4 * lanes <= s.size; k += 4 * lanes)
      move<T, lanes, 4>(rule, wp + k, gp + k, mp ? mp + k : mp, vp ? vp + k : vp);
    for (; k + lanes <= s.size; k += lanes)
      move<T, lanes, 1>(rule, wp + k, gp + k, mp ? mp + k : mp, vp ? vp + k : vp);
    for (; k < s.size; ++k) move<T, 1, 1>(rule, wp + k, gp + k, mp ? mp + k : mp, vp ? vp + k : vp);
  }
}

}  // namespace

extern "C" {
#define EVOOPT_UPDATE(T)                                                                              \
  int update_##T(long start, long stop, const Shape *s, T *w, const T *g, T *m, T *v, const T *table, \
                 const long *places) {                                                                \
    update(start, stop, *s, w, g, m, v, table, places);                                               \
    return 1;                                                                                         \
  }
EVOOPT_UPDATE(float)
EVOOPT_UPDATE(double)
}
