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

// Directions, masked if asked for, and what is to be known of the whole parameter: how many moved, and the squares.
template <class T, int LANES, int COUNT>
inline void look(const Rule<T> &rule, T *u_at, const T *g_at, T *m_at, T *v_at, bool masked,
                 typename Wide<T, LANES>::type &moving, typename Wide<T, LANES>::type &squares) {
  typedef typename Wide<T, LANES>::type V;
  direction<T, LANES, COUNT>(rule, g_at, m_at, v_at, [&](int i, V u) {
    if (masked) {
      const V g = load<V>(g_at + i * LANES), one = V{} + T(1);
      const V agree = ((u > 0) & (g > 0)) | ((u < 0) & (g < 0)) ? one : V{};
      moving += agree;
      u *= agree;
    }
    squares += u * u;
    store(u_at + i * LANES, u);
  });
}

template <class T, int LANES> inline void apply(T *w_at, const T *u_at, T decay, T length) {
  typedef typename Wide<T, LANES>::type V;
  store(w_at, V(load<V>(w_at) * decay - load<V>(u_at) * length));
}

template <class T>
void staged(long start, long stop, const Staged &s, T *w, const T *g, T *m, T *v, const T *table, const long *places,
            const Piece *pieces, const double *factors) {
  constexpr int lanes = kLanes<T>;
  typedef typename Wide<T, lanes>::type V;
  typedef typename Wide<T, 1>::type V1;
  std::vector<T> direction(s.longest);
  T *u = direction.data();
  for (long p = start; p < stop; ++p) {
    const Rule<T> rule(s.shape, table + p, places);
    for (long i = 0; i < s.pieces; ++i) {
      const Piece &of = pieces[i];
      const T *gp = g + p * s.shape.g_stride + of.at;
      T *wp = w + p * s.shape.w_stride + of.at;
      T *mp = m ? m + p * s.shape.m_stride + of.kept : nullptr, *vp = v ? v + p * s.shape.v_stride + of.kept : nullptr;
      V moving{}, squares{};
      V1 last_moving{}, last_squares{};
      const auto m_at = [&](long k) { return mp ? mp + k : mp; };
      const auto v_at = [&](long k) { return vp ? vp + k : vp; };
      long k = 0;
      for (; k + 4 * lanes <= of.size; k += 4 * lanes)
        look<T, lanes, 4>(rule, u + k, gp + k, m_at(k), v_at(k), s.masked, moving, squares);
      for (; k + lanes <= of.size; k += lanes)
        look<T, lanes, 1>(rule, u + k, gp + k, m_at(k), v_at(k), s.masked, moving, squares);
      for (; k < of.size; ++k)
        look<T, 1, 1>(rule, u + k, gp + k, m_at(k), v_at(k), s.masked, last_moving, last_squares);
      double factor = 1;
      if (s.masked || of.divided) {
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
