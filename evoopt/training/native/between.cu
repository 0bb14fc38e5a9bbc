// What lies between two convolutions on CUDA, in one pass over memory each way: bias, max pooling in windows side by side,
// and ReLU.
//
// Activations are [outer, height, width, inner] in memory: [members * channels, .., examples], or with the channels
// innermost [examples, .., members * channels]. A thread has one place of the pooled images and some inner ones.
// cuda_between.py writes before this file the window (KH, KW) and T, the type of the numbers in memory.

#ifdef EVOOPT_BFLOAT16
typedef float N;  // what is computed with
__device__ N number(T bits) { return __uint_as_float((unsigned)bits << 16); }
__device__ T rounded(N x) {
  const unsigned bits = __float_as_uint(x);
  return x != x ? T(0x7fc0) : T((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}
#else
typedef T N;
__device__ N number(T x) { return x; }
__device__ T rounded(N x) { return x; }
#endif

// As in torch, the first of equal numbers wins and NaN is larger than any number.
extern "C" __global__ void forward(const T *z, const N *bias, T *out, unsigned char *winners, int has_bias,
                                   int has_winners, int channels_inside, int relu, int outer, int height, int width,
                                   int inner) {
  const int down = height / KH, across = width / KW;
  const int place = blockIdx.x * blockDim.y + threadIdx.y;
  if (place >= outer * down * across) return;
  const int column = place % across, row = place / across % down, o = place / (across * down);
  z += (((long)o * height + row * KH) * width + column * KW) * inner;
  out += (long)place * inner, winners += (long)place * inner;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < inner; i += gridDim.y * blockDim.x) {
    N best = number(z[i]);
    int which = 0;
#pragma unroll
    for (int k = 1; k < KH * KW; ++k) {
      const N seen = number(z[(long)(k / KW * width + k % KW) * inner + i]);
      if (seen > best || seen != seen) best = seen, which = k;
    }
    if (has_bias) best += bias[channels_inside ? i : o];
    if (relu && best < 0) best = 0;
    out[i] = rounded(best);
    if (has_winners) winners[i] = which;
  }
}

// The gradient before pooling; margins that no window covers have none.
extern "C" __global__ void backward(const T *g, const unsigned char *winners, T *d_z, int outer, int height, int width,
                                    int inner) {
  const int down = (height + KH - 1) / KH, across = (width + KW - 1) / KW;
  const int place = blockIdx.x * blockDim.y + threadIdx.y;
  if (place >= outer * down * across) return;
  const int column = place % across, row = place / across % down, o = place / (across * down);
  const bool pooled = row < height / KH && column < width / KW;
  const long from = (((long)o * (height / KH) + row) * (width / KW) + column) * inner;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < inner; i += gridDim.y * blockDim.x) {
    const int which = pooled ? winners[from + i] : -1;
    const T flows = pooled ? g[from + i] : T(0);
#pragma unroll
    for (int k = 0; k < KH * KW; ++k) {
      const int y = row * KH + k / KW, x = column * KW + k % KW;
      if (y < height && x < width) d_z[(((long)o * height + y) * width + x) * inner + i] = k == which ? flows : T(0);
    }
  }
}
