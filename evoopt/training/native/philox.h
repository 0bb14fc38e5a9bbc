// Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3): four random
// words of a counter of four and a key of two. In C++ and in CUDA C++, where DEVICE says where functions run.

DEVICE inline void philox(unsigned &a, unsigned &b, unsigned &c, unsigned &d, unsigned k0, unsigned k1) {
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const unsigned long long x = 0xD2511F53ull * a, y = 0xCD9E8D57ull * c;
    a = unsigned(y >> 32) ^ b ^ k0, b = unsigned(y);
    c = unsigned(x >> 32) ^ d ^ k1, d = unsigned(x);
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
}

// In [0, 1), exactly.
DEVICE inline float uniform(unsigned word) { return int(word >> 8) * (1.0f / (1 << 24)); }
