#include "shim.h"

#include <ATen/Context.h>

namespace {

bool allowed(at::Float32Op op) {
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, op) == at::Float32Precision::TF32;
}

} // namespace

bool tf32_set(bool products, bool convolutions) {
  try {
    // These keep libtorch's older and newer switches alike, which it checks.
    at::globalContext().setAllowTF32CuBLAS(products);
    at::globalContext().setAllowTF32CuDNN(convolutions);
    return true;
  } catch (...) {
    return false;
  }
}

int32_t tf32_get() {
  try {
    return (allowed(at::Float32Op::MATMUL) ? 1 : 0) + (allowed(at::Float32Op::CONV) ? 2 : 0);
  } catch (...) {
    return -1;
  }
}
