// Forward pass of small convolutions on CUDA, with bias, max pooling in windows side by side and ReLU: of pooled outputs
// only the largest of a window is ever written.
//
// Activations are [members or 1, channels, height, width, examples], kernels [members, channels, kh, kw, filters] with the
// filters filled up to whole tiles. A thread has one example, a tile of filters and a block of DOWN x ACROSS outputs, which
// is a window where POOLS. cuda_convolution.py writes before this file T, the type of the numbers, and these sizes.

struct alignas(FILTERS * sizeof(T)) Tile {
  T at[FILTERS];
};

extern "C" __global__ void convolve(const T *x, const Tile *kernels, const T *bias, T *out, int has_bias, int relu,
                                    int shared, int channels, int height, int width, int pad_down, int pad_right,
                                    int size_down, int size_right, int filters, int examples) {
  const int tiles = (filters + FILTERS - 1) / FILTERS;
  // Outputs that no window covers are left out.
  const int rows = POOLS ? size_down / DOWN : (size_down + DOWN - 1) / DOWN;
  const int columns = POOLS ? size_right / ACROSS : (size_right + ACROSS - 1) / ACROSS;
  int rest = blockIdx.x;
  const int column = rest % columns;
  const int row = (rest /= columns) % rows;
  const int tile = (rest /= rows) % tiles;
  const long p = rest / tiles;
  const int e = blockIdx.y * blockDim.x + threadIdx.x;
  if (e >= examples) return;
  x += (shared ? 0 : p * channels * height * width * (long)examples) + e;
  kernels += p * channels * KERNEL_DOWN * KERNEL_ACROSS * tiles + tile;
  const int top = row * DOWN - pad_down, left = column * ACROSS - pad_right;

  T sums[DOWN * ACROSS][FILTERS] = {};
  for (int c = 0; c < channels; ++c) {
    T seen[DOWN + KERNEL_DOWN - 1][ACROSS + KERNEL_ACROSS - 1];
#pragma unroll
    for (int i = 0; i < DOWN + KERNEL_DOWN - 1; ++i)
#pragma unroll
      for (int j = 0; j < ACROSS + KERNEL_ACROSS - 1; ++j) {
        const int y = top + i, across = left + j;
        const bool inside = y >= 0 && y < height && across >= 0 && across < width;
        seen[i][j] = inside ? x[((long)y * width + across) * examples] : T(0);
      }
#pragma unroll
    for (int i = 0; i < KERNEL_DOWN; ++i)
#pragma unroll
      for (int j = 0; j < KERNEL_ACROSS; ++j, kernels += tiles) {
        const Tile weights = *kernels;
#pragma unroll
        for (int k = 0; k < DOWN * ACROSS; ++k)
#pragma unroll
          for (int f = 0; f < FILTERS; ++f) sums[k][f] += seen[i + k / ACROSS][j + k % ACROSS] * weights.at[f];
      }
    x += (long)height * width * examples;
  }

  const int out_rows = POOLS ? rows : size_down, out_columns = POOLS ? columns : size_right;
#pragma unroll
  for (int f = 0; f < FILTERS; ++f) {
    const int filter = tile * FILTERS + f;
    if (filter >= filters) return;
    const T add = has_bias ? bias[p * filters + filter] : T(0);
    T *to = out + (p * filters + filter) * out_rows * out_columns * (long)examples + e;
#pragma unroll
    for (int k = 0; k < (POOLS ? 1 : DOWN * ACROSS); ++k) {
      T value = sums[k][f];
      // As in torch, NaN is larger than any number.
      for (int other = 1; POOLS && other < DOWN * ACROSS; ++other)
        if (sums[other][f] > value || sums[other][f] != sums[other][f]) value = sums[other][f];
      value += add;
      if (relu && value < 0) value = 0;
      const int y = POOLS ? row : row * DOWN + k / ACROSS, across = POOLS ? column : column * ACROSS + k % ACROSS;
      if (y < out_rows && across < out_columns) to[((long)y * out_columns + across) * examples] = value;
    }
  }
}
