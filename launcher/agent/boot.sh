# Finds a Python, unpacks the node kit once per host, becomes the agent. POSIX sh; what it prints goes to the allocation's log.
#     sh -c TEXT launch-boot STORE KIT_HASH JOB ALLOCATION
# Paths are positional parameters from end to end, so that no character in them is ever read as shell.
set -u
LAUNCH_UMASK=$(umask) # the child's, and that of the results: others of a group may be meant to read them
export LAUNCH_UMASK
umask 077
store=$1 kit=$2 job=$3 allocation=$4

say() {
    printf '%s launch boot: %s\n' "$(date -u '+%Y-%m-%dT%H:%M:%SZ')" "$*" >&2
}

suits() {
    [ -n "$1" ] && "$1" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1
}

python=
for candidate in "${LAUNCH_PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10 python3.9 python \
    /usr/bin/python3 /usr/local/bin/python3 /opt/conda/bin/python3; do
    if suits "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    say "no Python 3.9 or newer was found on $(uname -n): tried LAUNCH_PYTHON, python3, python3.9 to python3.13 and python on" \
        "PATH=${PATH:-}, and /usr/bin, /usr/local/bin, /opt/conda/bin; allocation $allocation of $job was not started"
    exit 127
fi

# Prints nothing on success. Exit 0: $2 holds the kit; 1: it cannot be had, whatever the folder; 2: not in this folder.
unpack='
import errno, hashlib, io, os, shutil, sys, tarfile, time
archive, folder, wanted = sys.argv[1], sys.argv[2], sys.argv[3]

def fail(status, text):
    print(text, file=sys.stderr)
    sys.exit(status)

try:
    with open(archive, "rb") as file:
        content = file.read()
except OSError as error:
    fail(1, "the node kit cannot be read: %s: %s" % (archive, error.strerror))
found = hashlib.sha256(content).hexdigest()
if found != wanted:
    fail(1, "the node kit is damaged: %s has the sha256 %s" % (archive, found))
parent = os.path.dirname(folder)
mine = os.path.join(parent, ".tmp-%d-%s" % (os.getpid(), os.urandom(6).hex()))
try:
    os.makedirs(parent, mode=0o700, exist_ok=True)
    for name in os.listdir(parent):
        left = os.path.join(parent, name)
        if name.startswith(".tmp-") and time.time() - os.lstat(left).st_mtime > 3600:
            shutil.rmtree(left, ignore_errors=True)
    os.mkdir(mine, 0o700)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(mine, filter="data")
        else:
            tar.extractall(mine)
    if os.path.isdir(folder) and not os.path.exists(os.path.join(folder, "launcher", "agent", "main.py")):
        os.rename(folder, mine + "-damaged")
    try:
        os.rename(mine, folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        # another boot was first: the names are equal, so the contents are
except (OSError, tarfile.TarError) as error:
    reason = getattr(error, "strerror", None) or str(error)
    fail(2, "the node kit cannot be unpacked into %s: %s" % (parent, reason))
finally:
    shutil.rmtree(mine, ignore_errors=True)
'

base=
case ${XDG_CACHE_HOME:-} in
/*) base=$XDG_CACHE_HOME ;;
*) [ -n "${HOME:-}" ] && base=$HOME/.cache ;;
esac

# The store is the second choice: a home that is absent, read-only or full is no reason not to run.
folder=
for parent in "${base:+$base/launch/kits}" "$store/kits/unpacked"; do
    [ -n "$parent" ] || continue
    if [ ! -f "$parent/$kit/launcher/agent/main.py" ]; then
        "$python" -I -S -c "$unpack" "$store/kits/$kit.tar.gz" "$parent/$kit" "$kit"
        status=$?
        if [ "$status" -eq 1 ]; then
            say "allocation $allocation of $job was not started"
            exit 126
        fi
        [ "$status" -eq 0 ] || continue
    fi
    folder=$parent/$kit
    break
done
if [ -z "$folder" ]; then
    say "the node kit could be unpacked nowhere; allocation $allocation of $job was not started"
    exit 126
fi

exec "$python" -I -S -c 'import sys
kit = sys.argv.pop(1)
sys.path[:0] = [kit, kit + "/vendor"]
from launcher.agent.main import main
sys.exit(main())' "$folder" --store "$store" --job "$job" --allocation "$allocation"
