# Puts a throw-away root together in this mount namespace; its writable layers are in memory and go with the namespace.
# Usage: root.sh DIRECTORY BASE CHECKOUT NPM_CACHE NODE NPM_PACKAGE [LIBRARY...]; the root is DIRECTORY/root.
set -euo pipefail
dir=$1 base=$2 checkout=$3 cache=$4 node=$5 npm=$6
shift 6
root=$dir/root

mkdir -p "$dir/layers" "$root"
mount -t tmpfs -o mode=755 tmpfs "$dir/layers"

# overlay NAME LOWER TARGET
overlay() {
  local layer=$dir/layers/$1
  mkdir -p "$layer/lower" "$layer/upper" "$layer/work" "$3"
  # By a name of our own: a path with a colon or a comma cannot be given to overlayfs.
  mount --bind "$2" "$layer/lower"
  mount -t overlay overlay -o "lowerdir=$layer/lower,upperdir=$layer/upper,workdir=$layer/work" "$3"
}

overlay root "$base" "$root"
# Not a bind: the installer builds there when the build is old.
overlay checkout "$checkout" "$root/mnt/weft"
overlay npm "$cache" "$root/root/.npm"

# read_only SOURCE TARGET
read_only() {
  mkdir -p "$(dirname "$root$2")"
  if [[ -d $1 ]]; then mkdir -p "$root$2"; else touch "$root$2"; fi
  mount --bind "$1" "$root$2"
  mount -o remount,bind,ro "$root$2"
}

read_only "$node" /usr/local/bin/node
read_only "$npm" /usr/local/lib/node_modules/npm
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
for library in "$@"; do read_only "$library" "$library"; done

echo host1 >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 host1\n' >"$root/etc/hosts"
