// The update of a population on CUDA: every member moves by its own rule.
//
// The same operations as `run_program` in evoopt/training/batched_update.py; terms of weight zero are left out.
// evoopt/training/native/cuda_update.py writes before this file what update.cpp gets (EVOOPT_CONSTANTS, EVOOPT_TERMS), and
// T, the type of the numbers.

template <int N> struct alignas(N * sizeof(T)) Pack {
  T at[N];
};

// A column of the table of coefficients.
struct Rule {
#define CONSTANT(NAME) T NAME;
  EVOOPT_CONSTANTS
#undef CONSTANT
#define TERM(...) +1
  T weight[EVOOPT_TERMS];
#undef TERM
  bool reads_v;

  // Where `places` is negative a term is not among the table's rows.
  __device__ Rule(const T *column, long columns, const int *places) {
#define CONSTANT(NAME) NAME = *column, column += columns;
    EVOOPT_CONSTANTS
#undef CONSTANT
#define TERM(PLACE, READS_V, ...) weight[PLACE] = places[PLACE] < 0 ? T(0) : column[places[PLACE] * columns];
    EVOOPT_TERMS
#undef TERM
#define TERM(PLACE, READS_V, ...) || (READS_V && weight[PLACE] != 0)
    reads_v = false EVOOPT_TERMS;
#undef TERM
  }
};

template <int N>
__device__ void move(const Rule &r, Pack<N> &w_at, const Pack<N> &g_at, Pack<N> *m_at, Pack<N> *v_at) {
  const auto sign = [](T x) { return T((x > 0) - (x < 0)); };
  const auto abs = [](T x) { return x < 0 ? -x : x; };
  const T eps = r.eps, nesterov_beta = r.nesterov_beta, beta3 = r.beta3;
  Pack<N> w = w_at, gs = g_at, ms, vs;
  if (m_at) ms = *m_at;
  if (v_at) vs = *v_at;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    T g = gs.at[i];
    g = g > r.clip ? r.clip : g;
    g = g < -r.clip ? -r.clip : g;
    T m = g, m_prev = g, denom = g * g, total = 0;
    if (m_at) {
      m_prev = ms.at[i];
      ms.at[i] = r.beta1 * m_prev + r.one_minus_beta1 * g;
      m = ms.at[i] * r.m_scale;
    }
    if (v_at) {
      vs.at[i] = r.beta2 * vs.at[i] + r.one_minus_beta2 * denom;
      denom = vs.at[i] * r.v_scale;
    }
    if (r.reads_v) denom = sqrt(denom) + eps;
#define TERM(PLACE, READS_V, ...) \
  if (r.weight[PLACE] != 0) total += (__VA_ARGS__) * r.weight[PLACE];
    EVOOPT_TERMS
#undef TERM
    w.at[i] = w.at[i] * r.decay - total * r.lr;
  }
  w_at = w;
  if (m_at) *m_at = ms;
  if (v_at) *v_at = vs;
}

template <int N>
__device__ void along(const Rule &rule, T *w, const T *g, T *m, T *v, long size) {
  const long step = (long)gridDim.y * blockDim.x;
  for (long k = (long)blockIdx.y * blockDim.x + threadIdx.x; k < size / N; k += step)
    move<N>(rule, ((Pack<N> *)w)[k], ((const Pack<N> *)g)[k], m ? (Pack<N> *)m + k : nullptr,
            v ? (Pack<N> *)v + k : nullptr);
}

// Blocks along x are members, those along y share a row. Of what is not kept the flags say so.
extern "C" __global__ void update(T *w, const T *g, T *m, T *v, const T *table, const int *places, int has_m, int has_v,
                                  int size, int w_stride, int g_stride, int m_stride, int v_stride, int columns,
                                  int wide) {
  const long p = blockIdx.x;
  const Rule rule(table + p, columns, places);
  w += p * w_stride, g += p * g_stride;
  m = has_m ? m + p * m_stride : nullptr;
  v = has_v ? v + p * v_stride : nullptr;
  if (wide)
    along<4>(rule, w, g, m, v, size);
  else
    along<1>(rule, w, g, m, v, size);
}
