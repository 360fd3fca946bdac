# Makefile - builds, tests and installs sqz. `make help` lists the targets.
#
# One file, no recursion: every source is listed by the room it belongs to.
# Objects go to build/<mode>/ with modes release and asan (AddressSanitizer and
# UBSan). CC, CFLAGS, LDFLAGS, PREFIX and DESTDIR are honoured; V=1 shows the
# commands; MODE=asan makes `all` and `check` use the sanitizers.

ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
MODE ?= release
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

# ---- rooms -------------------------------------------------------------

LIB_BASE := lib/status.c lib/memory.c lib/bytes.c lib/half.c lib/parallel.c lib/files.c lib/shape.c lib/sha256.c \
            lib/late_library.c
LIB_MODEL := lib/model.c lib/image_record.c lib/infer.c lib/lanes.c lib/trellis.c lib/packed.c lib/codebook.c \
             lib/layers.c lib/graph_code.c
LIB_COMPRESS := lib/prune.c lib/quantize.c lib/kernel_list.c lib/select.c lib/sorted.c lib/random.c lib/kmeans.c \
                lib/kmeans_entropy.c lib/monge.c lib/kmeans_cells.c lib/kmeans_optimal.c
LIB_CODE := lib/huffman.c lib/huffman_decode.c lib/gaps.c lib/layout.c lib/range_coder.c lib/side_code.c lib/tensor_form.c \
            lib/tensor_plan.c lib/range_tensor.c lib/range_section.c lib/tensor_encode.c lib/tensor_decode.c lib/container_file.c lib/container_write.c lib/container_read.c \
            lib/container_ledger.c
LIB_CALIB := lib/linalg.c lib/moments.c lib/rate_model.c lib/compensate.c lib/compensate_round.c lib/compensate_error.c \
             lib/compensate_uniform.c lib/compensate_trellis.c lib/trellis_search.c lib/trellis_search_avx2.c \
             lib/compensate_codebook.c lib/compensate_codebook_fit.c lib/compensate_prune.c lib/model_clone.c
LIB := $(LIB_BASE) $(LIB_MODEL) $(LIB_COMPRESS) $(LIB_CODE) $(LIB_CALIB)

FORMATS_TABLE := formats/formats.c
FORMATS_PYTORCH := formats/pickle.c formats/pickle_stack.c formats/pickle_scalar.c formats/pickle_object.c formats/pickle_value.c \
        formats/pytorch.c formats/pytorch_zip.c formats/pytorch_legacy.c formats/pytorch_globals.c formats/pytorch_dtype.c \
        formats/pytorch_tensor.c formats/checkpoint.c formats/checkpoint_names.c formats/archs.c formats/arch_build.c \
        formats/archs_squeezenet.c formats/archs_alexnet.c formats/archs_vgg.c formats/npz.c
FORMATS_ONNX := formats/onnx_read.c formats/onnx_graph.c formats/onnx_names.c formats/onnx_tensor.c formats/onnx_fold.c \
                formats/onnx_fold_shape.c formats/onnx_ops.c formats/onnx_ops_window.c formats/onnx_ops_dense.c \
                formats/onnx_ops_shape.c formats/onnx_scale.c formats/onnx_pending.c formats/onnx_weights.c \
                formats/onnx_input.c formats/onnx_write.c formats/onnx_export_ops.c
FORMATS_NCNN := formats/ncnn.c formats/ncnn_param.c formats/ncnn_weights.c formats/ncnn_layers.c formats/ncnn_windows.c \
                formats/ncnn_elements.c formats/ncnn_nodes.c formats/ncnn_input.c formats/blob_table.c
FORMATS_HAN := formats/caffe_text.c formats/caffe_graph.c formats/han_net.c
FORMATS_HDF5 := formats/hdf5_library.c formats/hdf5_file.c formats/hdf5_write.c formats/hdf5_parts.c
FORMATS := $(FORMATS_TABLE) $(FORMATS_PYTORCH) $(FORMATS_ONNX) $(FORMATS_NCNN) $(FORMATS_HAN) $(FORMATS_HDF5)

