#!/bin/bash
# with_broker.sh DIR COMMAND ...: run a command beside a Kafka broker, whose
# files are all in DIR.  The command finds it by KAFKA_BROKERS and KAFKA_PID.
# Settings are broker.sh's, apart from the heap, which is smaller here.
set -euo pipefail
. "$(dirname "$0")/broker.sh"

dir=$1
shift
mkdir -p "$dir"
export KAFKA_HEAP=${KAFKA_HEAP:-400m}
# A stopped broker gets TERM only when it goes on.
trap 'kill -CONT "$KAFKA_PID" 2>/dev/null || true; kafka_stop' EXIT
trap 'exit 130' INT TERM HUP
kafka_start "$dir"
export KAFKA_BROKERS KAFKA_PID KAFKA_SASL KAFKA_TLS KAFKA_MTLS KAFKA_CERTS
"$@"
