# Shared by the scripts beside it: find or install what they need, run a throwaway PostgreSQL, clean up.
# Source it; it sets `root` (the checkout), `target` (the build directory) and stops on the first error.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
export CARGO_TARGET_DIR=$target

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# --- what the machine must have ---------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "please run as root, once: $*"; fi
}

apt_updated=
# Installs Debian packages that are missing.
need_packages() {
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "please install: ${missing[*]}"
    say "installing ${missing[*]} …"
    if [ -z "$apt_updated" ]; then as_root apt-get update -qq >/dev/null || true; apt_updated=1; fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
        die "could not install ${missing[*]}"
}

# Sets PGBIN: from PATH, then the newest of Debian's directories, else by installing the package.
find_postgres() {
    local d
    PGBIN=
    if d=$(command -v initdb); then
        d=$(dirname "$(readlink -f "$d")")
        [ -x "$d/postgres" ] && [ -x "$d/pg_ctl" ] && PGBIN=$d
    fi
    if [ -z "$PGBIN" ]; then
        for d in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V -r); do
            [ -x "$d/initdb" ] && { PGBIN=$d; break; }
        done
    fi
    if [ -z "$PGBIN" ]; then
        [ "${1:-}" != again ] || die "no PostgreSQL found, even after installing the package"
        need_packages postgresql postgresql-client
        find_postgres again
        return
    fi
    command -v psql >/dev/null || [ -x "$PGBIN/psql" ] || need_packages postgresql-client
    export PGBIN
    case ":$PATH:" in *":$PGBIN:"*) ;; *) PATH=$PATH:$PGBIN ;; esac
}

# The SQL parser is C, read through libclang at build time.
need_build_tools() {
    command -v cargo >/dev/null || die "Rust is missing: install rustup and the toolchain first"
    if ! command -v cc >/dev/null || ! command -v make >/dev/null; then need_packages build-essential; fi
    command -v cmake >/dev/null || need_packages cmake
    ldconfig -p 2>/dev/null | grep -q 'libclang[-.]' || ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || need_packages libclang-dev
}

# --- never as root ------------------------------------------------------------------------------------------------

# Sets `unprivileged` to the account that servers run as: ourselves, unless we are root.
choose_account() {
    [ -z "${unprivileged:-}" ] || return 0
    if [ "$(id -u)" != 0 ]; then unprivileged=$(id -un)
    elif id postgres >/dev/null 2>&1; then unprivileged=postgres
    else unprivileged=nobody; fi
}

# Replaces the shell: `(drop_exec COMMAND …) &` makes $! the command's own pid.
drop_exec() {
    choose_account
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid="$unprivileged" --regid="$(id -g "$unprivileged")" --clear-groups -- env HOME="$work" "$@"
    else
        exec "$@"
    fi
}
drop() { (drop_exec "$@"); }

# --- a directory, ports, and the end --------------------------------------------------------------------------------

started=()   # pids, in the order of their start

