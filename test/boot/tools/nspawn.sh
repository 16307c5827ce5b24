# Runs systemd-nspawn with a control group of its own, so that several on one machine do not share theirs.
# Usage: nspawn.sh GROUP ARGUMENT...
set -euo pipefail
group=$1
shift

# Hierarchies that systemd-nspawn uses, wherever the machine has them; an unused one is not there.
for mount in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [[ -e $mount/cgroup.procs ]] || continue
  mkdir -p "$mount/$group"
  echo $$ >"$mount/$group/cgroup.procs"
done

# Its agent must write to /proc/sys/net, which is the container's own; the rest of /proc/sys is the machine's.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network UNIFIED_CGROUP_HIERARCHY=1
exec systemd-nspawn --quiet --register=no --keep-unit --settings=no --capability=all --link-journal=no --timezone=off \
  --resolv-conf=off --console=pipe --network-namespace-path=/proc/self/ns/net "$@"
