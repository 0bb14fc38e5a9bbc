// Dropout with given uniform numbers, forward and backward alike: what is scaled where its number is not below the rate,
// and multiplied by 0 elsewhere.
//
// Activations and outputs [members, units, places, examples], numbers [members or 1, units, examples].

namespace {

struct Shape {
  long units, places, examples, u_stride;
};

template <class T>
void row(long count, const T *__restrict a, const float *__restrict u, float rate, T scale, T *__restrict out) {
  for (long e = 0; e < count; ++e) out[e] = a[e] * (u[e] >= rate ? scale : T(0));
}

template <class T>
void apply(long start, long stop, const Shape &s, const T *a, const float *u, const double *rates, T *out) {
  const long rows = s.places == 1 ? 1 : s.units, length = s.units * s.examples / (rows ? rows : 1);
  a += start * rows * s.places * length, out += start * rows * s.places * length, u += start * s.u_stride;
  for (long m = start; m < stop; ++m, u += s.u_stride) {
    const T scale = rates[m] < 1 ? T(1 / (1 - rates[m])) : T(0);
    for (long k = 0; k < rows; ++k)
      for (long place = 0; place < s.places; ++place, a += length, out += length)
        row(length, a, u + k * length, float(rates[m]), scale, out);
  }
}

}  // namespace

extern "C" {
#define EVOOPT_DROPOUT(T)                                                                                              \
  int apply_##T(long start, long stop, const Shape *s, const T *a, const float *u, const double *rates, T *out) {      \
    apply(start, stop, *s, a, u, rates, out);                                                                          \
    return 1;                                                                                                          \
  }
EVOOPT_DROPOUT(float)
EVOOPT_DROPOUT(double)
}