# Sets `work`: a fresh directory that the servers' account owns.
make_workdir() {
    choose_account
    work=$(mktemp -d "${TMPDIR:-/tmp}/ringfence-XXXXXXXX")
    chmod 755 "$work"
    [ "$(id -u)" != 0 ] || chown "$unprivileged" "$work"
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

finish() {
    local status=$? i
    trap - EXIT INT TERM HUP
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do stop_pid "${started[i]}"; done
    [ -z "${PGDATA_DIR:-}" ] || stop_cluster
    [ -z "${work:-}" ] || rm -rf -- "$work"
    exit "$status"
}

# Asks a process to end, insists after ten seconds.
stop_pid() {
    local pid=$1 i
    kill -TERM "$pid" 2>/dev/null || return 0
    for ((i = 0; i < 100; i++)); do
        kill -0 "$pid" 2>/dev/null || { wait "$pid" 2>/dev/null || true; return 0; }
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# A TCP port of the loopback address that nobody listens on. Counts on from the pid, so that two scripts rarely meet, and
# stays below those that the kernel gives to outgoing connections (32768).
next_port=$((10000 + ($$ * 37) % 11000))
free_port() {
    local tries
    for ((tries = 0; tries < 500; tries++)); do
        next_port=$((next_port + 1))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; then port=$next_port; return 0; fi
    done
    die "no free port"
}

random_secret() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

# --- PostgreSQL -----------------------------------------------------------------------------------------------------

# Starts a cluster in $work/pg. Sets PGPORT, PGHOST, PGUSER (the superuser) and PGPASSWORD, so that psql reaches it.
start_cluster() {
    find_postgres
    free_port
    PGDATA_DIR=$work/pg
    local password
    password=$(random_secret)
    (umask 077; printf '%s\n' "$password" >"$work/pwfile")
    [ "$(id -u)" != 0 ] || chown "$unprivileged" "$work/pwfile"
    drop "$PGBIN/initdb" -D "$PGDATA_DIR" -U postgres -A scram-sha-256 --pwfile="$work/pwfile" \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$work/initdb.log" 2>&1 || { cat "$work/initdb.log" >&2; die "initdb failed"; }
    rm -f "$work/pwfile"
    cat >"$work/extra.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$work'
max_connections = ${cluster_connections:-200}
shared_buffers = 128MB
fsync = off
synchronous_commit = off
full_page_writes = off
max_wal_size = 4GB
log_min_messages = warning
timezone = 'UTC'
CONF
    drop sh -c 'cat "$1" >>"$2/postgresql.conf"' sh "$work/extra.conf" "$PGDATA_DIR"
    drop "$PGBIN/pg_ctl" -D "$PGDATA_DIR" -l "$work/postgres.log" -w -s start >/dev/null || { cat "$work/postgres.log" >&2; die "PostgreSQL did not start"; }
    export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGPASSWORD=$password PGDATABASE=postgres PGSSLMODE=disable
}

# By the pid that the postmaster wrote; pg_ctl does that.
stop_cluster() {
    [ -f "$PGDATA_DIR/postmaster.pid" ] || return 0
    drop "$PGBIN/pg_ctl" -D "$PGDATA_DIR" -m immediate -w -s stop >/dev/null 2>&1 || true
}

# progress DONE TOTAL TEXT: a bar on one line; where nobody watches, only its end.
progress() {
    local done=$1 total=$2 text=$3 width=32 filled bar=
    filled=$((done * width / total))
    if [ -t 2 ]; then
        printf -v bar '%*s' "$filled" ''
        printf -v bar '%s%*s' "${bar// /█}" $((width - filled)) ''
        printf '\r%-14s ▕%s▏ %3d %%' "$text" "$bar" $((done * 100 / total)) >&2
        [ "$done" -lt "$total" ] || printf '\n' >&2
    elif [ "$done" -ge "$total" ]; then
        say "$text: done"
    fi
}

# load_bank USERS TRANSACTIONS: the generated bank into the database that PGDATABASE names, with a bar.
load_bank() {
    local users=$1 transactions=$2 step from to
    step=$(((users + 19) / 20))
    for ((from = 0; from < users; from += step)); do
        to=$((from + step < users ? from + step : users))
        psql -qX -v ON_ERROR_STOP=1 -v from="$from" -v to="$to" -f "$root/scripts/bank/users.sql"
        progress "$to" "$users" users
    done
    step=$(((transactions + 39) / 40))
    for ((from = 0; from < transactions; from += step)); do
        to=$((from + step < transactions ? from + step : transactions))
        psql -qX -v ON_ERROR_STOP=1 -v from="$from" -v to="$to" -v users="$users" -f "$root/scripts/bank/transactions.sql"
        progress "$to" "$transactions" transactions
    done
    psql -qX -v ON_ERROR_STOP=1 -f "$root/scripts/bank/finish.sql"
}

# The bank's schema, then what the application's login may do. Arguments: database, login (made by the caller).
migrate_bank() {
    local file
    for file in "$root"/migrations/bank/*.sql; do
        psql -qX -v ON_ERROR_STOP=1 -v app="$2" -d "$1" -f "$file"
    done
}
