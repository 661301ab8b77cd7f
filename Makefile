# Latchpost: one Makefile, top down. `make help` lists what it does.

# --- what a packager may set ------------------------------------------------------------------
PREFIX   ?= /usr/local
DESTDIR  ?=
SYSCONFDIR ?= /etc
CC       ?= cc
CFLAGS   ?= -O2 -g
SANITIZE ?=
BUILD    ?= build$(if $(SANITIZE),/$(subst $(comma),-,$(SANITIZE)))
V        ?= 0

comma := ,
quiet := $(if $(filter 1,$(V)),,@)
say    = $(if $(filter 1,$(V)),@:,@printf '  %-7s %s\n')

cc_option = $(shell $(CC) -Werror $(1) -c -x c /dev/null -o /dev/null 2>/dev/null && echo $(1))

VERSION := 0.1.0

# --- the packages, the only list of them ------------------------------------------------------
PACKAGES := gcc make pkg-config libuv1-dev libssl-dev libsqlite3-dev libsodium-dev libjansson-dev \
            libconfuse-dev libidn2-dev libc-ares-dev libcurl4-openssl-dev node-llhttp curl \
            libseccomp-dev
PACKAGES_TEST := libcmocka-dev python3 postfix swaks libnet-ssleay-perl msmtp openssl \
                 node-nodemailer libemail-address-xs-perl slowhttptest sslscan sqlite3 \
                 dnsmasq-base python3-jsonschema libemail-mime-perl systemd libseccomp2
PACKAGES_FUZZ := clang libclang-rt-14-dev
PACKAGES_BENCH := valgrind linux-perf
PACKAGES_FORMAT := clang-format
PACKAGES_ANALYZE := clang-tidy cppcheck
PACKAGES_COVERAGE := gcovr

# --- flags ------------------------------------------------------------------------------------
PKGS   := libuv openssl sqlite3 libsodium jansson libconfuse libidn2 libcares libcurl libseccomp
WARN   := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wformat-security \
          -Werror=implicit
# What Debian hardens its packages with; the last two only where compiler and machine have them.
HARDEN := -fstack-protector-strong -fPIE -ftrapv \
          $(call cc_option,-fstack-clash-protection) $(call cc_option,-fcf-protection)
