#include <algorithm>
#include <cstdio>

#include "ops/cuda/product_tile.h"
#include "ops/cuda/product_tile_kernel.h"

namespace ingot {
namespace {

using namespace tiles;

constexpr int most_blocks = 1024;

template <int dtype, int N>
cudaError_t launch_tile(const Product &p, const CUtensorMap &weights, const CUtensorMap &x, Share share, int blocks,
                        cudaStream_t on) {
  using Work = Tile<dtype, N>;
  const int room = 113 * 1024 - 2 * most_stages * 8;  // so that the next kernel's block has room, too
  share.stages = std::min(most_stages, room / Work::stage_bytes);
  const int bytes = share.stages * (Work::stage_bytes + 16);
  cudaError_t error = cudaFuncSetAttribute(tile<dtype, N>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  error = cudaFuncSetAttribute(tile<dtype, N>, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = static_cast<size_t>(bytes);
  config.stream = on;
  config.attrs = &early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, tile<dtype, N>, p, weights, x, share);
}

int bytes_of(int32_t dtype) { return dtype == INGOT_F32 ? 4 : dtype == INGOT_F16 || dtype == INGOT_BF16 ? 2 : 1; }

int width(int32_t T) { return T <= 8 ? 8 : T <= 16 ? 16 : T <= 32 ? 32 : T <= 64 ? 64 : 128; }

template <int dtype>
cudaError_t launch_width(const Product &p, const CUtensorMap &weights, const CUtensorMap &x, const Share &share,
                         int blocks, cudaStream_t on) {
  switch (width(p.T)) {
    case 8:
      return launch_tile<dtype, 8>(p, weights, x, share, blocks, on);
    case 16:
      return launch_tile<dtype, 16>(p, weights, x, share, blocks, on);
    case 32:
      return launch_tile<dtype, 32>(p, weights, x, share, blocks, on);
    case 64:
      return launch_tile<dtype, 64>(p, weights, x, share, blocks, on);
    default:
      return launch_tile<dtype, 128>(p, weights, x, share, blocks, on);
  }
}

}  // namespace

std::unique_ptr<TileProducts> TileProducts::open() {
  int device = 0, major = 0, minor = 0;
  std::unique_ptr<TileProducts> made(new TileProducts);
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  void *function = nullptr;
  bool good = cudaGetDevice(&device) == cudaSuccess &&
              cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
              cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess &&
              cudaDeviceGetAttribute(&made->multiprocessors_, cudaDevAttrMultiProcessorCount, device) == cudaSuccess;
  if (!good || major != 9 || minor != 0) return nullptr;
  good = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found) ==
             cudaSuccess &&
         found == cudaDriverEntryPointSuccess && function &&
         cudaMalloc(&made->flags_, most_blocks * sizeof(int32_t)) == cudaSuccess &&
         cudaMemset(made->flags_, 0, most_blocks * sizeof(int32_t)) == cudaSuccess;
  cudaGetLastError();
  made->encode_ = reinterpret_cast<Encode>(function);
  return good ? std::move(made) : nullptr;
}

TileProducts::~TileProducts() {
  if (flags_) cudaFree(flags_);
}

bool TileProducts::takes(const Product &p, char *why, size_t n) {
  const bool code = p.x_dtype == INGOT_F8E4M3, wide = p.x_dtype == INGOT_BF16 || p.x_dtype == INGOT_F16;
  const char *reason = nullptr;
  if (p.N) reason = "it takes no groups";
  if (p.x_dtype != p.weight_dtype || !(code || wide)) reason = "x and weight must both be bf16, f16 or f8e4m3";
  if (p.D % (code ? 16 : 8)) reason = "rows of weight must be multiples of 16 bytes";
  if (reason) snprintf(why, n, "%s", reason);
  return !reason;
}

cudaError_t TileProducts::launch(const Product &product, void *workspace, size_t workspace_bytes,
                                 cudaStream_t stream) const {
  Product p = product;
  const int64_t x_bytes = int64_t{p.D} * bytes_of(p.x_dtype), y_bytes = int64_t{p.F} * bytes_of(p.y_dtype);
  cudaError_t status = cudaSuccess;
  for (int32_t t = 0; t < product.T && status == cudaSuccess; t += most_tokens) {
    p.T = std::min(product.T - t, most_tokens);
    p.x_TD = static_cast<const char *>(product.x_TD) + t * x_bytes;
    p.y_TF = static_cast<char *>(product.y_TF) + t * y_bytes;
    if (product.x_scale_T) p.x_scale_T = product.x_scale_T + t;
    status = launch_part(p, workspace, workspace_bytes, stream);
  }
  return status;
}

cudaError_t TileProducts::launch_part(const Product &p, void *workspace, size_t workspace_bytes,
                                      cudaStream_t stream) const {
  const int size = p.x_dtype == INGOT_F8E4M3 ? 1 : 2, columns = row_bytes / size;
  const CUtensorMapDataType type = p.x_dtype == INGOT_F8E4M3 ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                   : p.x_dtype == INGOT_F16  ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                             : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  // Pieces of box_rows rows of a matrix with rows of D numbers; what lies outside is zero.
  const auto map_of = [&](const void *matrix, int matrix_rows, int box_rows, CUtensorMap *map) {
    const cuuint64_t sizes[] = {static_cast<cuuint64_t>(p.D), static_cast<cuuint64_t>(matrix_rows)};
    const cuuint64_t strides[] = {static_cast<cuuint64_t>(p.D) * static_cast<cuuint64_t>(size)};
    const cuuint32_t box[] = {static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(box_rows)}, steps[] = {1, 1};
    return encode_(map, type, 2, const_cast<void *>(matrix), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                   CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                   CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
  };
  Share share{static_cast<float *>(workspace), flags_, 0, (p.D + columns - 1) / columns, 0};
  share.total = static_cast<int64_t>(share.pieces) * ((p.F + rows - 1) / rows);
  const int blocks = static_cast<int>(std::min<int64_t>({multiprocessors_, most_blocks, share.total}));
  const size_t needed = static_cast<size_t>(blocks) * rows * static_cast<size_t>(width(p.T)) * sizeof(float);
  CUtensorMap weights, x;
  if (p.T > most_tokens || needed > workspace_bytes || !map_of(p.weight_FD, p.F, rows, &weights) ||
      !map_of(p.x_TD, p.T, width(p.T), &x)) {
    return cudaErrorInvalidValue;
  }
  if (p.x_dtype == INGOT_F8E4M3) return launch_width<INGOT_F8E4M3>(p, weights, x, share, blocks, stream);
  if (p.x_dtype == INGOT_F16) return launch_width<INGOT_F16>(p, weights, x, share, blocks, stream);
  return launch_width<INGOT_BF16>(p, weights, x, share, blocks, stream);
}

}  // namespace ingot
