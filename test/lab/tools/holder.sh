# Init of one lab host: makes the private parts of its file system, then waits for the life line on stdin to close.
# Usage: holder.sh DIRECTORY HOSTNAME, inside fresh net, mount, uts and pid namespaces.
set -euo pipefail
dir=$1
name=$2

# Still the machine's /proc, so this is our pid as the machine sees it.
read -r outer _ </proc/self/stat
mount -t proc proc /proc
hostname "$name"

# A sysfs shows the network namespace it was mounted in; the cgroup mounts below it must survive that.
mount --rbind /sys/fs/cgroup "$dir/private"
umount -l /sys
mount -t sysfs sysfs /sys
mount --rbind "$dir/private" /sys/fs/cgroup
umount -l "$dir/private"

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/weft /run/lock
# As `ip netns` makes it: namespaces bound here must show in the mount namespaces of programs inside.
mount -t tmpfs -o mode=755 tmpfs /run/netns
mount --make-shared /run/netns
mount --bind "$dir/run" /run/weft

# Writable copies of /etc and /var/lib, so that no directory need be made on the machine.
mount -t tmpfs -o mode=755 tmpfs "$dir/private"
for tree in /etc /var/lib; do
  layer=$dir/private$tree
  mkdir -p "$layer/upper" "$layer/work"
  mount -t overlay overlay -o "lowerdir=$tree,upperdir=$layer/upper,workdir=$layer/work" "$tree"
done
mkdir -p /etc/weft /var/lib/weft
mount --bind "$dir/etc" /etc/weft
mount --bind "$dir/lib" /var/lib/weft
rm -rf /etc/netns /etc/resolv.conf
printf 'nameserver 198.51.100.1\noptions timeout:1 attempts:1\n' >/etc/resolv.conf
echo "$name" >/etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$name" >/etc/hosts

ip link set lo up
echo "ready $outer"
# bash reaps the orphans that fall to it while it waits here.
read -r _ || true