FORTIFY = $(if $(SAN)$(filter -O0,$(CFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
SAN    := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -I. $(WARN) $(HARDEN) $(FORTIFY) $(SAN) $(CFLAGS) -MMD -MP \
             $(PKG_CFLAGS) $(LLHTTP_CFLAGS) -DLATCHPOST_VERSION='"$(VERSION)"'
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack $(SAN) $(LDFLAGS)

PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   = $(shell pkg-config --libs $(PKGS)) -pthread

# HTTP is parsed by llhttp. Debian 13 has it as a library; Debian 12 ships the same generated C in
# the package node-llhttp, from where it is compiled, strict.
LLHTTP_PC := $(shell pkg-config --exists libllhttp 2>/dev/null && echo yes)
ifeq ($(LLHTTP_PC),yes)
LLHTTP_CFLAGS := $(shell pkg-config --cflags libllhttp)
LLHTTP_LIBS   := $(shell pkg-config --libs libllhttp)
else
LLHTTP_DIR    := /usr/share/llhttp
LLHTTP_CFLAGS := -isystem /usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1
LLHTTP_LIBS    = $(BUILD)/libllhttp.a
endif

# --- sources, by folder; one archive a folder ---------------------------------------------------
SRC_base := $(patsubst %,relay/base/%.c,\
    alloc base64 buf clock db db_schema digest gather ident log mailbox map metrics slice turns \
    why)
SRC_net := $(patsubst %,relay/net/%.c,\
    connect errand listener listener_limits loop resolve stream stream_input stream_output \
    stream_peer tls tls_cert tls_context txt_lookup txt_owner)
SRC_message := $(patsubst %,relay/message/%.c,\
    address compose content_type date domain dsn encode fixup header returned sender)
SRC_auth := $(patsubst %,auth/%.c,\
    account admin_account admin_domain admin_key admin_state audit auth auth_store \
    auth_store_audit auth_store_state domain_token grant key key_record key_view limit load \
    network pattern penalty pepper plan refusals scope secrets spec table usage)
SRC_queue := $(patsubst %,queue/%.c,\
    admin doubt filter lane lease message once prune queue queue_store queue_store_column \
    queue_store_gap queue_store_lane queue_store_look queue_store_once queue_store_prune \
    queue_store_read queue_store_steer queue_store_time queue_store_write report schedule settle \
    steer submit timeline watch writer)
SRC_smtp := $(patsubst %,relay/smtp/%.c,\
    body command content line login parse refusal reply sasl service session transaction)
SRC_upstream := $(patsubst %,relay/upstream/%.c,\
    answer breaker client client_login client_mail gate gate_line gate_pass maildir maildir_file \
    pace pool route stuff upstream)
SRC_http := $(patsubst %,relay/http/%.c,\
    api_accounts api_audit api_domain_verify api_domains api_emails api_filter api_key_acts \
    api_keys api_messages api_queue api_shape api_steer api_sub_accounts api_upstreams bounds \
    budget chunk endpoints head json json_lift mail_address mail_request openapi openapi_schema \
    parcel request response secret server status work)
SRC_top := $(patsubst %,relay/%.c,\
    bounce cli/account cli/audit cli/check cli/client cli/client_direct cli/client_http \
    cli/client_local cli/client_remote cli/domain cli/key cli/listing cli/options cli/pages \
    cli/print cli/queue cli/queue_steer cli/serve cli/upstream config config_file config_read \
    config_table config_upstreams config_value daemon delivery delivery_attempt delivery_fleet \
    delivery_share fence fence_calls fence_files fence_modules generation held inherited notify \
    reach state_lock upstreams user watchdog worker)

FLOORS := base net message auth queue smtp upstream http top

# Which archives a floor may use, its own first. A forbidden call is an undefined symbol.
USES_base     := base
USES_net      := net base
USES_message  := message base
USES_auth     := auth base
USES_queue    := queue base
USES_smtp     := smtp net message auth queue base
USES_upstream := upstream net message base
USES_http     := http net message auth queue base
USES_top      := top smtp upstream http net message auth queue base

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
archives = $(foreach floor,$(USES_$(1)),$(BUILD)/$(floor).a)

.PHONY: all
all: latchpost ## build ./latchpost

latchpost: $(BUILD)/latchpost
	$(quiet)cp $< $@

$(BUILD)/latchpost: $(BUILD)/relay/main.o $(call archives,top) $(LLHTTP_LIBS)
	$(say) LINK $@
	$(quiet)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/%.o: %.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(quiet)$(CC) $(ALL_CFLAGS) -c -o $@ $<

define archive_rule
$(BUILD)/$(1).a: $(call objects,$(SRC_$(1)))
	$$(say) AR $$@
	@rm -f $$@
	$$(quiet)ar rcs $$@ $$^
endef
$(foreach floor,$(FLOORS),$(eval $(call archive_rule,$(floor))))

$(BUILD)/libllhttp.a: $(LLHTTP_DIR)/api.c $(LLHTTP_DIR)/http.c $(LLHTTP_DIR)/llhttp.c
	$(say) CC llhttp
	@mkdir -p $(BUILD)/llhttp
	$(quiet)for c in $^; do $(CC) -O2 -w $(HARDEN) $(FORTIFY) $(SAN) $(LLHTTP_CFLAGS) -c \
	    -o $(BUILD)/llhttp/$$(basename $$c .c).o $$c || exit 1; done
	$(quiet)ar rcs $@ $(BUILD)/llhttp/*.o

# --- what a person calls ------------------------------------------------------------------------

# Installs what is missing of the packages given, and nothing else; asks nothing.
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
define install_packages
	@missing=; for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | \
	    grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	    $(SUDO) apt-get -qq update && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
	    --no-install-recommends install $$missing </dev/null >/dev/null; fi
endef

.PHONY: deps
deps: ## install the packages that the build needs (apt-get, with sudo where not root)
	$(call install_packages,$(PACKAGES))

.PHONY: deps-test
deps-test: deps ## install what the tests need besides
	$(call install_packages,$(PACKAGES_TEST))

.PHONY: run
run: deps ## build, make a first key, start the relay, print a line that sends a message
	@$(MAKE) --no-print-directory latchpost
	@conf/demo.sh

.PHONY: test
test: deps-test ## install what is missing, build, run every test (SANITIZE=address,undefined)
	@$(MAKE) --no-print-directory check

# --- tests --------------------------------------------------------------------------------------

# tests/unit/test_<file>.c is linked with the archives that <file>.c may use, and no others.
UNIT := $(wildcard tests/unit/test_*.c)
# The lowest floor with a file of this name: auth/key.c before relay/cli/key.c.
FLOOR_session_model := smtp
FLOOR_queue_store_faults := queue
FLOOR_queue_store_damage := queue
floor_of = $(firstword $(FLOOR_$(1)) $(foreach floor,$(FLOORS),$(if $(filter %/$(1).c,$(SRC_$(floor))),$(floor))))
subject  = $(patsubst test_%,%,$(notdir $(basename $(1))))
define unit_rule
$(BUILD)/$(basename $(1)): $(BUILD)/$(basename $(1)).o $(call objects,$(SUPPORT_$(call subject,$(1)))) \
        $(call archives,$(call floor_of,$(call subject,$(1)))) $(LLHTTP_LIBS)
	$$(say) LINK $$@
	$$(quiet)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $$(PKG_LIBS) -lcmocka
endef
SUPPORT_client   := tests/support/fake_upstream.c
SUPPORT_pool     := tests/support/fake_upstream.c
SUPPORT_delivery := tests/support/fake_upstream.c
SUPPORT_connect  := tests/support/fake_dns.c
SUPPORT_resolve  := tests/support/fake_dns.c
$(foreach test,$(UNIT),$(eval $(call unit_rule,$(test))))
UNIT_BIN := $(patsubst %.c,$(BUILD)/%,$(UNIT))

# Programs that the system tests call.
TOOLS := $(BUILD)/tests/support/queue_crash $(BUILD)/tests/support/from_judge \
         $(BUILD)/tests/support/dsn_sample
$(BUILD)/tests/support/queue_crash: $(BUILD)/tests/support/queue_crash.o $(call archives,queue)
$(BUILD)/tests/support/from_judge: $(BUILD)/tests/support/from_judge.o $(call archives,message)
$(BUILD)/tests/support/dsn_sample: $(BUILD)/tests/support/dsn_sample.o $(call archives,message)
$(TOOLS):
	$(say) LINK $@
	$(quiet)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

# Preloaded into the real binary by system tests: clocks that jump, disks that fail, names that
# hang, moments at which it dies, somebody who runs code in it. They must not bring a sanitizer of their own.
SHIMS := $(patsubst %,$(BUILD)/tests/support/%.so,crash_point fake_dns intruder machine)
$(SHIMS): $(BUILD)/%.so: %.c
	$(say) LINK $@
	@mkdir -p $(@D)
	$(quiet)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fPIC -shared -o $@ $<

# Fuzz targets: tests/fuzz/fuzz_<parser>.c. `check` replays the corpus; `fuzz` goes on from there.
FUZZ := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_USES := top smtp upstream http net message auth queue base
REPLAY_BIN := $(patsubst %.c,$(BUILD)/%,$(FUZZ))
$(REPLAY_BIN): %: %.o $(BUILD)/tests/fuzz/replay.o $(patsubst %,$(BUILD)/%.a,$(FUZZ_USES)) $(LLHTTP_LIBS)
	$(say) LINK $@
	$(quiet)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

SYSTEM := $(wildcard tests/system/*.py tests/system/*.sh)

.PHONY: check
check: latchpost $(UNIT_BIN) $(TOOLS) $(SHIMS) $(REPLAY_BIN) ## build and run every test, installing nothing
	$(quiet)BUILD=$(abspath $(BUILD)) LATCHPOST=$(abspath $(BUILD))/latchpost \
	    python3 tests/run.py $(SYSTEM) $(UNIT_BIN) $(REPLAY_BIN)

.PHONY: unit
unit: $(UNIT_BIN) ## only the unit tests
	$(quiet)python3 tests/run.py $(UNIT_BIN)

.PHONY: fuzz
TIME ?= 60
fuzz: ## run each fuzz target for TIME seconds (60) under ASan and UBSan; needs clang
	$(call install_packages,$(PACKAGES_FUZZ))
	@$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz SAN="-fsanitize=fuzzer-no-link,address,undefined" \
	    fuzz-targets
	$(quiet)for t in $(FUZZ); do name=$$(basename $$t .c); mkdir -p build/fuzz/corpus/$$name; \
	    echo "== $$name"; build/fuzz/tests/fuzz/$$name-fuzz -max_total_time=$(TIME) -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$name- build/fuzz/corpus/$$name tests/fuzz/corpus/$$name \
	    2>&1 | tail -n 12 || exit 1; done

.PHONY: fuzz-targets
fuzz-targets: $(patsubst %.c,$(BUILD)/%-fuzz,$(FUZZ))
$(BUILD)/tests/fuzz/%-fuzz: $(BUILD)/tests/fuzz/%.o $(patsubst %,$(BUILD)/%.a,$(FUZZ_USES)) $(LLHTTP_LIBS)
	$(say) LINK $@
	$(quiet)$(CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(PKG_LIBS)

include tests/bench/bench.mk

# --- analysers ----------------------------------------------------------------------------------

# Their settings, and the reason for everything that they are told to leave out, are in conf/.
ANALYZED := $(foreach floor,$(FLOORS),$(SRC_$(floor))) relay/main.c
HEADERS  := $(wildcard auth/*.h queue/*.h relay/*.h relay/*/*.h)
# The same reference counts that conf/clang-tidy speaks of.
ANALYZE_relay/smtp/session.c   := -Wno-analyzer-use-after-free
ANALYZE_relay/http/endpoints.c := -Wno-analyzer-use-after-free
CPPCHECK := cppcheck -q -j2 --std=c11 --enable=warning,performance,portability,style --error-exitcode=1 \
    --suppressions-list=conf/cppcheck-suppressions --library=posix,gnu -I. -D_GNU_SOURCE \
    '-D__VA_OPT__(...)=__VA_ARGS__' '-Djson_object_foreach(o,k,v)=while (f(o, &k, &v))' \
    '-Djson_array_foreach(a,i,v)=while (f(a, &i, &v))'

.PHONY: deps-analyze
deps-analyze: deps ## install the analysers
	$(call install_packages,$(PACKAGES_ANALYZE))

.PHONY: analyze
analyze: deps-analyze ## gcc -fanalyzer, clang-tidy and cppcheck over the whole source: must be clean
	@$(MAKE) --no-print-directory $(ANALYZED:%.c=$(BUILD)/%.analyzed) $(BUILD)/cppcheck.analyzed
	@echo "$(words $(ANALYZED)) files are clean, by gcc -fanalyzer, clang-tidy and cppcheck"

$(BUILD)/%.analyzed: %.c $(HEADERS) conf/clang-tidy Makefile
	$(say) ANALYZE $<
	@mkdir -p $(@D)
	$(quiet)gcc $(filter-out -MMD -MP,$(ALL_CFLAGS)) -fanalyzer -Werror $(ANALYZE_$<) -c -o /dev/null $<
	$(quiet)clang-tidy --quiet --config-file=conf/clang-tidy $< -- -std=c11 -D_GNU_SOURCE -I. \
	    $(PKG_CFLAGS) $(LLHTTP_CFLAGS) -DLATCHPOST_VERSION='"$(VERSION)"' 2>$@.log || { cat $@.log; exit 1; }
	@touch $@

$(BUILD)/cppcheck.analyzed: $(ANALYZED) $(HEADERS) conf/cppcheck-suppressions Makefile
	$(say) ANALYZE "all, cppcheck"
	$(quiet)$(CPPCHECK) $(ANALYZED)
	@touch $@

# --- coverage -----------------------------------------------------------------------------------

# Counts are written when a process ends by itself: what is killed, or became another user that may
# not write here, adds none. The goal for these files is 90 % of the branches; assert() has none.
COVERAGE := $(abspath build/coverage)
COVERED  := $(SRC_message) $(filter %parse.c %command.c %sasl.c %line.c %body.c %session.c \
    %transaction.c %content.c,$(SRC_smtp)) $(filter %head.c %chunk.c %json.c,$(SRC_http)) \
    relay/upstream/answer.c $(SRC_queue)

.PHONY: coverage
coverage: deps-test ## run every test and print which branches of parsers, session and queue they take
	$(call install_packages,$(PACKAGES_COVERAGE))
	@find $(COVERAGE) -name '*.gcda' -delete 2>/dev/null; true
	-@$(MAKE) --no-print-directory BUILD=$(COVERAGE) LDFLAGS=--coverage \
	    CFLAGS='-O0 -g --coverage -fprofile-update=atomic -DLATCHPOST_COVERAGE=\"$(COVERAGE)\"' check
	@gcovr -j 2 --root . --branches --exclude-branches-by-pattern '.*\bassert\(' --sort-percentage \
	    $(patsubst %,--filter '%$$',$(COVERED)) $(COVERAGE)

# --- the rest -------------------------------------------------------------------------------------

.PHONY: install
install: latchpost ## install below PREFIX (/usr/local), DESTDIR in front
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(SYSCONFDIR)/latchpost
	install -m 755 latchpost $(DESTDIR)$(PREFIX)/bin/latchpost
	test -e $(DESTDIR)$(SYSCONFDIR)/latchpost/latchpost.conf || \
	    install -m 640 conf/latchpost.conf $(DESTDIR)$(SYSCONFDIR)/latchpost/latchpost.conf
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d
	sed 's,/usr/local/bin/,$(PREFIX)/bin/,; s,/etc/latchpost,$(SYSCONFDIR)/latchpost,g' \
	    conf/latchpost.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/latchpost.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/latchpost.service
	install -m 644 conf/latchpost.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/latchpost.socket
	install -m 644 conf/latchpost.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/latchpost.conf

.PHONY: format
format: ## lay out all C files
	$(call install_packages,$(PACKAGES_FORMAT))
	clang-format -i --style=file:conf/clang-format $(shell git ls-files '*.c' '*.h')

.PHONY: clean
clean: ## remove what was built (var/ stays)
	rm -rf build latchpost

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile tests/bench/bench.mk

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