EVAL_ENGINE := eval/isa.c eval/kernels.c eval/conv_layout.c eval/plan.c eval/plan_fuse.c eval/plan_memory.c \
               eval/relayout.c eval/weight_facts.c eval/engine_names.c eval/isa_peak.c eval/session.c \
               eval/session_weights.c eval/session_report.c eval/reference.c eval/elementwise.c \
               eval/conv_depthwise_avx2.c eval/conv_depthwise_avx512.c eval/conv_pointwise_avx2.c \
               eval/conv_pointwise_avx512.c eval/conv_window_avx2.c eval/conv_window_avx512.c eval/dense_avx2.c \
               eval/dense_avx512.c eval/conv_winograd_avx2.c eval/conv_winograd_avx512.c eval/conv_winograd8_avx2.c \
               eval/conv_winograd8_avx512.c eval/codebook_dense_avx2.c eval/codebook_dense_avx512.c \
               eval/sparse_conv_avx2.c eval/sparse_conv_avx512.c eval/gemm_avx2.c eval/gemm_avx512.c eval/lrn_avx2.c \
               eval/lrn_avx512.c eval/pool_avx2.c eval/pool_avx512.c
EVAL_IMAGES := eval/image.c eval/image_jpeg.c eval/image_png.c eval/image_pnm.c eval/exif.c eval/resize.c \
               eval/preprocess.c eval/dataset.c eval/dataset_folder.c eval/dataset_list.c eval/idx.c eval/cifar.c
EVAL_REPORT := eval/metrics.c eval/evaluate.c eval/npy.c
EVAL_SEARCH := eval/image_digest.c eval/allocate.c eval/probe.c eval/classic.c eval/sweep_cache.c eval/sensitivity.c \
               eval/compress.c eval/compress_holdout.c eval/compress_search.c
EVAL_CALIB := eval/model_part.c eval/columns.c eval/calibrate.c eval/collector.c eval/sequential.c
EVAL_NEON := eval/codebook_dense_neon.c eval/conv_depthwise_neon.c eval/conv_pointwise_neon.c eval/conv_window_neon.c \
             eval/conv_winograd8_neon.c eval/conv_winograd_neon.c eval/dense_neon.c eval/gemm_neon.c eval/lrn_neon.c \
             eval/pool_neon.c eval/sparse_conv_neon.c
EVAL := $(EVAL_ENGINE) $(EVAL_NEON) $(EVAL_IMAGES) $(EVAL_REPORT) $(EVAL_SEARCH) $(EVAL_CALIB)

CMD := cmd/main.c cmd/options.c cmd/help.c cmd/progress.c cmd/report.c cmd/model_io.c cmd/model_facts.c cmd/subject.c \
       cmd/process_clock.c cmd/bench.c cmd/bench_report.c cmd/explain_report.c cmd/preprocess_options.c cmd/class_names.c cmd/rules_text.c cmd/restore.c cmd/eval_report.c cmd/calibration_notice.c cmd/calibrated.c \
       cmd/cmd_import.c cmd/cmd_info.c cmd/cmd_prune.c cmd/cmd_quantize.c cmd/cmd_encode.c cmd/cmd_decode.c \
       cmd/cmd_run.c cmd/cmd_eval.c cmd/cmd_export.c cmd/cmd_compare.c \
       cmd/search_options.c cmd/cmd_compress.c cmd/cmd_sensitivity.c

# Protobuf messages, generated into the build folder: formats/NAME.proto.
PROTOS := formats/onnx.proto

