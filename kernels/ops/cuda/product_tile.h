// Products by wgmma, where there is such an instruction, up to 128 tokens at a time.
#pragma once
#include <cuda.h>

#include <memory>

#include "ops/cuda/product.h"

namespace ingot {

// One a device. A product runs on all multiprocessors with even shares of the weights, whatever the shape.
class TileProducts {
 public:
  // NULL: this device cannot.
  static std::unique_ptr<TileProducts> open();
  ~TileProducts();
  TileProducts(const TileProducts &) = delete;
  TileProducts &operator=(const TileProducts &) = delete;

  static bool takes(const Product &product, char *why, size_t n);

  // Sums are made in one order, which depends on the shape and on the number of multiprocessors.
  static constexpr int32_t most_tokens = 128;
  cudaError_t launch(const Product &product, void *workspace, size_t workspace_bytes, cudaStream_t stream) const;

  static constexpr size_t workspace_bytes = size_t{16} << 20;

 private:
  using Encode = CUresult (*)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                              const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                              CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  TileProducts() = default;

  cudaError_t launch_part(const Product &product, void *workspace, size_t workspace_bytes, cudaStream_t stream) const;

  Encode encode_ = nullptr;
  int32_t *flags_ = nullptr;  // of blocks, 0 between launches
  int multiprocessors_ = 0;
};

}  // namespace ingot
