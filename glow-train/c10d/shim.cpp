#include "shim.h"

#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/exception.h>
#include <torch/headeronly/version.h>

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

using c10::intrusive_ptr;
using std::chrono::milliseconds;

struct c10d_store {
  intrusive_ptr<c10d::TCPStore> store;
};
struct c10d_group {
  intrusive_ptr<c10d::Backend> backend;
  bool cuda;
};
struct c10d_work {
  intrusive_ptr<c10d::Work> work;
  bool cuda;
};

namespace {

c10d_error* failure(c10d_kind kind, const char* message) {
  return new c10d_error{kind, strdup(message)};
}

// Runs `body`; what it throws becomes an error.
template <typename Body>
c10d_error* guarded(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10d::TimeoutError& error) {
    return failure(C10D_TIMEOUT, error.what_without_backtrace());
  } catch (const c10::DistStoreError& error) {
    return failure(C10D_STORE, error.what_without_backtrace());
  } catch (const c10::DistNetworkError& error) {
    return failure(C10D_NETWORK, error.what_without_backtrace());
  } catch (const c10::DistBackendError& error) {
    return failure(C10D_BACKEND, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    return failure(C10D_OTHER, error.what_without_backtrace());
  } catch (const std::exception& error) {
    // Gloo's exceptions are of no class that a header of libtorch names; its messages tell them apart.
    const bool timeout = strstr(error.what(), "imed out") != nullptr;
    return failure(timeout ? C10D_TIMEOUT : C10D_BACKEND, error.what());
  } catch (...) {
    return failure(C10D_OTHER, "an exception of unknown type");
  }
}

// libtorch logs what it also throws; the log would say it twice, with stack traces.
void quiet() {
  static std::once_flag once;
  std::call_once(once, [] {
    setenv("TORCH_CPP_LOG_LEVEL", "FATAL", /*overwrite=*/0);
    c10::initLogging();
  });
}

c10d_work* work_of(const c10d_group* group, intrusive_ptr<c10d::Work> work) {
  return new c10d_work{std::move(work), group->cuda};
}

// What ProcessGroupNCCL.hpp declares needs CUDA's headers, and calling it would link libtorch_cuda.
// These two functions are all that is needed: the options' constructor, and `merge`, a factory of
// process groups. `merge` is a member function that reads nothing of its object, which is therefore null.
// A member function is called as a plain one whose first argument is the object.
static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 11,
              "check that ProcessGroupNCCL::merge still reads nothing of its object, and both names below");
constexpr const char* kOptionsConstructor = "_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb";
constexpr const char* kMerge =
    "_ZN4c10d16ProcessGroupNCCL5mergeERKN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_default_"
    "null_typeIS3_EEEERKNS2_INS_7Backend7OptionsENS5_ISB_EEEERKiSH_";
// Larger than the options by far, whatever NCCL's version makes of them.
constexpr size_t kOptionsSize = 4096;

using Options = c10d::Backend::Options;
using OptionsConstructor = void(void*, bool);
using Merge = intrusive_ptr<c10d::Backend>(void*, const intrusive_ptr<c10d::Store>&, const intrusive_ptr<Options>&,
                                           const int&, const int&);

template <typename Function>
Function* cuda_function(const char* name) {
  void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  void* function = library != nullptr ? dlsym(library, name) : nullptr;
  TORCH_CHECK(function != nullptr, "libtorch_cuda.so ",
              library != nullptr ? "has no NCCL: a libtorch built with NCCL is needed" : "is not open");
  return reinterpret_cast<Function*>(function);
}

} // namespace

void c10d_error_free(c10d_error* error) {
  free(error->message);
  delete error;
}

const char* c10d_torch_version() {
  return TORCH_VERSION;
}

const char* const* c10d_nccl_names() {
  static const char* const names[] = {kOptionsConstructor, kMerge, nullptr};
  return names;
}

void c10d_bytes_free(c10d_bytes bytes) {
  free(bytes.data);
}

c10d_error* c10d_store_open(const char* host, uint16_t port, bool serve, int64_t timeout_ms, c10d_store** out) {
  return guarded([&] {
    quiet();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout_ms);
    *out = new c10d_store{c10::make_intrusive<c10d::TCPStore>(host, options)};
  });
}