# Unit tests: tests/unit/NAME.c each define `Suite *NAME(void)`; listed in tests/unit/suites.h as well.
UNIT := tests/unit/main.c tests/unit/test_linalg.c tests/unit/test_moments.c tests/unit/test_compensate.c \
        tests/unit/test_compensate_methods.c tests/unit/test_trellis.c tests/unit/test_compensate_trellis.c \
        tests/unit/made_layer.c tests/unit/test_calibrate.c tests/unit/calibration_samples.c \
        tests/unit/test_sequential.c tests/unit/test_hdf5.c tests/unit/test_npy.c tests/unit/test_options.c \
        tests/unit/test_evaluate.c tests/unit/test_cli.c cmd/options.c cmd/help.c cmd/preprocess_options.c \
        cmd/rules_text.c tests/unit/torch_sample.c tests/unit/test_pickle.c tests/unit/test_pytorch.c \
        tests/unit/test_checkpoint.c tests/unit/test_archs.c tests/unit/test_pytorch_shared.c \
        tests/unit/reader_folder.c tests/unit/ncnn_samples.c tests/unit/test_caffe_text.c tests/unit/test_han.c \
        tests/unit/test_ncnn.c tests/unit/test_ncnn_layers.c tests/unit/test_reader_logits.c \
        tests/unit/packed_samples.c tests/unit/test_huffman.c tests/unit/test_gaps.c tests/unit/test_tensor_code.c \
        tests/unit/test_container.c tests/unit/test_range.c tests/unit/test_base.c tests/unit/test_late_library.c \
        tests/unit/test_packed.c tests/unit/test_prune.c tests/unit/test_kmeans.c tests/unit/test_kmeans_entropy.c \
        tests/unit/test_quantize.c tests/unit/test_model.c tests/unit/image_samples.c tests/unit/test_image.c \
        tests/unit/test_image_damage.c tests/unit/test_resize.c tests/unit/test_dataset.c \
        tests/unit/test_dataset_raw.c tests/unit/test_metrics.c tests/unit/test_sha256.c \
        tests/unit/test_image_record.c tests/unit/test_allocate.c tests/unit/test_compress.c tests/unit/onnx_samples.c \
        tests/unit/test_onnx.c tests/unit/test_onnx_ops.c tests/unit/test_onnx_bad.c tests/unit/test_onnx_write.c \
        tests/unit/test_onnx_logits.c tests/unit/random_nets.c tests/unit/kernel_problems.c tests/unit/test_kernels.c \
        tests/unit/test_codebook_kernels.c tests/unit/test_sparse_kernels.c tests/plain/sqz_plain.c \
        tests/plain/sqz_plain_section.c tests/plain/sqz_plain_side.c tests/plain/sqz_plain_huffman.c \
        tests/plain/sqz_plain_range.c tests/unit/plain_compare.c tests/unit/test_plain_decoder.c \
        tests/unit/test_cases_compression.c tests/unit/test_cases_formats.c tests/unit/test_cases_evaluation.c \
        tests/unit/test_short_memory.c tests/unit/test_real_weights.c tests/unit/session_tools.c \
        tests/unit/test_engine.c tests/unit/test_session.c

# Commands that `sqz` answers to; each is installed as a link sqz-NAME.
COMMANDS := import info prune quantize encode decode run eval export compare compress sensitivity

# ---- tools and flags ---------------------------------------------------

