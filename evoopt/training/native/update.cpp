// The update of a population: every member moves by its own rule.
//
// The same operations as `run_program` in evoopt/training/batched_update.py. Terms of weight zero, whose
// values it adds as zeros, are left out.

#include <cmath>
#include <type_traits>

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <class T, int LANES> struct Wide {
  typedef T type __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));
};

struct Shape {
  long members, size, w_stride, g_stride, moments_stride, columns, terms;
};

// In the order of their codes in evoopt/optim/terms.py.
enum Term {
  kGrad,
  kMomentum,
  kRmsNorm,
  kAdam,
  kSignGrad,
  kUnitGrad,
  kNesterov,
  kSignMomentum,
  kLion,
  kTerms
};

// A column of the table of coefficients; see CONSTANTS in evoopt/training/coefficients.py. Terms follow.
template <class T> struct Rule {
  T lr, decay, m_scale, v_scale, beta1, other1, beta2, other2, eps, clip, nesterov, beta3;
  T weight[kTerms] = {};  // by the terms' codes

  Rule(const Shape &s, const T *column, const long *codes) {
    T *fixed[] = {&lr,     &decay,  &m_scale, &v_scale, &beta1,    &other1,
                  &beta2,  &other2, &eps,     &clip,    &nesterov, &beta3};
    for (T *value : fixed) *value = *column, column += s.columns;
    for (long t = 0; t < s.terms; ++t, column += s.columns) weight[codes[t]] = *column;
  }
};

template <class T, int LANES> inline typename Wide<T, LANES>::type root(typename Wide<T, LANES>::type x) {
  for (int l = 0; l < LANES; ++l) x[l] = std::sqrt(x[l]);
  return x;
}

template <class V> inline V sign(V x, V one) { return (x > 0 ? one : V{}) - (x < 0 ? one : V{}); }

// COUNT vectors at a time, so that the tests for terms cost little.
template <class T, int LANES, int COUNT>
inline void move(const Rule<T> &r, T *w_at, const T *g_at, T *m_at, T *v_at) {
  typedef typename Wide<T, LANES>::type V;
  const V one = V{} + T(1), high = V{} + r.clip;
  const T *weight = r.weight;
  V g[COUNT], m[COUNT], v[COUNT], previous[COUNT], total[COUNT];
  const auto each = [](auto work) {
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) work(i);
  };
  const auto add = [&](Term term, auto value) {
    if (weight[term] != 0) each([&](int i) { total[i] += value(i) * weight[term]; });
  };
  each([&](int i) {
    V x = reinterpret_cast<const V *>(g_at)[i];
    x = x > high ? high : x;
    g[i] = m[i] = previous[i] = x < -high ? -high : x;
    v[i] = g[i] * g[i];
    total[i] = V{};
  });
  if (m_at)
    each([&](int i) {
      V &kept = reinterpret_cast<V *>(m_at)[i];
      previous[i] = kept;
      kept = r.beta1 * previous[i] + r.other1 * g[i];
      m[i] = kept * r.m_scale;
    });
  if (v_at)
    each([&](int i) {
      V &kept = reinterpret_cast<V *>(v_at)[i];
      kept = r.beta2 * kept + r.other2 * v[i];
      v[i] = kept * r.v_scale;
    });
  add(kGrad, [&](int i) { return g[i]; });
  add(kMomentum, [&](int i) { return m[i]; });
  if (weight[kRmsNorm] != 0 || weight[kAdam] != 0) {
    each([&](int i) { v[i] = root<T, LANES>(v[i]) + r.eps; });
    add(kRmsNorm, [&](int i) { return g[i] / v[i]; });
    add(kAdam, [&](int i) { return m[i] / v[i]; });
  }
  add(kSignGrad, [&](int i) { return sign(g[i], one); });
  add(kUnitGrad, [&](int i) { return g[i] / ((g[i] < 0 ? -g[i] : g[i]) + r.eps); });
  add(kNesterov, [&](int i) { return m[i] + r.nesterov * (g[i] - m[i]); });
  add(kSignMomentum, [&](int i) { return sign(m[i], one); });
  add(kLion, [&](int i) { return sign<V>(previous[i] * r.beta3 + g[i] * (1 - r.beta3), one); });
  each([&](int i) {
    V &w = reinterpret_cast<V *>(w_at)[i];
    w = w * r.decay - total[i] * r.lr;
  });
}

template <class T>
void update(const Shape &s, T *w, const T *g, T *m, T *v, const T *table, const long *codes) {
  constexpr int lanes = kBytes / sizeof(T);
  for (long p = 0; p < s.members; ++p) {
    const Rule<T> rule(s, table + p, codes);
    T *wp = w + p * s.w_stride, *mp = m ? m + p * s.moments_stride : nullptr;
    T *vp = v ? v + p * s.moments_stride : nullptr;
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
#define EVOOPT_UPDATE(T)                                                                                   \
  void update_##T(const Shape *s, T *w, const T *g, T *m, T *v, const T *table, const long *codes) {       \
    update(*s, w, g, m, v, table, codes);                                                                  \
  }
EVOOPT_UPDATE(float)
EVOOPT_UPDATE(double)
long known_terms() { return kTerms; }
}
