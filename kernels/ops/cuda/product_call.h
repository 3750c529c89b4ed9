// The product that a node of Linear, ScaledLinear or GroupedLinear stands for.
#pragma once
#include "ops/cuda/product.h"

namespace ingot {

enum class ProductOp { linear, scaled, grouped };

// With the largest T, without tensors.
Product product_of_node(ProductOp op, const IngotNode *node, const IngotCtx *ctx);

Product product_of_call(ProductOp op, const IngotCall *call, const IngotCtx *ctx);

}  // namespace ingot
