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
$(BUILD)/bench/plant: $(BUILD)/tests/bench/plant.o $(call archives,queue)
$(BUILD)/bench/queue $(BUILD)/bench/plant:
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

$(BUILD)/bench/refusal: $(BUILD)/tests/bench/refusal.o $(call archives,auth)
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

ROUNDS ?= 3
DEPTHS ?= 0,100000,1000000

.PHONY: bench-depth
bench-depth: $(BUILD)/latchpost bench-tools $(BUILD)/bench/plant ## measure with a deep queue: ROUNDS=3 DEPTHS=0,1000000
	$(quiet)python3 tests/bench/depth.py --relay $(BUILD)/latchpost --tools $(BUILD)/bench \
	    --rounds $(ROUNDS) --seconds $(SECONDS) --depths $(DEPTHS)

.PHONY: bench-lag
bench-lag: $(BUILD)/latchpost $(BUILD)/bench/plant $(BUILD)/bench/sink ## measure one account's delay beside another's backlog
	$(quiet)python3 tests/bench/depth.py --relay $(BUILD)/latchpost --tools $(BUILD)/bench --lag

.PHONY: bench-instructions
bench-instructions: $(BUILD)/latchpost bench-tools ## count the instructions of a message; needs valgrind
	$(call install_packages,$(PACKAGES_BENCH))
	$(quiet)python3 tests/bench/instructions.py --relay $(BUILD)/latchpost --tools $(BUILD)/bench

.PHONY: bench-workers
bench-workers: $(BUILD)/latchpost bench-tools ## measure 1, 2 and 4 workers: which thread is full first? needs perf
	$(call install_packages,$(PACKAGES_BENCH))
	$(quiet)python3 tests/bench/workers.py --relay $(BUILD)/latchpost --tools $(BUILD)/bench

.PHONY: bench-hostile
bench-hostile: $(BUILD)/latchpost ## measure what hostile clients cost, in memory and to others
	$(quiet)LATCHPOST=$(abspath $<) python3 -B tests/bench/hostile.py

.PHONY: bench-refusal
bench-refusal: $(BUILD)/bench/refusal ## count the instructions of a refusal, for each kind of wrong key; needs valgrind
	$(call install_packages,$(PACKAGES_BENCH))
	$(quiet)python3 tests/bench/refusal.py --tools $(BUILD)/bench

.PHONY: bench-timing
bench-timing: $(BUILD)/latchpost ## does the time of a refusal tell one wrong key from another?
	$(quiet)LATCHPOST=$(abspath $<) python3 -B tests/bench/timing.py
