# The benchmark: a generator (load), a sink, and the driver that runs them against the relay.
# `make bench` prints the table; RUNS and SECONDS (of each run) lengthen it, ROWS chooses rows
# (all: also those of large messages and many sessions); tests/bench/bench.py --help tells the rest.

BENCH_SHARED := $(addprefix $(BUILD)/tests/bench/,mail.o wire.o)
BENCH_LOAD   := $(addprefix $(BUILD)/tests/bench/,load.o load_http.o load_session.o samples.o) $(BENCH_SHARED)
BENCH_SINK   := $(addprefix $(BUILD)/tests/bench/,sink.o sink_session.o sink_sasl.o tally.o) \
                $(BENCH_SHARED)

$(BUILD)/bench/load: $(BENCH_LOAD) $(BUILD)/base.a
$(BUILD)/bench/sink: $(BENCH_SINK) $(BUILD)/base.a
$(BUILD)/bench/load $(BUILD)/bench/sink:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(quiet)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

RUNS    ?= 3
SECONDS ?= 3
ROWS    ?=

$(BUILD)/bench/queue: $(BUILD)/tests/bench/queue_bench.o $(call archives,queue)
	$(say) LINK $@
	@mkdir -p $(@D)
	$(quiet)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

.PHONY: bench-queue
bench-queue: $(BUILD)/bench/queue ## measure the queue alone
	$(quiet)$<

$(BUILD)/bench/keys: $(BUILD)/tests/bench/keys_bench.o $(call archives,auth)
$(BUILD)/bench/http_load: $(BUILD)/tests/bench/http_load.o
$(BUILD)/bench/keys $(BUILD)/bench/http_load:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(quiet)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

.PHONY: bench-keys
bench-keys: $(BUILD)/latchpost $(BUILD)/bench/keys $(BUILD)/bench/http_load ## measure 100,000 keys: check, making, start, whoami
	$(quiet)python3 tests/bench/keys.py --relay $(BUILD)/latchpost --tools $(BUILD)/bench

.PHONY: bench-tools
bench-tools: $(BUILD)/bench/load $(BUILD)/bench/sink

.PHONY: bench
bench: $(BUILD)/latchpost bench-tools ## measure beside Postfix: RUNS=3 SECONDS=3 ROWS=kept,fresh
	$(quiet)python3 tests/bench/bench.py --relay $(BUILD)/latchpost --tools $(BUILD)/bench \
	    --runs $(RUNS) --seconds $(SECONDS) $(if $(ROWS),--rows $(ROWS))

.PHONY: bench-instructions
bench-instructions: $(BUILD)/latchpost bench-tools ## count the instructions of a message; needs valgrind
	$(call install_packages,$(PACKAGES_BENCH))
	$(quiet)python3 tests/bench/instructions.py --relay $(BUILD)/latchpost --tools $(BUILD)/bench