PKGS := zlib libprotobuf-c libjpeg libpng jansson libzip
# Libraries that are loaded when they are first needed (lib/late_library.h).
LATE_PKGS := hdf5 openblas
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) $(LATE_PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
LATE_LIBS = $(shell pkg-config --libs $(LATE_PKGS))
CHECK_CFLAGS = $(shell pkg-config --cflags check)
CHECK_LIBS = $(shell pkg-config --libs check hdf5)

DEPS := gcc make pkg-config zlib1g-dev libhdf5-dev protobuf-c-compiler libprotobuf-c-dev libjpeg-dev libpng-dev \
        libjansson-dev libzip-dev libopenblas-pthread-dev
DEPS_TEST := check dataset-fashion-mnist
DEPS_NEON := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
DEPS_FUZZ := clang libclang-rt-14-dev libomp-14-dev

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wpointer-arith -Wvla -Wwrite-strings
# No contraction of a*b+c: results must not depend on what the compiler fuses.
SQZ_CFLAGS := -std=c11 -D_GNU_SOURCE -I. -fopenmp -ffp-contract=off -MMD -MP $(PKG_CFLAGS)
LIBS := -Wl,--as-needed -fopenmp $(PKG_LIBS) -ldl -lm
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

# ---- rules of one build mode -------------------------------------------

# obj MODE,SOURCES
obj = $(patsubst %.c,build/$(1)/%.o,$(2))
PRODUCT := $(LIB) $(FORMATS) $(EVAL)

CC_release = $(CC)
CC_asan = $(CC)
CC_fuzz = clang

# mode_rules MODE,EXTRA FLAGS
define mode_rules
build/$(1)/libsqz.a: $(call obj,$(1),$(PRODUCT)) $(patsubst %.proto,build/$(1)/%.pb-c.o,$(PROTOS))
	@echo "  AR    $$@"
	$(Q)rm -f $$@ && ar rcs $$@ $$^

build/$(1)/sqz: $(call obj,$(1),$(CMD)) build/$(1)/libsqz.a
	@echo "  LD    $$@"
	$(Q)$$(CC_$(1)) $(CFLAGS) $(LDFLAGS) $(2) -o $$@ $$^ $(LIBS)
	$(Q)for c in $(COMMANDS); do ln -sf sqz build/$(1)/sqz-$$$$c; done

build/$(1)/unit: $(call obj,$(1),$(UNIT)) build/$(1)/libsqz.a
	@echo "  LD    $$@"
	$(Q)$$(CC_$(1)) $(CFLAGS) $(LDFLAGS) $(2) -o $$@ $$^ $$(CHECK_LIBS) $(LIBS)

build/$(1)/bench-%: build/$(1)/tests/bench/bench_%.o build/$(1)/tests/unit/random_nets.o build/$(1)/libsqz.a
	@echo "  LD    $$@"
	$(Q)$$(CC_$(1)) $(CFLAGS) $(LDFLAGS) $(2) -o $$@ $$^ $(LIBS)

# The names under which libraries that are loaded late are installed on this system.
build/$(1)/lib/library_names.h:
	@mkdir -p $$(@D)
	$(Q)$$(CC_$(1)) -shared -o $$@.so -Wl,--no-as-needed $$(LATE_LIBS)
	$(Q)readelf -d $$@.so | sed -nE \
		-e 's/.*NEEDED.*\[(libhdf5[^]]*)\].*/#define SQZ_HDF5_LIBRARY "\1"/p' \
		-e 's/.*NEEDED.*\[(libopenblas[^]]*)\].*/#define SQZ_BLAS_LIBRARY "\1"/p' >$$@

$(call obj,$(1),formats/hdf5_library.c lib/linalg.c): | build/$(1)/lib/library_names.h

build/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	@echo "  CC    $$<"
	$(Q)$$(CC_$(1)) $(SQZ_CFLAGS) $(WARN) -Ibuild/$(1) $(CFLAGS) $(2) -c -o $$@ $$<

build/$(1)/%.pb-c.c build/$(1)/%.pb-c.h: %.proto
	@mkdir -p $$(@D)
	@echo "  PROTO $$<"
	$(Q)protoc-c --c_out=build/$(1) $$<

build/$(1)/%.pb-c.o: build/$(1)/%.pb-c.c
	$(Q)$$(CC_$(1)) $(SQZ_CFLAGS) -Ibuild/$(1) $(CFLAGS) $(2) -c -o $$@ $$<

$(call obj,$(1),$(FORMATS_ONNX) $(UNIT)): | $(patsubst %.proto,build/$(1)/%.pb-c.h,$(PROTOS))

-include $(patsubst %.o,%.d,$(call obj,$(1),$(PRODUCT) $(CMD) $(UNIT)))
endef

# ---- targets -----------------------------------------------------------

.PHONY: all demo deps deps-test deps-neon deps-fuzz check check-asan check-neon check-layers bench bench-peers fuzz samples install uninstall clean help
.DELETE_ON_ERROR:
.SECONDARY:

all: build/$(MODE)/sqz ## build the commands (the default)

$(eval $(call mode_rules,release,))
$(eval $(call mode_rules,asan,$(SANITIZE)))
$(eval $(call mode_rules,fuzz,-fsanitize=fuzzer-no-link $(SANITIZE)))

deps: ## install what the build needs (Debian, as root)
	apt-get install -y --no-install-recommends $(DEPS)

deps-test: deps ## install what the tests need as well
	apt-get install -y --no-install-recommends $(DEPS_TEST)

deps-neon: deps ## install what check-neon needs as well
	apt-get install -y --no-install-recommends $(DEPS_NEON)

deps-fuzz: deps ## install what the fuzzers need as well
	apt-get install -y --no-install-recommends $(DEPS_FUZZ)

demo: build/release/sqz ## run both sample nets through the whole pipeline and print one table
	$(Q)PATH="$(CURDIR)/build/release:$$PATH" samples/demo.sh

# Each call to OpenBLAS works on the thread that made it, so its own pool would only idle in every forked test.
check check-asan: export OPENBLAS_NUM_THREADS = 1

check: build/$(MODE)/sqz build/$(MODE)/unit ## run the unit and command tests
	$(Q)SQZ_BIN="$(CURDIR)/build/$(MODE)" build/$(MODE)/unit

check-asan: build/asan/sqz build/asan/unit ## the same under AddressSanitizer and UBSan
	$(Q)SQZ_BIN="$(CURDIR)/build/asan" build/asan/unit

bench: build/release/sqz build/release/make-alexnet $(patsubst %,build/release/bench-%,kernels coder decode) ## measure kernels, inference and decoding
	$(Q)build/release/bench-kernels
	$(Q)build/release/bench-coder
	$(Q)tests/bench/make_models.sh build/bench
	$(Q)build/release/bench-decode build/bench/*.sqz
	$(Q)tests/bench/end_to_end.sh build/bench

# SQZ_PEERS_PYTHON names an interpreter that has the packages already.
bench-peers: build/release/sqz build/release/make-alexnet build/release/bench-serve ## take turns with ONNX Runtime, ncnn and OpenVINO
	$(Q)tests/peers/bench_peers.sh

# Seconds that `make fuzz` spends on each target.
FUZZ_SECONDS ?= 30
FUZZERS := fuzz_model fuzz_sqz fuzz_image

build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o build/fuzz/libsqz.a
	@echo "  LD    $@"
	$(Q)$(CC_fuzz) $(CFLAGS) -fsanitize=fuzzer $(SANITIZE) -o $@ $^ $(LIBS)

# The golden files, and the same nets as ONNX and as working files.
build/fuzz/seeds: build/release/sqz
	$(Q)mkdir -p $@ && cp tests/golden/graph_*.sqz tests/golden/huffman_[1b]*.sqz tests/golden/range_[8u]*.sqz tests/golden/*_trellis.sqz $@
	$(Q)for f in $@/*.sqz; do build/release/sqz-export $$f --to onnx -q -o $$f.onnx && \
		build/release/sqz-decode $$f -q -o $$f.h5; done

fuzz: $(FUZZERS:%=build/fuzz/%) build/fuzz/seeds ## fuzz the readers for FUZZ_SECONDS each (needs clang: make deps-fuzz)
	$(Q)for f in $(FUZZERS); do mkdir -p build/fuzz/corpus/$$f && \
		build/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -artifact_prefix=build/fuzz/ -print_final_stats=1 \
		build/fuzz/corpus/$$f build/fuzz/seeds || exit 1; done

samples: build/release/classify ## build the example programs

build/release/classify: build/release/samples/classify.o build/release/libsqz.a
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

build/release/make-golden: $(call obj,release,tests/tools/make_golden.c tests/unit/random_nets.c tests/unit/plain_compare.c \
		$(filter tests/plain/%,$(UNIT))) build/release/libsqz.a
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

build/release/make-alexnet: build/release/tests/tools/make_alexnet.o build/release/libsqz.a
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

install: build/release/sqz ## install the commands and their manual pages under PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 build/release/sqz $(DESTDIR)$(PREFIX)/bin/sqz
	for c in $(COMMANDS); do \
		ln -sf sqz $(DESTDIR)$(PREFIX)/bin/sqz-$$c && \
		build/release/sqz-$$c --help-man >$(DESTDIR)$(PREFIX)/share/man/man1/sqz-$$c.1 || exit 1; done

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/sqz
	for c in $(COMMANDS); do \
		rm -f $(DESTDIR)$(PREFIX)/bin/sqz-$$c $(DESTDIR)$(PREFIX)/share/man/man1/sqz-$$c.1; done

# The kernels and their tests alone, without foreign libraries, for aarch64, run by qemu-user.
NEON_CC ?= aarch64-linux-gnu-gcc
NEON_RUN ?= qemu-aarch64 -L /usr/aarch64-linux-gnu
NEON_LIB := $(filter-out lib/linalg.c lib/container_file.c,$(LIB))
NEON_TESTS := $(filter-out %_avx2.c %_avx512.c,$(EVAL_ENGINE)) $(EVAL_NEON) \
	$(patsubst %,tests/unit/%.c,test_kernels test_codebook_kernels test_sparse_kernels test_engine test_session kernel_problems session_tools \
	random_nets packed_samples) tests/cross/cross_main.c

build/neon/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(NEON_CC) -std=c11 -D_GNU_SOURCE -I. -Itests/cross -fopenmp -ffp-contract=off -MMD -MP $(WARN) -O2 -g -c -o $@ $<

build/neon/libsqz.a: $(call obj,neon,$(NEON_LIB))
	$(Q)rm -f $@ && ar rcs $@ $^

build/neon/kernels: $(call obj,neon,$(NEON_TESTS)) build/neon/libsqz.a
	@echo "  LD    $@"
	$(Q)$(NEON_CC) -fopenmp -o $@ $^ -lm

-include $(patsubst %.o,%.d,$(call obj,neon,$(NEON_TESTS) $(NEON_LIB)))

check-neon: build/neon/kernels ## test the aarch64 kernels under qemu-user (make deps-neon)
	$(Q)$(NEON_RUN) build/neon/kernels

check-layers: ## hold the includes against the law of layers
	$(Q)tests/check-layers.sh

clean: ## remove everything that was built
	rm -rf build

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
