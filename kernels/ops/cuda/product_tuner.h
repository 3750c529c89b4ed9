// What all products of one GPU share: cuBLASLt, and which tactic is the quickest.
#pragma once
#include <memory>
#include <set>

#include "ops/cuda/cublaslt.h"
#include "ops/cuda/product_tile.h"
#include "ops/cuda/tactics.h"

namespace ingot {

// One an open device; IngotCtx.blas points to it. Used by one thread.
class ProductTuner {
 public:
  // The device must be current. Without cuBLASLt `why` says what was tried.
  explicit ProductTuner(std::string *why);

  CublasLt *cublaslt() const { return cublaslt_.get(); }  // NULL: not found

  TileProducts *tile() const { return tile_.get(); }  // NULL: this GPU has no wgmma

  // Enqueues a product by a tactic; nonzero as launch_cublaslt_product says.
  int launch(const Product &product, int32_t tactic, int32_t tuned_T, void *workspace, size_t workspace_bytes,
             cudaStream_t stream);

  // The tactic for as many tokens; Tactics::none if none was timed.
  int32_t tactic(const Product &product, int32_t bucket) const;

  // Sees to it that tactics for up to product.T tokens are known: from `baked`, a file of an engine; from the user's
  // cache; or, if `timing`, by timing them here on memory of its own, which takes a second, and they are kept in the
  // user's cache.
  void tune(const Product &product, const std::string &baked, bool timing, cudaStream_t stream);

  // Keeps what is known in a file; false: it cannot be written.
  bool bake(const std::string &path) { return tactics_.write(path); }

 private:
  class Scratch;
  int32_t quickest(const Product &product, int32_t T, const Scratch &scratch, cudaStream_t stream,
                   double *microseconds);
  // Of one product and a small kernel behind it, in a graph of many; negative: it cannot run.
  double microseconds(Product product, int32_t tactic, int32_t T, const Scratch &scratch, cudaStream_t stream);

  std::unique_ptr<CublasLt> cublaslt_;
  std::unique_ptr<TileProducts> tile_;
  Tactics tactics_;
  std::set<std::string> read_;  // files
};

}  // namespace ingot
