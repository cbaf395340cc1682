// A C interface to the parts of libtorch's c10d that data-parallel training needs.
//
// Every function that can fail returns null, or an error to be given to c10d_error_free. Handles
// are freed by the function named after them.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {

enum c10d_kind : int32_t {
  C10D_TIMEOUT = 1, // an operation took longer than its timeout
  C10D_STORE = 2,   // the key-value store does not answer as it should
  C10D_NETWORK = 3, // no connection, or one that broke
  C10D_BACKEND = 4, // Gloo or NCCL failed
  C10D_OTHER = 5,   // anything else that libtorch threw
};

struct c10d_error {
  int32_t kind;
  char* message;
};
void c10d_error_free(c10d_error* error);

// The version of libtorch that this was compiled against, such as "2.11.0".
const char* c10d_torch_version();

// The names by which c10d_group_nccl finds its functions in libtorch_cuda, ended by null.
const char* const* c10d_nccl_names();

struct c10d_bytes {
  uint8_t* data;
  size_t length;
};
void c10d_bytes_free(c10d_bytes bytes);

// --- Store: a key-value server in one process, with a client in every one ---
struct c10d_store;
c10d_error* c10d_store_open(const char* host, uint16_t port, bool serve, int64_t timeout_ms, c10d_store** out);
void c10d_store_free(c10d_store* store);
uint16_t c10d_store_port(const c10d_store* store);
c10d_error* c10d_store_set(c10d_store* store, const char* key, const uint8_t* value, size_t length);
// Whether the key is there; does not wait.
c10d_error* c10d_store_check(c10d_store* store, const char* key, bool* out);
// Waits for the key.
c10d_error* c10d_store_get(c10d_store* store, const char* key, int64_t timeout_ms, c10d_bytes* out);

// --- Group: processes that take part in collective operations ---
struct c10d_group;
// Gloo over the address `address`, or over the interface if `is_interface`.
c10d_error* c10d_group_gloo(c10d_store* store, const char* prefix, const char* address, bool is_interface, int rank,
                            int size, int64_t timeout_ms, c10d_group** out);
// NCCL; libtorch_cuda must have been opened already.
c10d_error* c10d_group_nccl(c10d_store* store, const char* prefix, int rank, int size, int64_t timeout_ms,
                            c10d_group** out);
void c10d_group_free(c10d_group* group);

// --- Work: an operation under way. Tensors are at::Tensor*, and must stay as they are until it is done ---
struct c10d_work;
// In place; sums over all processes.
c10d_error* c10d_all_reduce(c10d_group* group, void* tensor, c10d_work** out);
// In place; the tensor of process `root` for all.
c10d_error* c10d_broadcast(c10d_group* group, void* tensor, int root, c10d_work** out);
// `output`, one dimension more, becomes the tensors of all processes in the order of their ranks.
c10d_error* c10d_all_gather(c10d_group* group, void* output, void* input, c10d_work** out);
c10d_error* c10d_barrier(c10d_group* group, c10d_work** out);
// On the CPU: waits until the operation is done, or `timeout_ms` have passed; `done` says which. On
// CUDA: makes the current stream wait for it, and returns at once.
c10d_error* c10d_work_wait(c10d_work* work, int64_t timeout_ms, bool* done);
void c10d_work_free(c10d_work* work);

} // extern "C"