void c10d_store_free(c10d_store* store) {
  delete store;
}

uint16_t c10d_store_port(const c10d_store* store) {
  return store->store->getPort();
}

c10d_error* c10d_store_set(c10d_store* store, const char* key, const uint8_t* value, size_t length) {
  return guarded([&] { store->store->set(key, std::vector<uint8_t>(value, value + length)); });
}

c10d_error* c10d_store_check(c10d_store* store, const char* key, bool* out) {
  return guarded([&] { *out = store->store->check({key}); });
}

c10d_error* c10d_store_get(c10d_store* store, const char* key, int64_t timeout_ms, c10d_bytes* out) {
  return guarded([&] {
    store->store->wait({key}, milliseconds(timeout_ms));
    const std::vector<uint8_t> value = store->store->get(key);
    auto* data = static_cast<uint8_t*>(malloc(value.size() + 1));
    if (data == nullptr) {
      throw std::bad_alloc();
    }
    std::copy(value.begin(), value.end(), data);
    *out = {data, value.size()};
  });
}

c10d_error* c10d_group_gloo(c10d_store* store, const char* prefix, const char* address, bool is_interface, int rank,
                            int size, int64_t timeout_ms, c10d_group** out) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(timeout_ms));
    options->devices.push_back(is_interface ? c10d::ProcessGroupGloo::createDeviceForInterface(address)
                                            : c10d::ProcessGroupGloo::createDeviceForHostname(address));
    auto prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, store->store);
    *out = new c10d_group{c10::make_intrusive<c10d::ProcessGroupGloo>(prefixed, rank, size, options), false};
  });
}

c10d_error* c10d_group_nccl(c10d_store* store, const char* prefix, int rank, int size, int64_t timeout_ms,
                            c10d_group** out) {
  return guarded([&] {
    quiet();
    auto* construct = cuda_function<OptionsConstructor>(kOptionsConstructor);
    auto* merge = cuda_function<Merge>(kMerge);
    void* memory = ::operator new(kOptionsSize);
    memset(memory, 0, kOptionsSize);
    construct(memory, /*is_high_priority_stream=*/false);
    auto options = intrusive_ptr<Options>::unsafe_steal_from_new(static_cast<Options*>(memory));
    options->timeout = milliseconds(timeout_ms);
    options->group_name = prefix;
    intrusive_ptr<c10d::Store> prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, store->store);
    *out = new c10d_group{merge(nullptr, prefixed, options, rank, size), true};
  });
}

void c10d_group_free(c10d_group* group) {
  delete group;
}

c10d_error* c10d_all_reduce(c10d_group* group, void* tensor, c10d_work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*static_cast<at::Tensor*>(tensor)};
    *out = work_of(group, group->backend->allreduce(tensors));
  });
}

c10d_error* c10d_broadcast(c10d_group* group, void* tensor, int root, c10d_work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*static_cast<at::Tensor*>(tensor)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    *out = work_of(group, group->backend->broadcast(tensors, options));
  });
}

c10d_error* c10d_all_gather(c10d_group* group, void* output, void* input, c10d_work** out) {
  return guarded([&] {
    std::vector<std::vector<at::Tensor>> outputs{static_cast<at::Tensor*>(output)->unbind(0)};
    std::vector<at::Tensor> inputs{*static_cast<at::Tensor*>(input)};
    *out = work_of(group, group->backend->allgather(outputs, inputs));
  });
}

c10d_error* c10d_barrier(c10d_group* group, c10d_work** out) {
  return guarded([&] { *out = work_of(group, group->backend->barrier()); });
}

c10d_error* c10d_work_wait(c10d_work* work, int64_t timeout_ms, bool* done) {
  return guarded([&] {
    *done = true;
    if (work->cuda) {
      work->work->wait();
      return;
    }
    // c10d throws the same class where the wait took too long and where the operation failed.
    try {
      work->work->wait(milliseconds(timeout_ms));
    } catch (...) {
      if (work->work->isCompleted()) {
        throw;
      }
      *done = false;
    }
  });
}

void c10d_work_free(c10d_work* work) {
  delete work;
}
