# pg_eventlog: an event log with Kafka's semantics inside PostgreSQL.
#
#   make, make install         build and install for the server of $(PG_CONFIG)
#   make installcheck          tests against a running server that preloads us
#   make demo [KEEP=1]         watch it work, on a throw-away server
#   make check                 every test, on a throw-away server
#   make check-all             the same on each server version (test/check_all.sh)
#   make bench, bench-soak     measure, for docs/benchmarks*.md (test/bench/)
#   make fuzz [SECONDS=60]     any bytes for the codec and the page walk
#   make fuzz-corpus           write the fuzzers' first inputs again
#   make check-sanitize        the tests on a build with ASan and UBSan
#   make check-valgrind        a short run of a server under valgrind
#   make format-check          is src/ in the house style?
#
# All but format-check install the Debian packages that they miss and leave the
# system's own PostgreSQL installation and clusters alone (test/server.sh).

PG_CONFIG ?= pg_config

# What needs no PGXS comes first: these run before the packages are there, and
# PGXS has a "check" of its own that only says that it does nothing.
house_goals := demo check check-all check-sanitize check-valgrind bench bench-soak fuzz fuzz-corpus format-check

ifneq ($(filter $(house_goals),$(MAKECMDGOALS)),)

SECONDS ?= 60
export PG_CONFIG KEEP TESTS VERSIONS

.PHONY: $(house_goals)
demo:
	@test/demo.sh
check:
	@test/check.sh
check-all:
	@test/check_all.sh
bench:
	@test/bench/run.sh
bench-soak:
	@test/bench/soak.sh
check-sanitize:
	@test/sanitize.sh
check-valgrind:
	@test/valgrind.sh
fuzz:
	@FUZZ_SECONDS='$(SECONDS)' test/fuzz.sh
fuzz-corpus:
	@test/fuzz.sh --corpus
format-check:
	@test/format.sh --check

else

PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
# Debian's client package has PGXS, too, but not the headers
HEADER := $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)
ifneq ($(words $(PGXS) $(HEADER)),2)
$(error PostgreSQL's development files are missing: install postgresql-server-dev-NN, or set PG_CONFIG; "make check" and "make demo" do it by themselves)
endif

EXTENSION = pg_eventlog
EVENTLOG_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" pg_eventlog.control)

MODULE_big = pg_eventlog
OBJS = $(patsubst src/%.c,src/%.o,$(sort $(wildcard src/*.c)))
# Calls between our own files need not go through a table.
SHLIB_LINK = -llz4 -lzstd -Wl,-Bsymbolic

# What talks to Kafka is a library of its own, since it needs librdkafka, which
# has threads: only mirror workers load it.  PGXS builds one library, so the
# rules for this one are below.
KAFKA_LIBRARY = pg_eventlog_kafka$(DLSUFFIX)
KAFKA_OBJS = $(patsubst src/kafka/%.c,src/kafka/%.o,$(sort $(wildcard src/kafka/*.c)))

# The install script is written in numbered parts and joined here.
SQL_PARTS = $(sort $(wildcard sql/[0-9][0-9]_*.sql))
DATA_built = pg_eventlog--$(EVENTLOG_VERSION).sql pg_eventlog--0.1.0--0.2.0.sql
DATA = $(wildcard sql/pg_eventlog--*.sql)

# Until 0.2.0 is released, its upgrade script is made from the parts that are
# new in it, so that nothing is written twice.
UPGRADE_PARTS = sql/upgrade/0.1.0--0.2.0.sql sql/52_members.sql sql/55_reset.sql \
	sql/57_group_admin.sql sql/65_maintenance.sql sql/70_views.sql sql/75_inspect.sql \
	sql/80_workers.sql sql/85_metrics.sql sql/87_capture.sql sql/88_capture_signals.sql \
	sql/90_mirrors.sql sql/92_kafka.sql

# The server's headers count as system headers (-isystem wins over the -I that
# PGXS adds), so that the warnings are about our code.  Left off, because the
# server's interfaces force them on us:
#   unused-parameter          callbacks and fmgr functions have fixed signatures
#   sign-compare              its sizes and counts are signed and unsigned by turns
#   missing-field-initializers  its routine and option tables are filled partly
WERROR = -Werror
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) \
	-DEVENTLOG_VERSION='"$(EVENTLOG_VERSION)"' -MMD -MP
PG_CFLAGS = -Wall -Wextra $(WERROR) \
	-Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

# The server's flags are those of the compiler that built it, gcc on Debian:
# clang does not know all of them, nor the attribute gnu_printf.
ifneq ($(findstring clang,$(CC)),)
PG_CFLAGS += -Wno-unknown-warning-option -Wno-ignored-optimization-argument \
	-Wno-ignored-attributes
endif

# No bitcode for the JIT: nothing of ours is worth inlining into expressions,
# and it would need clang.
override with_llvm = no

# Tests live in test/, their expected output in expected/.  pg_regress looks
# below --outputdir first, which is how it finds expected/ up here.
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS := --inputdir=test --outputdir=. --encoding=UTF8 --no-locale \
	--load-extension=pg_eventlog
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS := $(REGRESS_OPTS)
REGRESS_OPTS += --load-extension=pgtap
PROVE_TESTS = $(sort $(wildcard test/t/*.pl))
ifneq ($(PROVE_TESTS),)
TAP_TESTS = 1
endif

EXTRA_CLEAN = .build-key src/*.d src/kafka/*.d $(KAFKA_OBJS) $(KAFKA_LIBRARY) pg_eventlog--*.sql results/ regression.diffs regression.out \
	tmp_check/ output_iso/ tmp_check_iso/

include $(PGXS)

# Changes when the server, the compiler, its flags or the list of files do, and
# so makes what was built before be built again.
build_key := $(VERSION) $(includedir_server) $(CC) $(CFLAGS) $(CPPFLAGS) $(OBJS) $(KAFKA_OBJS) $(SQL_PARTS)
.build-key: FORCE
	@echo '$(build_key)' | cmp -s - $@ || echo '$(build_key)' > $@
.PHONY: FORCE

pg_eventlog--$(EVENTLOG_VERSION).sql: $(SQL_PARTS) .build-key
	cat $(SQL_PARTS) > $@
pg_eventlog--0.1.0--0.2.0.sql: $(UPGRADE_PARTS) .build-key
	cat $(UPGRADE_PARTS) > $@

pg_eventlog$(DLSUFFIX): .build-key
$(OBJS) $(KAFKA_OBJS): .build-key Makefile
-include $(wildcard src/*.d src/kafka/*.d)

all: $(KAFKA_LIBRARY)
$(KAFKA_LIBRARY): $(KAFKA_OBJS) .build-key
	$(LINK.shared) -o $@ $(KAFKA_OBJS) $(LDFLAGS) $(LDFLAGS_SL) -lrdkafka -lpthread -Wl,-Bsymbolic

$(KAFKA_OBJS): override CPPFLAGS += -iquote src
$(KAFKA_OBJS): | have-librdkafka
have-librdkafka:
	@echo '#include <librdkafka/rdkafka.h>' | $(CC) $(filter-out -MMD -MP,$(CPPFLAGS)) -E - >/dev/null 2>&1 || { \
		echo "librdkafka's development files are missing: install librdkafka-dev;" \
			"\"make check\" and \"make demo\" do it by themselves" >&2; exit 1; }

install: install-kafka
install-kafka: $(KAFKA_LIBRARY) installdirs
	$(INSTALL_SHLIB) $(KAFKA_LIBRARY) '$(DESTDIR)$(pkglibdir)/'
uninstall: uninstall-kafka
uninstall-kafka:
	rm -f '$(DESTDIR)$(pkglibdir)/$(KAFKA_LIBRARY)'
.PHONY: have-librdkafka install-kafka uninstall-kafka

# For scripts: make -s print-REGRESS
print-%:
	@echo '$($*)'

endif
