// A C interface to libtorch's switches for TF32: whether CUDA's libraries may round the factors of products
// of f32 numbers to 10 bits of mantissa. They are the process's own.
#pragma once
#include <cstdint>

extern "C" {

// Allows or forbids TF32 in matrix products (cuBLAS) and in convolutions (cuDNN); false if libtorch refuses.
bool tf32_set(bool products, bool convolutions);

// What is allowed: 1 for products and 2 for convolutions, added up; negative if libtorch refuses to tell.
int32_t tf32_get();

} // extern "C"
