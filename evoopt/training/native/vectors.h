// Vectors of the width of this processor's, and their way from and to memory.
//
// Numbers lie anywhere in memory, and a type's alignment does not pass through a template's arguments (gcc keeps it,
// clang drops it and moves as if aligned): so vectors are read and written by copies, which are single instructions.

#pragma once

#include <cstring>

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <class T> constexpr int kLanes = kBytes / sizeof(T);

template <class T, int LANES = kLanes<T>> struct Wide {
  typedef T type __attribute__((vector_size(LANES * sizeof(T))));
};

template <class V, class T> inline V load(const T *from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T> inline void store(T *to, const V &v) { std::memcpy(to, &v, sizeof v); }

// The sum of a vector's numbers, of halves at a time.
template <class T, int LANES = kLanes<T>> inline T total(const typename Wide<T, LANES>::type &v) {
  if constexpr (LANES == 1) return v[0];
  else {
    typedef typename Wide<T, LANES / 2>::type Half;
    const T *from = reinterpret_cast<const T *>(&v);
    return total<T, LANES / 2>(load<Half>(from) + load<Half>(from + LANES / 2));
  }
}

}  // namespace
