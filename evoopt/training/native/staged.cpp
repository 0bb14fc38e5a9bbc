// The update of members whose directions pass a cautious mask, are divided by their root mean square or multiplied.
//
// The same operations as the stages of these names in evoopt/optim/stages, one parameter after another while it
// is in the cache. evoopt/training/native/staged.py writes update.cpp, and what that needs, before this file.

#include <algorithm>
#include <vector>

namespace {

struct Staged {
  Shape shape;
  long pieces, masked, longest;
};

// A parameter: where it lies in a row of weights and in one of moments, its size, and whether it is divided.
struct Piece {
  long at, kept, size, divided;
};

constexpr double kFewest = 1e-3, kSmallest = 1e-15;

template <class T, int LANES>
inline void look(T *u_at, const T *g_at, bool masked, typename Wide<T, LANES>::type &moving,
                 typename Wide<T, LANES>::type &squares) {
  typedef typename Wide<T, LANES>::type V;
  V &u = *reinterpret_cast<V *>(u_at);
  if (masked) {
    const V g = *reinterpret_cast<const V *>(g_at), one = V{} + T(1);
    const V agree = ((u > 0) & (g > 0)) | ((u < 0) & (g < 0)) ? one : V{};
    moving += agree;
    u *= agree;
  }
  squares += u * u;
}

template <class T, int LANES> inline void apply(T *w_at, const T *u_at, T decay, T length) {
  typedef typename Wide<T, LANES>::type V;
  V &w = *reinterpret_cast<V *>(w_at);
  w = w * decay - *reinterpret_cast<const V *>(u_at) * length;
}

template <class T>
void staged(long start, long stop, const Staged &s, T *w, const T *g, T *m, T *v, const T *table, const long *places,
            const Piece *pieces, const double *factors) {
  constexpr int lanes = kBytes / sizeof(T);
  typedef typename Wide<T, lanes>::type V;
  typedef typename Wide<T, 1>::type V1;
  std::vector<T> direction(s.longest);
  T *u = direction.data();
  for (long p = start; p < stop; ++p) {
    const Rule<T> rule(s.shape, table + p, places);
    Rule<T> from_zero = rule;
    from_zero.lr = -1;
    for (long i = 0; i < s.pieces; ++i) {
      const Piece &of = pieces[i];
      const T *gp = g + p * s.shape.g_stride + of.at;
      T *wp = w + p * s.shape.w_stride + of.at;
      T *mp = m ? m + p * s.shape.m_stride + of.kept : nullptr, *vp = v ? v + p * s.shape.v_stride + of.kept : nullptr;
      std::fill(u, u + of.size, T(0));
      long k = 0;
      for (; k + 4 * lanes <= of.size; k += 4 * lanes)
        move<T, lanes, 4>(from_zero, u + k, gp + k, mp ? mp + k : mp, vp ? vp + k : vp);
      for (; k + lanes <= of.size; k += lanes)
        move<T, lanes, 1>(from_zero, u + k, gp + k, mp ? mp + k : mp, vp ? vp + k : vp);
      for (; k < of.size; ++k) move<T, 1, 1>(from_zero, u + k, gp + k, mp ? mp + k : mp, vp ? vp + k : vp);
      double factor = 1;
      if (s.masked || of.divided) {
        V moving{}, squares{};
        V1 last_moving{}, last_squares{};
        for (k = 0; k + lanes <= of.size; k += lanes) look<T, lanes>(u + k, gp + k, s.masked, moving, squares);
        for (; k < of.size; ++k) look<T, 1>(u + k, gp + k, s.masked, last_moving, last_squares);
        double count = last_moving[0], sum = last_squares[0];
        for (int l = 0; l < lanes; ++l) count += moving[l], sum += squares[l];
        if (s.masked) factor = 1 / std::max(count / of.size, kFewest);
        if (of.divided) {
          const double rms = std::sqrt(sum / of.size) * factor;
          factor /= rms < kSmallest ? kSmallest : rms;  // NaN stays
        }
      }
      const T length = rule.lr * T(factor * factors[i]);
      for (k = 0; k + lanes <= of.size; k += lanes) apply<T, lanes>(wp + k, u + k, rule.decay, length);
      for (; k < of.size; ++k) apply<T, 1>(wp + k, u + k, rule.decay, length);
    }
  }
}

}  // namespace

extern "C" {
#define EVOOPT_STAGED(T)                                                                                   \
  int staged_##T(long start, long stop, const Staged *s, T *w, const T *g, T *m, T *v, const T *table,     \
                 const long *places, const Piece *pieces, const double *factors) try {                     \
    staged(start, stop, *s, w, g, m, v, table, places, pieces, factors);                                   \
    return 1;                                                                                              \
  } catch (...) { return -1; }
EVOOPT_STAGED(float)
EVOOPT_STAGED(double)
}
